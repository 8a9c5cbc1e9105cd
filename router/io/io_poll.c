/*
 * The poll(2) back end, for where there is no io_uring: one thread and plain system calls.
 *
 * Sockets and eventfds wait in slots, one a descriptor, until poll(2) says that they are ready. Files
 * are always ready, so reads and writes are made in run(), one after the other, and nothing else
 * happens meanwhile. Therefore a write first lets in what has arrived: the router's next batch
 * gathers while this one waits, as it does behind io_uring's back.
 */
#include "base/container_of.h"
#include "router/io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { ACCEPTS_A_TURN = 16, FIRST_SLOTS = 64 };

enum kind { REFUSED, ACCEPT, RECEIVE, RECEIVE_MESSAGE, SEND, READ_STREAM, READ_AT, WRITE, SYNC };

STAILQ_HEAD(request_list, io_request);

/* Who waits for a descriptor. */
struct slot {
	struct request_list in, out;
};

struct poller {
	struct io io;
	struct request_list ready;  /* to be tried in the next turn */
	struct request_list writes; /* to files */
	uint64_t writes_since_ns;   /* when the first of them was asked for */
	uint64_t writes_took_ns;    /* the last time */

	/* By descriptor, so that there are never more than poll(2) takes (RLIMIT_NOFILE). Where nobody
	 * waits, polled[].fd is -1. */
	struct pollfd *polled;
	struct slot *slots;
	size_t slot_count;
	size_t used_slots; /* up to the highest descriptor that was waited for */
};

static struct poller *
poller_of(struct io *io)
{
	return (struct poller *)io;
}

/*
 * Waiting.
 */

static bool
grow(struct poller *poller, size_t least)
{
	size_t count = poller->slot_count ? poller->slot_count : FIRST_SLOTS;
	struct pollfd *polled;
	struct slot *slots;

	while (count < least)
		count *= 2;
	polled = realloc(poller->polled, count * sizeof(*polled));
	if (polled == NULL)
		return false;
	poller->polled = polled;
	/* Not realloc(): an empty list points to itself. */
	slots = malloc(count * sizeof(*slots));
	if (slots == NULL)
		return false;
	for (size_t i = 0; i < count; i++) {
		STAILQ_INIT(&slots[i].in);
		STAILQ_INIT(&slots[i].out);
		if (i >= poller->slot_count) {
			polled[i] = (struct pollfd){ .fd = -1 };
			continue;
		}
		STAILQ_CONCAT(&slots[i].in, &poller->slots[i].in);
		STAILQ_CONCAT(&slots[i].out, &poller->slots[i].out);
	}
	free(poller->slots);
	poller->slots = slots;
	poller->slot_count = count;
	return true;
}

static void
update_polled(struct poller *poller, int fd)
{
	const struct slot *slot = &poller->slots[fd];
	struct pollfd *polled = &poller->polled[fd];

	polled->events = (short)((STAILQ_EMPTY(&slot->in) ? 0 : POLLIN) |
	    (STAILQ_EMPTY(&slot->out) ? 0 : POLLOUT));
	polled->fd = polled->events != 0 ? fd : -1;
}

/* The request waits for its descriptor; or it is refused, in the next turn. */
static void
wait_for(struct poller *poller, struct io_request *request)
{
	struct io_task *task = &request->task;
	struct slot *slot;

	if (task->fd < 0 ||
	    ((size_t)task->fd >= poller->slot_count && !grow(poller, (size_t)task->fd + 1))) {
		task->offset = task->fd < 0 ? -EBADF : -ENOMEM;
		task->kind = REFUSED;
		STAILQ_INSERT_TAIL(&poller->ready, request, task.link);
		return;
	}
	if ((size_t)task->fd >= poller->used_slots)
		poller->used_slots = (size_t)task->fd + 1;
	slot = &poller->slots[task->fd];
	STAILQ_INSERT_TAIL(task->kind == SEND ? &slot->out : &slot->in, request, task.link);
	update_polled(poller, task->fd);
}

