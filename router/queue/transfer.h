/*
 * transfer - takes messages from one queue's log to another's: to a dead-letter queue and from there.
 *
 * The copy and the settlement of what it was made from are in one batch, and a batch counts in all its
 * logs or in none: whatever is killed whenever, a message is in one of the two queues, once.
 */
#ifndef HEADGATE_ROUTER_QUEUE_TRANSFER_H
#define HEADGATE_ROUTER_QUEUE_TRANSFER_H

#include "router/state.h"

/* How a message failed. */
struct failure {
	uint64_t sequence, position; /* in the queue's log */
	uint16_t status;
	uint32_t receives; /* handlers that were started on it since it came into this queue */
	uint16_t flags;    /* enum log_settled_flag, beside DEAD */
	const char *reason;
};

/* Does a message that is ended with this status go into the dead-letter queue? What was given up always does. */
bool transfer_takes(const struct queue *, uint16_t status);

/* Ends a message, which is not settled, as failed, and puts it into its queue's dead-letter queue.
 * Returns 1; 0 when there is no room now; -EBADMSG or -EAGAIN, as lookup_find(); or -ENOMEM. */
int transfer_to_dead_letters(struct queue *, const struct failure *);

/* Room for the settlement of what is moved? Asked before its frame is looked at: it may begin a segment,
 * and with that overwrite what is oldest in memory. As writer_room(). */
int transfer_room_to_settle(struct queue *from);
/* Copies a message to the end of another log. As writer_room(). */
int transfer_copy(struct queue *to, const struct log_frame *, const struct log_content *);

#endif
