/*
 * index - known places in a queue's log: where a cursor may start, how old messages are there.
 */
#ifndef HEADGATE_ROUTER_QUEUE_INDEX_H
#define HEADGATE_ROUTER_QUEUE_INDEX_H

#include "router/state.h"

/* Remembers a place in the log. */
int index_add(struct queue *, uint64_t position, uint64_t sequence, uint64_t time_ns);
/* A position from which a cursor meets every message that is not settled. */
uint64_t index_first_position(const struct queue *);

/* Segments were replaced by one, [from, to): all entries in there become one at its start. */
void index_move(struct queue *, uint64_t from, uint64_t to, uint64_t sequence);

/* Number of the newest entry at or before the message with this sequence. */
size_t index_find(const struct queue *, uint64_t sequence);
/* Number of the newest entry at or before the oldest live message. */
size_t index_first(const struct queue *);
/* Forgets entries that lie before all live messages, when they are most of what there is. */
void index_drop(struct queue *);

#endif
