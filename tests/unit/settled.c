#include <criterion/criterion.h>
#include <stdlib.h>

#include "log/settled.h"

Test(settled, in_order_keeps_no_bitmap)
{
	struct settled set;

	settled_init(&set, 0);
	for (uint64_t s = 1; s <= 100000; s++)
		cr_assert(settled_add(&set, s) == 1, "sequence %lu", (unsigned long)s);
	cr_assert(set.through == 100000, "through %lu", (unsigned long)set.through);
	cr_assert(set.words == NULL, "no memory for what is in order");
	cr_assert(settled_add(&set, 5) == 0, "a second time is no news");
	settled_free(&set);
}

Test(settled, random_order_agrees_with_a_plain_array)
{
	enum { N = 20000 };
	static bool model[N + 1];
	unsigned seed = 42;
	struct settled set;
	uint64_t through = 0;

	settled_init(&set, 0);
	for (int i = 0; i < 3 * N; i++) {
		uint64_t s = 1 + (uint64_t)rand_r(&seed) % N;

		if (s > through + 3000)
			s = through + 1;
		cr_assert(settled_has(&set, s) == model[s], "has %lu", (unsigned long)s);
		cr_assert(settled_add(&set, s) == !model[s], "add %lu", (unsigned long)s);
		model[s] = true;
		while (through < N && model[through + 1])
			through++;
		cr_assert(set.through == through, "through %lu, not %lu",
		    (unsigned long)set.through, (unsigned long)through);
	}
	for (uint64_t s = 1; s <= N; s++)
		cr_assert(settled_has(&set, s) == model[s], "has %lu", (unsigned long)s);
	settled_free(&set);
}

Test(settled, one_old_message_costs_one_bit_each)
{
	struct settled set;

	settled_init(&set, 0);
	cr_assert(settled_add_range(&set, 2, 1000000) == 1000000, "all are new");
	cr_assert(set.through == 0, "1 is still there");
	cr_assert(set.bits / 8 <= 2 * 131072 + 1024, "%lu bytes", (unsigned long)set.bits / 8);
	cr_assert(settled_add(&set, 1) == 1, "1 is settled last");
	cr_assert(set.through == 1000001, "through %lu", (unsigned long)set.through);
	settled_free(&set);
}

Test(settled, ranges_overlap_and_skip)
{
	struct settled set;

	settled_init(&set, 10);
	cr_assert(settled_add_range(&set, 5, 10) == 4, "11 to 14 are new");
	cr_assert(set.through == 14, "through");
	cr_assert(settled_add(&set, 20) == 1, "20");
	cr_assert(settled_skip(&set, 18) == 0, "skip");
	cr_assert(set.through == 18, "through after a skip");
	cr_assert(settled_skip(&set, 19) == 0, "skip");
	cr_assert(set.through == 20, "20 was settled already");
	cr_assert(settled_skip(&set, 1000) == 0, "skip beyond all");
	cr_assert(!settled_has(&set, 1001) && settled_has(&set, 1000), "exactly");
	settled_free(&set);
}

Test(settled, near_the_end_of_64_bits)
{
	struct settled set;
	uint64_t base = UINT64_MAX - 5000;

	settled_init(&set, base);
	for (uint64_t s = base + 4000; s > base; s--)
		cr_assert(settled_add(&set, s) == 1, "backwards");
	cr_assert(set.through == base + 4000, "through");
	settled_free(&set);
}
