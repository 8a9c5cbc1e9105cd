/*
 * lookup - reads messages back, from memory or, in short synchronous reads, from the disk.
 *
 * A frame is valid until the next of these calls, or the next room in a log. Only -EBADMSG is damage. -EAGAIN:
 * something was wanting (a descriptor, memory, a disk that answers); that is logged, and the caller tries again.
 */
#ifndef HEADGATE_ROUTER_QUEUE_LOOKUP_H
#define HEADGATE_ROUTER_QUEUE_LOOKUP_H

#include "message/envelope.h"
#include "router/state.h"

/* Longest frame that holds a message. */
#define LOOKUP_FRAME_BYTES                                                         \
	(sizeof(struct log_frame) + sizeof(struct log_origin) + LOG_REASON_BYTES + \
	    ENVELOPE_BODY_BYTES_MAX + ENVELOPE_OVERHEAD_BYTES + 16)

/* A read of the log ended so. Logs a failure once for each reason, until a read succeeds. Returns 0, -EBADMSG or
 * -EAGAIN. */
int lookup_note(struct queue *, int rc);
/* The message that somebody says stands at a position. Returns 1; 0: it is not there; or -EAGAIN. */
int lookup_frame(
    struct queue *, uint64_t position, uint64_t sequence, const struct log_frame **frame);
/* A message that is not settled, wherever it stands: slower. Returns 1, -EBADMSG or -EAGAIN. */
int lookup_find(struct queue *, uint64_t sequence, const struct log_frame **frame);
/* A message that is not settled and stood at a position once. Returns as lookup_find(). */
int lookup_message(
    struct queue *, uint64_t position, uint64_t sequence, const struct log_frame **frame);
/* Its message id; "" when it cannot be read. */
void lookup_message_id(
    struct queue *, uint64_t position, uint64_t sequence, char id[CONTROL_ID_BYTES]);
/* Publish time of the head, the oldest message that is not settled; when it cannot be read that of its index entry, and
 * 0 while it is not durable. The entry is moved there: what is before it is not walked through again. *again: it
 * is to be looked for once more. */
uint64_t lookup_oldest_ns(struct queue *, uint64_t head, bool *again);

#endif
