#include <criterion/criterion.h>

#include "router/tables/groups.h"

static struct groups groups;

static uint64_t
head(const struct group *group)
{
	const struct parked *first = group_head(group);

	return first != NULL ? first->sequence : 0;
}

static void
land(uint64_t sequence)
{
	struct redelivery *redelivery = groups_in_flight(&groups, sequence);

	cr_assert(redelivery != NULL, "%d is in flight", (int)sequence);
	groups_land(&groups, redelivery);
}

/* The head is the first message that has not ended, whether in flight, given back or never
 * delivered. */
Test(groups, the_head_is_the_first_that_is_not_ended, .timeout = 600)
{
	struct group *group;

	groups_init(&groups);
	group = groups_block(&groups, 7);
	cr_assert(group != NULL && head(group) == 0, "nothing is known of it yet");
	cr_assert(group_give_back(&groups, group, (struct parked){ .sequence = 3 }), "memory");
	cr_assert(head(group) == 3, "given back");
	cr_assert(group_give_back(&groups, group, (struct parked){ .sequence = 2 }), "memory");
	cr_assert(group_park(&groups, group, (struct parked){ .sequence = 9 }), "memory");
	cr_assert(head(group) == 2, "the one before it");
	cr_assert(groups_fly(&groups, group) && head(group) == 2, "in flight");
	cr_assert(groups_fly(&groups, group) && head(group) == 2, "both are");
	land(2);
	cr_assert(head(group) == 3, "the first is ended");
	land(3);
	cr_assert(group_give_back(&groups, group, (struct parked){ .sequence = 3 }), "memory");
	cr_assert(head(group) == 3, "given back again");
	cr_assert(groups_fly(&groups, group), "memory");
	land(3);
	cr_assert(head(group) == 9, "what was never given");
	cr_assert(groups_fly(&groups, group), "memory");
	groups_forget_messages(&groups, UINT64_MAX, 1);
	cr_assert(head(group) == 0, "the worker is gone");
	cr_assert(group_park(&groups, group, (struct parked){ .sequence = 9 }), "memory");
	cr_assert(head(group) == 9 && groups_fly(&groups, group) && head(group) == 9, "and back");
	groups_free(&groups);
}

Test(groups, they_are_found_in_order_of_their_hash, .timeout = 600)
{
	struct group *group;
	uint64_t from = 0;
	unsigned found = 0;

	groups_init(&groups);
	cr_assert(groups_find_from(&groups, 0) == NULL, "nobody is blocked");
	for (uint64_t i = 0; i < 1000; i++)
		cr_assert(groups_block(&groups, (i * 7919) % 1000 << 50) != NULL, "memory");
	while ((group = groups_find_from(&groups, from)) != NULL) {
		cr_assert(group->hash == (uint64_t)found << 50, "number %u", found);
		cr_assert(groups_next(group) == groups_find_from(&groups, group->hash + 1),
		    "number %u", found);
		from = group->hash + 1;
		found++;
	}
	cr_assert(found == 1000, "%u", found);
	groups_free(&groups);
}
