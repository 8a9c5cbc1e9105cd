/*
 * consumer - takes messages from the lanes, runs the handler, keeps effects and outcomes together.
 *
 * A batch is what one transaction holds: up to CONSUMER_MESSAGES or CONSUMER_BATCH_NS of work.
 * Outcomes go to the router only after the commit. A 5xx ends a batch: what precedes it is committed
 * and completed, then the 5xx is reported, and the same message is tried again first when the
 * subscription runs again.
 */
#ifndef HEADGATE_WORKERS_CONSUMER_H
#define HEADGATE_WORKERS_CONSUMER_H

#include <signal.h>

#include "workers/attachment.h"
#include "workers/service.h"
#include "workers/store.h"

enum { CONSUMER_MESSAGES = 10000, CONSUMER_ARENA_BYTES = 16 << 20, CONSUMER_BATCH_NS = 100000000 };

struct consumer;

/* store is NULL for a service without one, and for no other: that is refused. stop is looked at between batches. NULL: no memory. */
struct consumer *consumer_new(const struct service *, const struct config_queue *, struct store *,
    size_t max_message_bytes, const volatile sig_atomic_t *stop);
void consumer_free(struct consumer *);

/* Works until the router is gone (0), *stop is set (0), or something is wrong: -EPROTO for what the
 * router wrote, -EIO for the store, -EAGAIN when a blocked group cannot be remembered: attach again. */
int consumer_run(struct consumer *, struct attachment *);

#endif
