/*
 * receives - how often a worker died over a message.
 */
#ifndef HEADGATE_ROUTER_QUEUE_RECEIVES_H
#define HEADGATE_ROUTER_QUEUE_RECEIVES_H

#include "router/state.h"

/* A worker died, or was ended, while it handled this message, which stands at position: counts it, and stops a
 * dead-letter queue when that was too often: of others the worker gives the message up. Returns 0 or -ENOMEM. */
int receives_count(struct queue *, uint64_t position, uint64_t sequence);
/* Puts counts into the gathered batch, in which there is room for them. */
void receives_append(struct queue *, const struct log_received *, size_t count);

#endif
