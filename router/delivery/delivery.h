/*
 * delivery - hands durable messages to workers and takes their outcomes.
 *
 * The rings are a cache, the log is the truth. Each attached worker has one cursor, which reads the
 * log forward: from the writer's memory while the worker keeps up, from disk when it fell behind. When
 * a worker is gone its rings are dropped with all that is in them, and the next one starts at the
 * first unsettled message.
 */
#ifndef HEADGATE_ROUTER_DELIVERY_DELIVERY_H
#define HEADGATE_ROUTER_DELIVERY_DELIVERY_H

#include "router/delivery/worker.h"

/* A worker's HELLO: checks that it holds the locks of these lanes and gives it fresh ones. Answers on the
 * connection either way. lanes: bit n asks for lane n. */
void delivery_attach(struct connection *, const char *queue, uint64_t lanes);

/* Ten times a second: ends a worker that has been at one message for too long, or does not stir; looks which
 * groups are to be tried again. */
void delivery_tick(struct worker *, uint64_t now_ns);

/* The worker is gone: settles what it completed and drops its lanes. */
void delivery_detach(struct worker *);

/* The worker is to attach again: it has done nothing wrong, and loses no life. */
void delivery_let_go(struct worker *);

/* Settles what the worker has completed. Returns true when there was something. */
bool delivery_settle(struct worker *);

/* Fills the worker's rings as far as there is room and the subscription runs. */
void delivery_pump(struct worker *);

/* Segments of a queue's log were replaced by this one: what was in front of a cursor may now be in it. */
void delivery_rewind(struct queue *, const struct log_segment *);

/* Before the router sleeps: asks to be woken. Returns false when there is work already. */
bool delivery_may_sleep(struct worker *);
void delivery_awake(struct worker *);

/* Wakes the worker, e.g. because the state changed. */
void delivery_ring(struct worker *);

/* Copies what a queue's workers say into the control segment. Returns true when all of them have seen the
 * current state. */
bool delivery_publish_figures(struct queue *);

/* Frees a detached worker if nothing is pending. Returns false when it must be called again. */
bool delivery_free(struct worker *);

#endif
