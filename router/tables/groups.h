/*
 * groups - the groups of a queue that are blocked: one of their messages failed and is to be tried again,
 * and what is behind it waits.
 *
 * A message that waits is *parked*: 16 bytes, its sequence and its place in the log. Those that a worker
 * gave back come before those that it was never given, so a group has two lists:
 *
 *      next -> | given back, sorted | never given, first in first out |
 *
 * Only what is in memory is known here. A worker that attaches begins at the oldest message that is not
 * settled, and what is parked is found again.
 */
#ifndef HEADGATE_ROUTER_TABLES_GROUPS_H
#define HEADGATE_ROUTER_TABLES_GROUPS_H

#include <sys/queue.h>
#include <sys/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GROUP_ERROR_BYTES = 96 };

struct parked {
	uint64_t sequence, position;
};

struct parked_chunk;
struct redelivery;

struct group {
	RB_ENTRY(group) link;
	TAILQ_ENTRY(group) ready_link;
	bool ready;         /* there is something to deliver now */
	uint64_t hash;      /* log_group_hash() is its upper 16 bits */
	uint64_t since_ns;  /* CLOCK_REALTIME, when it was blocked */
	uint64_t due_ns;    /* CLOCK_MONOTONIC, when the next try is */
	uint64_t sequence;  /* of the message that failed last */
	uint64_t skip;      /* a person wants this one given up; 0: none */
	uint32_t tries;     /* of that message */
	uint32_t in_flight; /* messages that were delivered again and are not answered ... */
	TAILQ_HEAD(, redelivery) flights; /* ... in order */
	uint16_t status;                  /* with which it failed, and what it said */
	bool releasing;                   /* it passed: what waits is delivered */
	char error[GROUP_ERROR_BYTES];
	struct parked *back; /* given back; [back_first, back_first + back_count) */
	size_t back_first, back_count, back_capacity;
	struct parked_chunk *first, *last; /* never given */
	size_t first_used, parked;         /* taken from the first chunk; messages in both lists */
};

/* A message that was delivered again. */
struct redelivery {
	RB_ENTRY(redelivery) link;
	TAILQ_ENTRY(redelivery) group_link;
	struct parked parked;
	struct group *group;
};

RB_HEAD(group_tree, group);
TAILQ_HEAD(group_queue, group);
RB_HEAD(redelivery_tree, redelivery);

struct groups {
	struct group_tree tree;
	struct group_queue ready;
	struct redelivery_tree in_flight;
	uint16_t *by_hash; /* how many have these upper 16 bits; NULL: none ever was blocked */
	size_t count, parked;
};

void groups_init(struct groups *);
void groups_free(struct groups *);

/* Is the group in one of these of the queue's lanes? lanes: bit n for lane n. */
static inline bool
group_in_lanes(const struct group *group, uint64_t lanes, unsigned lane_count)
{
	return lanes >> ((group->hash >> 48) % lane_count) & 1;
}

/* Can a group with these upper bits of its hash be blocked? */
static inline bool
groups_may_hold(const struct groups *groups, uint16_t upper)
{
	return groups->count > 0 && groups->by_hash[upper] > 0;
}

/* The blocked group with this hash, or NULL. */
struct group *groups_find(const struct groups *, uint64_t hash);
/* The one with this hash or the next higher one, or NULL; and the one behind it. */
struct group *groups_find_from(const struct groups *, uint64_t hash);
struct group *groups_next(struct group *);
/* The same; made when it is not there. NULL without memory. */
struct group *groups_block(struct groups *, uint64_t hash);
/* Nothing of it waits any more. */
void groups_open(struct groups *, struct group *);

/* Puts it behind the others that have something to deliver; takes it out. */
void groups_set_ready(struct groups *, struct group *);
void groups_clear_ready(struct groups *, struct group *);
/* Makes ready what is due at this time of CLOCK_MONOTONIC. Looks at all groups. */
void groups_wake(struct groups *, uint64_t now_ns);

/* The messages of a group that wait. group_park() adds one that was never given to a worker, with a higher
 * sequence than all others; group_give_back() one that was. Both return false without memory. */
bool group_park(struct groups *, struct group *, struct parked);
bool group_give_back(struct groups *, struct group *, struct parked);
/* The one with the lowest sequence, or NULL; and takes it out. */
const struct parked *group_next(const struct group *);
void group_take_next(struct groups *, struct group *);
/* The first message of it that is not ended: one that is delivered again, or the next one. NULL: that is not
 * known, because the worker's cursor has not come to it. */
const struct parked *group_head(const struct group *);

/* The next one is delivered again, and is taken out. False without memory: nothing happened. */
bool groups_fly(struct groups *, struct group *);
/* Was this message delivered again, and is not answered yet? NULL: no. */
struct redelivery *groups_in_flight(struct groups *, uint64_t sequence);
/* It is answered. Returns its group. */
struct group *groups_land(struct groups *, struct redelivery *);

/* A worker that had these of the queue's lanes is gone: forgets what is parked and delivered of their
 * groups, but not who is blocked. */
void groups_forget_messages(struct groups *, uint64_t lanes, unsigned lane_count);

#endif
