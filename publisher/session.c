#include "publisher/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "publisher/unpack.h"

enum { IN_BYTES = WIRE_SMALL_BYTES + sizeof(struct wire_header), RESULT_FIELDS = 5 };

int
session_init(struct session *session)
{
	*session = (struct session){ .fd = -1 };
	session->in = malloc(IN_BYTES);
	return session->in != NULL ? 0 : -ENOMEM;
}

void
session_close(struct session *session)
{
	if (session->fd >= 0)
		close(session->fd);
	session->fd = -1;
	session->sending = false;
	session->in_length = 0;
}

void
session_free(struct session *session)
{
	session_close(session);
	free(session->in);
}

/* Reads an ERROR frame's payload. Returns -EAGAIN, -EACCES, -EINVAL, -EPROTO or -ENOMEM. */
static int
read_refusal(const void *payload, size_t length, char *error, size_t error_bytes)
{
	msgpack_object_array root;
	msgpack_zone zone;
	uint64_t status;
	int rc = -EPROTO;

	if (!msgpack_zone_init(&zone, 1024))
		return -ENOMEM;
	if (unpack_array(payload, length, &zone, &root) == 0 && root.size == 2 &&
	    unpack_uint(&root.ptr[0], 999, &status) &&
	    unpack_text(&root.ptr[1], error, error_bytes))
		rc = status >= 500 ? -EAGAIN : status == 403 ? -EACCES : -EINVAL;
	msgpack_zone_destroy(&zone);
	return rc;
}

static const char *
connect_error(int rc)
{
	switch (rc) {
	case -EACCES:
		return "permission denied: publish as the router's user, or as root";
	case -EPERM:
		return "another user listens there, who is neither you nor root";
	case -ETIMEDOUT:
		return "the router does not answer";
	default:
		return strerror(-rc);
	}
}

/* The kernel gives pid 0 for a router in another pid namespace. */
static void
note_peer(struct session *session)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(session->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
		session->router_pid = (uint32_t)peer.pid;
}

static int
left_ms(int64_t begin_ms, int timeout_ms)
{
	int64_t spent_ms = (int64_t)(clock_monotonic_ns() / 1000000) - begin_ms;

	return spent_ms < timeout_ms ? timeout_ms - (int)spent_ms : 0;
}

int
session_open(struct session *session, const char *run_dir, const char *topic_name,
    bool wants_receipts, int timeout_ms, struct topic_settings *topic, char *error,
    size_t error_bytes)
{
	const struct wire_hello hello = {
		.role = WIRE_PUBLISHER,
		.program = "headgate-publish",
		.name = topic_name,
		.wants_receipts = wants_receipts,
	};
	enum wire_type type;
	size_t length;
	int64_t begin_ms = (int64_t)(clock_monotonic_ns() / 1000000);
	int rc;

	session_close(session);
	session->router_pid = 0;
	session->next_number = 1;
	session->settled = 0;
	session->fd = wire_connect(run_dir, timeout_ms);
	if (session->fd < 0) {
		rc = session->fd;
		snprintf(error, error_bytes, "%s/router.sock: %s", run_dir, connect_error(rc));
		return rc;
	}
	note_peer(session);
	snprintf(error, error_bytes, "the router hung up");
	rc = wire_send_hello(session->fd, &hello, -1);
	if (rc == 0)
		rc = wire_receive(session->fd, &type, session->in, &length, NULL, NULL,
		    left_ms(begin_ms, timeout_ms));
	if (rc == -ETIMEDOUT)
		snprintf(error, error_bytes, "the router does not answer");
	if (rc == 0 && type == WIRE_ERROR)
		rc = read_refusal(session->in, length, error, error_bytes);
	else if (rc == 0)
		rc = type == WIRE_WELCOME ? topic_decode(topic, session->in, length) : -EPROTO;
	if (rc == 0 && fcntl(session->fd, F_SETFL, O_NONBLOCK) != 0)
		rc = -errno;
	if (rc != 0)
		session_close(session);
	return rc;
}

static bool
next_frame(struct session *session, struct window *window)
{
	if (!window_next_frame(window, &session->frame))
		return false;
	session->head.header = (struct wire_header){
		.length = (uint32_t)(sizeof(session->head.publish) + session->frame.length),
		.type = WIRE_PUBLISH,
	};
	session->head.publish = (struct wire_publish){
		.first = session->next_number,
		.count = session->frame.count,
	};
	session->sent = 0;
	session->sending = true;
	return true;
}

