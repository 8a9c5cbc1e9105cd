#include "router/core.h"

#include "router/connection.h"
#include "router/delivery/completion.h"
#include "router/delivery/delivery.h"
#include "router/delivery/probe.h"
#include "router/listen.h"
#include "router/queue/counters.h"
#include "router/queue/expiry.h"
#include "router/queue/notify.h"
#include "router/queue/queue.h"
#include "router/queue/reservation.h"
#include "router/queue/subscription.h"
#include "router/upkeep/batch.h"
#include "router/upkeep/compactor.h"

enum {
	TICK_NS = 100000000,      /* counters in the control segment are no older */
	TICK_UNSEEN_NS = 5000000, /* ... while a worker has not seen a new state */
	SWEEP_PAGES = 64          /* of each window, a tick: all of 50,000,000 ids in 2 minutes */
};

static void
settle_all(struct router *router)
{
	struct worker *worker, *next;

	for (unsigned i = 0; i < router->queue_count; i++)
		TAILQ_FOREACH_SAFE (worker, &router->queues[i].attached.workers, link, next)
			completion_settle(worker);
}

static void
look_at_states(struct router *router)
{
	struct worker *worker;

	for (unsigned i = 0; i < router->queue_count; i++) {
		struct queue *queue = &router->queues[i];

		probe_look(queue);
		if (subscription_is_appended(queue))
			continue;
		expiry_tick(queue);
		subscription_log(queue);
		TAILQ_FOREACH (worker, &queue->attached.workers, link)
			worker_ring(worker);
	}
}

static void
resume_paused(struct router *router)
{
	struct connection *connection;

	TAILQ_FOREACH (connection, &router->connections, link)
		connection_resume(connection);
}

static void
pump_all(struct router *router)
{
	struct worker *worker, *next;

	for (unsigned i = 0; i < router->queue_count; i++)
		TAILQ_FOREACH_SAFE (worker, &router->queues[i].attached.workers, link, next)
			delivery_pump(worker);
}

static void
tick_topic(struct topic *topic, uint32_t now)
{
	uint64_t bytes, ids;

	dedup_sweep(topic->dedup, now, SWEEP_PAGES);
	dedup_usage(topic->dedup, &bytes, &ids);
	atomic_store_explicit(&topic->control->ids, ids, memory_order_relaxed);
	atomic_store_explicit(&topic->control->ids_bytes, bytes, memory_order_relaxed);
	atomic_store_explicit(&topic->control->refuses,
	    dedup_is_full(topic->dedup) ? CONTROL_DEDUP_FULL : CONTROL_TAKES, memory_order_relaxed);
}

/* Brings the control segment up to date. Returns when to do it again. */
static int64_t
tick(struct router *router)
{
	uint64_t now_ns = io_monotonic_ns();
	struct worker *worker;
	bool all_seen = true;

	for (unsigned i = 0; i < router->queue_count; i++) {
		struct queue *queue = &router->queues[i];

		if (!worker_publish_counters(queue) || !subscription_is_appended(queue))
			all_seen = false;
	}
	if (now_ns - router->ticked_ns >= TICK_NS) {
		for (unsigned i = 0; i < router->topic_count; i++)
			tick_topic(&router->topics[i], router_seconds(router));
		for (unsigned i = 0; i < router->queue_count; i++) {
			queue_look_for_room(&router->queues[i], now_ns);
			counters_publish(&router->queues[i]);
			expiry_tick(&router->queues[i]);
			probe_auto(&router->queues[i], now_ns);
			notify_step(&router->queues[i], now_ns);
			TAILQ_FOREACH (worker, &router->queues[i].attached.workers, link)
				delivery_tick(worker, now_ns);
		}
		atomic_store_explicit(
		    &router->control.shared->router_heartbeat_ns, now_ns, memory_order_relaxed);
		router->ticked_ns = now_ns;
	}
	return all_seen ? TICK_NS : TICK_UNSEEN_NS;
}

static bool
may_sleep(struct router *router)
{
	struct worker *worker;
	bool may = true;

	for (unsigned i = 0; i < router->queue_count; i++)
		TAILQ_FOREACH (worker, &router->queues[i].attached.workers, link)
			may &= worker_may_sleep(worker);
	return may;
}

static void
awake(struct router *router)
{
	struct worker *worker;

	for (unsigned i = 0; i < router->queue_count; i++)
		TAILQ_FOREACH (worker, &router->queues[i].attached.workers, link)
			worker_awake(worker);
}

int
router_step(struct router *router, int64_t max_wait_ns)
{
	int64_t wait_ns, due_ns;
	int rc;

	settle_all(router);
	look_at_states(router);
	resume_paused(router);
	listen_go_on(router);
	due_ns = batch_commit(router);
	pump_all(router);
	wait_ns = tick(router);
	if (compactor_step(router->compactor))
		wait_ns = 0;
	connection_sweep(router);
	if (router->failed != 0)
		return router->failed;
	if (due_ns >= 0 && due_ns < wait_ns)
		wait_ns = due_ns;
	if (max_wait_ns < wait_ns)
		wait_ns = max_wait_ns;
	if (!may_sleep(router))
		wait_ns = 0;
	rc = router->io->operations->run(router->io, wait_ns);
	awake(router);
	return rc != 0 ? rc : router->failed;
}

void
router_stop(struct router *router)
{
	router->stopping = true;
	/* Relaxed: it says by itself all that it says, here and below. */
	atomic_store_explicit(&router->control.shared->ready, 0, memory_order_relaxed);
}

bool
router_idle(const struct router *router)
{
	if (router->batch.in_flight || router->batch.dirty || router->batch.unsynced_ns != 0)
		return false;
	for (unsigned i = 0; i < router->queue_count; i++)
		if (router->queues[i].pending.count > 0 || reservation_ends(&router->queues[i]))
			return false;
	return true;
}

bool
router_states_logged(const struct router *router)
{
	for (unsigned i = 0; i < router->queue_count; i++)
		if (!subscription_is_appended(&router->queues[i]))
			return false;
	return true;
}
