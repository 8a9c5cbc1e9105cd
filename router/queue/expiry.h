/*
 * expiry - the clock of a queue's retention (router/tables/retention.h), and what of it is logged.
 */
#ifndef HEADGATE_ROUTER_QUEUE_EXPIRY_H
#define HEADGATE_ROUTER_QUEUE_EXPIRY_H

#include "router/state.h"

/* Moves the clock of its retention, behind counters_publish(). */
void expiry_tick(struct queue *);
/* Puts a mark of now into the gathered batch, in which there is room for it; all: behind all others, as a checkpoint
 * has them. */
void expiry_append(struct queue *, bool all);

#endif
