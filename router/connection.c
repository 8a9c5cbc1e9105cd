#include "router/connection.h"

#include <errno.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "message/envelope.h"
#include "router/ask.h"
#include "router/delivery.h"
#include "router/move.h"
#include "router/queue.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

enum {
	IN_BYTES = 256 << 10,
	IN_BYTES_MAX = ENVELOPE_BODY_BYTES_MAX + ENVELOPE_OVERHEAD_BYTES + 64,
	BUFFER_BYTES = 4096,
	HELLO_S = 10, /* whoever connects says hello within */
	OUT_BYTES_HIGH =
	    4 << 20, /* a publisher that does not read its results is not read either */
	HELLO_FIELDS = 6
};

static void receive_more(struct connection *);

/*
 * Output.
 */

static bool
buffer_reserve(struct buffer *buffer, size_t bytes)
{
	size_t capacity = buffer->capacity ? buffer->capacity : BUFFER_BYTES;
	uint8_t *bigger;

	if (buffer->length + bytes <= buffer->capacity)
		return true;
	while (capacity < buffer->length + bytes)
		capacity *= 2;
	bigger = realloc(buffer->data, capacity);
	if (bigger == NULL)
		return false;
	buffer->data = bigger;
	buffer->capacity = capacity;
	return true;
}

static void send_rest(struct connection *);

static void
sent(struct io_request *request, int64_t result)
{
	struct connection *connection =
	    (void *)((char *)request - offsetof(struct connection, send_request));

	if (connection->closed)
		return;
	if (result < 0 && result != -EINTR && result != -EAGAIN) {
		connection_close(connection);
		return;
	}
	if (result > 0)
		connection->sent += (size_t)result;
	CRASH_POINT("results.sent");
	send_rest(connection);
}

static void
send_rest(struct connection *connection)
{
	struct io *io = connection->router->io;

	if (connection->sent < connection->sending.length) {
		connection->send_request.done = sent;
		io->operations->send(io, connection->fd,
		    connection->sending.data + connection->sent,
		    connection->sending.length - connection->sent, &connection->send_request);
		return;
	}
	connection->sending.length = connection->sent = 0;
	if (connection->out_durable > 0)
		connection_flush(connection);
	else if (connection->ending && connection->out.length == 0)
		connection_close(connection);
	else if (!connection->receive.request.pending && !connection->paused)
		receive_more(connection);
}

void
connection_flush(struct connection *connection)
{
	struct buffer *out = &connection->out;
	size_t durable;

	if (connection->role == WIRE_WORKER || connection->ending)
		connection->out_durable = connection->out_closed = out->length;
	durable = connection->out_durable;
	if (connection->closed || durable == 0 || connection->sending.length > 0)
		return;
	if (!buffer_reserve(&connection->sending, durable)) {
		connection_close(connection);
		return;
	}
	memcpy(connection->sending.data, out->data, durable);
	connection->sending.length = durable;
	out->length -= durable;
	memmove(out->data, out->data + durable, out->length);
	connection->out_closed -= durable;
	connection->out_durable = 0;
	send_rest(connection);
}

void
connection_flush_now(struct connection *connection)
{
	connection->out_durable = connection->out_closed = connection->out.length;
	connection_flush(connection);
}

uint8_t *
connection_frame(
    struct connection *connection, enum wire_type type, const void *payload, size_t length)
{
	struct wire_header header = { .length = (uint32_t)length, .type = (uint8_t)type };
	uint8_t *at;

	if (connection->closed)
		return NULL;
	if (!buffer_reserve(&connection->out, sizeof(header) + length)) {
		connection_close(connection);
		return NULL;
	}
	at = connection->out.data + connection->out.length;
	memcpy(at, &header, sizeof(header));
	if (payload != NULL)
		memcpy(at + sizeof(header), payload, length);
	connection->out.length += sizeof(header) + length;
	return at + sizeof(header);
}

