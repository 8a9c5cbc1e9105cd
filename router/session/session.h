/*
 * session - who connects: may this process, with what does it say HELLO, and what is it from then on, a publisher, a
 * worker or headgatectl.
 */
#ifndef HEADGATE_ROUTER_SESSION_SESSION_H
#define HEADGATE_ROUTER_SESSION_SESSION_H

#include "router/state.h"

/* Takes over a new descriptor. */
void session_accept(struct router *, int fd);

#endif
