#include "router/delivery/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "router/connection.h"
#include "router/queue/subscription.h"
#include "telemetry/event.h"

/* Without a heartbeat, as while it commits, a worker may take so long beyond the visibility timeout. */
#define COMMIT_NS 30000000000u

/*
 * Its time, and its end.
 */

bool
worker_kill(struct worker *worker)
{
	if (worker->pid_fd >= 0 &&
	    (pidfd_send_signal(worker->pid_fd, SIGKILL, NULL, 0) == 0 || errno == ESRCH))
		worker->state = WORKER_KILLED;
	return worker->state == WORKER_KILLED;
}

void
worker_check_time(struct worker *worker, uint64_t now_ns)
{
	const struct lane_worker_words *words;
	uint64_t limit_ns = worker->queue->policy.visibility_ns;
	uint64_t sequence, since_ns, heartbeat_ns;

	if (worker->lane_count == 0 || worker->state >= WORKER_KILLED || worker->in_flight == 0)
		return;
	words = &worker->lane[0].shared->worker;
	sequence = start_get(&words->starting, &since_ns);
	if (sequence == 0)
		since_ns = UINT64_MAX;
	heartbeat_ns = atomic_load_explicit(&words->heartbeat_ns, memory_order_relaxed);
	if (heartbeat_ns < worker->attached_ns)
		heartbeat_ns = worker->attached_ns;
	if ((since_ns >= now_ns || now_ns - since_ns < limit_ns) &&
	    (heartbeat_ns >= now_ns || now_ns - heartbeat_ns < limit_ns + COMMIT_NS))
		return;
	if (worker->state != WORKER_SLOW) /* else it could not be killed yet */
		event(EVENT_ERROR, "worker.too_slow", "s:queue", worker->queue->config->name,
		    "u:pid", (uint64_t)worker->connection->peer_pid, "u:sequence", sequence, NULL);
	worker->state = WORKER_SLOW;
	/* Nothing is delivered again before it is dead: its connection tells. */
	worker_kill(worker);
}

void
worker_drop(struct worker *worker, const char *what)
{
	event(EVENT_ERROR, "worker.broke_protocol", "s:queue", worker->queue->config->name, "u:pid",
	    (uint64_t)worker->connection->peer_pid, "s:error", what, NULL);
	connection_close(worker->connection);
}

void
worker_let_go(struct worker *worker)
{
	worker->reason = WORKER_LET_GO;
	connection_close(worker->connection);
}

void
worker_log_unread(struct worker *worker, const char *what)
{
	event(EVENT_ERROR, "log.not_read", "s:queue", worker->queue->config->name, "u:position",
	    worker->cursor.position, "s:error", what, NULL);
	worker_let_go(worker);
}

bool
worker_free(struct worker *worker)
{
	if (worker->bell.request.pending || worker->cursor.window_request.pending)
		return false;
	for (unsigned i = 0; i < worker->lane_count; i++)
		lane_drop(&worker->lane[i]);
	if (worker->bell.fd >= 0)
		close(worker->bell.fd);
	if (worker->cursor.window_fd >= 0)
		close(worker->cursor.window_fd);
	if (worker->pid_fd >= 0)
		close(worker->pid_fd);
	flights_free(&worker->flights);
	free(worker->cursor.window);
	free(worker);
	return true;
}

/*
 * Sleep and counters.
 */

void
worker_ring(struct worker *worker)
{
	if (worker->state != WORKER_DETACHED && worker->lane_count > 0)
		doorbell_ring(&worker->lane[0].shared->worker_bell);
}

bool
worker_may_sleep(struct worker *worker)
{
	if (worker->lane_count == 0)
		return true;
	doorbell_prepare(&worker->lane[0].shared->router_bell);
	for (unsigned i = 0; i < worker->lane_count; i++)
		if (!worker->no_room && ring_filled_bytes(&worker->completion[i]) > 0)
			return false;
	return worker->full.lane < 0 ||
	    ring_free_bytes(&worker->delivery[worker->full.lane]) < worker->full.bytes;
}

void
worker_awake(struct worker *worker)
{
	if (worker->lane_count > 0)
		doorbell_cancel(&worker->lane[0].shared->router_bell);
}

void
worker_count_returned(const struct worker *worker, uint64_t n)
{
	/* Relaxed: published by what takes them out of the counters, see worker_publish_counters(). */
	atomic_fetch_add_explicit(
	    &worker->queue->control->counters.returned, n, memory_order_relaxed);
}

/* Returns true when it has seen the current state. */
static bool
publish_words(struct worker *worker)
{
	struct lane_worker_words *words;
	uint64_t seen, sequence, since_ns;

	if (worker->lane_count == 0 || worker->control == NULL)
		return true;
	words = &worker->lane[0].shared->worker;
	/* Pairs with the release store in the worker's attachment_heartbeat(). */
	seen = atomic_load_explicit(&words->state_seen, memory_order_acquire);
	/* Pairs with the acquire load in unseen_worker(). */
	atomic_store_explicit(&worker->control->state_seen, seen, memory_order_release);
	atomic_store_explicit(&worker->control->heartbeat_ns,
	    atomic_load_explicit(&words->heartbeat_ns, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(&worker->control->flags,
	    atomic_load_explicit(&words->flags, memory_order_relaxed), memory_order_relaxed);
	sequence = start_get(&words->starting, &since_ns);
	if (sequence != 0)
		start_set(&worker->control->starting, sequence, since_ns);
	else
		start_clear(&worker->control->starting);
	return seen == subscription_word(worker->queue);
}

bool
worker_publish_counters(struct queue *queue)
{
	struct worker *worker;
	uint64_t in_flight = 0;
	bool all_seen = true;

	TAILQ_FOREACH (worker, &queue->attached.workers, link) {
		all_seen &= publish_words(worker);
		in_flight += worker->in_flight;
	}
	/* Pairs with the acquire load in headgatectl's wait_until_drained(): who sees none in flight sees
	 * how many of them were returned. */
	atomic_store_explicit(&queue->control->counters.in_flight, in_flight, memory_order_release);
	return all_seen;
}
