/*
 * consumer - takes messages from the lanes, runs the handler, and commits before completing.
 *
 * A batch is the messages of one transaction, at most CONSUMER_MESSAGES or CONSUMER_BATCH_NS of
 * work. The router gets outcomes after the commit only, so a crash loses no effect of a completed
 * message. A 5xx ends the batch: the messages before are committed and completed, then the 5xx is
 * reported. The failed message is the first one tried when the subscription runs again.
 */
#ifndef HEADGATE_WORKERS_CONSUMER_H
#define HEADGATE_WORKERS_CONSUMER_H

#include <signal.h>

#include "workers/attachment.h"
#include "workers/service.h"
#include "workers/store.h"

enum { CONSUMER_MESSAGES = 10000, CONSUMER_ARENA_BYTES = 16 << 20, CONSUMER_BATCH_NS = 100000000 };

struct consumer;

/* store: NULL for services without a store only. *stop is read between batches. NULL without
 * memory, or without a store that the service needs. */
struct consumer *consumer_new(const struct service *, const struct config_queue *, struct store *,
    size_t max_message_bytes, const volatile sig_atomic_t *stop);
void consumer_free(struct consumer *);

/* Works until the router is gone or *stop is set, then returns 0. Errors: -EPROTO, the router broke
 * the protocol; -EIO, the store failed; -EAGAIN, no memory for a blocked group: attach again. */
int consumer_run(struct consumer *, struct attachment *);

#endif
