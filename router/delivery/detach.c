#include "router/delivery/detach.h"

#include <errno.h>

#include "router/connection.h"
#include "router/delivery/completion.h"
#include "router/queue/receives.h"
#include "telemetry/event.h"

/* Turns of completion_settle() that all completion rings can fill. */
enum {
	SETTLE_TURNS_MAX =
	    CONFIG_LANES_MAX * (LANE_COMPLETION_BYTES / RING_ALIGNMENT / COMPLETION_SETTLE_MAX + 1)
};

/* The message that a worker was at when it died. What it says of itself is not believed blindly: it must
 * have been given the message. */
static void
count_receive(struct worker *worker)
{
	struct redelivery *redelivery;
	uint64_t sequence, since_ns;
	struct parked given;

	if (worker->lane_count == 0 || worker->reason != WORKER_NONE)
		return;
	sequence = start_get(&worker->lane[0].shared->worker.starting, &since_ns);
	if (settled_has(&worker->queue->settled, sequence))
		return;
	given = completion_find(worker, sequence, &redelivery);
	if (given.position != 0 && receives_count(worker->queue, given.position, sequence) != 0)
		worker->queue->router->failed = -ENOMEM;
}

void
detach_worker(struct worker *worker)
{
	struct queue *queue = worker->queue;
	struct io *io = queue->router->io;

	if (worker->state == WORKER_DETACHED)
		return;
	/* What is in the rings, and not what somebody may go on putting into them. */
	for (int turns = 0; turns < SETTLE_TURNS_MAX && completion_settle(worker); turns++)
		;
	if (!queue->router->stopping)
		count_receive(worker);
	worker->state = WORKER_DETACHED;
	TAILQ_REMOVE(&queue->attached.workers, worker, link);
	worker_count_returned(worker, worker->in_flight);
	if (worker->control != NULL)
		/* Relaxed: a free entry says nothing else. */
		atomic_store_explicit(&worker->control->pid, 0, memory_order_relaxed);
	groups_forget_messages(&queue->groups, worker->lanes, queue->config->lanes);
	if (worker->bell.request.pending)
		io->operations->cancel(io, &worker->bell.request);
	if (worker->attached_ns != 0)
		event(EVENT_INFO, "worker.gone", "s:queue", queue->config->name, "u:pid",
		    (uint64_t)worker->connection->peer_pid, NULL);
}
