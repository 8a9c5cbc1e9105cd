/*
 * held - the groups of which a message failed and is to be tried again: what is behind it is given back.
 */
#ifndef HEADGATE_WORKERS_HELD_H
#define HEADGATE_WORKERS_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* By log_group_hash_whole(). All zero: none is held. */
struct held {
	uint64_t *hash; /* sorted */
	size_t count, capacity;
};

/* False without memory. */
bool held_add(struct held *, uint64_t hash);
void held_remove(struct held *, uint64_t hash);
bool held_has(const struct held *, uint64_t hash);
void held_free(struct held *);

#endif
