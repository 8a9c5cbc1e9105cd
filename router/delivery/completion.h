/*
 * completion - what workers say of messages: takes their completions out of the rings and does what follows.
 */
#ifndef HEADGATE_ROUTER_DELIVERY_COMPLETION_H
#define HEADGATE_ROUTER_DELIVERY_COMPLETION_H

#include "router/delivery/worker.h"

enum { COMPLETION_SETTLE_MAX = 65536 }; /* completions in one turn */

/* Settles what the worker has completed. Returns true when there was something. */
bool completion_settle(struct worker *);

/* Where this message, which is not settled, stands in the log, and how it came to the worker for the second
 * time. Position 0: it is not with this worker. */
struct parked completion_find(
    const struct worker *, uint64_t sequence, struct redelivery **redelivery);

#endif
