#include "router/tables/groups.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_MESSAGES = 255, BACK_MIN = 16, HASHES = 1 << 16 };

struct parked_chunk {
	struct parked_chunk *next;
	size_t count;
	struct parked parked[CHUNK_MESSAGES];
};

static int
compare_groups(const struct group *a, const struct group *b)
{
	return a->hash < b->hash ? -1 : a->hash > b->hash;
}

static int
compare_redeliveries(const struct redelivery *a, const struct redelivery *b)
{
	return a->parked.sequence < b->parked.sequence ? -1
						       : a->parked.sequence > b->parked.sequence;
}

RB_PROTOTYPE(group_tree, group, link, compare_groups)
RB_PROTOTYPE(redelivery_tree, redelivery, link, compare_redeliveries)
RB_GENERATE(group_tree, group, link, compare_groups)
RB_GENERATE(redelivery_tree, redelivery, link, compare_redeliveries)

void
groups_init(struct groups *groups)
{
	*groups = (struct groups){ .count = 0 };
	TAILQ_INIT(&groups->ready);
}

void
groups_set_ready(struct groups *groups, struct group *group)
{
	if (!group->ready)
		TAILQ_INSERT_TAIL(&groups->ready, group, ready_link);
	group->ready = true;
}

void
groups_clear_ready(struct groups *groups, struct group *group)
{
	if (group->ready)
		TAILQ_REMOVE(&groups->ready, group, ready_link);
	group->ready = false;
}

void
groups_wake(struct groups *groups, uint64_t now_ns)
{
	struct group *group;

	RB_FOREACH (group, group_tree, &groups->tree)
		if (!group->releasing && group->in_flight == 0 && group->due_ns <= now_ns)
			groups_set_ready(groups, group);
}

struct group *
groups_find(const struct groups *groups, uint64_t hash)
{
	struct group key = { .hash = hash };
	struct group_tree tree = groups->tree; /* the macro wants one that it may change */

	return groups->count == 0 ? NULL : group_tree_RB_FIND(&tree, &key);
}

struct group *
groups_find_from(const struct groups *groups, uint64_t hash)
{
	struct group key = { .hash = hash };
	struct group_tree tree = groups->tree;

	return groups->count == 0 ? NULL : group_tree_RB_NFIND(&tree, &key);
}

struct group *
groups_next(struct group *group)
{
	return group_tree_RB_NEXT(group);
}

struct group *
groups_block(struct groups *groups, uint64_t hash)
{
	struct group *group = groups_find(groups, hash);

	if (group != NULL)
		return group;
	if (groups->by_hash == NULL)
		groups->by_hash = calloc(HASHES, sizeof(*groups->by_hash));
	if (groups->by_hash == NULL || groups->by_hash[hash >> 48] == UINT16_MAX)
		return NULL;
	group = calloc(1, sizeof(*group));
	if (group == NULL)
		return NULL;
	group->hash = hash;
	TAILQ_INIT(&group->flights);
	RB_INSERT(group_tree, &groups->tree, group);
	groups->by_hash[hash >> 48]++;
	groups->count++;
	return group;
}

static void
forget_parked(struct groups *groups, struct group *group)
{
	while (group->first != NULL) {
		struct parked_chunk *next = group->first->next;

		free(group->first);
		group->first = next;
	}
	groups->parked -= group->parked;
	free(group->back);
	group->last = NULL;
	group->back = NULL;
	group->back_first = group->back_count = group->back_capacity = 0;
	group->first_used = group->parked = 0;
}

void
groups_open(struct groups *groups, struct group *group)
{
	forget_parked(groups, group);
	groups_clear_ready(groups, group);
	RB_REMOVE(group_tree, &groups->tree, group);
	groups->by_hash[group->hash >> 48]--;
	groups->count--;
	free(group);
}

bool
group_park(struct groups *groups, struct group *group, struct parked parked)
{
	struct parked_chunk *chunk = group->last;

	if (chunk == NULL || chunk->count == CHUNK_MESSAGES) {
		chunk = malloc(sizeof(*chunk));
		if (chunk == NULL)
			return false;
		chunk->next = NULL;
		chunk->count = 0;
		if (group->last != NULL)
			group->last->next = chunk;
		else
			group->first = chunk;
		group->last = chunk;
	}
	chunk->parked[chunk->count++] = parked;
	group->parked++;
	groups->parked++;
	return true;
}

