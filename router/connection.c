#include "router/connection.h"

#include <errno.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/container_of.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

enum {
	IN_BYTES = 256 << 10,
	IN_BYTES_MAX = ENVELOPE_BODY_BYTES_MAX + ENVELOPE_OVERHEAD_BYTES + 64,
	BUFFER_BYTES = 4096,
	HELLO_S = 10, /* whoever connects says hello within */
	OUT_BYTES_HIGH =
	    4 << 20, /* a publisher that does not read its results is not read either */
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
	struct connection *connection = CONTAINER_OF(request, struct connection, send_request);

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
		if (connection->handlers->flush != NULL)
			connection->handlers->flush(connection);
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
	if (connection->handlers->closed != NULL)
		connection->handlers->closed(connection);
	shutdown(connection->fd, SHUT_RDWR); /* ends the requests that the back end still has */
}

static void
free_connection(struct connection *connection)
{
	TAILQ_REMOVE(&connection->router->connections, connection, link);
	if (connection->received_fd >= 0)
		close(connection->received_fd);
	close(connection->fd);
	free(connection->in.data);
	free(connection->out.data);
	free(connection->sending.data);
	free(connection);
}

static bool
is_freeable(const struct connection *connection)
{
	return connection->closed && !connection->receive.request.pending &&
	    !connection->send_request.pending;
}

void
connection_sweep(struct router *router)
{
	struct connection *connection, *next;

	TAILQ_FOREACH_SAFE (connection, &router->connections, link, next) {
		if (connection->role == 0 &&
		    router->ticked_ns > connection->opened_ns + HELLO_S * UINT64_C(1000000000))
			connection_close(connection);
		if (is_freeable(connection) &&
		    (connection->handlers->freeable == NULL ||
			connection->handlers->freeable(connection)))
			free_connection(connection);
	}
}

/*
 * Input.
 */

int
connection_take_frames(struct connection *connection, connection_frame_handler *handle)
{
	const struct connection_handlers *handlers = connection->handlers;
	struct wire_header header;
	const uint8_t *payload;
	size_t have;
	int rc;

	while (!connection->closed && !connection->ending) {
		if (connection->handlers != handlers) /* it has said HELLO */
			return connection->handlers->consume(connection);
		have = connection->in.end - connection->in.start;
		if (have < sizeof(header))
			return 1;
		memcpy(&header, connection->in.data + connection->in.start, sizeof(header));
		if (!wire_header_valid(&header) || header.length > WIRE_SMALL_BYTES)
			return -EPROTO;
		if (have < sizeof(header) + header.length)
			return 1;
		payload = connection->in.data + connection->in.start + sizeof(header);
		rc = handle(connection, (enum wire_type)header.type, payload, header.length);
		if (rc != 1)
			return rc;
		connection->in.start += sizeof(header) + header.length;
	}
	return 1;
}

/* Makes free room behind in_end: at least as much as the longest message may still need. */
static bool
make_in_room(struct connection *connection)
{
	size_t left = connection->in.end - connection->in.start;
	size_t capacity = connection->in.capacity;
	uint8_t *bigger;

	if (connection->in.start > 0) {
		memmove(connection->in.data, connection->in.data + connection->in.start, left);
		connection->in.start = 0;
		connection->in.end = left;
	}
	if (left < capacity)
		return true;
	if (capacity >= IN_BYTES_MAX)
		return false;
	capacity = capacity * 2 > IN_BYTES_MAX ? IN_BYTES_MAX : capacity * 2;
	bigger = realloc(connection->in.data, capacity);
	if (bigger == NULL)
		return false;
	connection->in.data = bigger;
	connection->in.capacity = capacity;
	return true;
}

static void
consume(struct connection *connection)
{
	int rc = connection->ending ? 1 : connection->handlers->consume(connection);

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
	struct connection *connection = CONTAINER_OF(request, struct connection, receive.request);

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
	connection->in.end += (size_t)result;
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
	message->buffer = connection->in.data + connection->in.end;
	message->length = connection->in.capacity - connection->in.end;
	message->request.done = received;
	if (connection->role == 0)
		io->operations->receive_message(io, connection->fd, message);
	else
		io->operations->receive(
		    io, connection->fd, message->buffer, message->length, &message->request);
}

struct connection *
connection_new(struct router *router, int fd, const struct connection_handlers *handlers)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (connection == NULL) {
		close(fd);
		return NULL;
	}
	connection->router = router;
	connection->handlers = handlers;
	connection->opened_ns = io_monotonic_ns();
	connection->fd = fd;
	connection->received_fd = connection->receive.fd = -1;
	connection->in.capacity = IN_BYTES;
	connection->in.data = malloc(IN_BYTES);
	TAILQ_INSERT_TAIL(&router->connections, connection, link);
	if (connection->in.data != NULL)
		return connection;
	connection_close(connection);
	return NULL;
}

void
connection_begin(struct connection *connection)
{
	receive_more(connection);
}
