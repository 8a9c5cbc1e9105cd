/*
 * notify - on_trip: the command that is run when a queue changes to TRIPPED.
 *
 * It runs beside the router, in a process group of its own, one at a time for each queue. What becomes of it
 * is an event and nothing else. A change while it runs waits; of several, the last one is told.
 */
#ifndef HEADGATE_ROUTER_QUEUE_NOTIFY_H
#define HEADGATE_ROUTER_QUEUE_NOTIFY_H

#include "router/state.h"

/* The queue's state was changed; detail says why. Starts nothing by itself. */
void notify_changed(struct queue *, enum control_state, const struct control_detail *);

/* Starts what is due, takes what it prints, ends what takes too long. Never waits. */
void notify_step(struct queue *, uint64_t now_ns);

/* A command that is running goes on. */
void notify_free(struct queue *);

#endif
