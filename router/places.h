/*
 * places - that what the router made in RUN and STATE is still there: cleaners of /tmp, and people, remove it, move
 * it, put something else there, or mount a file system over it.
 *
 * RUN and STATE themselves, the lock files, the control segment, the socket, the pid file and the program's own log are
 * made again. Files of queues' logs cannot be: their queue takes no more messages, and the router keeps them open, so
 * that they can be copied.
 */
#ifndef HEADGATE_ROUTER_PLACES_H
#define HEADGATE_ROUTER_PLACES_H

#include "router/state.h"

/* Called as often as one likes, looks once a second. */
void places_look(struct router *, uint64_t now_ns);

#endif
