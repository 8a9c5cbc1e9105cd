/*
 * requests - headgatectl waits for what becomes of a message that it has tried now, or given up.
 *
 * A request is one to the group, not to the client: it stands when the client is gone, and when the worker is.
 * It ends with the message, or with this router.
 */
#ifndef HEADGATE_ROUTER_DELIVERY_REQUESTS_H
#define HEADGATE_ROUTER_DELIVERY_REQUESTS_H

#include "message/blocked.h"
#include "router/connection.h"

/* The connection waits for what becomes of tried->sequence, of the group with this hash. skip: it is to be given up. */
void requests_begin(struct connection *, struct queue *, uint64_t hash,
    const struct blocked_tried *tried, bool skip);
/* The connection ends. */
void requests_forget(struct connection *);
/* Answers a TRY frame; what was ended is on disk before anybody is told. */
void requests_answer(struct connection *, const struct blocked_tried *);

/* What became of a message. dead_lettered: where it is now. */
void requests_failed(struct queue *, uint64_t sequence, uint16_t status, const char *reason);
void requests_ended(
    struct queue *, uint64_t sequence, uint16_t status, const char *reason, bool dead_lettered);
/* Nothing of the group with this hash waits any more. */
void requests_opened(struct queue *, uint64_t hash);

#endif
