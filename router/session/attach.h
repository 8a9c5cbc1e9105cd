/*
 * attach - a worker says HELLO: checks that it holds the locks of its lanes, ends who had them, and gives it fresh ones.
 */
#ifndef HEADGATE_ROUTER_SESSION_ATTACH_H
#define HEADGATE_ROUTER_SESSION_ATTACH_H

#include "router/connection.h"

/* Answers on the connection either way. lanes: bit n asks for lane n. */
void attach_worker(struct connection *, const char *queue, uint64_t lanes);

#endif
