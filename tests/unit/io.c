/*
 * The router's I/O interface: every test runs on io_uring and on poll.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/container_of.h"
#include "router/io/io.h"

#define WAIT_NS  50000000ll     /* of one turn */
#define LIMIT_NS 20000000000ull /* of a wait; beyond, the test fails */
#define BLOCK    4096

struct answer {
	struct io_request request;
	int64_t result, sum;
	unsigned count;
};

static bool in_run; /* done() may be called from run() only */

static void
note(struct io_request *request, int64_t result)
{
	struct answer *answer = CONTAINER_OF(request, struct answer, request);

	cr_assert(in_run, "done() outside run()");
	answer->result = result;
	answer->sum += result;
	answer->count++;
}

static struct io_request *
ask(struct answer *answer)
{
	answer->request.done = note;
	return &answer->request;
}

static void
turn(struct io *io, int64_t timeout_ns)
{
	in_run = true;
	cr_assert(io->operations->run(io, timeout_ns) == 0, "run");
	in_run = false;
}

/* Runs turns until the request has been answered `count` times. */
static void
wait_answers(struct io *io, const struct answer *answer, unsigned count)
{
	uint64_t start_ns = io_monotonic_ns();

	while (answer->count < count) {
		turn(io, WAIT_NS);
		cr_assert(
		    io_monotonic_ns() - start_ns < LIMIT_NS, "%u of %u", answer->count, count);
	}
}

static struct io *
create_uring(void)
{
	struct io *io;

	if (io_uring_create(&io) != 0)
		cr_skip_test("no io_uring here");
	return io;
}

static struct io *
create_poll(void)
{
	struct io *io;

	cr_assert(io_poll_create(&io) == 0, "poll");
	return io;
}

#define BOTH(name)                       \
	static void name(struct io *io); \
	Test(io_uring, name)             \
	{                                \
		name(create_uring());    \
	}                                \
	Test(io_poll, name)              \
	{                                \
		name(create_poll());     \
	}                                \
	static void name(struct io *io)

static void
pair(int ends[2])
{
	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
}

/* Makes a listening socket with an abstract address, which goes into *address. */
static int
listening(struct sockaddr_un *address, socklen_t *length)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*length = sizeof(sa_family_t); /* the kernel chooses a name */
	cr_assert(bind(fd, (void *)address, *length) == 0 && listen(fd, 64) == 0, "listen");
	*length = sizeof(*address);
	cr_assert(getsockname(fd, (void *)address, length) == 0, "getsockname");
	return fd;
}

static int
caller(const struct sockaddr_un *address, socklen_t length)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(connect(fd, (const void *)address, length) == 0, "connect");
	return fd;
}

static unsigned
open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

/* Opens a log file without a name, which ends with the test. */
static int
log_file(bool direct)
{
	char path[] = "/tmp/hg-io-XXXXXX";
	int made = mkstemp(path);
	int fd = io_open_log(path, true, direct);

	cr_assert(made >= 0, "mkstemp");
	if (fd == -EINVAL) /* no O_DIRECT on this file system */
		fd = io_open_log(path, true, false);
	cr_assert(fd >= 0, "open");
	close(made);
	unlink(path);
	return fd;
}

BOTH(accepts_again_and_again)
{
	struct sockaddr_un address;
	socklen_t length;
	struct answer answer = { 0 };
	int callers[40];
	int fd = listening(&address, &length);

	io->operations->accept(io, fd, ask(&answer));
	turn(io, 0);
	cr_assert(answer.count == 0 && answer.request.pending, "nobody called");
	for (unsigned i = 0; i < 40; i++)
		callers[i] = caller(&address, length);
	wait_answers(io, &answer, 40);
	cr_assert(answer.result >= 0 && answer.request.pending, "goes on");
	cr_assert(fcntl((int)answer.result, F_GETFD) & FD_CLOEXEC, "not for children");
	for (unsigned i = 0; i < 40; i++)
		close(callers[i]);
	callers[0] = caller(&address, length);
	wait_answers(io, &answer, 41);
	io->operations->destroy(io);
	close(fd);
}

