#include "tests/sim/net.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/container_of.h"
#include "tests/sim/disk.h"

enum { CALLERS = 32, REQUESTS = 512 };

struct listener {
	struct file file;
	bool listens;
	struct net_socket *caller[CALLERS]; /* waiting for accept() */
	unsigned count;
};

struct event {
	struct file file;
	uint64_t count;
};

struct process {
	struct file file;
	uint32_t pid;
};

enum kind { ACCEPT, RECEIVE, RECEIVE_MESSAGE, SEND, READ_EVENT, READ_AT, WRITE, SYNC };

/* Pending requests of the back end, in order of submission. */
static struct {
	struct io_request *request;
	uint64_t due_ns;
	bool cancelled;
} requests[REQUESTS];
static size_t request_count;
static struct listener *listener;
void (*net_kill)(uint32_t pid);

/*
 * The clients' side.
 */

static void
append(struct bytes *bytes, const void *data, size_t length)
{
	if (bytes->length + length > bytes->capacity) {
		bytes->capacity = 2 * (bytes->length + length);
		bytes->data = world_alloc(bytes->data, bytes->capacity);
	}
	memcpy(bytes->data + bytes->length, data, length);
	bytes->length += length;
}

static void
consume(struct bytes *bytes, size_t length)
{
	bytes->length -= length;
	memmove(bytes->data, bytes->data + length, bytes->length);
}

static void
let_go(struct net_socket *socket)
{
	if (--socket->references > 0 || socket->file.references > 0)
		return;
	if (socket->fd_to_router >= 0)
		close(socket->fd_to_router);
	for (unsigned i = 0; i < socket->fd_count; i++)
		if (socket->fds_to_client[i] >= 0)
			close(socket->fds_to_client[i]);
	world_free(socket->to_router.data);
	world_free(socket->to_client.data);
	world_free(socket);
}

static void
end_socket(struct file *file)
{
	struct net_socket *socket = (struct net_socket *)file;

	socket->ended = true;
	socket->references++;
	let_go(socket);
}

struct net_socket *
net_connect(uint32_t pid)
{
	struct net_socket *socket;

	if (listener == NULL || !listener->listens || listener->count == CALLERS)
		return NULL;
	socket = world_alloc(NULL, sizeof(*socket));
	*socket = (struct net_socket){
		.file = { .kind = FILE_SOCKET, .end = end_socket },
		.fd_to_router = -1,
		.pid = pid,
		.references = 2,
	};
	listener->caller[listener->count++] = socket;
	return socket;
}

void
net_send(struct net_socket *socket, const void *data, size_t length)
{
	if (!socket->ended)
		append(&socket->to_router, data, length);
}

void
net_consume(struct net_socket *socket, size_t length)
{
	consume(&socket->to_client, length);
}

void
net_hang_up(struct net_socket *socket)
{
	socket->hung_up = true;
	let_go(socket);
}

int64_t
net_ring_bell(int fd, const void *buffer, size_t length)
{
	struct event *event = (struct event *)descriptor_file(fd, FILE_EVENT);
	uint64_t n;

	if (event == NULL || length != sizeof(n))
		return -EBADF;
	memcpy(&n, buffer, sizeof(n));
	event->count += n;
	return (int64_t)length;
}

/*
 * The back end.
 */

static void
ask(struct io_request *request, enum kind kind, int fd, size_t length, int64_t offset)
{
	/* Mostly the delay of a disk with a cache, at times of a busy one. */
	uint64_t longest_ns = world_chance(5000) ? 200000000 : 500000;

	if (request->pending)
		world_violation("a request is asked for twice");
	if (request_count == REQUESTS)
		world_violation("more than %d requests are pending", REQUESTS);
	request->pending = true;
	request->task.kind = kind;
	request->task.fd = fd;
	request->task.length = length;
	request->task.offset = offset;
	requests[request_count].request = request;
	requests[request_count].cancelled = false;
	requests[request_count++].due_ns = kind == READ_AT || kind == WRITE || kind == SYNC
	    ? world.now_ns + world_below(longest_ns)
	    : 0;
}

