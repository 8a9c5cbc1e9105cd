/*
 * detach - the end of a worker: what it completed counts, its lanes are dropped with what else is in them.
 */
#ifndef HEADGATE_ROUTER_DELIVERY_DETACH_H
#define HEADGATE_ROUTER_DELIVERY_DETACH_H

#include "router/delivery/worker.h"

/* Nothing happens when it is detached already. */
void detach_worker(struct worker *);

#endif
