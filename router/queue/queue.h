/*
 * queue - a queue's messages: appended, settled, and the settlements logged.
 */
#ifndef HEADGATE_ROUTER_QUEUE_QUEUE_H
#define HEADGATE_ROUTER_QUEUE_QUEUE_H

#include "router/state.h"

/* Appends a message to the gathered batch; writer_room_for_message() said there is room. Returns its
 * sequence. */
uint64_t queue_append(struct queue *, const void *envelope, size_t length, uint16_t group_hash);

/* Appends a message that comes from another log; as queue_append(). content->origin is not NULL. */
uint64_t queue_append_moved(struct queue *, const struct log_content *content, uint16_t group_hash);

/* A message ended with this status. Returns 1, 0 when it had ended before, or -ENOMEM. */
int queue_settle(struct queue *, uint64_t sequence, uint16_t status);

/* The same, and puts it into the gathered batch at once; for a message that is not settled, after
 * writer_room() said that there is room for a struct log_settled. flags: enum log_settled_flag. Returns 0
 * or -ENOMEM. */
int queue_settle_now(struct queue *, uint64_t sequence, uint16_t status, uint16_t flags);

/* Are there settlements to be logged? Where room is short they wait until they free a segment. */
bool queue_settlements_due(const struct queue *);
/* Puts what is settled into the gathered batch, as far as there is room. */
void queue_log_settled(struct queue *);

/* Bytes of the settlements of all live messages, at most. Callback of the writer. */
uint64_t queue_settlement_bytes(const struct writer *);
/* The disk is full: what all queues' logs keep to be used later goes. Likewise. */
void queue_disk_full(struct writer *);
/* A file of ids of freed segments is there, and needed until the clock is a window past newest_clock_s.
 * Returns 0 or -ENOMEM. */
int queue_add_ids(struct queue *, uint64_t number, uint64_t newest_clock_s);

/* Called when a batch with frames of this queue is closed, and when a batch is durable in all its logs. */
void queue_batch_closed(struct queue *, uint64_t time_ns);
void queue_batch_durable(struct queue *);

/* Where messages are refused because its log cannot grow: looks now and then whether there is room by now. */
void queue_look_for_room(struct queue *, uint64_t now_ns);

#endif