static void
io_accept(struct io *io, int fd, struct io_request *request)
{
	(void)io;
	ask(request, ACCEPT, fd, 0, 0);
}

static void
io_receive(struct io *io, int fd, void *buffer, size_t length, struct io_request *request)
{
	(void)io;
	request->task.buffer.in = buffer;
	ask(request, RECEIVE, fd, length, 0);
}

static void
io_send(struct io *io, int fd, const void *buffer, size_t length, struct io_request *request)
{
	(void)io;
	request->task.buffer.out = buffer;
	ask(request, SEND, fd, length, 0);
}

static void
io_receive_message(struct io *io, int fd, struct io_message *message)
{
	(void)io;
	io_message_prepare(message);
	message->request.task.buffer.in = message->buffer;
	ask(&message->request, RECEIVE_MESSAGE, fd, message->length, 0);
}

static void
io_read(
    struct io *io, int fd, void *buffer, size_t length, int64_t offset, struct io_request *request)
{
	(void)io;
	request->task.buffer.in = buffer;
	ask(request, offset < 0 ? READ_EVENT : READ_AT, fd, length, offset);
}

static void
io_write(struct io *io, int fd, const void *buffer, size_t length, int64_t offset,
    struct io_request *request)
{
	(void)io;
	request->task.buffer.out = buffer;
	ask(request, WRITE, fd, length, offset);
	world_step("write asked for");
}

static void
io_sync_file(struct io *io, int fd, struct io_request *request)
{
	(void)io;
	ask(request, SYNC, fd, 0, 0);
	world_step("sync asked for");
}

static void
io_cancel(struct io *io, struct io_request *request)
{
	(void)io;
	for (size_t i = 0; i < request_count; i++)
		if (requests[i].request == request)
			requests[i].cancelled = true;
}

static void
io_destroy(struct io *io)
{
	(void)io;
	request_count = 0;
}

/* The length of a transfer: mostly all, at times a part. */
static size_t
piece(size_t most)
{
	return world_chance(70000) || most <= 1 ? most : 1 + world_below(most);
}

static struct net_socket *
socket_of(const struct io_task *task)
{
	return (struct net_socket *)descriptor_file(task->fd, FILE_SOCKET);
}

static int64_t
receive(struct io_request *request)
{
	struct net_socket *socket = socket_of(&request->task);
	size_t length = request->task.length;
	struct io_message *message;
	struct cmsghdr *header;

	if (socket == NULL)
		return -EBADF;
	if (socket->ended)
		return 0;
	if (socket->to_router.length == 0)
		return socket->hung_up ? 0 : -EAGAIN;
	length = piece(length < socket->to_router.length ? length : socket->to_router.length);
	memcpy(request->task.buffer.in, socket->to_router.data, length);
	consume(&socket->to_router, length);
	if (request->task.kind != RECEIVE_MESSAGE)
		return (int64_t)length;
	message = CONTAINER_OF(request, struct io_message, request);
	header = (void *)message->control;
	if (socket->fd_to_router < 0) {
		message->header.msg_controllen = 0;
		return (int64_t)length;
	}
	*header = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(sizeof(int)),
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
	};
	*(int *)(void *)CMSG_DATA(header) = descriptor_pass(socket->fd_to_router, PARTY_ROUTER);
	close(socket->fd_to_router);
	socket->fd_to_router = -1;
	return (int64_t)length;
}

static int64_t
send_some(const struct io_task *task)
{
	struct net_socket *socket = socket_of(task);
	size_t length = piece(task->length);

	if (socket == NULL)
		return -EBADF;
	if (socket->ended || socket->hung_up)
		return -EPIPE;
	append(&socket->to_client, task->buffer.out, length);
	return (int64_t)length;
}

static int64_t
read_event(const struct io_task *task)
{
	struct event *event = (struct event *)descriptor_file(task->fd, FILE_EVENT);

	if (event == NULL)
		return -EBADF;
	if (event->count == 0)
		return -EAGAIN;
	memcpy(task->buffer.in, &event->count, sizeof(event->count));
	event->count = 0;
	return sizeof(event->count);
}

