#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "router/batch.h"

#include <errno.h>
#include <string.h>

#include "router/connection.h"
#include "router/queue.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

enum {
	SETTLE_PAUSE_NS = 2000000
}; /* settlements alone are written when the router was idle so long */

static void
begin_next(struct router *router)
{
	router->batch++;
	router->batch_dirty = false;
	for (unsigned i = 0; i < router->queue_count; i++)
		router->queues[i].writer.batch = router->batch;
}

/* Everything of the batch is on disk: tell those who wait for it. */
static void
finish(struct router *router)
{
	CRASH_POINT("batch.durable");
	router->flying = false;
	for (unsigned i = 0; i < router->queue_count; i++) {
		writer_batch_durable(&router->queues[i].writer);
		queue_batch_durable(&router->queues[i]);
	}
	CRASH_POINT("batch.counted");
	connection_results_durable(router);
	CRASH_POINT("batch.acknowledged");
}

void
batch_log_durable(struct writer *writer, int result)
{
	struct queue *queue = (void *)((char *)writer - offsetof(struct queue, writer));
	struct router *router = queue->router;

	if (result != 0) {
		/* The kernel may have dropped the pages: a second try that succeeds would lie. */
		event(EVENT_ERROR, "log.write_failed", "s:queue", queue->config->name, "s:error",
		    strerror(-result), NULL);
		router->failed = result;
		return;
	}
	if (--router->flying_logs == 0 && router->failed == 0)
		finish(router);
}

static bool
settlements_pending(const struct router *router)
{
	for (unsigned i = 0; i < router->queue_count; i++)
		if (queue_settlements_due(&router->queues[i]))
			return true;
	return false;
}

/* The rest of a checkpoint, for which the batch that was closed last had no room? Where there is still no
 * room, it waits for that. */
static bool
checkpoints_due(struct router *router)
{
	bool due = false;

	for (unsigned i = 0; i < router->queue_count; i++)
		due |= queue_checkpoint_due(&router->queues[i]);
	return due;
}

static void
hand_to_disk(struct router *router, uint64_t now_ns)
{
	struct log_batch_end end = {
		.time_ns = io_wall_ns(),
		.clock_ns = router_clock_ns(router),
		.previous = router->previous_batch,
		.previous_logs = router->previous_logs,
	};
	uint64_t ids[2 * CONFIG_QUEUES];

	for (unsigned i = 0; i < router->queue_count; i++) {
		struct queue *queue = &router->queues[i];

		queue_log_settled(queue);
		queue_log_checkpoint(queue);
		if (writer_touched(&queue->writer))
			ids[end.logs++] = queue->writer.log_id;
	}
	memcpy(ids + end.logs, router->previous_ids, end.previous_logs * sizeof(*ids));
	CRASH_POINT("batch.gathered");
	connection_results_closed(router);
	router->flying = true;
	router->flying_logs = end.logs;
	router->committed_ns = now_ns;
	for (unsigned i = 0; i < router->queue_count; i++) {
		struct queue *queue = &router->queues[i];

		if (!writer_touched(&queue->writer))
			continue;
		queue_batch_closed(queue, end.time_ns);
		writer_commit(&queue->writer, &end, ids);
		CRASH_POINT("batch.closed");
	}
	if (end.logs > 0) {
		router->previous_batch = router->batch;
		router->previous_logs = end.logs;
		memcpy(router->previous_ids, ids, end.logs * sizeof(*ids));
	}
	begin_next(router);
	if (end.logs == 0)
		finish(router);
}

int64_t
batch_commit(struct router *router)
{
	uint64_t now_ns;

	if (router->flying || router->failed != 0)
		return -1;
	if (!router->batch_dirty && !settlements_pending(router) && !checkpoints_due(router))
		return -1;
	now_ns = io_monotonic_ns();
	if (!router->batch_dirty && !router->stopping &&
	    now_ns - router->committed_ns < SETTLE_PAUSE_NS)
		return (int64_t)(SETTLE_PAUSE_NS - (now_ns - router->committed_ns));
	hand_to_disk(router, now_ns);
	return -1;
}
