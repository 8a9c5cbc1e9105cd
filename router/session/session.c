#include "router/session/session.h"

#include <errno.h>
#include <msgpack.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "router/delivery/detach.h"
#include "router/delivery/requests.h"
#include "router/session/admin.h"
#include "router/session/attach.h"
#include "router/session/publish.h"
#include "router/session/redrive.h"
#include "telemetry/event.h"

enum { HELLO_FIELDS = 6 };

/*
 * The roles.
 */

/* What headgatectl may send behind a HELLO. */
static int
handle_control(
    struct connection *connection, enum wire_type type, const void *payload, size_t length)
{
	int rc = -EPROTO;

	if (connection->request.queue != NULL)
		return -EPROTO;
	if (type == WIRE_POKE) /* a state word was changed: each turn looks at all of them */
		return 1;
	if ((type == WIRE_GROUPS || type == WIRE_TRY) && !admin_may_answer(connection))
		return 0;
	if (type == WIRE_MOVE)
		rc = redrive_handle(connection, payload, length);
	else if (type == WIRE_GROUPS)
		rc = admin_groups(connection, payload, length);
	else if (type == WIRE_TRY)
		rc = admin_try(connection, payload, length);
	return rc == 0 ? 1 : rc;
}

static int
consume_control(struct connection *connection)
{
	return connection_take_frames(connection, handle_control);
}

static const struct connection_handlers headgatectl = {
	.consume = consume_control,
	.closed = requests_forget,
};

/* A worker says in the rings what it has to say. */
static int
handle_worker(
    struct connection *connection, enum wire_type type, const void *payload, size_t length)
{
	(void)connection;
	(void)payload;
	(void)length;
	return type == WIRE_POKE ? 1 : -EPROTO;
}

static int
consume_worker(struct connection *connection)
{
	return connection_take_frames(connection, handle_worker);
}

static void
worker_closed(struct connection *connection)
{
	if (connection->worker != NULL)
		detach_worker(connection->worker);
}

static bool
worker_freeable(struct connection *connection)
{
	return connection->worker == NULL || worker_free(connection->worker);
}

static const struct connection_handlers worker = {
	.consume = consume_worker,
	.closed = worker_closed,
	.freeable = worker_freeable,
};

static const struct connection_handlers publisher = {
	.consume = publish_consume,
	.flush = publish_flush_run,
};

/*
 * HELLO.
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
	return router->descriptors.limit != 0 && (uint64_t)fd + kept >= router->descriptors.limit;
}

static void
welcome_publisher(struct connection *connection, const struct hello *hello)
{
	const struct router *router = connection->router;

	connection->publisher.topic = find_topic(connection->router, hello->name);
	connection->publisher.wants_receipts = hello->wants_receipts;
	if (is_kept(router, connection->fd, router->descriptors.own + router->descriptors.workers))
		connection_refuse(connection, 503,
		    "the router has no descriptor left for publishers (RLIMIT_NOFILE): too many "
		    "are connected");
	else if (connection->publisher.topic == NULL)
		connection_refuse(connection, 404, "no topic of this name in the configuration");
	else
		publish_welcome(connection);
}

static int
handle_hello(struct connection *connection, enum wire_type type, const void *payload, size_t length)
{
	struct hello hello;

	if (type != WIRE_HELLO || !read_hello(&hello, payload, length))
		return -EPROTO;
	if (hello.version != WIRE_VERSION) {
		connection_refuse(connection, 426,
		    "the router speaks another version of the protocol: restart what is older");
		return 1;
	}
	memcpy(connection->program, hello.program, sizeof(connection->program));
	connection->role = (enum wire_role)hello.role;
	if (connection->router->stopping) {
		connection_refuse(connection, 503, "the router is stopping");
		return 1;
	}
	event(EVENT_DEBUG, "connection.opened", "s:program", connection->program, "u:pid",
	    (uint64_t)connection->peer_pid, "s:name", hello.name, NULL);
	switch (connection->role) {
	case WIRE_PUBLISHER:
		connection->handlers = &publisher;
		welcome_publisher(connection, &hello);
		return 1;
	case WIRE_WORKER:
		connection->handlers = &worker;
		attach_worker(connection, hello.name, hello.lanes);
		return 1;
	case WIRE_CONTROL:
		connection->handlers = &headgatectl;
		connection_frame(connection, WIRE_WELCOME, "\x90", 1); /* an empty array */
		connection_flush_now(connection);
		return 1;
	}
	return -EPROTO;
}

static int
consume_hello(struct connection *connection)
{
	return connection_take_frames(connection, handle_hello);
}

static const struct connection_handlers newcomer = { .consume = consume_hello };

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
session_accept(struct router *router, int fd)
{
	struct connection *connection = connection_new(router, fd, &newcomer);

	if (connection == NULL)
		return;
	if (!peer_allowed(connection)) {
		event(EVENT_WARN, "connection.not_permitted", "u:uid",
		    (uint64_t)connection->peer_uid, NULL);
		connection_refuse(connection, 403, "not permitted: run as the router's user");
	} else if (is_kept(router, fd, router->descriptors.own)) {
		connection_refuse(
		    connection, 503, "the router has no descriptor left (RLIMIT_NOFILE)");
	} else {
		connection_begin(connection);
	}
}