static int64_t
accept_one(void)
{
	struct net_socket *socket;
	int fd;

	if (listener->count == 0)
		return -EAGAIN;
	if (world_fault("accept"))
		return -EMFILE;
	socket = listener->caller[0];
	memmove(listener->caller, listener->caller + 1,
	    --listener->count * sizeof(listener->caller[0]));
	fd = descriptor_open(&socket->file);
	socket->references--;
	return fd;
}

/* Performs the request. Returns its result, -EAGAIN if it must wait. */
static int64_t
attempt(struct io_request *request)
{
	struct io_task *task = &request->task;

	switch ((enum kind)task->kind) {
	case ACCEPT:
		return accept_one();
	case RECEIVE:
	case RECEIVE_MESSAGE:
		return receive(request);
	case SEND:
		return send_some(task);
	case READ_EVENT:
		return read_event(task);
	case READ_AT:
		return disk_read(task->fd, task->buffer.in, task->length, (uint64_t)task->offset);
	case WRITE:
		return disk_write(task->fd, task->buffer.out, task->length, (uint64_t)task->offset);
	case SYNC:
		return disk_sync(task->fd);
	}
	return -EINVAL;
}

static bool
can_do(size_t i)
{
	const struct io_task *task = &requests[i].request->task;
	const struct net_socket *socket = socket_of(task);
	const struct event *event = (void *)descriptor_file(task->fd, FILE_EVENT);

	if (requests[i].cancelled)
		return true;
	switch ((enum kind)task->kind) {
	case ACCEPT:
		return listener != NULL && listener->count > 0;
	case RECEIVE:
	case RECEIVE_MESSAGE:
		return socket == NULL || socket->ended || socket->hung_up ||
		    socket->to_router.length > 0;
	case READ_EVENT:
		return event == NULL || event->count > 0;
	case READ_AT:
	case WRITE:
	case SYNC:
		return requests[i].due_ns <= world.now_ns;
	case SEND:
		break;
	}
	return true;
}

bool
net_io_ready(void)
{
	for (size_t i = 0; i < request_count; i++)
		if (can_do(i))
			return true;
	return false;
}

static void
complete(size_t i)
{
	struct io_request *request = requests[i].request;
	int64_t result = requests[i].cancelled ? -ECANCELED : attempt(request);

	if (request->task.kind != ACCEPT || result < 0) {
		memmove(
		    &requests[i], &requests[i + 1], (--request_count - i) * sizeof(requests[0]));
		request->pending = false;
	}
	request->done(request, result);
}

/* Advances the clock until a request is due; at times less, as another process may wake the
 * router. */
static void
sleep_until_due(int64_t timeout_ns)
{
	uint64_t until_ns = world.now_ns + (uint64_t)timeout_ns;

	for (size_t i = 0; i < request_count; i++)
		if (requests[i].due_ns > world.now_ns && requests[i].due_ns < until_ns)
			until_ns = requests[i].due_ns;
	if (world_chance(50000))
		until_ns = world.now_ns + world_below(until_ns - world.now_ns + 1);
	world.now_ns = until_ns;
}

static int
io_run(struct io *io, int64_t timeout_ns)
{
	size_t most = 1 + world_below(8);

	(void)io;
	world.now_ns += 1 + world_below(20000);
	if (!net_io_ready() && timeout_ns > 0)
		sleep_until_due(timeout_ns);
	while (most-- > 0 && request_count > 0) {
		size_t first = world_below(request_count), i;

		for (i = 0; i < request_count && !can_do((first + i) % request_count); i++)
			;
		if (i == request_count)
			break;
		complete((first + i) % request_count);
	}
	return 0;
}

struct io *
net_io(void)
{
	static const struct io_operations operations = {
		.name = "simulation",
		.accept = io_accept,
		.receive = io_receive,
		.send = io_send,
		.receive_message = io_receive_message,
		.read = io_read,
		.write = io_write,
		.sync = io_sync_file,
		.cancel = io_cancel,
		.run = io_run,
		.destroy = io_destroy,
	};
	static struct io io = { &operations };

	request_count = 0;
	return &io;
}

/* A killed process ends only when the kernel has finished its requests, so none is done while the
 * next router runs. */
