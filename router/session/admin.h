/*
 * admin - what headgatectl asks about blocked groups, and what it requests: that the message at a
 * group's head is tried now, or given up.
 *
 * An answer is one frame of at most BLOCKED_PAGE groups, and the next question of the same client is not looked
 * at before that is sent: neither a hundred thousand groups nor a client that does not read hold up the loop
 * or take memory.
 */
#ifndef HEADGATE_ROUTER_SESSION_ADMIN_H
#define HEADGATE_ROUTER_SESSION_ADMIN_H

#include "router/connection.h"

/* May a question be answered now? Only when nothing waits to be sent: what waits may promise something
 * about the disk. */
bool admin_may_answer(const struct connection *);

/* A GROUPS frame (message/wire.h). Returns 0, or -EPROTO. */
int admin_groups(struct connection *, const void *payload, size_t length);

/* A TRY frame. Returns 0, or -EPROTO. What becomes of the message is told when it is known. */
int admin_try(struct connection *, const void *payload, size_t length);

#endif
