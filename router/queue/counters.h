/*
 * counters - a queue's counters in the control segment.
 */
#ifndef HEADGATE_ROUTER_QUEUE_COUNTERS_H
#define HEADGATE_ROUTER_QUEUE_COUNTERS_H

#include "router/state.h"

/* Brings the counters in the control segment up to date. */
void counters_publish(struct queue *);
/* Those of blocked groups: whoever is told that a group is blocked, or open, finds it so there. */
void counters_publish_groups(struct queue *);

/* Relaxed, both: the router is the only writer; readers want no order. */
static inline uint64_t
counters_read(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static inline void
counters_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, counters_read(counter) + n, memory_order_relaxed);
}

#endif
