/*
 * rings - puts a message into the ring of its lane.
 */
#ifndef HEADGATE_ROUTER_DELIVERY_RINGS_H
#define HEADGATE_ROUTER_DELIVERY_RINGS_H

#include "router/delivery/worker.h"

/* Puts a message into its lane. Returns 1, 0 when there is no room, or -EPROTO for a ring that cannot
 * be. reason: delivery->reason_length bytes. */
int rings_put(
    struct worker *, const struct log_frame *, const struct lane_delivery *, const char *reason);

#endif
