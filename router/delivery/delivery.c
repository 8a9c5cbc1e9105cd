#include "router/delivery/delivery.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <msgpack.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "message/envelope.h"
#include "router/delivery/blocking.h"
#include "router/connection.h"
#include "router/queue/transfer.h"
#include "router/delivery/probe.h"
#include "router/queue/queue.h"
#include "router/delivery/requests.h"
#include "router/delivery/rings.h"
#include "shm/lane_lock.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

/* Without a heartbeat, as while it commits, a worker may take so long beyond the visibility timeout. */
#define COMMIT_NS 30000000000u

enum {
	WINDOW_BYTES = 2 << 20, /* holds the longest frame and more */
	WINDOW_READ_BYTES = 512 << 10,
	WINDOW_RETRY_NS = 100000000,
	FLIGHTS_MIN = 4096,
	SETTLE_MAX = 65536, /* completions in one turn ... */
	/* ... and turns that all completion rings can fill */
	SETTLE_TURNS_MAX =
	    CONFIG_LANES_MAX * (LANE_COMPLETION_BYTES / RING_ALIGNMENT / SETTLE_MAX + 1)
};

/*
 * Attaching.
 */

static struct queue *
find_queue(struct router *router, const char *name)
{
	for (unsigned i = 0; i < router->queue_count; i++)
		if (strcmp(router->queues[i].config->name, name) == 0)
			return &router->queues[i];
	return NULL;
}

static void
bell_rang(struct io_request *request, int64_t result)
{
	struct worker *worker = (void *)((char *)request - offsetof(struct worker, bell_request));
	struct io *io = worker->connection->router->io;

	/* The loop looks at all rings each turn; the bell only ends its sleep. */
	if (!worker->detached && (result > 0 || result == -EINTR || result == -EAGAIN))
		io->operations->read(io, worker->bell_fd, &worker->bell_count,
		    sizeof(worker->bell_count), -1, &worker->bell_request);
}

static int
create_lane(struct worker *worker, unsigned number)
{
	struct queue *queue = worker->queue;
	unsigned i = worker->lane_count;
	struct lane_params params = {
		.queue = queue->config->name,
		.log_id = queue->writer.log_id,
		.generation = queue->lane_generation,
		.delivery_capacity = LANE_DELIVERY_BYTES,
		.completion_capacity = LANE_COMPLETION_BYTES,
		.queue_index = queue->index,
		.lane = number,
		.lanes = queue->config->lanes,
		.max_message_bytes = (uint32_t)queue->router->config->max_message_bytes,
	};
	int rc;

	while (params.delivery_capacity < 4 * (size_t)params.max_message_bytes)
		params.delivery_capacity *= 2;
	rc = lane_create(&worker->lane[i], &params);
	if (rc != 0)
		return rc;
	worker->lane_count++;
	worker->lane_index[number] = (int)i;
	worker->lanes |= 1ull << number;
	rc = ring_producer_init(&worker->delivery[i], &worker->lane[i].shared->delivery,
	    worker->lane[i].delivery_data, params.delivery_capacity);
	if (rc == 0)
		rc = ring_consumer_init(&worker->completion[i], &worker->lane[i].shared->completion,
		    worker->lane[i].completion_data, params.completion_capacity);
	return rc;
}

static int
create_lanes(struct worker *worker, uint64_t lanes)
{
	int rc = 0;

	for (unsigned number = 0; rc == 0 && number < worker->queue->config->lanes; number++)
		if (lanes >> number & 1)
			rc = create_lane(worker, number);
	return rc == 0 && worker->lane_count == 0 ? -EINVAL : rc;
}

static void
pack_bool(msgpack_packer *packer, bool value)
{
	if (value)
		msgpack_pack_true(packer);
	else
		msgpack_pack_false(packer);
}

/* [queue index, [lane number ...], policy], with the eventfd and a memfd for each lane. */
static int
send_welcome(struct worker *worker)
{
	const struct policy *policy = &worker->queue->policy;
	struct wire_header header = { .type = WIRE_WELCOME };
	int fds[1 + CONFIG_LANES_MAX] = { worker->bell_fd };
	msgpack_sbuffer buffer;
	msgpack_packer packer;
	int rc;

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_sbuffer_write(&buffer, (const char *)&header, sizeof(header));
	msgpack_pack_array(&packer, 3);
	msgpack_pack_uint32(&packer, worker->queue->index);
	msgpack_pack_array(&packer, worker->lane_count);
	for (unsigned i = 0; i < worker->lane_count; i++) {
		msgpack_pack_uint32(&packer, worker->lane[i].number);
		fds[1 + i] = worker->lane[i].fd;
	}
	msgpack_pack_array(&packer, 4);
	pack_bool(&packer, policy->blocks_server_error);
	pack_bool(&packer, policy->blocks_client_error);
	msgpack_pack_uint32(&packer, policy->receives_max);
	msgpack_pack_uint64(&packer, policy->visibility_ns);
	header.length = (uint32_t)(buffer.size - sizeof(header));
	memcpy(buffer.data, &header, sizeof(header));
	rc = io_send_fds(
	    worker->connection->fd, buffer.data, buffer.size, fds, 1 + worker->lane_count);
	msgpack_sbuffer_destroy(&buffer);
	return rc;
}

