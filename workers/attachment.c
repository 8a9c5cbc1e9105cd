#include "workers/attachment.h"

#include <errno.h>
#include <limits.h>
#include <msgpack.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "message/envelope.h"
#include "message/wire.h"

/* Above the configuration's limit; in seconds an int, as alarm() takes. */
#define VISIBILITY_NS_MAX (INT32_MAX * 1000000000ull)

enum { ANSWER_MS = 5000 };

static int
attachment_error(char *error, size_t error_bytes, int rc, const char *what)
{
	snprintf(error, error_bytes, "%s: %s", what, strerror(-rc));
	return rc;
}

/* Checks and unpacks a payload, an array of so many fields. If true, the caller destroys
 * *unpacked. */
static bool
unpack(msgpack_unpacked *unpacked, const void *payload, size_t length, uint32_t fields)
{
	if (!wire_check(payload, length, 4))
		return false;
	msgpack_unpacked_init(unpacked);
	if (msgpack_unpack_next(unpacked, payload, length, NULL) == MSGPACK_UNPACK_SUCCESS &&
	    unpacked->data.type == MSGPACK_OBJECT_ARRAY && unpacked->data.via.array.size == fields)
		return true;
	msgpack_unpacked_destroy(unpacked);
	return false;
}

/* Reads an ERROR frame, [status, text], into `error`. Returns -EAGAIN or -EPROTO. */
static int
read_refusal(const void *payload, size_t length, char *error, size_t error_bytes)
{
	const msgpack_object *field;
	msgpack_unpacked unpacked;
	int rc = -EPROTO;

	if (!unpack(&unpacked, payload, length, 2))
		return attachment_error(error, error_bytes, rc, "router");
	field = unpacked.data.via.array.ptr;
	if (field[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
	    field[1].type == MSGPACK_OBJECT_STR) {
		snprintf(error, error_bytes, "router: %.*s", (int)field[1].via.str.size,
		    field[1].via.str.ptr);
		rc = -EAGAIN;
	}
	msgpack_unpacked_destroy(&unpacked);
	return rc;
}

static bool
read_policy(struct policy *policy, const msgpack_object *from)
{
	const msgpack_object *field = from->via.array.ptr;

	if (from->type != MSGPACK_OBJECT_ARRAY || from->via.array.size != 5 ||
	    field[0].type != MSGPACK_OBJECT_BOOLEAN || field[1].type != MSGPACK_OBJECT_BOOLEAN ||
	    field[2].type != MSGPACK_OBJECT_POSITIVE_INTEGER || field[2].via.u64 > UINT32_MAX ||
	    field[3].type != MSGPACK_OBJECT_POSITIVE_INTEGER || field[3].via.u64 == 0 ||
	    field[3].via.u64 > VISIBILITY_NS_MAX || field[4].type != MSGPACK_OBJECT_BOOLEAN)
		return false;
	*policy = (struct policy){
		.blocks_server_error = field[0].via.boolean,
		.blocks_client_error = field[1].via.boolean,
		.receives_max = (uint32_t)field[2].via.u64,
		.visibility_ns = field[3].via.u64,
		.fault_markers = field[4].via.boolean,
	};
	return true;
}

int
attachment_read_welcome(
    struct attachment *attachment, const void *payload, size_t length, size_t lanes)
{
	const msgpack_object *field;
	msgpack_unpacked unpacked;
	int rc = -EPROTO;

	if (!unpack(&unpacked, payload, length, 3))
		return rc;
	field = unpacked.data.via.array.ptr;
	if (field[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER && field[0].via.u64 < CONTROL_QUEUES &&
	    field[1].type == MSGPACK_OBJECT_ARRAY && field[1].via.array.size == lanes &&
	    read_policy(&attachment->policy, &field[2])) {
		attachment->queue = (unsigned)field[0].via.u64;
		rc = 0;
	}
	msgpack_unpacked_destroy(&unpacked);
	return rc;
}

/* Attaches one lane, and takes over the descriptor. */
static int
attach_lane(struct attachment *attachment, int fd, const char *queue)
{
	unsigned i = attachment->lane_count;
	struct lane *lane = &attachment->lane[i];
	int rc = lane_attach(lane, fd, queue);

	if (rc != 0)
		return rc;
	attachment->lane_count++;
	rc = ring_consumer_init(&attachment->delivery[i], &lane->shared->delivery,
	    lane->delivery_data, lane->delivery_capacity);
	if (rc == 0)
		rc = ring_producer_init(&attachment->completion[i], &lane->shared->completion,
		    lane->completion_data, lane->completion_capacity);
	return rc;
}

/* True if (1) each lane was requested, (2) no lane came twice, (3) all lanes are of one log, and
 * (4) the rings take the longest message. */
static bool
check_lanes(const struct attachment *attachment, uint64_t asked)
{
	uint64_t seen = 0;

	for (unsigned i = 0; i < attachment->lane_count; i++) {
		const struct lane *lane = &attachment->lane[i];

		if (lane->number >= CONFIG_LANES_MAX || !(asked >> lane->number & 1) ||
		    seen >> lane->number & 1 || lane->log_id == 0 ||
		    lane->log_id != attachment->lane[0].log_id || lane->max_message_bytes == 0 ||
		    lane->max_message_bytes > ENVELOPE_BODY_BYTES_MAX ||
		    lane->max_message_bytes > lane->delivery_capacity)
			return false;
		seen |= 1ull << lane->number;
	}
	return true;
}

static int
open_control(struct attachment *attachment, const char *run_dir, const char *queue)
{
	char path[PATH_MAX];
	int rc;

	snprintf(path, sizeof(path), "%s/control", run_dir);
	rc = control_open(&attachment->control, path, false);
	if (rc == 0 && control_find_queue(&attachment->control, queue) != (int)attachment->queue)
		rc = -EPROTO;
	return rc;
}

/* Receives the answer to HELLO: bell and lanes, or a refusal. */
static int
receive_welcome(struct attachment *attachment, const char *run_dir, const struct wire_hello *hello,
    char *error, size_t error_bytes)
{
	static uint8_t payload[WIRE_SMALL_BYTES];
	int fds[1 + CONFIG_LANES_MAX];
	size_t fd_count = 1 + CONFIG_LANES_MAX, length, taken = 1;
	enum wire_type type;
	int rc =
	    wire_receive(attachment->socket, &type, payload, &length, fds, &fd_count, ANSWER_MS);

	if (rc == -EMFILE)
		snprintf(error, error_bytes,
		    "no descriptors are left for the lanes that the router hands over: raise the "
		    "limit (ulimit -n)");
	if (rc != 0)
		return rc == -EMFILE ? rc : attachment_error(error, error_bytes, rc, "router");
	if (type == WIRE_ERROR)
		return read_refusal(payload, length, error, error_bytes);
	if (type != WIRE_WELCOME || fd_count < 2)
		rc = -EPROTO;
	if (rc == 0)
		rc = attachment_read_welcome(attachment, payload, length, fd_count - 1);
	if (rc == 0) {
		attachment->bell_fd = fds[0];
		for (; rc == 0 && taken < fd_count; taken++)
			rc = attach_lane(attachment, fds[taken], hello->name);
	} else {
		taken = 0;
	}
	while (taken < fd_count)
		close(fds[taken++]);
	if (rc == 0 && !check_lanes(attachment, hello->lanes))
		rc = -EPROTO;
	if (rc == 0)
		rc = open_control(attachment, run_dir, hello->name);
	return rc == 0 ? 0 : attachment_error(error, error_bytes, rc, "router's welcome");
}

/* Refuses a router in another time namespace, which would judge this worker's times by another
 * clock. */
static int
check_clock(const char *run_dir, char *error, size_t error_bytes)
{
	struct control control;
	char path[PATH_MAX];
	int rc;

	snprintf(path, sizeof(path), "%s/control", run_dir);
	if (control_open(&control, path, false) != 0)
		return 0; /* the router's answer will tell */
	rc = control_shares_clock(&control) || !control_router_alive(&control) ? 0 : -EXDEV;
	control_close(&control);
	if (rc != 0)
		snprintf(error, error_bytes,
		    "the router is in another time namespace, so it could not tell how long a "
		    "handler "
		    "takes: run both in one (containers: without time offsets)");
	return rc;
}

int
attachment_open(struct attachment *attachment, const char *run_dir, const char *program,
    const char *queue, uint64_t lanes, int lock_fd, char *error, size_t error_bytes)
{
	const struct wire_hello hello = {
		.role = WIRE_WORKER,
		.program = program,
		.name = queue,
		.lanes = lanes,
	};
	int rc;

	memset(attachment, 0, sizeof(*attachment));
	attachment->socket = attachment->bell_fd = attachment->control.fd =
	    attachment->control.lock_fd = -1;
	rc = check_clock(run_dir, error, error_bytes);
	if (rc != 0)
		return rc;
	attachment->socket = wire_connect(run_dir, ANSWER_MS);
	if (attachment->socket < 0)
		return attachment_error(error, error_bytes, attachment->socket, run_dir);
	rc = wire_send_hello(attachment->socket, &hello, lock_fd);
	if (rc != 0)
		attachment_error(error, error_bytes, rc, "router");
	else
		rc = receive_welcome(attachment, run_dir, &hello, error, error_bytes);
	if (rc != 0) {
		attachment_close(attachment);
		return rc;
	}
	attachment->log_id = attachment->lane[0].log_id;
	return 0;
}

void
attachment_close(struct attachment *attachment)
{
	for (unsigned i = 0; i < attachment->lane_count; i++)
		lane_drop(&attachment->lane[i]);
	attachment->lane_count = 0;
	control_close(&attachment->control);
	if (attachment->bell_fd >= 0)
		close(attachment->bell_fd);
	if (attachment->socket >= 0)
		close(attachment->socket);
	attachment->bell_fd = attachment->socket = -1;
}

bool
attachment_alive(const struct attachment *attachment)
{
	struct pollfd poller = { .fd = attachment->socket, .events = POLLIN | POLLRDHUP };

	/* The router sends nothing after WELCOME, so anything readable is the end of the stream. */
	return poll(&poller, 1, 0) == 0 || (errno == EINTR && poller.revents == 0);
}

int
attachment_take(struct attachment *attachment, struct ring_record *record, unsigned *lane)
{
	uint64_t lowest = 0;
	int best = -1;

	for (unsigned i = 0; i < attachment->lane_count; i++) {
		struct ring_record *head = &attachment->head[i];
		uint64_t sequence;

		if (!attachment->has_head[i]) {
			int rc = ring_peek(&attachment->delivery[i], head);

			if (rc < 0)
				return rc;
			if (rc == 0)
				continue;
			if (head->tag != LANE_TAG_DELIVERY ||
			    head->length < sizeof(struct lane_delivery))
				return -EPROTO;
			attachment->has_head[i] = true;
		}
		memcpy(&sequence, head->payload, sizeof(sequence));
		if (best < 0 || sequence < lowest) {
			best = (int)i;
			lowest = sequence;
		}
	}
	if (best < 0)
		return 0;
	attachment->has_head[best] = false;
	*record = attachment->head[best];
	*lane = (unsigned)best;
	return 1;
}

void
attachment_untake(struct attachment *attachment, const struct ring_record *record, unsigned lane)
{
	attachment->head[lane] = *record;
	attachment->has_head[lane] = true;
}

static void
wake_router(struct attachment *attachment)
{
	uint64_t one = 1;

	/* write() fails only if the router is gone; attachment_alive() will tell. */
	if (doorbell_must_wake(&attachment->lane[0].shared->router_bell) &&
	    write(attachment->bell_fd, &one, sizeof(one)) < 0)
		return;
}

void
attachment_release(struct attachment *attachment)
{
	for (unsigned i = 0; i < attachment->lane_count; i++) {
		/* A peeked delivery has not been taken, so its space must stay. */
		if (attachment->has_head[i])
			ring_unpeek(&attachment->delivery[i], &attachment->head[i]);
		attachment->has_head[i] = false;
		ring_release(&attachment->delivery[i]);
	}
	wake_router(attachment);
}

int
attachment_complete(struct attachment *attachment, unsigned lane, uint64_t sequence, uint64_t state,
    int status, uint32_t flags, const char *reason)
{
	size_t length = strnlen(reason, LANE_REASON_BYTES);
	struct lane_completion completion = {
		.sequence = sequence,
		.state_seen = state,
		.status = (uint16_t)status,
		.reason_length = (uint16_t)length,
		.flags = flags,
	};
	void *payload;
	int rc = ring_reserve(&attachment->completion[lane], LANE_TAG_COMPLETION,
	    (uint32_t)(sizeof(completion) + length), &payload);

	if (rc != 1)
		return rc;
	memcpy(payload, &completion, sizeof(completion));
	memcpy((char *)payload + sizeof(completion), reason, length);
	return 1;
}

void
attachment_publish(struct attachment *attachment)
{
	for (unsigned i = 0; i < attachment->lane_count; i++)
		ring_publish(&attachment->completion[i]);
	wake_router(attachment);
}

uint64_t
attachment_state(const struct attachment *attachment)
{
	/* Pairs with the compare-and-swap in control_change_state(). */
	return atomic_load_explicit(
	    &attachment->control.shared->queue[attachment->queue].state, memory_order_acquire);
}

bool
attachment_detail(
    const struct attachment *attachment, uint64_t state, struct control_detail *detail)
{
	uint64_t word;

	control_read_state(&attachment->control, attachment->queue, &word, detail);
	return word == state;
}

void
attachment_start(struct attachment *attachment, uint64_t sequence, uint64_t now_ns)
{
	/* No barrier is needed between this store and the load of the state word that follows: a
	 * process that changes the state waits for state_seen instead of reading the start words
	 * (attachment_heartbeat()). */
	start_set(&attachment->lane[0].shared->worker.starting, sequence, now_ns);
}

void
attachment_end(struct attachment *attachment)
{
	start_clear(&attachment->lane[0].shared->worker.starting);
}

void
attachment_heartbeat(
    struct attachment *attachment, uint64_t state, uint64_t handled, uint64_t now_ns)
{
	struct lane_worker_words *words = &attachment->lane[0].shared->worker;

	atomic_store_explicit(&words->heartbeat_ns, now_ns, memory_order_relaxed);
	atomic_store_explicit(&words->handled, handled, memory_order_relaxed);
	/* Release: pairs with the acquire load in the router's publish_words(). A reader of
	 * state_seen finds the outcomes of all handlers started under older states in the
	 * completion rings. No handler starts under an older state afterwards: attachment_state()
	 * loads the same word each time, and loads of one word never go back in time. */
	atomic_store_explicit(&words->state_seen, state, memory_order_release);
}

void
attachment_flag(struct attachment *attachment, uint64_t flags)
{
	/* Relaxed: the flags publish no other data. */
	atomic_store_explicit(
	    &attachment->lane[0].shared->worker.flags, flags, memory_order_relaxed);
}

uint64_t
attachment_done(const struct attachment *attachment)
{
	const struct control_queue *queue = &attachment->control.shared->queue[attachment->queue];

	return atomic_load_explicit(&queue->counters.done, memory_order_relaxed);
}

bool
attachment_has_delivery(struct attachment *attachment)
{
	for (unsigned i = 0; i < attachment->lane_count; i++)
		if (attachment->has_head[i] || ring_filled_bytes(&attachment->delivery[i]) > 0)
			return true;
	return false;
}

void
attachment_wait(
    struct attachment *attachment, uint64_t state, bool for_delivery, int64_t timeout_ns)
{
	struct doorbell *bell = &attachment->lane[0].shared->worker_bell;

	doorbell_prepare(bell);
	if (attachment_state(attachment) == state &&
	    !(for_delivery && attachment_has_delivery(attachment)))
		doorbell_wait(bell, timeout_ns);
	doorbell_cancel(bell);
}
