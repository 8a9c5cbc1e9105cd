#include "router/session/attach.h"

#include <errno.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "router/delivery/cursor.h"
#include "router/delivery/detach.h"
#include "router/delivery/worker.h"
#include "router/queue/index.h"
#include "shm/lane_lock.h"
#include "telemetry/event.h"

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
	struct worker *worker = (void *)((char *)request - offsetof(struct worker, bell.request));
	struct io *io = worker->connection->router->io;

	/* The loop looks at all rings each turn; the bell only ends its sleep. */
	if (worker->state != WORKER_DETACHED &&
	    (result > 0 || result == -EINTR || result == -EAGAIN))
		io->operations->read(io, worker->bell.fd, &worker->bell.count,
		    sizeof(worker->bell.count), -1, &worker->bell.request);
}

static int
create_lane(struct worker *worker, unsigned number)
{
	struct queue *queue = worker->queue;
	unsigned i = worker->lane_count;
	struct lane_params params = {
		.queue = queue->config->name,
		.log_id = queue->writer.log_id,
		.generation = queue->attached.generation,
		.delivery_capacity = LANE_DELIVERY_BYTES,
		.completion_capacity = LANE_COMPLETION_BYTES,
		.queue_index = queue->number,
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
	int fds[1 + CONFIG_LANES_MAX] = { worker->bell.fd };
	msgpack_sbuffer buffer;
	msgpack_packer packer;
	int rc;

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_sbuffer_write(&buffer, (const char *)&header, sizeof(header));
	msgpack_pack_array(&packer, 3);
	msgpack_pack_uint32(&packer, worker->queue->number);
	msgpack_pack_array(&packer, worker->lane_count);
	for (unsigned i = 0; i < worker->lane_count; i++) {
		msgpack_pack_uint32(&packer, worker->lane[i].number);
		fds[1 + i] = worker->lane[i].fd;
	}
	msgpack_pack_array(&packer, 5);
	pack_bool(&packer, policy->blocks_server_error);
	pack_bool(&packer, policy->blocks_client_error);
	msgpack_pack_uint32(&packer, policy->receives_max);
	msgpack_pack_uint64(&packer, policy->visibility_ns);
	pack_bool(&packer, policy->fault_markers);
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
		entry->queue = worker->queue->number;
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
	worker->cursor.window_fd = worker->full.lane = worker->pid_fd = worker->bell.fd = -1;
	worker->bell.request.done = bell_rang;
	for (unsigned i = 0; i < CONFIG_LANES_MAX; i++)
		worker->lane_index[i] = -1;
	return worker;
}

/* Where pidfds are forbidden a worker is taken all the same: it sets itself an alarm, too. */
static int
open_descriptors(struct worker *worker)
{
	worker->bell.fd = eventfd(0, EFD_CLOEXEC);
	if (worker->bell.fd < 0)
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
	rc = cursor_begin(worker);
	if (rc != 0)
		return rc;
	queue->attached.generation++;
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
	bool killed = other->state == WORKER_KILLED;

	if (is_same_process(other, connection)) {
		connection_close(other->connection);
		return NULL;
	}
	if (!worker_kill(other))
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

	TAILQ_FOREACH_SAFE (other, &queue->attached.workers, link, next) {
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
attach_worker(struct connection *connection, const char *name, uint64_t lanes)
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
	TAILQ_INSERT_TAIL(&queue->attached.workers, worker, link);
	rc = start(worker, lanes);
	if (rc != 0) {
		detach_worker(worker);
		refuse_for_now(connection, name, rc);
		return;
	}
	worker->attached_ns = io_monotonic_ns();
	worker->cursor.position = index_first_position(queue);
	bell_rang(&worker->bell.request, -EAGAIN);
	event(EVENT_INFO, "worker.attached", "s:queue", name, "u:pid",
	    (uint64_t)connection->peer_pid, "u:generation", queue->attached.generation, NULL);
}
