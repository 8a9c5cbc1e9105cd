#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log/settled.h"

Test(settled, in_order_keeps_no_bitmap)
{
	struct settled set;

	settled_init(&set, 0);
	for (uint64_t s = 1; s <= 100000; s++)
		cr_assert(settled_add(&set, s) == 1, "sequence %lu", (unsigned long)s);
	cr_assert(
	    set.low_watermark == 100000, "low_watermark %lu", (unsigned long)set.low_watermark);
	cr_assert(set.chunks == NULL, "no memory for what is in order");
	cr_assert(settled_add(&set, 5) == 0, "a second time is no news");
	settled_free(&set);
}

Test(settled, random_order_agrees_with_a_plain_array)
{
	enum { N = 20000 };
	static bool model[N + 1];
	unsigned seed = 42;
	struct settled set;
	uint64_t low_watermark = 0;

	settled_init(&set, 0);
	for (int i = 0; i < 3 * N; i++) {
		uint64_t s = 1 + (uint64_t)rand_r(&seed) % N;

		if (s > low_watermark + 3000)
			s = low_watermark + 1;
		cr_assert(settled_has(&set, s) == model[s], "has %lu", (unsigned long)s);
		cr_assert(settled_add(&set, s) == !model[s], "add %lu", (unsigned long)s);
		model[s] = true;
		while (low_watermark < N && model[low_watermark + 1])
			low_watermark++;
		cr_assert(set.low_watermark == low_watermark, "low_watermark %lu, not %lu",
		    (unsigned long)set.low_watermark, (unsigned long)low_watermark);
	}
	for (uint64_t s = 1; s <= N; s++)
		cr_assert(settled_has(&set, s) == model[s], "has %lu", (unsigned long)s);
	settled_free(&set);
}

Test(settled, one_old_message_costs_one_chunk)
{
	struct settled set;

	settled_init(&set, 0);
	cr_assert(settled_add_range(&set, 2, 1000000) == 1000000, "all are new");
	cr_assert(set.low_watermark == 0, "1 is still there");
	cr_assert(set.count < 200 && set.capacity < 512, "%zu chunks", set.count);
	cr_assert(settled_count_live(&set, 1, 1000002) == 1, "one is left");
	cr_assert(settled_count_live(&set, 2, 1000002) == 0, "the others are not");
	cr_assert(settled_add(&set, 1) == 1, "1 is settled last");
	cr_assert(
	    set.low_watermark == 1000001, "low_watermark %lu", (unsigned long)set.low_watermark);
	settled_free(&set);
}

Test(settled, ranges_overlap)
{
	struct settled set;

	settled_init(&set, 10);
	cr_assert(settled_add_range(&set, 5, 10) == 4, "11 to 14 are new");
	cr_assert(set.low_watermark == 14, "low watermark");
	cr_assert(settled_add(&set, 2000) == 1, "2000");
	cr_assert(settled_count_live(&set, 1, 3001) == 3000 - 15, "%lu left",
	    (unsigned long)settled_count_live(&set, 1, 3001));
	cr_assert(settled_add_range(&set, 15, 1985) == 1985, "15 to 1999 are new");
	cr_assert(set.low_watermark == 2000 && set.count == 0, "all is in order again");
	cr_assert(!settled_has(&set, 2001) && settled_has(&set, 2000), "exactly");
	settled_free(&set);
}

/* Counts each range of a small set with holes before, at and behind its ends. */
Test(settled, what_is_left_of_a_range_is_counted_wherever_it_is)
{
	enum { N = 60, THROUGH = 10, HIGHEST = 25 };
	struct settled set;

	settled_init(&set, THROUGH);
	cr_assert(settled_add_range(&set, 14, 3) == 3 && settled_add(&set, HIGHEST) == 1, "added");
	for (uint64_t first = 1; first < N; first++) {
		uint64_t left = 0;

		for (uint64_t end = first; end < N; left += !settled_has(&set, end++))
			cr_assert(settled_count_live(&set, first, end) == left,
			    "[%lu, %lu): %lu, not %lu", first, end,
			    settled_count_live(&set, first, end), left);
	}
	settled_free(&set);
}

