/*
 * core - the router: checks, deduplicates, filters, logs, delivers, settles.
 *
 * One thread. Each turn of the loop (router_step) does what has arrived:
 *
 *   publishers' bytes -> publish.c -> frames gathered in the queues' logs    (writer.c)
 *   workers' completions -> delivery.c -> settlements                        (queue.c)
 *   the gathered batch -> one synced write a log -> acknowledgements         (batch.c)
 *   durable messages -> delivery rings                                       (delivery.c)
 *
 * While one batch is on its way to the disk the next one is gathered. There is no timer in this: an
 * idle router syncs at once, a busy one syncs in large batches.
 */
#ifndef HEADGATE_ROUTER_CORE_H
#define HEADGATE_ROUTER_CORE_H

#include "router/state.h"

/* One turn; waits at most max_wait_ns for something to do. Returns 0, or -errno: stop at once. */
int router_step(struct router *, int64_t max_wait_ns);
/* Takes nothing new from now on. */
void router_stop(struct router *);
/* True when everything taken is durable and answered. */
bool router_idle(const struct router *);
/* True when each queue's state is in its log, or in a batch that is on its way. */
bool router_states_logged(const struct router *);

#endif