static struct control_worker *
claim_entry(struct worker *worker)
{
	struct control_shared *shared = worker->queue->router->control.shared;

	for (unsigned i = 0; i < CONTROL_WORKERS; i++) {
		struct control_worker *entry = &shared->worker[i];

		if (atomic_load_explicit(&entry->pid, memory_order_relaxed) != 0)
			continue;
		entry->queue = worker->queue->index;
		entry->lanes = worker->lanes;
		entry->attached_ns = io_wall_ns();
		atomic_store_explicit(
		    &entry->heartbeat_ns, io_monotonic_ns(), memory_order_relaxed);
		atomic_store_explicit(&entry->state_seen, 0, memory_order_relaxed);
		start_clear(&entry->starting);
		atomic_store_explicit(&entry->flags, 0, memory_order_relaxed);
		/* Pairs with the readers' acquire load of pid: the rest is filled before. */
		atomic_store_explicit(
		    &entry->pid, worker->connection->peer_pid, memory_order_release);
		return entry;
	}
	return NULL;
}

static struct worker *
new_worker(struct connection *connection, struct queue *queue)
{
	struct worker *worker = calloc(1, sizeof(*worker));

	if (worker == NULL)
		return NULL;
	worker->queue = queue;
	worker->connection = connection;
	worker->window_fd = worker->full_lane = worker->pid_fd = worker->bell_fd = -1;
	worker->bell_request.done = bell_rang;
	for (unsigned i = 0; i < CONFIG_LANES_MAX; i++)
		worker->lane_index[i] = -1;
	return worker;
}

