/*
 * ask - what headgatectl asks about blocked groups, and what it orders: that the message at a group's head is
 * tried now, or given up.
 *
 * An answer is one frame of at most BLOCKED_PAGE groups, and the next question of the same client is not looked
 * at before that is sent: neither a hundred thousand groups nor a client that does not read hold up the loop
 * or take memory.
 *
 * An order is one to the group, not to the client: it stands when the client is gone, and when the worker is.
 * It ends with the message, or with this router.
 */
#ifndef HEADGATE_ROUTER_ASK_H
#define HEADGATE_ROUTER_ASK_H

#include "router/connection.h"

/* May a question be answered now? Only when nothing waits to be sent: what waits may promise something
 * about the disk. */
bool ask_may_answer(const struct connection *);

/* A GROUPS frame (message/wire.h). Returns 0, or -EPROTO. */
int ask_groups(struct connection *, const void *payload, size_t length);

/* A TRY frame. Returns 0, or -EPROTO. What becomes of the message is told when it is known. */
int ask_try(struct connection *, const void *payload, size_t length);
/* The connection ends. */
void ask_forget(struct connection *);

/* What became of a message. dead_lettered: where it is now. */
void ask_failed(struct queue *, uint64_t sequence, uint16_t status, const char *reason);
void ask_ended(
    struct queue *, uint64_t sequence, uint16_t status, const char *reason, bool dead_lettered);
/* Nothing of the group with this hash waits any more. */
void ask_opened(struct queue *, uint64_t hash);

#endif