void
connection_refuse(struct connection *connection, int status, const char *text)
{
	msgpack_sbuffer buffer;
	msgpack_packer packer;
	size_t length = strlen(text);

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 2);
	msgpack_pack_int(&packer, status);
	msgpack_pack_str(&packer, length);
	msgpack_pack_str_body(&packer, text, length);
	connection_frame(connection, WIRE_ERROR, buffer.data, buffer.size);
	msgpack_sbuffer_destroy(&buffer);
	connection->ending = true;
	connection_flush(connection);
}

void
connection_results_closed(struct router *router)
{
	struct connection *connection;

	TAILQ_FOREACH (connection, &router->connections, link) {
		publish_flush_run(connection);
		connection->out_closed = connection->out.length;
	}
}

void
connection_results_durable(struct router *router)
{
	struct connection *connection;

	TAILQ_FOREACH (connection, &router->connections, link) {
		connection->out_durable = connection->out_closed;
		connection_flush(connection);
	}
}

/*
 * The end of a connection.
 */

void
connection_close(struct connection *connection)
{
	if (connection->closed)
		return;
	connection->closed = true;
	if (connection->worker != NULL)
		delivery_detach(connection->worker);
	ask_forget(connection);
	shutdown(connection->fd, SHUT_RDWR); /* ends the requests that the back end still has */
}

static void
free_connection(struct connection *connection)
{
	TAILQ_REMOVE(&connection->router->connections, connection, link);
	if (connection->received_fd >= 0)
		close(connection->received_fd);
	close(connection->fd);
	free(connection->in);
	free(connection->out.data);
	free(connection->sending.data);
	free(connection);
}

void
connection_sweep(struct router *router)
{
	struct connection *connection, *next;

	TAILQ_FOREACH_SAFE (connection, &router->connections, link, next) {
		if (connection->role == 0 &&
		    router->ticked_ns > connection->opened_ns + HELLO_S * UINT64_C(1000000000))
			connection_close(connection);
		if (connection->closed && !connection->receive.request.pending &&
		    !connection->send_request.pending &&
		    (connection->worker == NULL || delivery_free(connection->worker)))
			free_connection(connection);
	}
}

/*
 * Input.
 */

/* The strings and numbers of a HELLO. */
struct hello {
	uint64_t version, role, lanes;
	char program[CONFIG_NAME_BYTES], name[CONFIG_NAME_BYTES];
	bool wants_receipts;
};

static bool
copy_text(char *to, size_t size, const msgpack_object *from)
{
	if (from->type != MSGPACK_OBJECT_STR || from->via.str.size >= size ||
	    memchr(from->via.str.ptr, '\0', from->via.str.size) != NULL)
		return false;
	memcpy(to, from->via.str.ptr, from->via.str.size);
	to[from->via.str.size] = '\0';
	return true;
}