static bool
make_back_room(struct group *group)
{
	size_t more = group->back_capacity ? 2 * group->back_capacity : BACK_MIN;
	struct parked *bigger;

	if (group->back_first > 0) {
		memmove(group->back, group->back + group->back_first,
		    group->back_count * sizeof(*group->back));
		group->back_first = 0;
	}
	if (group->back_count < group->back_capacity)
		return true;
	bigger = realloc(group->back, more * sizeof(*bigger));
	if (bigger == NULL)
		return false;
	group->back = bigger;
	group->back_capacity = more;
	return true;
}

bool
group_give_back(struct groups *groups, struct group *group, struct parked parked)
{
	struct parked *at;
	size_t i = group->back_count;

	if (group->back_first + group->back_count == group->back_capacity && !make_back_room(group))
		return false;
	at = group->back + group->back_first;
	/* They come back in order, mostly. */
	while (i > 0 && at[i - 1].sequence > parked.sequence)
		i--;
	memmove(at + i + 1, at + i, (group->back_count - i) * sizeof(*at));
	at[i] = parked;
	group->back_count++;
	group->parked++;
	groups->parked++;
	return true;
}

const struct parked *
group_next(const struct group *group)
{
	if (group->back_count > 0)
		return &group->back[group->back_first];
	return group->first != NULL ? &group->first->parked[group->first_used] : NULL;
}

void
group_take_next(struct groups *groups, struct group *group)
{
	struct parked_chunk *chunk = group->first;

	group->parked--;
	groups->parked--;
	if (group->back_count > 0) {
		group->back_first++;
		group->back_count--;
		return;
	}
	if (++group->first_used < chunk->count)
		return;
	group->first = chunk->next;
	group->first_used = 0;
	if (group->first == NULL)
		group->last = NULL;
	free(chunk);
}

const struct parked *
group_head(const struct group *group)
{
	const struct redelivery *first = TAILQ_FIRST(&group->flights);
	const struct parked *next = group_next(group);

	if (first == NULL || (next != NULL && next->sequence < first->parked.sequence))
		return next;
	return &first->parked;
}

bool
groups_fly(struct groups *groups, struct group *group)
{
	const struct parked *next = group_next(group);
	struct redelivery *redelivery = next == NULL ? NULL : malloc(sizeof(*redelivery));

	if (redelivery == NULL)
		return false;
	redelivery->parked = *next;
	redelivery->group = group;
	RB_INSERT(redelivery_tree, &groups->in_flight, redelivery);
	TAILQ_INSERT_TAIL(&group->flights, redelivery, group_link);
	group_take_next(groups, group);
	group->in_flight++;
	return true;
}

struct redelivery *
groups_in_flight(struct groups *groups, uint64_t sequence)
{
	struct redelivery key = { .parked.sequence = sequence };

	return RB_EMPTY(&groups->in_flight) ? NULL
					    : RB_FIND(redelivery_tree, &groups->in_flight, &key);
}

struct group *
groups_land(struct groups *groups, struct redelivery *redelivery)
{
	struct group *group = redelivery->group;

	group->in_flight--;
	RB_REMOVE(redelivery_tree, &groups->in_flight, redelivery);
	TAILQ_REMOVE(&group->flights, redelivery, group_link);
	free(redelivery);
	return group;
}

static void
forget_in_flight(struct groups *groups, uint64_t lanes, unsigned lane_count)
{
	struct redelivery *redelivery, *next;

	RB_FOREACH_SAFE (redelivery, redelivery_tree, &groups->in_flight, next) {
		if (!group_in_lanes(redelivery->group, lanes, lane_count))
			continue;
		RB_REMOVE(redelivery_tree, &groups->in_flight, redelivery);
		free(redelivery);
	}
}

void
groups_forget_messages(struct groups *groups, uint64_t lanes, unsigned lane_count)
{
	struct group *group, *next;

	forget_in_flight(groups, lanes, lane_count);
	RB_FOREACH_SAFE (group, group_tree, &groups->tree, next) {
		if (!group_in_lanes(group, lanes, lane_count))
			continue;
		forget_parked(groups, group);
		groups_clear_ready(groups, group);
		group->in_flight = 0;
		TAILQ_INIT(&group->flights);
		group->releasing = false;
	}
}

void
groups_free(struct groups *groups)
{
	struct group *group, *next;

	forget_in_flight(groups, UINT64_MAX, 1);
	RB_FOREACH_SAFE (group, group_tree, &groups->tree, next)
		groups_open(groups, group);
	free(groups->by_hash);
	groups_init(groups);
}
