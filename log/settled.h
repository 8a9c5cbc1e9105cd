/*
 * settled - which sequences of a queue are settled: a low-water mark and a bitmap above it.
 *
 * All sequences up to *through* are settled. The bitmap is a circle that covers what lies above and
 * grows when it must: one bit for each sequence between the oldest unsettled and the newest settled.
 */
#ifndef HEADGATE_LOG_SETTLED_H
#define HEADGATE_LOG_SETTLED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct settled {
	uint64_t through;  /* every sequence <= this is settled */
	uint64_t highest;  /* highest settled, >= through */
	uint64_t *words;   /* the circle */
	uint64_t bits;     /* its size: a power of two, or 0 */
};

void settled_init(struct settled *, uint64_t through);
void settled_free(struct settled *);

/* Returns 1 when it was not settled before, 0 when it was, -ENOMEM. */
int settled_add(struct settled *, uint64_t sequence);
/* The same for [first, first + count). Returns how many were new, or -ENOMEM. */
int64_t settled_add_range(struct settled *, uint64_t first, uint64_t count);
bool settled_has(const struct settled *, uint64_t sequence);

/* Moves through up to sequence: what was never used counts as settled. */
int settled_skip(struct settled *, uint64_t sequence);

#endif