static bool
read_hello(struct hello *hello, const void *payload, size_t length)
{
	msgpack_unpacked unpacked;
	const msgpack_object *field;
	bool good;

	if (!wire_check(payload, length, 4))
		return false;
	msgpack_unpacked_init(&unpacked);
	good = msgpack_unpack_next(&unpacked, payload, length, NULL) == MSGPACK_UNPACK_SUCCESS &&
	    unpacked.data.type == MSGPACK_OBJECT_ARRAY &&
	    unpacked.data.via.array.size == HELLO_FIELDS;
	if (good) {
		field = unpacked.data.via.array.ptr;
		good = field[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
		    field[1].type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
		    copy_text(hello->program, sizeof(hello->program), &field[2]) &&
		    copy_text(hello->name, sizeof(hello->name), &field[3]) &&
		    field[4].type == MSGPACK_OBJECT_BOOLEAN &&
		    field[5].type == MSGPACK_OBJECT_POSITIVE_INTEGER;
	}
	if (good) {
		hello->version = field[0].via.u64;
		hello->role = field[1].via.u64;
		hello->wants_receipts = field[4].via.boolean;
		hello->lanes = field[5].via.u64;
	}
	msgpack_unpacked_destroy(&unpacked);
	return good;
}

static struct topic *
find_topic(struct router *router, const char *name)
{
	if (name[0] == '\0')
		return &router->topics[0];
	for (unsigned i = 0; i < router->topic_count; i++)
		if (strcmp(router->topics[i].config->name, name) == 0)
			return &router->topics[i];
	return NULL;
}

/* Is this one of the last kept descriptors? The lowest that is free is given, so all below are in use. */
static bool
is_kept(const struct router *router, int fd, uint64_t kept)
{
	return router->descriptors != 0 && (uint64_t)fd + kept >= router->descriptors;
}

static void
welcome_publisher(struct connection *connection, const struct hello *hello)
{
	const struct router *router = connection->router;

	connection->topic = find_topic(connection->router, hello->name);
	connection->wants_receipts = hello->wants_receipts;
	if (is_kept(router, connection->fd, router->kept_own + router->kept_workers))
		connection_refuse(connection, 503,
		    "the router has no descriptor left for publishers (RLIMIT_NOFILE): too many "
		    "are connected");
	else if (connection->topic == NULL)
		connection_refuse(connection, 404, "no topic of this name in the configuration");
	else
		publish_welcome(connection);
}

static int
handle_hello(struct connection *connection, const void *payload, size_t length)
{
	struct hello hello;

	if (!read_hello(&hello, payload, length))
		return -EPROTO;
	if (hello.version != WIRE_VERSION) {
		connection_refuse(connection, 426,
		    "the router speaks another version of the protocol: restart what is older");
		return 0;
	}
	memcpy(connection->program, hello.program, sizeof(connection->program));
	connection->role = (enum wire_role)hello.role;
	if (connection->router->stopping) {
		connection_refuse(connection, 503, "the router is stopping");
		return 0;
	}
	event(EVENT_DEBUG, "connection.opened", "s:program", connection->program, "u:pid",
	    (uint64_t)connection->peer_pid, "s:name", hello.name, NULL);
	switch (connection->role) {
	case WIRE_PUBLISHER:
		welcome_publisher(connection, &hello);
		return 0;
	case WIRE_WORKER:
		delivery_attach(connection, hello.name, hello.lanes);
		return 0;
	case WIRE_CONTROL:
		connection_frame(connection, WIRE_WELCOME, "\x90", 1); /* an empty array */
		connection_flush_now(connection);
		return 0;
	}
	return -EPROTO;
}

/* What may come behind a HELLO. Returns 1, 0 when it is to be looked at again later, or -EPROTO. */
static int
handle_frame(struct connection *connection, enum wire_type type, const void *payload, size_t length)
{
	int rc = -EPROTO;

	if (connection->order.queue != NULL)
		return -EPROTO;
	if (type == WIRE_POKE) /* a state word was changed: each turn looks at all of them */
		return 1;
	if (connection->role != WIRE_CONTROL)
		return -EPROTO;
	if ((type == WIRE_GROUPS || type == WIRE_TRY) && !ask_may_answer(connection))
		return 0;
	if (type == WIRE_MOVE)
		rc = move_handle(connection, payload, length);
	else if (type == WIRE_GROUPS)
		rc = ask_groups(connection, payload, length);
	else if (type == WIRE_TRY)
		rc = ask_try(connection, payload, length);
	return rc == 0 ? 1 : rc;
}

/* Takes whole small frames out of in. Returns 1 when it needs more bytes, 0 when it must pause, or -EPROTO. */
static int
consume_frames(struct connection *connection)
{
	struct wire_header header;
	const uint8_t *payload;
	size_t have;
	int rc;

	while (!connection->closed && !connection->ending) {
		if (connection->role == WIRE_PUBLISHER)
			return publish_consume(connection);
		have = connection->in_end - connection->in_start;
		if (have < sizeof(header))
			return 1;
		memcpy(&header, connection->in + connection->in_start, sizeof(header));
		if (!wire_header_valid(&header) || header.length > WIRE_SMALL_BYTES)
			return -EPROTO;
		if (have < sizeof(header) + header.length)
			return 1;
		payload = connection->in + connection->in_start + sizeof(header);
		if (connection->role != 0)
			rc = handle_frame(
			    connection, (enum wire_type)header.type, payload, header.length);
		else if (header.type != WIRE_HELLO)
			rc = -EPROTO;
		else
			rc = handle_hello(connection, payload, header.length) == 0 ? 1 : -EPROTO;
		if (rc != 1)
			return rc;
		connection->in_start += sizeof(header) + header.length;
	}
	return 1;
}

/* Makes free room behind in_end: at least as much as the longest message may still need. */
static bool
make_in_room(struct connection *connection)
{
	size_t left = connection->in_end - connection->in_start;
	size_t capacity = connection->in_capacity;
	uint8_t *bigger;

	if (connection->in_start > 0) {
		memmove(connection->in, connection->in + connection->in_start, left);
		connection->in_start = 0;
		connection->in_end = left;
	}
	if (left < capacity)
		return true;
	if (capacity >= IN_BYTES_MAX)
		return false;
	capacity = capacity * 2 > IN_BYTES_MAX ? IN_BYTES_MAX : capacity * 2;
	bigger = realloc(connection->in, capacity);
	if (bigger == NULL)
		return false;
	connection->in = bigger;
	connection->in_capacity = capacity;
	return true;
}

static void
consume(struct connection *connection)
{
	int rc = consume_frames(connection);

	if (connection->closed)
		return;
	connection->paused = rc == 0;
	if (rc < 0) {
		event(EVENT_WARN, "connection.broke_protocol", "s:program", connection->program,
		    "u:pid", (uint64_t)connection->peer_pid, NULL);
		connection_close(connection);
	} else if (rc == 1) {
		receive_more(connection);
	}
}

void
connection_resume(struct connection *connection)
{
	if (connection->paused && !connection->closed)
		consume(connection);
}

static void
received(struct io_request *request, int64_t result)
{
	struct connection *connection =
	    (void *)((char *)request - offsetof(struct connection, receive.request));

	io_message_finish(&connection->receive, result);
	connection->fd_was_cut |= connection->receive.cut;
	if (connection->receive.fd >= 0) {
		if (connection->received_fd >= 0)
			close(connection->received_fd);
		connection->received_fd = connection->receive.fd;
		connection->receive.fd = -1;
	}
	if (connection->closed)
		return;
	if (result == -EINTR || result == -EAGAIN) {
		receive_more(connection);
		return;
	}
	if (result <= 0) {
		connection_close(connection);
		return;
	}
	connection->in_end += (size_t)result;
	CRASH_POINT("publish.received");
	consume(connection);
}

static void
receive_more(struct connection *connection)
{
	struct io *io = connection->router->io;
	struct io_message *message = &connection->receive;

	if (connection->closed || message->request.pending ||
	    connection->out.length > OUT_BYTES_HIGH)
		return;
	if (!make_in_room(connection)) {
		connection_close(connection);
		return;
	}
	message->buffer = connection->in + connection->in_end;
	message->length = connection->in_capacity - connection->in_end;
	message->request.done = received;
	if (connection->role == 0)
		io->operations->receive_message(io, connection->fd, message);
	else
		io->operations->receive(
		    io, connection->fd, message->buffer, message->length, &message->request);
}

static bool
peer_allowed(struct connection *connection)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
		return false;
	connection->peer_uid = peer.uid;
	connection->peer_pid = (uint32_t)peer.pid;
	return peer.uid == geteuid() || peer.uid == 0;
}

void
connection_accept(struct router *router, int fd)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (connection == NULL) {
		close(fd);
		return;
	}
	connection->router = router;
	connection->opened_ns = io_monotonic_ns();
	connection->fd = fd;
	connection->received_fd = connection->receive.fd = -1;
	connection->in_capacity = IN_BYTES;
	connection->in = malloc(IN_BYTES);
	TAILQ_INSERT_TAIL(&router->connections, connection, link);
	if (connection->in == NULL) {
		connection_close(connection);
	} else if (!peer_allowed(connection)) {
		event(EVENT_WARN, "connection.not_permitted", "u:uid",
		    (uint64_t)connection->peer_uid, NULL);
		connection_refuse(connection, 403, "not permitted: run as the router's user");
	} else if (is_kept(router, fd, router->kept_own)) {
		connection_refuse(
		    connection, 503, "the router has no descriptor left (RLIMIT_NOFILE)");
	} else {
		receive_more(connection);
	}
}
