/*
 * publish - what publishers send: each message is checked, deduplicated, filtered, and put into the logs of the
 * queues that take it, or refused with a reason.
 */
#ifndef HEADGATE_ROUTER_SESSION_PUBLISH_H
#define HEADGATE_ROUTER_SESSION_PUBLISH_H

#include "router/connection.h"

/* Answers a publisher's HELLO. */
void publish_welcome(struct connection *);
/* Its handlers (struct connection_handlers): takes messages; encodes the open run of results. */
int publish_consume(struct connection *);
void publish_flush_run(struct connection *);

#endif