/* Sends the rest of head and frame, as far as the socket accepts. Returns as sendmsg() does. */
static ssize_t
send_some(const struct session *session)
{
	size_t head_left =
	    session->sent < sizeof(session->head) ? sizeof(session->head) - session->sent : 0;
	size_t frame_sent = session->sent + head_left - sizeof(session->head);
	struct iovec iov[2];
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };
	const char *head = (const char *)&session->head + session->sent;
	const char *payload = (const char *)session->frame.payload + frame_sent;

	memcpy(&iov[0].iov_base, &head, sizeof(head));
	memcpy(&iov[1].iov_base, &payload, sizeof(payload));
	iov[0].iov_len = head_left;
	iov[1].iov_len = session->frame.length - frame_sent;
	return sendmsg(session->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int
session_send(struct session *session, struct window *window)
{
	while (session->sending || next_frame(session, window)) {
		ssize_t n = send_some(session);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 1 : -errno;
		session->sent += (size_t)n;
		session->sending = session->sent < sizeof(session->head) + session->frame.length;
		if (!session->sending)
			session->next_number += session->frame.count;
	}
	return 0;
}

static bool
read_places(const msgpack_object *object, struct session_result *result)
{
	if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size > CONFIG_QUEUES)
		return false;
	result->place_count = object->via.array.size;
	for (size_t i = 0; i < result->place_count; i++) {
		const msgpack_object *pair = &object->via.array.ptr[i];
		uint64_t queue;

		if (pair->type != MSGPACK_OBJECT_ARRAY || pair->via.array.size != 2 ||
		    !unpack_uint(&pair->via.array.ptr[0], CONFIG_QUEUES - 1, &queue) ||
		    !unpack_uint(&pair->via.array.ptr[1], UINT64_MAX, &result->places[i].sequence))
			return false;
		result->places[i].queue = (unsigned)queue;
	}
	return true;
}

/* End of the messages that a result may cover. The router cannot have the last message of a frame
 * that is still being sent, so a result for this last message is refused. The frame's block
 * therefore stays in the window until the frame has been sent. */
static uint64_t
answerable_end(const struct session *session)
{
	return session->next_number + (session->sending ? session->frame.count - 1 : 0);
}

/* Reads [first, count, status, duplicate, places or reason]. False unless (1) the result follows
 * the previous one without a gap, and (2) all of its messages may be answered. */
static bool
read_result(struct session *session, const msgpack_object *object, struct session_result *result)
{
	const msgpack_object *field;
	uint64_t first, count, status;

	if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size != RESULT_FIELDS)
		return false;
	field = object->via.array.ptr;
	if (!unpack_uint(&field[0], UINT64_MAX, &first) ||
	    !unpack_uint(&field[1], UINT32_MAX, &count) || !unpack_uint(&field[2], 599, &status) ||
	    !unpack_bool(&field[3], &result->duplicate) || count == 0 ||
	    first != session->settled + 1 || count > answerable_end(session) - first)
		return false;
	session->settled += count;
	result->count = (uint32_t)count;
	result->status = (int)status;
	result->place_count = 0;
	result->error[0] = '\0';
	return status < 300 ? read_places(&field[4], result)
			    : unpack_text(&field[4], result->error, sizeof(result->error));
}

static int
handle_frame(struct session *session, const void *payload, size_t length,
    int (*callback)(void *, const struct session_result *), void *context)
{
	struct session_result result;
	msgpack_object_array root;
	msgpack_zone zone;
	int rc;

	if (!msgpack_zone_init(&zone, 1024))
		return -ENOMEM;
	rc = unpack_array(payload, length, &zone, &root);
	for (uint32_t i = 0; rc == 0 && i < root.size; i++)
		rc = read_result(session, &root.ptr[i], &result) ? callback(context, &result)
								 : -EPROTO;
	msgpack_zone_destroy(&zone);
	return rc;
}

/* Handles all complete frames of the buffer. */
static int
handle_frames(
    struct session *session, int (*callback)(void *, const struct session_result *), void *context)
{
	size_t start = 0;
	int rc = 0;

	while (rc == 0 && session->in_length - start >= sizeof(struct wire_header)) {
		struct wire_header header;

		memcpy(&header, session->in + start, sizeof(header));
		if (!wire_header_valid(&header) || header.length > WIRE_SMALL_BYTES ||
		    (header.type != WIRE_RESULT && header.type != WIRE_ERROR))
			return -EPROTO;
		if (session->in_length - start < sizeof(header) + header.length)
			break;
		if (header.type == WIRE_ERROR)
			return read_refusal(session->in + start + sizeof(header), header.length,
			    session->error, sizeof(session->error));
		rc = handle_frame(session, session->in + start + sizeof(header), header.length,
		    callback, context);
		start += sizeof(header) + header.length;
	}
	session->in_length -= start;
	memmove(session->in, session->in + start, session->in_length);
	return rc;
}

int
session_receive(struct session *session,
    int (*callback)(void *context, const struct session_result *), void *context)
{
	for (;;) {
		ssize_t n = recv(session->fd, session->in + session->in_length,
		    IN_BYTES - session->in_length, MSG_DONTWAIT);
		int rc;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (n == 0)
			return -EPIPE;
		session->in_length += (size_t)n;
		rc = handle_frames(session, callback, context);
		if (rc != 0)
			return rc;
	}
}
