/*
 * listen - RUN/router.sock: accepts who connects.
 */
#ifndef HEADGATE_ROUTER_LISTEN_H
#define HEADGATE_ROUTER_LISTEN_H

#include "router/state.h"

/* Makes the socket and accepts. Returns 0, or -errno with error filled. */
int listen_begin(struct router *, char *error, size_t error_bytes);
/* The socket is gone: makes another one, in this turn or the next. */
void listen_again(struct router *);
/* Goes on accepting, after a pause when it failed. */
void listen_go_on(struct router *);

#endif
