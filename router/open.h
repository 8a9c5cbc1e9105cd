/*
 * open - from what STATE and RUN hold to a router that listens, and back.
 */
#ifndef HEADGATE_ROUTER_OPEN_H
#define HEADGATE_ROUTER_OPEN_H

#include "router/state.h"

/* Opens or recovers all that STATE and RUN hold and starts to listen. error is filled when it fails.
 * Returns 0, or -errno; -EBADMSG for a damaged log; -EBUSY when another router runs. */
int router_open(
    struct router *, struct io *, const struct config *, char *error, size_t error_bytes);
/* How many descriptors there may be, and were before that was raised. When it is open. */
void router_set_descriptors(struct router *, uint64_t limit, uint64_t before);
/* Lets everybody go and frees all. When everything was durable, the logs' ends become known. */
void router_close(struct router *);

#endif
