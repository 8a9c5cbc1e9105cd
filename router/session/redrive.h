/*
 * redrive - headgatectl has dead letters put back into a queue, or purged: some of them a frame.
 */
#ifndef HEADGATE_ROUTER_SESSION_REDRIVE_H
#define HEADGATE_ROUTER_SESSION_REDRIVE_H

#include "router/connection.h"

/* A MOVE frame (message/wire.h). Returns 0, or -EPROTO. */
int redrive_handle(struct connection *, const void *payload, size_t length);

#endif
