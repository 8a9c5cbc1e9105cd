/*
 * delivery - hands durable messages to workers.
 *
 * The rings are a cache, the log is the truth. Each attached worker has one cursor, which reads the
 * log forward: from the writer's memory while the worker keeps up, from disk when it fell behind. When
 * a worker is gone its rings are dropped with all that is in them, and the next one starts at the
 * first unsettled message.
 */
#ifndef HEADGATE_ROUTER_DELIVERY_DELIVERY_H
#define HEADGATE_ROUTER_DELIVERY_DELIVERY_H

#include "router/delivery/worker.h"

/* Fills the worker's rings as far as there is room and the subscription runs. */
void delivery_pump(struct worker *);

/* Ten times a second: ends a worker that has been at one message for too long, or does not stir; looks which
 * groups are to be tried again. */
void delivery_tick(struct worker *, uint64_t now_ns);

#endif