/* Waits and makes ready whom poll(2) names. Returns how many descriptors those are, or -errno. */
static int
wait_turn(struct poller *poller, int64_t timeout_ns)
{
	const struct timespec timeout = {
		.tv_sec = timeout_ns / 1000000000,
		.tv_nsec = timeout_ns % 1000000000,
	};
	int count = ppoll(poller->polled, poller->used_slots, &timeout, NULL);
	int left = count;

	if (count < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	for (int fd = 0; left > 0; fd++) {
		short events = poller->polled[fd].fd < 0 ? 0 : poller->polled[fd].revents;

		if (events == 0)
			continue;
		left--;
		/* Errors and hang-ups concern both. */
		if (events & ~POLLOUT)
			STAILQ_CONCAT(&poller->ready, &poller->slots[fd].in);
		if (events & ~POLLIN)
			STAILQ_CONCAT(&poller->ready, &poller->slots[fd].out);
		update_polled(poller, fd);
	}
	return count;
}

/*
 * Doing.
 */

/* A worker has the eventfd too and could empty it between poll(2) and here: never to wait for that. */
static ssize_t
read_stream(const struct io_task *task)
{
	struct iovec iov = { .iov_base = task->buffer.in, .iov_len = task->length };
	ssize_t n = preadv2(task->fd, &iov, 1, -1, RWF_NOWAIT);

	if (n < 0 && errno == EOPNOTSUPP)
		n = read(task->fd, task->buffer.in, task->length);
	return n;
}

/* All of it, or as much as went. */
static ssize_t
write_at(const struct io_task *task)
{
	const char *bytes = task->buffer.out;
	size_t done = 0;
	ssize_t n = 0;

	while (done < task->length) {
		n = pwrite(task->fd, bytes + done, task->length - done,
		    (off_t)(task->offset + (int64_t)done));
		if (n == 0 || (n < 0 && errno != EINTR))
			break;
		done += n > 0 ? (size_t)n : 0;
	}
	return done > 0 ? (ssize_t)done : n;
}

static ssize_t
call(struct io_request *request)
{
	const struct io_task *task = &request->task;
	struct io_message *message;

	switch ((enum kind)task->kind) {
	case ACCEPT:
		return accept4(task->fd, NULL, NULL, SOCK_CLOEXEC);
	case RECEIVE:
		return recv(task->fd, task->buffer.in, task->length, MSG_DONTWAIT);
	case RECEIVE_MESSAGE:
		message = CONTAINER_OF(request, struct io_message, request);
		return recvmsg(task->fd, &message->header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	case SEND:
		return send(task->fd, task->buffer.out, task->length, MSG_DONTWAIT | MSG_NOSIGNAL);
	case READ_STREAM:
		return read_stream(task);
	case READ_AT:
		return pread(task->fd, task->buffer.in, task->length, (off_t)task->offset);
	case WRITE:
		return write_at(task);
	case SYNC:
		return fdatasync(task->fd);
	case REFUSED:
		break;
	}
	errno = (int)-task->offset;
	return -1;
}

static int64_t
attempt(struct io_request *request)
{
	ssize_t n;

	do {
		n = call(request);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void
complete(struct io_request *request, int64_t result)
{
	request->pending = false;
	request->done(request, result);
}

/* As many as are there, but not for ever: the rest of the turn waits. */
static void
accept_some(struct poller *poller, struct io_request *request)
{
	int64_t result = 0;

	for (int i = 0; i < ACCEPTS_A_TURN && result >= 0; i++) {
		result = attempt(request);
		if (result >= 0)
			request->done(request, result);
	}
	if (result >= 0 || result == -EAGAIN || result == -ECONNABORTED)
		wait_for(poller, request);
	else
		complete(request, result);
}

/* Only what is ready now: what done() asks for has its turn in the next. */
static void
do_ready(struct poller *poller)
{
	struct request_list turn = STAILQ_HEAD_INITIALIZER(turn);
	struct io_request *request;

	STAILQ_CONCAT(&turn, &poller->ready);
	while ((request = STAILQ_FIRST(&turn)) != NULL) {
		int64_t result;

		STAILQ_REMOVE_HEAD(&turn, task.link);
		if (request->task.kind == ACCEPT) {
			accept_some(poller, request);
			continue;
		}
		result = attempt(request);
		if (result == -EAGAIN && request->task.kind != READ_AT)
			wait_for(poller, request);
		else
			complete(request, result);
	}
}

/* Of several logs too one after the other: a disk that is waited for has one write at a time. */
static void
do_writes(struct poller *poller)
{
	struct request_list turn = STAILQ_HEAD_INITIALIZER(turn);
	struct io_request *request;
	uint64_t start_ns = io_monotonic_ns();

	STAILQ_CONCAT(&turn, &poller->writes);
	while ((request = STAILQ_FIRST(&turn)) != NULL) {
		STAILQ_REMOVE_HEAD(&turn, task.link);
		complete(request, attempt(request));
	}
	poller->writes_took_ns = io_monotonic_ns() - start_ns;
}

static int
poller_run(struct io *io, int64_t timeout_ns)
{
	struct poller *poller = poller_of(io);
	bool idle = STAILQ_EMPTY(&poller->ready) && STAILQ_EMPTY(&poller->writes);
	int arrived = wait_turn(poller, idle ? timeout_ns : 0);

	if (arrived < 0)
		return arrived;
	do_ready(poller);
	if (STAILQ_EMPTY(&poller->writes))
		return 0;
	/* A write waits while something arrives, but no longer than the last one took: a slow disk
	 * gets large batches, a fast one does not wait. */
	if (arrived == 0 || io_monotonic_ns() - poller->writes_since_ns >= poller->writes_took_ns)
		do_writes(poller);
	return 0;
}

/*
 * Asking.
 */

static struct io_task *
take(struct io_request *request, enum kind kind, int fd, size_t length)
{
	request->pending = true;
	request->task = (struct io_task){ .kind = kind, .fd = fd, .length = length };
	return &request->task;
}

static void
poller_accept(struct io *io, int fd, struct io_request *request)
{
	int flags = fcntl(fd, F_GETFL);

	/* Who called may be gone when we accept. */
	if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	take(request, ACCEPT, fd, 0);
	wait_for(poller_of(io), request);
}

static void
poller_receive(struct io *io, int fd, void *buffer, size_t length, struct io_request *request)
{
	take(request, RECEIVE, fd, length)->buffer.in = buffer;
	wait_for(poller_of(io), request);
}

static void
poller_receive_message(struct io *io, int fd, struct io_message *message)
{
	io_message_prepare(message);
	take(&message->request, RECEIVE_MESSAGE, fd, 0);
	wait_for(poller_of(io), &message->request);
}

/* Tried before it waits: most sockets have room. */
static void
poller_send(struct io *io, int fd, const void *buffer, size_t length, struct io_request *request)
{
	take(request, SEND, fd, length)->buffer.out = buffer;
	STAILQ_INSERT_TAIL(&poller_of(io)->ready, request, task.link);
}

static void
poller_read(
    struct io *io, int fd, void *buffer, size_t length, int64_t offset, struct io_request *request)
{
	struct io_task *task = take(request, offset < 0 ? READ_STREAM : READ_AT, fd, length);

	task->buffer.in = buffer;
	task->offset = offset;
	if (offset < 0)
		wait_for(poller_of(io), request);
	else
		STAILQ_INSERT_TAIL(&poller_of(io)->ready, request, task.link);
}

static void
poller_write(struct io *io, int fd, const void *buffer, size_t length, int64_t offset,
    struct io_request *request)
{
	struct poller *poller = poller_of(io);
	struct io_task *task = take(request, WRITE, fd, length);

	task->buffer.out = buffer;
	task->offset = offset;
	if (STAILQ_EMPTY(&poller->writes))
		poller->writes_since_ns = io_monotonic_ns();
	STAILQ_INSERT_TAIL(&poller->writes, request, task.link);
}

static void
poller_sync(struct io *io, int fd, struct io_request *request)
{
	struct poller *poller = poller_of(io);

	take(request, SYNC, fd, 0);
	if (STAILQ_EMPTY(&poller->writes))
		poller->writes_since_ns = io_monotonic_ns();
	STAILQ_INSERT_TAIL(&poller->writes, request, task.link);
}

/* Only what waits for a descriptor can wait long. */
static void
poller_cancel(struct io *io, struct io_request *request)
{
	struct poller *poller = poller_of(io);
	struct io_task *task = &request->task;
	struct io_request *waiting;
	struct request_list *list;

	if (!request->pending || task->fd < 0 || (size_t)task->fd >= poller->slot_count)
		return;
	list = task->kind == SEND ? &poller->slots[task->fd].out : &poller->slots[task->fd].in;
	STAILQ_FOREACH(waiting, list, task.link)
	{
		if (waiting != request)
			continue;
		STAILQ_REMOVE(list, request, io_request, task.link);
		update_polled(poller, task->fd);
		task->kind = REFUSED;
		task->offset = -ECANCELED;
		STAILQ_INSERT_TAIL(&poller->ready, request, task.link);
		return;
	}
}

/* Does not look at the requests that are pending: they may be gone. */
static void
poller_destroy(struct io *io)
{
	struct poller *poller = poller_of(io);

	free(poller->polled);
	free(poller->slots);
	free(poller);
}

static const struct io_operations poller_operations = {
	.name = "poll",
	.accept = poller_accept,
	.receive = poller_receive,
	.receive_message = poller_receive_message,
	.send = poller_send,
	.read = poller_read,
	.write = poller_write,
	.sync = poller_sync,
	.cancel = poller_cancel,
	.run = poller_run,
	.destroy = poller_destroy,
};

int
io_poll_create(struct io **io)
{
	struct poller *poller = calloc(1, sizeof(*poller));

	if (poller == NULL)
		return -ENOMEM;
	if (!grow(poller, FIRST_SLOTS)) {
		free(poller->polled);
		free(poller);
		return -ENOMEM;
	}
	STAILQ_INIT(&poller->ready);
	STAILQ_INIT(&poller->writes);
	poller->io.operations = &poller_operations;
	*io = &poller->io;
	return 0;
}