/* The pieces of a checkpoint yield the same set, even if the set grows meanwhile. */
Test(settled, restored_from_its_chunks)
{
	enum { N = 60000 };
	struct settled set, copy;
	struct settled_chunk chunks[7];
	uint64_t base = 0, low_watermark, highest;
	unsigned seed = 7;
	size_t n;

	settled_init(&set, 0);
	for (int i = 0; i < 40000; i++)
		settled_add(&set, 1 + (uint64_t)rand_r(&seed) % N);
	low_watermark = set.low_watermark;
	highest = set.highest;
	settled_init(&copy, 0);
	cr_assert(settled_restore(&copy, low_watermark, highest) == 0, "restore");
	while ((n = settled_copy_chunks(&set, base, chunks, 7)) > 0) {
		for (size_t i = 0; i < n && chunks[i].base <= highest; i++)
			cr_assert(settled_restore_chunk(&copy, &chunks[i]) == 0, "chunk %lu",
			    (unsigned long)chunks[i].base);
		base = chunks[n - 1].base + SETTLED_CHUNK_BITS;
	}
	settled_restore_end(&copy);
	for (uint64_t s = 1; s <= N + 600; s++)
		cr_assert(settled_has(&set, s) == settled_has(&copy, s), "%lu", (unsigned long)s);
	cr_assert(
	    settled_count_live(&copy, 1, N + 1) == settled_count_live(&set, 1, N + 1), "left");
	for (uint64_t s = 1; s <= N; s++)
		cr_assert(settled_add(&set, s) == settled_add(&copy, s), "%lu", (unsigned long)s);
	cr_assert(copy.low_watermark == N && copy.count == 0, "all settled");
	settled_free(&set);
	settled_free(&copy);
}

/* Copies the numbers, settles more, copies the chunks, restores all, and settles the rest again, as
 * the log's next frames do. */
static void
check_growing(const uint64_t *before, const uint64_t *meanwhile, const uint64_t *behind)
{
	struct settled set, copy;
	struct settled_chunk chunks[8];
	uint64_t low_watermark, highest;
	size_t n;

	settled_init(&set, 0);
	for (const uint64_t *s = before; *s != 0; s++)
		settled_add(&set, *s);
	low_watermark = set.low_watermark;
	highest = set.highest;
	for (const uint64_t *s = meanwhile; *s != 0; s++)
		settled_add(&set, *s);
	n = settled_copy_chunks(&set, 0, chunks, 8);
	settled_init(&copy, 0);
	cr_assert(settled_restore(&copy, low_watermark, highest) == 0, "restore");
	for (size_t i = 0; i < n && chunks[i].base <= highest; i++)
		cr_assert(settled_restore_chunk(&copy, &chunks[i]) == 0, "chunk %zu", i);
	settled_restore_end(&copy);
	for (const uint64_t *s = meanwhile; *s != 0; s++)
		settled_add(&copy, *s);
	for (const uint64_t *s = behind; *s != 0; s++) {
		settled_add(&set, *s);
		settled_add(&copy, *s);
	}
	for (uint64_t s = 1; s <= set.highest + 600; s++)
		cr_assert(settled_has(&set, s) == settled_has(&copy, s), "%lu", (unsigned long)s);
	cr_assert(copy.low_watermark == set.low_watermark && copy.highest == set.highest,
	    "low_watermark %lu, not %lu", (unsigned long)copy.low_watermark,
	    (unsigned long)set.low_watermark);
	settled_free(&set);
	settled_free(&copy);
}

Test(settled, restored_from_chunks_that_are_newer_than_the_numbers)
{
	check_growing((uint64_t[]){ 1, 2, 3, 0 }, (uint64_t[]){ 5, 0 }, (uint64_t[]){ 4, 6, 0 });
	check_growing((uint64_t[]){ 1, 2, 3, 0 }, (uint64_t[]){ 5, 4, 7, 0 }, (uint64_t[]){ 6, 0 });
	check_growing((uint64_t[]){ 1, 3, 9, 0 }, (uint64_t[]){ 2, 0 }, (uint64_t[]){ 4, 10, 0 });
	check_growing(
	    (uint64_t[]){ 1, 3, 600, 0 }, (uint64_t[]){ 2, 1200, 0 }, (uint64_t[]){ 4, 601, 0 });
}

Test(settled, a_checkpoint_that_makes_no_sense_is_refused)
{
	struct settled_chunk chunk = { .base = 512 }, odd = { .base = 500 },
			     high = { .base = 4096 };
	struct settled_chunk full = { .base = 1024 };
	struct settled set;

	memset(full.words, 0xff, sizeof(full.words));
	settled_init(&set, 0);
	cr_assert(settled_restore(&set, 10, 9) == -EINVAL, "highest below low watermark");
	cr_assert(settled_restore(&set, 10, 2000) == 0, "good");
	cr_assert(settled_restore_chunk(&set, &odd) == -EINVAL, "odd base");
	cr_assert(settled_restore_chunk(&set, &high) == -EINVAL, "above all");
	cr_assert(settled_restore_chunk(&set, &full) == -EINVAL, "full");
	cr_assert(settled_restore_chunk(&set, &chunk) == 0, "good");
	cr_assert(settled_restore_chunk(&set, &chunk) == -EINVAL, "twice");
	settled_free(&set);
}

Test(settled, near_the_end_of_64_bits)
{
	struct settled set;
	uint64_t base = UINT64_MAX - 5000;

	settled_init(&set, base);
	for (uint64_t s = base + 4000; s > base; s--)
		cr_assert(settled_add(&set, s) == 1, "backwards");
	cr_assert(set.low_watermark == base + 4000, "low watermark");
	settled_free(&set);
}
