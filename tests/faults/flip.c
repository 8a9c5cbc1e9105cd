/*
 * flip file FILE OFFSET MASK            changes a byte of a file
 * flip sizes TOPICS QUEUES              prints "first last" of each used part of RUN/control
 * flip lane DIR QUEUE FIRST STEP SEED   as the queue's worker, repeatedly: attaches, changes a byte
 *                                       of a lane, goes on, and hangs up. In the end writes an
 *                                       impossible ring position, 2^63, and waits for the router to
 *                                       hang up. Prints the number of changed bytes. Status 1 if the
 *                                       router does not answer or hang up.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "shm/lane_lock.h"
#include "tests/random.h"
#include "workers/attachment.h"

enum { DEADLINE_S = 20, RING_BYTES = 768, SETTLE_MS = 2 };

static uint64_t random_state;

static int
flip_file(const char *path, off_t offset, uint8_t mask)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	if (fd < 0 || pread(fd, &byte, 1, offset) != 1)
		err(EX_NOINPUT, "%s", path);
	byte ^= mask;
	if (pwrite(fd, &byte, 1, offset) != 1)
		err(EX_IOERR, "%s", path);
	close(fd);
	return 0;
}

static int
print_sizes(unsigned topics, unsigned queues)
{
	const size_t queue = offsetof(struct control_shared, queue);

	printf("0 %zu\n", offsetof(struct control_shared, router_since_ns) + 8);
	printf("%zu %zu\n", offsetof(struct control_shared, topic),
	    offsetof(struct control_shared, topic) + topics * sizeof(struct control_topic));
	printf("%zu %zu\n", offsetof(struct control_shared, worker),
	    offsetof(struct control_shared, worker) + 3 * sizeof(struct control_worker));
	for (unsigned i = 0; i < queues; i++) {
		printf("%zu %zu\n", queue + i * sizeof(struct control_queue),
		    queue + i * sizeof(struct control_queue) +
			offsetof(struct control_queue, detail) + 2 * sizeof(struct control_detail));
		printf("%zu %zu\n",
		    queue + i * sizeof(struct control_queue) +
			offsetof(struct control_queue, counters),
		    queue + (i + 1) * sizeof(struct control_queue));
	}
	return 0;
}

static void
attach(struct attachment *attachment, const char *run, const char *queue, int lock)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct timespec began, now;
	char error[512];

	clock_gettime(CLOCK_MONOTONIC, &began);
	while (attachment_open(attachment, run, "flip", queue, LANE_LOCK_ALL, lock, error,
		   sizeof(error)) != 0) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - began.tv_sec > DEADLINE_S)
			errx(1, "no answer: %s", error);
		nanosleep(&pause, NULL);
	}
}

/* Settles a message, if there is one, before or after the change of the byte. */
static void
misbehave(struct attachment *attachment, size_t offset)
{
	struct pollfd poller = { .fd = attachment->socket, .events = POLLRDHUP };
	uint8_t *bytes = (uint8_t *)attachment->lane[0].shared;
	struct lane_delivery delivery;
	struct ring_record record;
	unsigned lane;

	if (offset >= LANE_DATA_OFFSET + RING_BYTES)
		bytes =
		    (uint8_t *)attachment->lane[0].completion_data - LANE_DATA_OFFSET - RING_BYTES;
	else if (offset >= LANE_DATA_OFFSET)
		bytes = (uint8_t *)attachment->lane[0].delivery_data - LANE_DATA_OFFSET;
	attachment_wait(attachment, attachment_state(attachment), true, SETTLE_MS * 1000000);
	if (attachment_take(attachment, &record, &lane) == 1) {
		memcpy(&delivery, record.payload, sizeof(delivery));
		attachment_complete(
		    attachment, lane, delivery.sequence, attachment_state(attachment), 200, 0, "");
	}
	if (random_next(&random_state) % 2 == 0) { /* before the router sees it, or after */
		bytes[offset] ^= (uint8_t)(1 + random_next(&random_state) % 255);
		attachment_release(attachment);
		attachment_publish(attachment);
	} else {
		attachment_release(attachment);
		attachment_publish(attachment);
		bytes[offset] ^= (uint8_t)(1 + random_next(&random_state) % 255);
	}
	doorbell_ring(&attachment->lane[0].shared->router_bell);
	if (write(attachment->bell_fd, &(uint64_t){ 1 }, 8) != 8)
		warn("bell");
	poll(&poller, 1, SETTLE_MS);
}

/* Breaks the protocol in a way that the router finds whenever it looks. */
static void
break_protocol(struct attachment *attachment)
{
	struct pollfd poller = { .fd = attachment->socket, .events = POLLRDHUP };

	atomic_fetch_xor(&attachment->lane[0].shared->completion.head, (uint64_t)1 << 63);
	doorbell_ring(&attachment->lane[0].shared->router_bell);
	if (write(attachment->bell_fd, &(uint64_t){ 1 }, 8) != 8)
		warn("bell");
	if (poll(&poller, 1, DEADLINE_S * 1000) != 1)
		errx(1, "the router does not hang up on a worker that broke the protocol");
}

/* Runs in a process of its own, as a changed start time makes the router kill the worker. */
static void
misbehave_once(const char *run, const char *queue, int lock, size_t offset)
{
	static struct attachment attachment;
	pid_t child = fork();
	int status;

	if (child < 0)
		err(1, "fork");
	if (child == 0) {
		attach(&attachment, run, queue, lock);
		misbehave(&attachment, offset);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child ||
	    (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)))
		errx(1, "byte %zu: ended with status %#x", offset, (unsigned)status);
}

static int
flip_lanes(const char *dir, const char *queue, size_t first, size_t step)
{
	static struct attachment attachment;
	char run[400];
	unsigned n = 0;
	int lock;

	snprintf(run, sizeof(run), "%s/run", dir);
	lock = lane_lock_open(run, queue);
	if (lock < 0 || lane_lock_take(lock, LANE_LOCK_ALL) != 0)
		errx(1, "%s/%s.lock", run, queue);
	for (size_t at = first; at < LANE_DATA_OFFSET + 2 * RING_BYTES; at += step) {
		random_next(&random_state); /* what the process takes is its own */
		misbehave_once(run, queue, lock, at);
		n++;
	}
	attach(&attachment, run, queue, lock);
	break_protocol(&attachment);
	attachment_close(&attachment);
	attach(&attachment, run, queue, lock); /* it still answers */
	attachment_close(&attachment);
	printf("%u\n", n);
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "file") == 0)
		return flip_file(argv[2], atol(argv[3]), (uint8_t)atoi(argv[4]));
	if (argc == 4 && strcmp(argv[1], "sizes") == 0)
		return print_sizes((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
	if (argc != 7 || strcmp(argv[1], "lane") != 0)
		errx(EX_USAGE,
		    "usage: flip file FILE OFFSET MASK | sizes TOPICS QUEUES | "
		    "lane DIR QUEUE FIRST STEP SEED");
	random_state = strtoull(argv[6], NULL, 10);
	return flip_lanes(argv[2], argv[3], (size_t)atol(argv[4]), (size_t)atol(argv[5]));
}
