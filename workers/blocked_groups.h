/*
 * blocked_groups - the set of groups whose failed message waits for a retry. The worker gives later
 * messages of such a group back to the router.
 */
#ifndef HEADGATE_WORKERS_BLOCKED_GROUPS_H
#define HEADGATE_WORKERS_BLOCKED_GROUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Groups by log_group_hash_whole(). All zero: empty. */
struct blocked_groups {
	uint64_t *hash; /* sorted */
	size_t count, capacity;
};

/* Returns false without memory. */
bool blocked_groups_add(struct blocked_groups *, uint64_t hash);
void blocked_groups_remove(struct blocked_groups *, uint64_t hash);
bool blocked_groups_has(const struct blocked_groups *, uint64_t hash);
void blocked_groups_free(struct blocked_groups *);

#endif
