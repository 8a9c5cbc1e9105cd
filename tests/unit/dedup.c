#include <criterion/criterion.h>
#include <stdio.h>

#include "router/tables/dedup.h"

static const uint8_t key[DEDUP_KEY_BYTES] = { 1, 2, 3 };

static enum dedup_result
see(struct dedup *dedup, unsigned id, uint32_t now)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "message-%u", id);
	struct dedup_hash hash = dedup_hash(dedup, 0, text, (size_t)length);

	return dedup_see(dedup, &hash, now);
}

Test(dedup, sees_each_id_once_within_the_window)
{
	struct dedup *dedup = dedup_new(key, 300);

	cr_assert(see(dedup, 1, 1000) == DEDUP_NEW, "first");
	cr_assert(see(dedup, 1, 1300) == DEDUP_SEEN, "at the window's end");
	cr_assert(see(dedup, 1, 1301) == DEDUP_NEW, "behind the window");
	cr_assert(see(dedup, 1, 1302) == DEDUP_SEEN, "and again within");
	dedup_free(dedup);
}

Test(dedup, a_duplicate_does_not_make_the_window_longer)
{
	struct dedup *dedup = dedup_new(key, 300);

	cr_assert(see(dedup, 1, 1000) == DEDUP_NEW, "first");
	cr_assert(see(dedup, 1, 1200) == DEDUP_SEEN, "duplicate");
	cr_assert(see(dedup, 1, 1400) == DEDUP_NEW, "counted from the first");
	dedup_free(dedup);
}

Test(dedup, kinds_are_different_ids)
{
	struct dedup *dedup = dedup_new(key, 300);
	struct dedup_hash id = dedup_hash(dedup, 0, "x", 1), content = dedup_hash(dedup, 1, "x", 1);

	cr_assert(dedup_see(dedup, &id, 1) == DEDUP_NEW, "kind 0");
	cr_assert(dedup_see(dedup, &content, 1) == DEDUP_NEW, "kind 1");
	cr_assert(dedup_see(dedup, &content, 1) == DEDUP_SEEN, "kind 1 again");
	dedup_free(dedup);
}

Test(dedup, a_million_ids_take_at_most_32_bytes_each, .timeout = 600)
{
	enum { N = 1000000 };
	struct dedup *dedup = dedup_new(key, 300);
	uint64_t bytes, ids;

	for (unsigned i = 0; i < N; i++)
		cr_assert(see(dedup, i, 5000) == DEDUP_NEW, "id %u", i);
	for (unsigned i = 0; i < N; i++)
		cr_assert(see(dedup, i, 5001) == DEDUP_SEEN, "id %u again", i);
	dedup_usage(dedup, &bytes, &ids);
	cr_assert(ids == N, "%lu ids", (unsigned long)ids);
	cr_assert(bytes <= 32ul * N, "%lu bytes for %d ids", (unsigned long)bytes, N);
	dedup_free(dedup);
}

Test(dedup, old_ids_make_room_for_new_ones, .timeout = 600)
{
	enum { N = 200000, ROUNDS = 10 };
	struct dedup *dedup = dedup_new(key, 10);
	uint64_t first = 0, bytes = 0, ids;

	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < N; i++)
			cr_assert(see(dedup, round * N + i, 100 + round * 11) == DEDUP_NEW, "id");
		dedup_usage(dedup, &bytes, &ids);
		if (round == 1)
			first = bytes;
	}
	cr_assert(bytes <= first + first / 2, "%lu bytes grew to %lu", (unsigned long)first,
	    (unsigned long)bytes);
	dedup_free(dedup);
}

Test(dedup, no_more_than_the_maximum_until_some_are_old)
{
	struct dedup *dedup = dedup_new(key, 300);
	unsigned full = 0;

	dedup_set_max(dedup, 5000);
	for (unsigned i = 0; i < 5000; i++)
		cr_assert(see(dedup, i, 1000 + i / 20) == DEDUP_NEW, "id %u", i);
	cr_assert(see(dedup, 5000, 1300) == DEDUP_FULL, "one too many");
	cr_assert(see(dedup, 0, 1300) == DEDUP_SEEN, "the others are known");
	/* 1000 ids are older than the window now; each call checks some pages. */
	for (unsigned i = 0; i < 1000; i++)
		full += see(dedup, 6000 + i, 1350) == DEDUP_FULL;
	cr_assert(full < 10, "%u times full", full);
	cr_assert(see(dedup, 4999, 1350) == DEDUP_SEEN, "the others are still known");
	dedup_free(dedup);
}

Test(dedup, a_sweep_gives_memory_back)
{
	struct dedup *dedup = dedup_new(key, 300);
	uint64_t bytes, ids;

	for (unsigned i = 0; i < 200000; i++)
		cr_assert(see(dedup, i, i < 100000 ? 1000 : 1200) == DEDUP_NEW, "id %u", i);
	dedup_sweep(dedup, 1301, 100000);
	dedup_usage(dedup, &bytes, &ids);
	cr_assert(ids == 100000, "%lu ids", (unsigned long)ids);
	for (unsigned i = 0; i < 200000; i++)
		cr_assert(see(dedup, i, 1302) == (i < 100000 ? DEDUP_NEW : DEDUP_SEEN), "id %u", i);
	dedup_sweep(dedup, 2000, 100000);
	dedup_usage(dedup, &bytes, &ids);
	cr_assert(ids == 0, "%lu ids", (unsigned long)ids);
	cr_assert(bytes < 6 << 20, "%lu bytes", (unsigned long)bytes);
	dedup_free(dedup);
}

Test(dedup, what_is_remembered_again_counts_from_then)
{
	struct dedup *dedup = dedup_new(key, 300);
	struct dedup_hash id = dedup_hash(dedup, 0, "x", 1);

	cr_assert(dedup_remember(dedup, &id, 1000, 1290), "taken");
	cr_assert(dedup_remember(dedup, &id, 1300, 1290), "taken again, when it was old");
	cr_assert(dedup_remember(dedup, &id, 1100, 1290), "an older file is read later");
	cr_assert(dedup_see(dedup, &id, 1600) == DEDUP_SEEN, "at the window's end");
	cr_assert(dedup_see(dedup, &id, 1601) == DEDUP_NEW, "behind it");
	dedup_free(dedup);
}
