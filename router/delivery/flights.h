/*
 * flights - where the messages that a worker has been given stand in the log.
 *
 * First in, mostly first out: they are given in order of sequence.
 */
#ifndef HEADGATE_ROUTER_DELIVERY_FLIGHTS_H
#define HEADGATE_ROUTER_DELIVERY_FLIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log/settled.h"

struct flight {
	uint64_t sequence, position;
};

struct flights {
	struct flight *flight; /* a circle of capacity, a power of two */
	size_t first, count, capacity;
};

/* Makes room for one more. False without memory. */
bool flights_reserve(struct flights *);
/* Adds one with a higher sequence than all that are there; there is room. */
void flights_add(struct flights *, uint64_t sequence, uint64_t position);
/* The oldest, or NULL; and forgets it. */
const struct flight *flights_oldest(const struct flights *);
void flights_drop_oldest(struct flights *);
/* Position of this message; 0: it is not there. */
uint64_t flights_find(const struct flights *, uint64_t sequence);
/* It is no longer in flight. */
void flights_remove(struct flights *, uint64_t sequence);
/* Forgets those that are settled or were removed, wherever they stand. */
void flights_compact(struct flights *, const struct settled *);
void flights_free(struct flights *);

#endif