/* Where pidfds are forbidden a worker is taken all the same: it sets itself an alarm, too. */
static int
open_descriptors(struct worker *worker)
{
	worker->bell_fd = eventfd(0, EFD_CLOEXEC);
	if (worker->bell_fd < 0)
		return -errno;
	worker->pid_fd = pidfd_open((pid_t)worker->connection->peer_pid, 0);
	if (worker->pid_fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
		return -errno;
	return 0;
}

static int
start(struct worker *worker, uint64_t lanes)
{
	struct queue *queue = worker->queue;
	int rc = open_descriptors(worker);

	if (rc != 0)
		return rc;
	worker->window = malloc(WINDOW_BYTES);
	if (worker->window == NULL)
		return -ENOMEM;
	queue->lane_generation++;
	rc = create_lanes(worker, lanes);
	if (rc != 0)
		return rc;
	worker->control = claim_entry(worker);
	if (worker->control == NULL)
		return -EUSERS;
	rc = send_welcome(worker);
	for (unsigned i = 0; i < worker->lane_count; i++)
		lane_close_fd(&worker->lane[i]);
	return rc;
}

/* Its end is seen when its connection closes. One that is gone already is fine, too. */
static bool
kill_worker(struct worker *worker)
{
	if (worker->pid_fd >= 0 &&
	    (pidfd_send_signal(worker->pid_fd, SIGKILL, NULL, 0) == 0 || errno == ESRCH))
		worker->killed = true;
	return worker->killed;
}

/* Has this process itself let go of it, and comes again? */
static bool
is_same_process(const struct worker *worker, const struct connection *connection)
{
	return worker->pid_fd >= 0 && worker->connection->peer_pid == connection->peer_pid;
}

/* Who had this lane has lost the lock. So it is dead, and its end was not read yet; or the file was removed,
 * and it works. Nothing is delivered again before its connection closes. Returns why these lanes cannot be had
 * now, or NULL. */
static const char *
end_other(struct worker *other, const struct connection *connection)
{
	bool killed = other->killed;

	if (is_same_process(other, connection)) {
		connection_close(other->connection);
		return NULL;
	}
	if (!kill_worker(other))
		return "another worker has these lanes, and it cannot be ended: end it yourself";
	if (!killed)
		event(EVENT_WARN, "worker.lock_lost", "s:queue", other->queue->config->name,
		    "u:pid", (uint64_t)other->connection->peer_pid, NULL);
	return "another worker had these lanes, and is being ended";
}

static const char *
end_others(struct queue *queue, uint64_t lanes, const struct connection *connection)
{
	struct worker *other, *next;
	const char *why = NULL;

	TAILQ_FOREACH_SAFE (other, &queue->workers, link, next) {
		const char *its = other->lanes & lanes ? end_other(other, connection) : NULL;

		why = its != NULL ? its : why;
	}
	return why;
}

/* Something was wanting: the worker tries again. */
static void
refuse_for_now(struct connection *connection, const char *queue, int rc)
{
	char text[128];

	event(EVENT_ERROR, "worker.not_attached", "s:queue", queue, "u:pid",
	    (uint64_t)connection->peer_pid, "s:error", strerror(-rc), NULL);
	snprintf(text, sizeof(text), "not now: %s",
	    rc == -EUSERS ? "as many workers are attached as there can be" : strerror(-rc));
	connection_refuse(connection, 503, text);
}

void
delivery_attach(struct connection *connection, const char *name, uint64_t lanes)
{
	struct router *router = connection->router;
	struct queue *queue = find_queue(router, name);
	struct worker *worker;
	const char *why;
	int rc = 0;

	if (queue == NULL) {
		connection_refuse(connection, 404, "no queue of this name in the configuration");
		return;
	}
	if (connection->peer_pid == 0) {
		connection_refuse(connection, 403,
		    "the worker is in another pid namespace, so the router could not end a handler "
		    "that hangs: run both in one (containers: share the router's pid namespace)");
		return;
	}
	if (connection->received_fd >= 0)
		rc = lane_lock_holds(router->config->run_dir, name, connection->received_fd, lanes);
	else if (connection->fd_was_cut)
		rc = -EMFILE;
	if (rc < 0) {
		refuse_for_now(connection, name, rc);
		return;
	}
	if (rc == 0) {
		connection_refuse(connection, 409, "the lock of these lanes is not held");
		return;
	}
	close(connection->received_fd); /* or we would hold the lock when the worker is dead */
	connection->received_fd = -1;
	why = end_others(queue, lanes, connection);
	if (why != NULL) {
		connection_refuse(connection, 409, why);
		return;
	}
	worker = new_worker(connection, queue);
	if (worker == NULL) {
		refuse_for_now(connection, name, -ENOMEM);
		return;
	}
	connection->worker = worker;
	TAILQ_INSERT_TAIL(&queue->workers, worker, link);
	rc = start(worker, lanes);
	if (rc != 0) {
		delivery_detach(worker);
		refuse_for_now(connection, name, rc);
		return;
	}
	worker->attached_ns = io_monotonic_ns();
	worker->cursor = queue_first_position(queue);
	bell_rang(&worker->bell_request, -EAGAIN);
	event(EVENT_INFO, "worker.attached", "s:queue", name, "u:pid",
	    (uint64_t)connection->peer_pid, "u:generation", queue->lane_generation, NULL);
}

/*
 * A worker's time.
 */

static void
check_time(struct worker *worker, uint64_t now_ns)
{
	const struct lane_worker_words *words;
	uint64_t limit_ns = worker->queue->policy.visibility_ns;
	uint64_t sequence, since_ns, heartbeat_ns;

	if (worker->lane_count == 0 || worker->killed || worker->detached || worker->in_flight == 0)
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
	if (!worker->told_slow) /* else it could not be killed yet */
		event(EVENT_ERROR, "worker.too_slow", "s:queue", worker->queue->config->name,
		    "u:pid", (uint64_t)worker->connection->peer_pid, "u:sequence", sequence, NULL);
	worker->told_slow = true;
	/* Nothing is delivered again before it is dead: its connection tells. */
	kill_worker(worker);
}

void
delivery_tick(struct worker *worker, uint64_t now_ns)
{
	check_time(worker, now_ns);
	if (!worker->detached)
		blocking_tick(worker, now_ns);
}

/* Where this message, which is not settled, stands in the log, and how it came to the worker for the second
 * time. Position 0: it is not with this worker. */
static struct parked
find_given(const struct worker *worker, uint64_t sequence, struct redelivery **redelivery)
{
	struct queue *queue = worker->queue;

	*redelivery = groups_flying(&queue->groups, sequence);
	if (*redelivery == NULL)
		return (struct parked){ sequence, flights_find(&worker->flights, sequence) };
	if (group_in_lanes((*redelivery)->group, worker->lanes, queue->config->lanes))
		return (*redelivery)->parked;
	return (struct parked){ sequence, 0 };
}

/* The message that a worker was at when it died. What it says of itself is not believed blindly: it must
 * have been given the message. */
static void
count_receive(struct worker *worker)
{
	struct redelivery *redelivery;
	uint64_t sequence, since_ns;
	struct parked given;

	if (worker->lane_count == 0 || worker->broken || worker->let_go)
		return;
	sequence = start_get(&worker->lane[0].shared->worker.starting, &since_ns);
	if (settled_has(&worker->queue->settled, sequence))
		return;
	given = find_given(worker, sequence, &redelivery);
	if (given.position != 0 &&
	    queue_count_receive(worker->queue, given.position, sequence) != 0)
		worker->queue->router->failed = -ENOMEM;
}

/*
 * Detaching.
 */

/* So many messages that the worker had are not settled and not with it any more. */
static void
count_returned(const struct worker *worker, uint64_t n)
{
	/* Relaxed: published by what takes them out of the figures, see delivery_publish_figures(). */
	atomic_fetch_add_explicit(
	    &worker->queue->control->counters.returned, n, memory_order_relaxed);
}

void
delivery_detach(struct worker *worker)
{
	struct queue *queue = worker->queue;
	struct io *io = queue->router->io;

	if (worker->detached)
		return;
	/* What is in the rings, and not what somebody may go on putting into them. */
	for (int turns = 0; turns < SETTLE_TURNS_MAX && delivery_settle(worker); turns++)
		;
	if (!queue->router->stopping)
		count_receive(worker);
	worker->detached = true;
	TAILQ_REMOVE(&queue->workers, worker, link);
	count_returned(worker, worker->in_flight);
	if (worker->control != NULL)
		/* Relaxed: a free entry says nothing else. */
		atomic_store_explicit(&worker->control->pid, 0, memory_order_relaxed);
	groups_forget_messages(&queue->groups, worker->lanes, queue->config->lanes);
	if (worker->bell_request.pending)
		io->operations->cancel(io, &worker->bell_request);
	if (worker->attached_ns != 0)
		event(EVENT_INFO, "worker.gone", "s:queue", queue->config->name, "u:pid",
		    (uint64_t)worker->connection->peer_pid, NULL);
}

bool
delivery_free(struct worker *worker)
{
	if (worker->bell_request.pending || worker->window_request.pending)
		return false;
	for (unsigned i = 0; i < worker->lane_count; i++)
		lane_drop(&worker->lane[i]);
	if (worker->bell_fd >= 0)
		close(worker->bell_fd);
	if (worker->window_fd >= 0)
		close(worker->window_fd);
	if (worker->pid_fd >= 0)
		close(worker->pid_fd);
	flights_free(&worker->flights);
	free(worker->window);
	free(worker);
	return true;
}

/*
 * Outcomes.
 */

static void
drop_misbehaving(struct worker *worker, const char *what)
{
	event(EVENT_ERROR, "worker.broke_protocol", "s:queue", worker->queue->config->name, "u:pid",
	    (uint64_t)worker->connection->peer_pid, "s:error", what, NULL);
	connection_close(worker->connection);
}

void
delivery_let_go(struct worker *worker)
{
	worker->let_go = true;
	connection_close(worker->connection);
}

/* Its log cannot be read: it may attach again. */
static void
let_go(struct worker *worker, const char *what)
{
	event(EVENT_ERROR, "log.not_read", "s:queue", worker->queue->config->name, "u:position",
	    worker->cursor, "s:error", what, NULL);
	delivery_let_go(worker);
}

/* A copy of a completion, out of the worker's reach, checked. */
static bool
read_completion(const struct worker *worker, const struct ring_record *record,
    struct lane_completion *completion, char reason[LANE_REASON_BYTES + 1])
{
	if (record->tag != LANE_TAG_COMPLETION || record->length < sizeof(*completion))
		return false;
	memcpy(completion, record->payload, sizeof(*completion));
	if (completion->reason_length > LANE_REASON_BYTES ||
	    record->length < sizeof(*completion) + completion->reason_length ||
	    completion->status < 200 || completion->status > 599 || completion->sequence == 0 ||
	    completion->sequence > worker->delivered || completion->flags > LANE_GIVEN_BACK)
		return false;
	memcpy(
	    reason, (const char *)record->payload + sizeof(*completion), completion->reason_length);
	reason[completion->reason_length] = '\0';
	return true;
}

/* A worker that answered 5xx under the gate starts nothing before the state is another one: so there is one such answer
 * a state. One more, or under a state that never was, is not to be had by waiting, and would cost the router a trip each
 * time. */
static bool
may_trip(struct worker *worker, uint64_t state_seen)
{
	uint64_t generation = control_word_generation(state_seen);

	if (generation <= worker->failed_generation ||
	    generation > control_word_generation(queue_state_word(worker->queue)))
		return false;
	worker->failed_generation = generation;
	return true;
}

/* A 5xx of the message at position: the gate closes, or stays closed, unless the state has changed since the handler
 * was started. When two workers fail at once, the message that comes first is the head. */
static void
trip(struct worker *worker, const struct lane_completion *completion, uint64_t position,
    const char *reason)
{
	struct queue *queue = worker->queue;
	struct control_detail detail = { 0 };

	if (received_set(&queue->answered, completion->sequence,
		received_count(&queue->answered, completion->sequence) + 1) != 0)
		queue->router->failed = -ENOMEM;
	queue_detail_by_router(queue, &detail);
	detail.sequence = completion->sequence;
	detail.status = completion->status;
	strlcpy(detail.error, reason, sizeof(detail.error));
	strlcpy(detail.reason, "server error", sizeof(detail.reason));
	queue_message_id(queue, position, completion->sequence, detail.message_id);
	queue_gate(queue, completion->state_seen, GATE_FAILED, &detail);
	queue_lower_head(queue, completion->state_seen, &detail);
}

/* How often a handler was started on a message that ends: those that died, those that answered before, and
 * the one that answered now, if it was not given up without being tried. Of a 5xx that ended, and of a 4xx
 * that is to be tried again, that is so: a handler's answer would not have ended it. */
static uint32_t
count_handlers(const struct queue *queue, const struct lane_completion *completion,
    const struct redelivery *redelivery)
{
	uint64_t sequence = completion->sequence;
	uint32_t count =
	    received_count(&queue->received, sequence) + received_count(&queue->answered, sequence);

	if (redelivery != NULL && redelivery->group->sequence == sequence)
		count += redelivery->group->tries;
	return count +
	    (completion->status < 500 && queue->config->client_error != CONFIG_CLIENT_RETRY);
}

/* Ends a message by its outcome. Returns 1; 0 when it was settled before; -EAGAIN when there is no room for
 * that now, or the message could not be read; -EBADMSG; or -ENOMEM. */
static int
settle(struct worker *worker, const struct lane_completion *completion, uint64_t position,
    const struct redelivery *redelivery, const char *reason)
{
	struct queue *queue = worker->queue;
	uint64_t sequence = completion->sequence;
	struct failure failure;
	int rc;

	if (!transfer_takes(queue, completion->status))
		return queue_settle(queue, sequence, completion->status);
	if (settled_has(&queue->settled, sequence))
		return 0;
	failure = (struct failure){
		.sequence = sequence,
		.position = position,
		.status = completion->status,
		.receives = count_handlers(queue, completion, redelivery),
		.reason = reason,
	};
	/* Of a message that expired before a restart too: the store remembers. */
	if (completion->flags & LANE_ENDED && completion->status == RETENTION_STATUS &&
	    strcmp(reason, RETENTION_REASON) == 0)
		failure.flags = LOG_SETTLED_EXPIRED;
	rc = transfer_to_dead_letters(queue, &failure);
	return rc == 0 ? -EAGAIN : rc;
}

/* Finds the lane whose next completion has the lowest sequence: so runs become ranges. Returns 1 with the lane, 0 when no
 * lane has a completion, -EPROTO when a ring holds what no ring can. */
static int
lowest_head(struct worker *worker, unsigned *lane)
{
	uint64_t lowest = 0;
	bool found = false;

	for (unsigned i = 0; i < worker->lane_count; i++) {
		uint64_t sequence = 0;
		int rc = 1;

		if (!worker->has_head[i])
			rc = ring_peek(&worker->completion[i], &worker->head[i]);
		if (rc < 0)
			return rc;
		worker->has_head[i] = rc == 1;
		if (!worker->has_head[i])
			continue;
		if (worker->head[i].length >= sizeof(sequence))
			memcpy(&sequence, worker->head[i].payload, sizeof(sequence));
		if (!found || sequence < lowest) {
			found = true;
			*lane = i;
			lowest = sequence;
		}
	}
	return found;
}

/* What is not settled although it was handled: nothing behind it may go first. */
static void
stop_unreadable(struct queue *queue, uint64_t sequence)
{
	struct control_detail detail = { .sequence = sequence };

	queue_detail_by_router(queue, &detail);
	snprintf(detail.reason, sizeof(detail.reason),
	    "log damaged: message %" PRIu64 " cannot be read again", sequence);
	queue_gate(queue, queue_state_word(queue), GATE_DAMAGE, &detail);
}

/* It is neither settled nor parked nor in flight any more. When somebody opens the gate again, the cursor must
 * meet it again before all that is behind it: as for the next worker. */
static void
lose(struct worker *worker, uint64_t sequence)
{
	stop_unreadable(worker->queue, sequence);
	worker->lost = true;
}

/* A message that is to be tried again, or that comes behind one in its group. Returns as take_completion(). */
static int
take_blocked(struct worker *worker, const struct lane_completion *completion, struct parked parked,
    struct redelivery *redelivery, const char *reason)
{
	bool given_back = completion->flags & LANE_GIVEN_BACK;
	struct queue *queue = worker->queue;
	struct group *group = NULL;
	int rc = 0;

	/* First what may fail for now: then nothing has changed. */
	if (redelivery == NULL)
		rc = blocking_group(queue, parked, !given_back, &group);
	if (rc == -ENOMEM || rc == -EAGAIN)
		return rc;
	if (redelivery != NULL)
		group = groups_land(&queue->groups, redelivery);
	else
		flights_remove(&worker->flights, parked.sequence);
	worker->in_flight -= worker->in_flight > 0;
	count_returned(worker, 1);
	if (worker->alone == parked.sequence) /* it may wait for long: the others do not */
		worker->alone = 0;
	if (rc == -EBADMSG) {
		lose(worker, parked.sequence);
		return 0;
	}
	if (rc != 0)
		return rc;
	if (given_back)
		return blocking_given_back(worker, group, parked);
	rc = blocking_failed(worker, group, parked, completion->status, reason);
	if (rc != 0)
		return rc;
	requests_failed(queue, parked.sequence, completion->status, reason);
	probe_blocked(queue, group, parked.sequence);
	return 0;
}

/* One that ended for good. Returns as take_completion(). */
static int
take_ended(struct worker *worker, const struct lane_completion *completion, uint64_t position,
    struct redelivery *redelivery, const char *reason)
{
	int rc = settle(worker, completion, position, redelivery, reason);

	if (rc == -EBADMSG) {
		lose(worker, completion->sequence);
		return 0;
	}
	if (rc < 0)
		return rc;
	worker->in_flight -= rc > 0 && worker->in_flight > 0;
	requests_ended(worker->queue, completion->sequence, completion->status, reason,
	    transfer_takes(worker->queue, completion->status));
	if (redelivery != NULL)
		blocking_ended(worker, groups_land(&worker->queue->groups, redelivery));
	return 0;
}

/* What a completion says of its message. */
enum verdict { VERDICT_ENDED, VERDICT_BLOCKS, VERDICT_TRIPS, VERDICT_WRONG };

static enum verdict
verdict_of(const struct queue *queue, const struct lane_completion *completion)
{
	if (completion->flags & LANE_GIVEN_BACK)
		return VERDICT_BLOCKS;
	if (completion->status < 400 || completion->flags & LANE_ENDED)
		return VERDICT_ENDED;
	if (policy_blocks(&queue->policy, completion->status))
		return VERDICT_BLOCKS;
	/* Of a 4xx it was told that it is recorded, and has not done it. */
	return completion->status >= 500 ? VERDICT_TRIPS : VERDICT_WRONG;
}

/* An answer to a message that is not settled. Returns as take_completion(). */
static int
take_answer(struct worker *worker, const struct lane_completion *completion, enum verdict verdict,
    const char *reason)
{
	struct redelivery *redelivery;
	struct parked given = find_given(worker, completion->sequence, &redelivery);

	if (given.position == 0)
		return -EPROTO;
	if (verdict == VERDICT_BLOCKS)
		return take_blocked(worker, completion, given, redelivery, reason);
	if (verdict == VERDICT_ENDED)
		return take_ended(worker, completion, given.position, redelivery, reason);
	trip(worker, completion, given.position, reason);
	return 0;
}

/* A delivery is answered once, but for a 5xx under the gate, after which it is tried again: so nobody keeps the router at
 * work with answers. Returns 0, -EAGAIN when it must be tried again, -EPROTO, or -ENOMEM. */
static int
take_completion(struct worker *worker, const struct ring_record *record)
{
	struct queue *queue = worker->queue;
	struct lane_completion completion;
	char reason[LANE_REASON_BYTES + 1];
	enum verdict verdict;
	int rc = 0;

	if (!read_completion(worker, record, &completion, reason))
		return -EPROTO;
	verdict = verdict_of(queue, &completion);
	if (verdict == VERDICT_WRONG ||
	    (verdict == VERDICT_TRIPS ? !may_trip(worker, completion.state_seen)
				      : worker->unanswered == 0))
		return -EPROTO;
	if (!settled_has(&queue->settled, completion.sequence))
		rc = take_answer(worker, &completion, verdict, reason);
	worker->unanswered -= rc == 0 && verdict != VERDICT_TRIPS;
	return rc;
}

/* As soon as they are: then what is answered next is mostly the oldest. */
static void
drop_settled_flights(struct worker *worker)
{
	struct flights *flights = &worker->flights;
	const struct flight *oldest;

	while ((oldest = flights_oldest(flights)) != NULL &&
	    settled_has(&worker->queue->settled, oldest->sequence))
		flights_drop_oldest(flights);
}

static void
forget_settled_flights(struct worker *worker)
{
	struct flights *flights = &worker->flights;

	drop_settled_flights(worker);
	/* Behind one that is not settled for long there are many that are. */
	if (flights->count > 2 * worker->in_flight + FLIGHTS_MIN)
		flights_compact(flights, &worker->queue->settled);
}

/* Gives back the room of what was settled; what was only looked at comes again. */
static void
release(struct worker *worker)
{
	for (unsigned i = 0; i < worker->lane_count; i++) {
		if (worker->has_head[i])
			ring_unpeek(&worker->completion[i], &worker->head[i]);
		worker->has_head[i] = false;
		ring_release(&worker->completion[i]);
	}
}

bool
delivery_settle(struct worker *worker)
{
	unsigned n = 0, lane = 0;
	int found = 0, rc = 0;

	if (worker->detached || worker->broken)
		return false;
	while (n < SETTLE_MAX && (found = lowest_head(worker, &lane)) > 0) {
		rc = take_completion(worker, &worker->head[lane]);
		if (rc != 0)
			break;
		worker->has_head[lane] = false;
		drop_settled_flights(worker);
		n++;
	}
	if (n > 0)
		CRASH_POINT("completions.settled");
	worker->no_room = rc == -EAGAIN; /* it comes again when a batch is on disk */
	forget_settled_flights(worker);
	release(worker);
	if (rc == -ENOMEM)
		worker->queue->router->failed = rc;
	if (found < 0 || rc == -EPROTO) {
		worker->broken = true; /* what else is in its rings is not believed */
		drop_misbehaving(worker, "a completion that cannot be");
		return false;
	}
	if (worker->lost) {
		worker->lost = false;
		let_go(worker, "a message cannot be read again");
	}
	return n > 0;
}

/*
 * Delivery.
 */

/* Something was wanting, or the disk did not answer: that is no damage, and tried again. */
static void
window_failed(struct worker *worker, int rc)
{
	queue_note_read(worker->queue, rc);
	worker->window_retry_ns = io_monotonic_ns() + WINDOW_RETRY_NS;
}

static void
window_read(struct io_request *request, int64_t result)
{
	struct worker *worker = (void *)((char *)request - offsetof(struct worker, window_request));

	if (worker->detached)
		return;
	worker->window_short = result == 0;
	if (result > 0)
		worker->window_length += (size_t)result;
	if (result >= 0)
		queue_note_read(worker->queue, 0);
	else if (result != -EINTR && result != -EAGAIN)
		window_failed(worker, (int)result);
}

static int
open_window(struct worker *worker, const struct log_segment *segment)
{
	char path[LOG_PATH_BYTES];

	if (worker->window_fd >= 0 && worker->window_segment == segment->number)
		return 0;
	if (worker->window_fd >= 0)
		close(worker->window_fd);
	log_segment_path(path, worker->queue->writer.dir, segment->number);
	worker->window_fd = open(path, O_RDONLY | O_CLOEXEC);
	worker->window_segment = segment->number;
	worker->window_length = 0;
	worker->window_short = false;
	return worker->window_fd < 0 ? -errno : 0;
}

/* Asks for more of the log behind what the window holds from the cursor on. */
static void
read_window(struct worker *worker, const struct log_segment *segment, uint64_t limit)
{
	struct io *io = worker->queue->router->io;
	size_t length = WINDOW_READ_BYTES;
	size_t keep = 0;
	int rc;

	if (worker->window_retry_ns != 0 && io_monotonic_ns() < worker->window_retry_ns)
		return;
	worker->window_retry_ns = 0;
	rc = open_window(worker, segment);
	if (rc != 0) {
		window_failed(worker, rc);
		return;
	}
	if (worker->cursor >= worker->window_position &&
	    worker->cursor < worker->window_position + worker->window_length) {
		keep = worker->window_position + worker->window_length - worker->cursor;
		memmove(worker->window, worker->window + (worker->cursor - worker->window_position),
		    keep);
	}
	worker->window_position = worker->cursor;
	worker->window_length = keep;
	if (length > limit - worker->cursor - keep)
		length = limit - worker->cursor - keep;
	if (length > WINDOW_BYTES - keep)
		length = WINDOW_BYTES - keep;
	worker->window_request.done = window_read;
	io->operations->read(io, worker->window_fd, worker->window + keep, length,
	    (int64_t)(worker->cursor + keep - segment->position), &worker->window_request);
}

/* The frame at the cursor in the window, checked; NULL: not there whole. */
static const struct log_frame *
frame_in_window(struct worker *worker, const struct log_segment *segment, bool *damaged)
{
	const struct log_frame *frame;
	uint64_t have;

	*damaged = false;
	if (worker->window_segment != segment->number || worker->cursor < worker->window_position ||
	    worker->cursor >= worker->window_position + worker->window_length)
		return NULL;
	have = worker->window_position + worker->window_length - worker->cursor;
	frame = (const void *)(worker->window + (worker->cursor - worker->window_position));
	if (have < sizeof(*frame))
		return NULL;
	if (!log_frame_header_valid(frame, UINT64_MAX, segment->salt)) {
		*damaged = true;
		return NULL;
	}
	if (frame->type == LOG_PAD)
		return frame;
	if (log_frame_bytes(frame->length) > have)
		return NULL;
	*damaged = !log_frame_payload_valid(frame);
	return *damaged ? NULL : frame;
}

/* A frame that was whole when it was written is not any more: nothing behind it may go first. */
static void
stop_for_damage(struct worker *worker, const struct log_segment *segment)
{
	struct queue *queue = worker->queue;
	struct control_detail detail = { 0 };

	queue_detail_by_router(queue, &detail);
	snprintf(detail.reason, sizeof(detail.reason),
	    "log damaged: segment %016" PRIx64 ".log, offset %" PRIu64, segment->number,
	    worker->cursor - segment->position);
	queue_gate(queue, queue_state_word(queue), GATE_DAMAGE, &detail);
}

/* The frame at the cursor from wherever it is, or NULL for now. */
static const struct log_frame *
frame_at_cursor(struct worker *worker)
{
	struct queue *queue = worker->queue;
	const struct log_frame *frame = (const void *)writer_tail(&queue->writer, worker->cursor);
	const struct log_segment *segment;
	uint64_t end;
	bool damaged;

	if (frame != NULL)
		return frame;
	if (worker->window_request.pending)
		return NULL;
	segment = writer_find(&queue->writer, worker->cursor, &end);
	if (segment == NULL) {
		let_go(worker, "cursor outside the log");
		return NULL;
	}
	frame = frame_in_window(worker, segment, &damaged);
	if (damaged || (frame == NULL && worker->window_short)) { /* short: the file was cut */
		stop_for_damage(worker, segment);
		worker->window_segment = 0; /* whoever opens the gate again may have mended it */
	} else if (frame == NULL) {
		read_window(worker, segment, end);
	}
	return frame;
}

/* May this message be delivered now? One that has cost a worker's life before runs alone, so that its
 * neighbours lose nothing when it does so again. */
static bool
may_deliver(struct worker *worker, uint64_t sequence)
{
	const struct queue *queue = worker->queue;

	if (worker->alone != 0 && !settled_has(&queue->settled, worker->alone))
		return false;
	worker->alone = 0;
	if (received_count(&queue->received, sequence) == 0)
		return true;
	if (worker->in_flight > 0)
		return false;
	worker->alone = sequence;
	return true;
}

static bool
is_open(uint64_t word)
{
	return control_word_state(word) == CONTROL_RUNNING ||
	    control_word_state(word) == CONTROL_PROBING;
}

/* Delivers the message at the cursor, for the first time to this worker. Returns as rings_put(); 1 also
 * for one that is not for it, or is parked. */
static int
deliver(struct worker *worker, const struct log_frame *frame)
{
	struct queue *queue = worker->queue;
	struct lane_delivery delivery = {
		.sequence = frame->sequence,
		.receive_count = received_count(&queue->received, frame->sequence),
	};
	int rc = 0;

	if (worker->lane_index[frame->group_hash % queue->config->lanes] < 0 ||
	    frame->sequence <= worker->delivered || settled_has(&queue->settled, frame->sequence))
		return 1;
	if (queue_holds_back(queue, frame->sequence))
		return 0;
	if (queue->groups.count > 0)
		rc = blocking_park(worker, frame);
	if (rc == 0 && (queue->received.count > 0 || worker->alone != 0) &&
	    !may_deliver(worker, frame->sequence))
		return 0;
	if (rc == 0 && !flights_reserve(&worker->flights))
		rc = -ENOMEM;
	if (rc == -ENOMEM) {
		queue->router->failed = rc;
		return 0;
	}
	if (rc == 0) {
		rc = rings_put(worker, frame, &delivery, "");
		if (rc != 1)
			return rc;
		flights_add(&worker->flights, frame->sequence, worker->cursor);
	}
	worker->delivered = frame->sequence;
	return 1;
}

void
delivery_ring(struct worker *worker)
{
	if (!worker->detached && worker->lane_count > 0)
		doorbell_ring(&worker->lane[0].shared->worker_bell);
}

/* What waited for its group. Returns as rings_put(). */
static int
deliver_again(struct worker *worker)
{
	int rc = blocking_deliver(worker);

	if (rc == -ENOMEM)
		worker->queue->router->failed = rc;
	if (rc == -EBADMSG)
		stop_unreadable(worker->queue, worker->queue->settled.low_watermark + 1);
	/* A full lane does not keep the cursor from the others. */
	return rc == -ENOMEM || rc == -EBADMSG || rc == 0 ? 1 : rc;
}

void
delivery_pump(struct worker *worker)
{
	struct queue *queue = worker->queue;
	uint64_t before = worker->in_flight;
	int rc = 1;

	worker->full_lane = -1;
	if (!is_open(queue_state_word(queue)))
		return;
	if (!TAILQ_EMPTY(&queue->groups.ready))
		rc = deliver_again(worker);
	while (rc == 1 && !worker->detached &&
	    (worker->cursor = writer_position(&queue->writer, worker->cursor)) <
		queue->writer.durable) {
		const struct log_frame *frame = frame_at_cursor(worker);

		if (frame == NULL)
			break;
		if (log_is_message(frame))
			rc = deliver(worker, frame);
		if (rc != 1)
			break;
		worker->cursor += log_frame_bytes(frame->length);
	}
	if (rc < 0) {
		worker->broken = true;
		drop_misbehaving(worker, "a ring position that cannot be");
		return;
	}
	if (worker->detached || worker->in_flight == before)
		return;
	CRASH_POINT("delivery.reserved");
	for (unsigned i = 0; i < worker->lane_count; i++)
		ring_publish(&worker->delivery[i]);
	CRASH_POINT("delivery.published");
	delivery_ring(worker);
}

static void
rewind_cursor(struct worker *worker, const struct log_segment *segment)
{
	if (worker->window_segment >= segment->number &&
	    worker->window_segment <= segment->last_number)
		worker->window_segment = 0; /* it is of a file that is gone */
	/* What was delivered is behind worker->delivered, and not delivered again. */
	if (worker->cursor >= segment->position &&
	    worker->cursor < segment->position + segment->span)
		worker->cursor = segment->position + LOG_HEADER_BYTES;
}

void
delivery_rewind(struct queue *queue, const struct log_segment *segment)
{
	struct worker *worker;

	TAILQ_FOREACH (worker, &queue->workers, link)
		rewind_cursor(worker, segment);
}

/*
 * Sleep and figures.
 */

bool
delivery_may_sleep(struct worker *worker)
{
	if (worker->lane_count == 0)
		return true;
	doorbell_prepare(&worker->lane[0].shared->router_bell);
	for (unsigned i = 0; i < worker->lane_count; i++)
		if (!worker->no_room && ring_filled_bytes(&worker->completion[i]) > 0)
			return false;
	return worker->full_lane < 0 ||
	    ring_free_bytes(&worker->delivery[worker->full_lane]) < worker->full_bytes;
}

void
delivery_awake(struct worker *worker)
{
	if (worker->lane_count > 0)
		doorbell_cancel(&worker->lane[0].shared->router_bell);
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
	return seen == queue_state_word(worker->queue);
}

bool
delivery_publish_figures(struct queue *queue)
{
	struct worker *worker;
	uint64_t in_flight = 0;
	bool all_seen = true;

	TAILQ_FOREACH (worker, &queue->workers, link) {
		all_seen &= publish_words(worker);
		in_flight += worker->in_flight;
	}
	/* Pairs with the acquire load in headgatectl's wait_until_drained(): who sees none in flight sees
	 * how many of them were returned. */
	atomic_store_explicit(&queue->control->counters.in_flight, in_flight, memory_order_release);
	return all_seen;
}