void
net_io_end(void)
{
	for (size_t i = 0; i < request_count; i++) {
		const struct io_task *task = &requests[i].request->task;

		if (task->kind == WRITE)
			disk_tear(task->fd, task->buffer.out, task->length, (uint64_t)task->offset);
	}
	request_count = 0;
}

/*
 * The system calls.
 */

int __wrap_socket(int, int, int);
int __wrap_bind(int, const struct sockaddr *, socklen_t);
int __wrap_listen(int, int);
int __wrap_shutdown(int, int);
int __wrap_getsockopt(int, int, int, void *, socklen_t *);
ssize_t __wrap_sendmsg(int, const struct msghdr *, int);
int __wrap_eventfd(unsigned, int);
int __wrap_pidfd_open(pid_t, unsigned);
int __wrap_pidfd_send_signal(int, int, siginfo_t *, unsigned);

static void
end_listener(struct file *file)
{
	for (unsigned i = 0; i < listener->count; i++) {
		listener->caller[i]->ended = true;
		let_go(listener->caller[i]);
	}
	world_free(file);
	listener = NULL;
}

int
__wrap_socket(int domain, int type, int protocol)
{
	(void)domain, (void)type, (void)protocol;
	listener = world_alloc(NULL, sizeof(*listener));
	*listener = (struct listener){ .file = { .kind = FILE_LISTENER, .end = end_listener } };
	return descriptor_open(&listener->file);
}

int
__wrap_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	(void)fd, (void)address, (void)length;
	return 0;
}

int
__wrap_listen(int fd, int backlog)
{
	(void)fd, (void)backlog;
	listener->listens = true;
	return 0;
}

int
__wrap_shutdown(int fd, int how)
{
	struct net_socket *socket = (struct net_socket *)descriptor_file(fd, FILE_SOCKET);

	(void)how;
	if (socket != NULL)
		socket->ended = true;
	return 0;
}

int
__wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
	const struct net_socket *socket = (struct net_socket *)descriptor_file(fd, FILE_SOCKET);
	struct ucred peer = { .uid = 1000, .gid = 1000 };

	(void)level, (void)name;
	if (socket == NULL || *length != sizeof(peer)) {
		errno = EBADF;
		return -1;
	}
	peer.pid = (pid_t)socket->pid;
	memcpy(value, &peer, sizeof(peer));
	return 0;
}

/* Used for a worker's WELCOME only: bytes with descriptors. */
ssize_t
__wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct net_socket *socket = (struct net_socket *)descriptor_file(fd, FILE_SOCKET);
	const struct cmsghdr *header = CMSG_FIRSTHDR(message);
	int passed;

	(void)flags;
	if (socket == NULL || socket->ended || socket->hung_up) {
		errno = EPIPE;
		return -1;
	}
	for (size_t i = 0; i < (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
		memcpy(&passed, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
		socket->fds_to_client[socket->fd_count++] = descriptor_pass(passed, PARTY_WORKER);
	}
	append(&socket->to_client, message->msg_iov[0].iov_base, message->msg_iov[0].iov_len);
	return (ssize_t)message->msg_iov[0].iov_len;
}

static void
end_plain(struct file *file)
{
	world_free(file);
}

int
__wrap_eventfd(unsigned count, int flags)
{
	struct event *event = world_alloc(NULL, sizeof(*event));

	(void)flags;
	*event = (struct event){ .file = { .kind = FILE_EVENT, .end = end_plain }, .count = count };
	return descriptor_open(&event->file);
}

int
__wrap_pidfd_open(pid_t pid, unsigned flags)
{
	struct process *process = world_alloc(NULL, sizeof(*process));

	(void)flags;
	*process = (struct process){
		.file = { .kind = FILE_PROCESS, .end = end_plain },
		.pid = (uint32_t)pid,
	};
	return descriptor_open(&process->file);
}

int
__wrap_pidfd_send_signal(int fd, int signal, siginfo_t *info, unsigned flags)
{
	const struct process *process = (struct process *)descriptor_file(fd, FILE_PROCESS);

	(void)info, (void)flags;
	if (process == NULL || signal != SIGKILL) {
		errno = EBADF;
		return -1;
	}
	net_kill(process->pid);
	return 0;
}
