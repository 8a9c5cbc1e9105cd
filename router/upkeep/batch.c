#include "router/upkeep/batch.h"

#include <errno.h>
#include <string.h>

#include "base/container_of.h"
#include "router/connection.h"
#include "router/journal/writer.h"
#include "router/queue/checkpoint.h"
#include "router/queue/queue.h"
#include "router/queue/reservation.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

enum {
	SETTLE_PAUSE_NS =
	    2000000,            /* settlements alone are written when the router was idle so long */
	BARRIER_NS = 1000000000 /* what is in the page cache only is synced after so long */
};

static void
begin_next(struct router *router)
{
	router->batch.number++;
	router->batch.dirty = router->batch.synced = false;
	for (unsigned i = 0; i < router->queue_count; i++)
		router->queues[i].writer.batch = router->batch.number;
}

/* Everything of the batch is on disk: tell those who wait for it. */
static void
finish_batch(struct router *router)
{
	CRASH_POINT("batch.durable");
	router->batch.in_flight = false;
	if (router->batch.in_flight_synced && router->batch.previous != 0)
		router->batch.barrier = router->batch.previous;
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
	struct queue *queue = CONTAINER_OF(writer, struct queue, writer);
	struct router *router = queue->router;

	if (result != 0) {
		/* The kernel may have dropped the pages: a second try that succeeds would lie. */
		event(EVENT_ERROR, "log.write_failed", "s:queue", queue->config->name, "s:error",
		    strerror(-result), NULL);
		router->failed = result;
		return;
	}
	if (--router->batch.in_flight_logs == 0 && router->failed == 0)
		finish_batch(router);
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
		due |= checkpoint_due(&router->queues[i]);
	return due;
}

/* How long from now a barrier is due, though nothing is gathered; -1: none is. */
static int64_t
barrier_due(const struct router *router, uint64_t now_ns)
{
	uint64_t waited_ns = now_ns - router->batch.unsynced_ns;
	bool now = router->stopping || waited_ns >= BARRIER_NS;

	for (unsigned i = 0; i < router->queue_count; i++) {
		const struct queue *queue = &router->queues[i];

		if (reservation_ends(queue))
			return 0;
		now |= queue->writer.wants_barrier ||
		    (queue->logged.durable.settled < queue->logged.wanted_settled &&
			queue->logged.gathered.settled >= queue->logged.wanted_settled);
	}
	if (router->batch.unsynced_ns == 0)
		return -1;
	return now ? 0 : (int64_t)(BARRIER_NS - waited_ns);
}

/* Must the gathered batch be durable when it is written? Else the page cache is enough, for those that
 * said so. */
static bool
is_barrier(const struct router *router, uint64_t now_ns)
{
	bool is = router->batch.synced || barrier_due(router, now_ns) == 0;

	for (unsigned i = 0; i < router->queue_count; i++) {
		const struct writer *writer = &router->queues[i].writer;

		is |= writer->wants_barrier || (writer_touched(writer) && !writer->cached);
	}
	return is;
}

/* Puts what rides along into the batch, and decides how it is written. Returns the number of its logs. */
static uint32_t
complete_batch(struct router *router, uint64_t now_ns, uint64_t ids[CONFIG_QUEUES])
{
	uint32_t logs = 0;

	for (unsigned i = 0; i < router->queue_count; i++) {
		queue_log_settled(&router->queues[i]);
		checkpoint_log(&router->queues[i]);
		reservation_log(&router->queues[i]);
	}
	router->batch.in_flight_synced = is_barrier(router, now_ns);
	for (unsigned i = 0; i < router->queue_count; i++) {
		struct writer *writer = &router->queues[i].writer;

		if (router->batch.in_flight_synced && writer->unsynced && !writer_touched(writer))
			writer_touch(writer);
		if (writer_touched(writer))
			ids[logs++] = writer->log_id;
	}
	if (router->batch.in_flight_synced)
		router->batch.unsynced_ns = 0;
	else if (router->batch.unsynced_ns == 0 && logs > 0)
		router->batch.unsynced_ns = now_ns;
	return logs;
}

static void
hand_to_disk(struct router *router, uint64_t now_ns)
{
	struct log_commit end = {
		.time_ns = io_wall_ns(),
		.clock_ns = router_clock_ns(router),
		.previous = router->batch.previous,
		.previous_logs = router->batch.previous_logs,
		.barrier = router->batch.barrier,
	};
	uint64_t ids[2 * CONFIG_QUEUES];

	end.logs = complete_batch(router, now_ns, ids);
	end.synced = router->batch.in_flight_synced;
	memcpy(ids + end.logs, router->batch.previous_ids, end.previous_logs * sizeof(*ids));
	CRASH_POINT("batch.gathered");
	connection_results_closed(router);
	router->batch.in_flight = true;
	router->batch.in_flight_logs = end.logs;
	router->batch.committed_ns = now_ns;
	for (unsigned i = 0; i < router->queue_count; i++) {
		struct queue *queue = &router->queues[i];

		if (!writer_touched(&queue->writer))
			continue;
		queue_batch_closed(queue, end.time_ns);
		writer_commit(&queue->writer, &end, ids);
		CRASH_POINT("batch.closed");
	}
	if (end.logs > 0) {
		router->batch.previous = router->batch.number;
		router->batch.previous_logs = end.logs;
		memcpy(router->batch.previous_ids, ids, end.logs * sizeof(*ids));
	}
	begin_next(router);
	if (end.logs == 0)
		finish_batch(router);
}

int64_t
batch_commit(struct router *router)
{
	uint64_t now_ns;
	int64_t due_ns;

	if (router->batch.in_flight || router->failed != 0)
		return -1;
	now_ns = io_monotonic_ns();
	due_ns = barrier_due(router, now_ns);
	if (!router->batch.dirty && due_ns != 0) {
		if (!settlements_pending(router) && !checkpoints_due(router))
			return due_ns;
		if (!router->stopping && now_ns - router->batch.committed_ns < SETTLE_PAUSE_NS)
			return (int64_t)(SETTLE_PAUSE_NS - (now_ns - router->batch.committed_ns));
	}
	hand_to_disk(router, now_ns);
	return -1;
}
