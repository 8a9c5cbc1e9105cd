/*
 * received - how often a handler was started on a message and did not live to answer. Only messages that
 * cost a worker's life are in here, and only until they are settled: few.
 */
#ifndef HEADGATE_ROUTER_TABLES_RECEIVED_H
#define HEADGATE_ROUTER_TABLES_RECEIVED_H

#include "log/format.h"

struct received {
	struct log_received *counts; /* sorted by sequence */
	size_t count, capacity;
};

/* Index of the first count of a message that is not below sequence; count when there is none. */
size_t received_find(const struct received *, uint64_t sequence);
/* 0 for a message that is not in here. */
uint32_t received_count(const struct received *, uint64_t sequence);
/* Sets a count. Returns 0 or -ENOMEM. */
int received_set(struct received *, uint64_t sequence, uint32_t count);
/* Forgets a message. */
void received_remove(struct received *, uint64_t sequence);
void received_free(struct received *);

#endif