BOTH(accept_without_descriptors_ends_once)
{
	struct sockaddr_un address;
	socklen_t length;
	struct answer answer = { 0 };
	struct rlimit limit, less;
	int fd = listening(&address, &length);
	int client = caller(&address, length);

	cr_assert(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
	less = limit;
	less.rlim_cur = (rlim_t)dup(fd);
	close((int)less.rlim_cur);
	cr_assert(setrlimit(RLIMIT_NOFILE, &less) == 0, "setrlimit");
	io->operations->accept(io, fd, ask(&answer));
	wait_answers(io, &answer, 1);
	cr_assert(answer.result == -EMFILE && !answer.request.pending, "%d", (int)answer.result);
	for (int i = 0; i < 10; i++)
		turn(io, 1000000);
	cr_assert(answer.count == 1, "not asked again");
	cr_assert(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
	io->operations->accept(io, fd, ask(&answer));
	wait_answers(io, &answer, 2);
	cr_assert(answer.result >= 0, "%d", (int)answer.result);
	io->operations->destroy(io);
	close(client);
	close(fd);
}

BOTH(receives_what_comes_and_the_end)
{
	struct answer answer = { 0 };
	char buffer[16] = "";
	int ends[2];

	pair(ends);
	cr_assert(write(ends[1], "before", 6) == 6, "write");
	io->operations->receive(io, ends[0], buffer, sizeof(buffer), ask(&answer));
	cr_assert(answer.count == 0 && answer.request.pending, "not from the call");
	wait_answers(io, &answer, 1);
	cr_assert(answer.result == 6 && memcmp(buffer, "before", 6) == 0 && !answer.request.pending,
	    "%d", (int)answer.result);
	io->operations->receive(io, ends[0], buffer, sizeof(buffer), ask(&answer));
	turn(io, 0);
	cr_assert(answer.count == 1 && memcmp(buffer, "before", 6) == 0, "nothing came");
	cr_assert(write(ends[1], "later", 5) == 5, "write");
	wait_answers(io, &answer, 2);
	cr_assert(answer.result == 5 && memcmp(buffer, "later", 5) == 0, "%d", (int)answer.result);
	io->operations->receive(io, ends[0], buffer, sizeof(buffer), ask(&answer));
	close(ends[1]);
	wait_answers(io, &answer, 3);
	cr_assert(answer.result == 0, "%d", (int)answer.result);
	io->operations->receive(io, -1, buffer, sizeof(buffer), ask(&answer));
	wait_answers(io, &answer, 4);
	cr_assert(answer.result == -EBADF, "%d", (int)answer.result);
	io->operations->destroy(io);
	close(ends[0]);
}

struct message_answer {
	struct io_message message;
	int64_t result;
	bool done;
};

static void
note_message(struct io_request *request, int64_t result)
{
	struct message_answer *answer =
	    CONTAINER_OF(request, struct message_answer, message.request);

	io_message_finish(&answer->message, result);
	answer->result = result;
	answer->done = true;
}

static void
get_message(struct io *io, int fd, struct message_answer *answer, char *buffer, size_t length)
{
	answer->message.buffer = buffer;
	answer->message.length = length;
	answer->message.request.done = note_message;
	answer->done = false;
	io->operations->receive_message(io, fd, &answer->message);
	for (int i = 0; i < 200 && !answer->done; i++)
		turn(io, WAIT_NS);
	cr_assert(answer->done && answer->result > 0, "%d", (int)answer->result);
}

BOTH(receives_a_descriptor_once)
{
	struct message_answer answer = { 0 };
	char buffer[16];
	struct stat sent, got;
	int ends[2], extra[2];
	unsigned before;

	pair(ends);
	pair(extra);
	before = open_descriptors();
	cr_assert(io_send_fds(ends[1], "one", 3, extra, 1) == 0, "send");
	get_message(io, ends[0], &answer, buffer, sizeof(buffer));
	cr_assert(answer.result == 3 && memcmp(buffer, "one", 3) == 0, "%d", (int)answer.result);
	cr_assert(answer.message.fd >= 0, "a descriptor");
	cr_assert(fcntl(answer.message.fd, F_GETFD) & FD_CLOEXEC, "not for children");
	cr_assert(fstat(extra[0], &sent) == 0 && fstat(answer.message.fd, &got) == 0 &&
		sent.st_ino == got.st_ino,
	    "the one that was sent");
	close(answer.message.fd);

	answer.message.fd = -1;
	io_message_finish(&answer.message, 1);
	cr_assert(answer.message.fd == -1, "it is not there a second time");

	cr_assert(io_send_fds(ends[1], "two", 3, extra, 2) == 0, "send");
	get_message(io, ends[0], &answer, buffer, sizeof(buffer));
	if (answer.message.fd >= 0)
		close(answer.message.fd);
	cr_assert(open_descriptors() == before, "nobody has closed the second");
	cr_assert(write(ends[1], "none", 4) == 4, "write");
	get_message(io, ends[0], &answer, buffer, sizeof(buffer));
	cr_assert(answer.result == 4 && answer.message.fd == -1, "%d", answer.message.fd);
	io->operations->destroy(io);
}

BOTH(sends_more_than_a_socket_holds)
{
	enum { BYTES = 4 << 20 };
	struct answer answer = { 0 }, other = { 0 };
	uint8_t *bytes = malloc(BYTES), *got = malloc(BYTES);
	int ends[2], others[2];
	size_t received = 0;
	char byte;

	pair(ends);
	pair(others);
	for (size_t i = 0; i < BYTES; i++)
		bytes[i] = (uint8_t)(i * 7 + (i >> 12));
	io->operations->send(io, ends[0], bytes, BYTES, ask(&answer));
	cr_assert(answer.count == 0, "not from the call");
	/* Nobody reads: sends succeed until the socket is full; then the request stays pending. */
	for (unsigned n = 1; n < 100; n++) {
		turn(io, 10000000);
		if (answer.request.pending)
			break;
		cr_assert(answer.result > 0, "%d", (int)answer.result);
		io->operations->send(
		    io, ends[0], bytes + answer.sum, BYTES - (size_t)answer.sum, ask(&answer));
	}
	cr_assert(answer.request.pending && answer.sum < BYTES, "waits");
	io->operations->receive(io, others[0], &byte, 1, ask(&other));
	cr_assert(write(others[1], "x", 1) == 1, "write");
	wait_answers(io, &other, 1);
	while (received < BYTES) {
		ssize_t n = recv(ends[1], got + received, BYTES - received, MSG_DONTWAIT);

		if (n > 0)
			received += (size_t)n;
		turn(io, 0);
		if (!answer.request.pending && answer.sum < BYTES) {
			cr_assert(answer.result > 0, "%d", (int)answer.result);
			io->operations->send(io, ends[0], bytes + answer.sum,
			    BYTES - (size_t)answer.sum, ask(&answer));
		}
	}
	cr_assert(memcmp(bytes, got, BYTES) == 0, "as sent");
	io->operations->destroy(io);
	free(bytes);
	free(got);
}

BOTH(a_peer_that_goes_ends_what_waits_for_it)
{
	struct answer in = { 0 }, out = { 0 };
	uint8_t *bytes = calloc(1, 4 << 20);
	char byte;
	int ends[2];

	pair(ends);
	io->operations->receive(io, ends[0], &byte, 1, ask(&in));
	do { /* until the socket is full */
		io->operations->send(io, ends[0], bytes, 4 << 20, ask(&out));
		turn(io, 10000000);
	} while (!out.request.pending);
	cr_assert(in.request.pending, "both requests wait for one descriptor");
	out.count = 0;
	shutdown(ends[0], SHUT_RDWR); /* as connection_close() does */
	wait_answers(io, &in, 1);
	wait_answers(io, &out, 1);
	cr_assert(in.result == 0, "%d", (int)in.result);
	/* io_uring may report the bytes sent before the shutdown. */
	if (out.result >= 0) {
		io->operations->send(io, ends[0], bytes, 1, ask(&out));
		wait_answers(io, &out, 2);
	}
	cr_assert(out.result == -EPIPE, "%d", (int)out.result);
	io->operations->destroy(io);
	free(bytes);
}

BOTH(writes_and_reads_several_files)
{
	enum { FILES = 3, WRITES = 16 };
	static _Alignas(BLOCK) uint8_t bytes[FILES][WRITES][BLOCK];
	static uint8_t got[WRITES * BLOCK];
	struct answer answers[FILES][WRITES] = { 0 }, reading = { 0 };
	int fds[FILES];

	for (unsigned f = 0; f < FILES; f++) {
		fds[f] = log_file(f != 0);
		for (unsigned w = 0; w < WRITES; w++) {
			memset(bytes[f][w], (int)(f * WRITES + w + 1), BLOCK);
			io->operations->write(
			    io, fds[f], bytes[f][w], BLOCK, w * BLOCK, ask(&answers[f][w]));
			cr_assert(answers[f][w].count == 0, "not from the call");
		}
	}
	for (unsigned i = 0; i < FILES * WRITES; i++) {
		struct answer *answer = &answers[i / WRITES][i % WRITES];

		wait_answers(io, answer, 1);
		cr_assert(answer->result == BLOCK, "%d", (int)answer->result);
	}
	for (unsigned f = 0; f < FILES; f++) {
		reading.count = 0;
		io->operations->read(
		    io, fds[f], got, sizeof(got) - BLOCK - 7, BLOCK + 7, ask(&reading));
		if (f == 0) {
			wait_answers(io, &reading, 1);
			cr_assert(reading.result == (int64_t)sizeof(got) - BLOCK - 7, "%d",
			    (int)reading.result);
			cr_assert(
			    memcmp(got, bytes[f][1] + 7, (size_t)reading.result) == 0, "bytes");
		} else { /* O_DIRECT refuses unaligned reads: any answer will do */
			wait_answers(io, &reading, 1);
		}
		cr_assert(pread(fds[f], bytes[0][0], BLOCK, 3 * BLOCK) == BLOCK, "pread");
		cr_assert(bytes[0][0][9] == f * WRITES + 4, "%u", bytes[0][0][9]);
	}
	reading.count = 0;
	io->operations->read(io, fds[0], got, 100, 1 << 20, ask(&reading));
	wait_answers(io, &reading, 1);
	cr_assert(reading.result == 0, "behind the end: %d", (int)reading.result);
	io->operations->destroy(io);
}

BOTH(a_write_that_fails_says_why)
{
	struct answer answer = { 0 };
	static const uint8_t bytes[BLOCK];
	int read_only = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	io->operations->write(io, read_only, bytes, sizeof(bytes), 0, ask(&answer));
	wait_answers(io, &answer, 1);
	cr_assert(answer.result == -EBADF, "%d", (int)answer.result);
	io->operations->write(io, full, bytes, sizeof(bytes), 0, ask(&answer));
	wait_answers(io, &answer, 2);
	cr_assert(answer.result == -ENOSPC, "%d", (int)answer.result);
	io->operations->destroy(io);
	close(read_only);
	close(full);
}

BOTH(a_bell_ends_the_sleep)
{
	struct answer answer = { 0 };
	uint64_t value = 0;
	int fd = eventfd(0, EFD_CLOEXEC);
	uint64_t start_ns = io_monotonic_ns();

	io->operations->read(io, fd, &value, sizeof(value), -1, ask(&answer));
	turn(io, 20000000);
	cr_assert(answer.count == 0 && io_monotonic_ns() - start_ns >= 10000000, "slept");
	cr_assert(eventfd_write(fd, 3) == 0, "ring");
	wait_answers(io, &answer, 1);
	cr_assert(answer.result == sizeof(value) && value == 3, "%d", (int)answer.result);
	io->operations->destroy(io);
	close(fd);
}

BOTH(many_at_once)
{
	enum { PAIRS = 200, WRITES = 1500 };
	static struct answer received[PAIRS], written[WRITES];
	static char buffers[PAIRS][4];
	static const uint8_t bytes[512];
	int ends[PAIRS][2];
	int fd = log_file(false);

	for (unsigned i = 0; i < PAIRS; i++) {
		pair(ends[i]);
		io->operations->receive(io, ends[i][0], buffers[i], 4, ask(&received[i]));
	}
	for (unsigned i = 0; i < WRITES; i++)
		io->operations->write(io, fd, bytes, 512, i * 512, ask(&written[i]));
	turn(io, 0);
	for (unsigned i = PAIRS; i-- > 0;)
		cr_assert(write(ends[i][1], "data", 4) == 4, "write");
	for (unsigned i = 0; i < PAIRS; i++) {
		wait_answers(io, &received[i], 1);
		cr_assert(received[i].result == 4, "%u: %d", i, (int)received[i].result);
	}
	for (unsigned i = 0; i < WRITES; i++) {
		wait_answers(io, &written[i], 1);
		cr_assert(written[i].result == 512, "%u: %d", i, (int)written[i].result);
	}
	io->operations->destroy(io);
}

/* A stream that always has data. */
struct stream {
	struct io_request request;
	struct io *io;
	int fd;
	uint64_t ones;
	unsigned turns;
};

static void
once_more(struct io_request *request, int64_t result)
{
	struct stream *stream = CONTAINER_OF(request, struct stream, request);

	cr_assert(result == 8, "%d", (int)result);
	stream->turns++;
	cr_assert(eventfd_write(stream->fd, 1) == 0, "ring");
	stream->io->operations->read(stream->io, stream->fd, &stream->ones, 8, -1, request);
}

BOTH(a_write_goes_though_much_arrives)
{
	struct stream stream = {
		.request.done = once_more, .io = io, .fd = eventfd(1, EFD_CLOEXEC)
	};
	static const uint8_t bytes[512];
	struct answer answer = { 0 };
	int fd = log_file(false);

	io->operations->read(io, stream.fd, &stream.ones, 8, -1, &stream.request);
	for (unsigned n = 1; n <= 20; n++) {
		io->operations->write(io, fd, bytes, sizeof(bytes), 0, ask(&answer));
		wait_answers(io, &answer, n);
		cr_assert(answer.result == 512, "%d", (int)answer.result);
	}
	cr_assert(stream.turns > 0, "neither waits for the other");
	io->operations->destroy(io);
}

BOTH(destroyed_with_all_pending)
{
	struct sockaddr_un address;
	socklen_t length;
	struct answer *answers = calloc(5, sizeof(*answers));
	struct io_message *message = calloc(1, sizeof(*message));
	uint8_t *bytes = calloc(1, 4 << 20);
	int listener = listening(&address, &length);
	int bell = eventfd(0, EFD_CLOEXEC);
	int fd = log_file(false);
	int ends[2], others[2];

	pair(ends);
	pair(others);
	io->operations->accept(io, listener, ask(&answers[0]));
	io->operations->receive(io, ends[0], bytes, 1, ask(&answers[1]));
	io->operations->read(io, bell, bytes, 8, -1, ask(&answers[2]));
	message->buffer = bytes;
	message->length = 1;
	message->request.done = note_message;
	io->operations->receive_message(io, others[0], message);
	do {
		io->operations->send(io, ends[0], bytes, 4 << 20, ask(&answers[3]));
		turn(io, 1000000);
	} while (!answers[3].request.pending);
	io->operations->write(io, fd, bytes, BLOCK, 0, ask(&answers[4]));
	cr_assert(answers[0].request.pending && answers[1].request.pending &&
		answers[2].request.pending && answers[4].request.pending,
	    "pending");
	/* Requests may be freed before the back end, which must not read them any more. */
	if (strcmp(io->operations->name, "poll") == 0) {
		free(answers);
		free(message);
		io->operations->destroy(io);
	} else {
		io->operations->destroy(io);
		free(answers);
		free(message);
	}
	close(listener);
	close(bell);
	close(fd);
	free(bytes);
}
