/*
 * The io_uring back end: one ring, used by the one thread that made it.
 */
#include "router/io/io.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RING_ENTRIES = 1024 };

struct uring {
	struct io io;
	struct io_uring ring;
};

static struct uring *
uring_of(struct io *io)
{
	return (struct uring *)io;
}

/* A submission entry; when the queue is full, what is in it is handed over first. */
static struct io_uring_sqe *
next_entry(struct io *io, struct io_request *request)
{
	struct uring *uring = uring_of(io);
	struct io_uring_sqe *entry;

	while ((entry = io_uring_get_sqe(&uring->ring)) == NULL)
		io_uring_submit(&uring->ring);
	request->pending = true;
	return entry;
}

static void
uring_accept(struct io *io, int fd, struct io_request *request)
{
	struct io_uring_sqe *entry = next_entry(io, request);

	io_uring_prep_multishot_accept(entry, fd, NULL, NULL, SOCK_CLOEXEC);
	io_uring_sqe_set_data(entry, request);
}

static void
uring_receive(struct io *io, int fd, void *buffer, size_t length, struct io_request *request)
{
	struct io_uring_sqe *entry = next_entry(io, request);

	io_uring_prep_recv(entry, fd, buffer, length, 0);
	io_uring_sqe_set_data(entry, request);
}

static void
uring_receive_message(struct io *io, int fd, struct io_message *message)
{
	struct io_uring_sqe *entry = next_entry(io, &message->request);

	io_message_prepare(message);
	io_uring_prep_recvmsg(entry, fd, &message->header, MSG_CMSG_CLOEXEC);
	io_uring_sqe_set_data(entry, &message->request);
}

static void
uring_send(struct io *io, int fd, const void *buffer, size_t length, struct io_request *request)
{
	struct io_uring_sqe *entry = next_entry(io, request);

	io_uring_prep_send(entry, fd, buffer, length, MSG_NOSIGNAL);
	io_uring_sqe_set_data(entry, request);
}

static void
uring_read(
    struct io *io, int fd, void *buffer, size_t length, int64_t offset, struct io_request *request)
{
	struct io_uring_sqe *entry = next_entry(io, request);

	io_uring_prep_read(entry, fd, buffer, (unsigned)length, (uint64_t)offset);
	io_uring_sqe_set_data(entry, request);
}

static void
uring_write(struct io *io, int fd, const void *buffer, size_t length, int64_t offset,
    struct io_request *request)
{
	struct io_uring_sqe *entry = next_entry(io, request);

	io_uring_prep_write(entry, fd, buffer, (unsigned)length, (uint64_t)offset);
	io_uring_sqe_set_data(entry, request);
}

static void
uring_sync(struct io *io, int fd, struct io_request *request)
{
	struct io_uring_sqe *entry = next_entry(io, request);

	io_uring_prep_fsync(entry, fd, IORING_FSYNC_DATASYNC);
	io_uring_sqe_set_data(entry, request);
}

static void
uring_cancel(struct io *io, struct io_request *request)
{
	struct uring *uring = uring_of(io);
	struct io_uring_sqe *entry;

	while ((entry = io_uring_get_sqe(&uring->ring)) == NULL)
		io_uring_submit(&uring->ring);
	io_uring_prep_cancel(entry, request, 0);
	io_uring_sqe_set_data(entry, NULL); /* how it went shows in the request */
}

static int
uring_run(struct io *io, int64_t timeout_ns)
{
	struct uring *uring = uring_of(io);
	struct __kernel_timespec timeout = {
		.tv_sec = timeout_ns / 1000000000,
		.tv_nsec = timeout_ns % 1000000000,
	};
	struct io_uring_cqe *cqe;
	int rc;

	if (timeout_ns > 0)
		rc = io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1, &timeout, NULL);
	else
		rc = io_uring_submit_and_get_events(&uring->ring);
	if (rc < 0 && rc != -ETIME && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
		return rc;
	while (io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
		struct io_request *request = io_uring_cqe_get_data(cqe);
		int64_t result = cqe->res;
		bool more = cqe->flags & IORING_CQE_F_MORE;

		io_uring_cqe_seen(&uring->ring, cqe);
		if (request == NULL) /* liburing's own time-out entry */
			continue;
		request->pending = more;
		request->done(request, result);
	}
	return 0;
}

static void
uring_destroy(struct io *io)
{
	io_uring_queue_exit(&uring_of(io)->ring);
	free(io);
}

static const struct io_operations uring_operations = {
	.name = "uring",
	.accept = uring_accept,
	.receive = uring_receive,
	.receive_message = uring_receive_message,
	.send = uring_send,
	.read = uring_read,
	.write = uring_write,
	.sync = uring_sync,
	.cancel = uring_cancel,
	.run = uring_run,
	.destroy = uring_destroy,
};

int
io_uring_create(struct io **io)
{
	static const unsigned ladder[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CLAMP,
		IORING_SETUP_CLAMP,
	};
	struct uring *uring = calloc(1, sizeof(*uring));
	int rc = -ENOMEM;

	if (uring == NULL)
		return rc;
	for (size_t i = 0; i < sizeof(ladder) / sizeof(ladder[0]); i++) {
		rc = io_uring_queue_init(RING_ENTRIES, &uring->ring, ladder[i]);
		if (rc != -EINVAL)
			break;
	}
	if (rc == 0) {
		/* Whoever may set a ring up need not be allowed to use it. */
		rc = io_uring_submit_and_get_events(&uring->ring);
		if (rc < 0)
			io_uring_queue_exit(&uring->ring);
	}
	if (rc < 0) {
		free(uring);
		return rc;
	}
	uring->io.operations = &uring_operations;
	*io = &uring->io;
	return 0;
}
