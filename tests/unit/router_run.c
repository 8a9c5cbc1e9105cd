/*
 * headgate-router as a process, with the test as its worker. The test settles some messages, leaves
 * others, and kills the router in between.
 *
 * Every wait has a deadline.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "message/envelope.h"
#include "shm/lane_lock.h"
#include "workers/attachment.h"

enum { DEADLINE_S = 300, LOOK_NS = 2000000 };

static const char queue[] = "payment-processing";
static char dir[64];
static pid_t router;
static int lock_fd = -1;
static struct attachment worker;

static char *
path(const char *name)
{
	static char paths[4][192];
	static int turn;
	char *at = paths[turn++ % 4];

	snprintf(at, sizeof(paths[0]), "%s/%s", dir, name);
	return at;
}

static time_t
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void
look_again(time_t began, const char *what)
{
	const struct timespec pause = { .tv_nsec = LOOK_NS };

	cr_assert(now_s() - began < DEADLINE_S, "%s", what);
	nanosleep(&pause, NULL);
}

static pid_t
spawn(const char *program, const char *in, char *const arguments[])
{
	posix_spawn_file_actions_t actions;
	char file[256];
	char *argv[16] = { file };
	pid_t pid;
	int rc;

	snprintf(file, sizeof(file), "%s/%s", getenv("top_builddir"), program);
	for (int i = 0; arguments[i] != NULL; i++)
		argv[i + 1] = arguments[i];
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, in, O_RDONLY, 0);
	posix_spawn_file_actions_addopen(
	    &actions, STDERR_FILENO, path("err"), O_WRONLY | O_CREAT | O_APPEND, 0600);
	rc = posix_spawn(&pid, file, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	cr_assert(rc == 0, "%s: %s", file, strerror(rc));
	return pid;
}

static void
start_router(void)
{
	static char option[] = "-D";
	char *arguments[] = { option, dir, NULL };

	router = spawn("headgate-router", "/dev/null", arguments);
}

static void
kill_router(void)
{
	kill(router, SIGKILL);
	waitpid(router, NULL, 0);
}

/* An orderly end: all that is settled is logged. */
static void
stop_router(void)
{
	int status;

	kill(router, SIGTERM);
	cr_assert(waitpid(router, &status, 0) == router && status == 0, "end: %d", status);
}

/* Attaches as soon as the router accepts. */
static void
attach(void)
{
	time_t began = now_s();
	char error[512];

	while (attachment_open(&worker, path("run"), "test", queue, LANE_LOCK_ALL, lock_fd, error,
		   sizeof(error)) != 0)
		look_again(began, error);
}

/* Publishes the messages `first` to `last`, with distinct bodies of `bytes` bytes. */
static void
publish(unsigned first, unsigned last, unsigned bytes)
{
	static char option[] = "-D";
	char *arguments[] = { option, dir, NULL };
	FILE *file = fopen(path("in"), "w");
	int status;
	pid_t pid;

	for (unsigned i = first; i <= last; i++)
		fprintf(file,
		    "{\"customer_id\":\"C%u\",\"transaction_type\":\"payment\",\"n\":\"%0*u\"}\n",
		    i % 97, (int)bytes, i);
	fclose(file);
	pid = spawn("headgate-publish", path("in"), arguments);
	cr_assert(waitpid(pid, &status, 0) == pid && status == 0, "publish: %x", (unsigned)status);
}

/* Takes deliveries up to the sequence `until`, and settles them unless left() says otherwise.
 * Sequences must ascend. Returns the number of deliveries. */
static unsigned
work(uint64_t until, bool (*left)(uint64_t sequence))
{
	time_t began = now_s();
	struct ring_record record;
	uint64_t last = 0;
	unsigned lane, came = 0;

	while (last < until) {
		int rc = attachment_take(&worker, &record, &lane);
		struct lane_delivery delivery;
		struct envelope envelope;
		unsigned number;
		const char *why;

		cr_assert(rc >= 0, "take: %d", rc);
		if (rc == 0) {
			attachment_release(&worker);
			attachment_publish(&worker);
			look_again(began, "nothing comes from the router");
			continue;
		}
		memcpy(&delivery, record.payload, sizeof(delivery));
		cr_assert(delivery.sequence > last, "%lu after %lu", delivery.sequence, last);
		last = delivery.sequence;
		came++;
		cr_assert(envelope_open(&envelope, (const char *)record.payload + sizeof(delivery),
			      record.length - sizeof(delivery), ENVELOPE_BODY_BYTES_MAX, &why) == 0,
		    "%s", why);
		number = (unsigned)strtoul(
		    (const char *)memmem(envelope.body.data, envelope.body.length, "\"n\":\"", 5) +
			5,
		    NULL, 10);
		cr_assert(number == last, "message %u has sequence %lu", number, last);
		if (left(last))
			continue;
		while (attachment_complete(
			   &worker, lane, last, attachment_state(&worker), 200, 0, "") == 0) {
			attachment_publish(&worker);
			look_again(began, "no room for completions");
		}
	}
	attachment_release(&worker);
	attachment_publish(&worker);
	return came;
}

/* Returns the bytes of the log's segments, and sets their number. */
static uint64_t
log_bytes(unsigned *count)
{
	DIR *log = opendir(path("state/queues/payment-processing"));
	uint64_t bytes = 0;
	struct dirent *entry;
	struct stat st;

	*count = 0;
	while (log != NULL && (entry = readdir(log)) != NULL) {
		size_t length = strlen(entry->d_name);

		if (length < 5 || strcmp(entry->d_name + length - 4, ".log") != 0 ||
		    fstatat(dirfd(log), entry->d_name, &st, 0) != 0)
			continue;
		bytes += (uint64_t)st.st_size;
		(*count)++;
	}
	closedir(log);
	return bytes;
}

static void
wait_for_bytes(uint64_t most)
{
	time_t began = now_s();
	uint64_t bytes;
	unsigned count;

	while ((bytes = log_bytes(&count)) > most) {
		char what[128];

		snprintf(what, sizeof(what), "%u segments of %lu bytes, more than %lu", count,
		    bytes, most);
		look_again(began, what);
	}
}

static void
begin(void)
{
	strcpy(dir, "/tmp/hg-router-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL, "mkdtemp");
	start_router();
	for (time_t began = now_s();;) {
		lock_fd = lane_lock_open(path("run"), "payment-processing");
		if (lock_fd >= 0)
			break;
		look_again(began, "no run directory");
	}
	cr_assert(lane_lock_take(lock_fd, LANE_LOCK_ALL) == 0, "lock");
}

static void
end(void)
{
	char command[128];

	attachment_close(&worker);
	kill_router();
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert(system(command) == 0, "%s", command);
}

TestSuite(router_run, .init = begin, .fini = end, .timeout = 1200);

static bool
every_1000th(uint64_t sequence)
{
	return sequence % 1000 == 7;
}

static bool
none(uint64_t sequence)
{
	(void)sequence;
	return false;
}

/* 60 MB with 60 live messages of 1 KB: compaction moves them together and frees the other space. */
Test(router_run, what_is_left_over_pins_no_disk_and_keeps_its_order)
{
	enum { N = 60000 };
	unsigned count;

	attach();
	publish(1, N, 1000);
	cr_assert(work(N, every_1000th) == N, "all");
	/* The active segment, the previous one, and one compacted from five. */
	wait_for_bytes((96u << 20) + (1u << 20));
	log_bytes(&count);
	cr_assert(count == 3, "%u segments", count);
	attachment_close(&worker);
	stop_router();
	start_router();
	attach();
	cr_assert(work(N - 1000 + 7, every_1000th) == N / 1000, "what is left comes, in order");
	attachment_close(&worker);
	attach();
	cr_assert(work(N - 1000 + 7, none) == N / 1000, "and again, for it was not settled");
	wait_for_bytes(64u << 20);
}

/* The newest 8 MB of a log are in memory, too. Messages that compaction moved within them must be
 * read at their new position. */
Test(router_run, what_is_left_over_comes_in_order_when_it_was_moved_lately)
{
	enum { N = 6000 };

	attach();
	publish(1, N, 1000);
	cr_assert(work(N, every_1000th) == N, "all");
	/* Segments of 1 and 2 MB were replaced, those of 4 and 8 MB remain. */
	wait_for_bytes(13u << 20);
	attachment_close(&worker);
	attach();
	cr_assert(work(N - 1000 + 7, every_1000th) == N / 1000, "what is left comes, in order");
}

static bool
second_half(uint64_t sequence)
{
	return sequence > 20000;
}

/* The log is read on while segments behind and before the reader's place are replaced. */
Test(router_run, a_reader_on_disk_meets_each_message_once_while_segments_go)
{
	enum { N = 40000 };

	publish(1, N, 1000);
	attach();
	cr_assert(work(N, every_1000th) == N, "from disk");
	attachment_close(&worker);
	publish(N + 1, 2 * N, 1000);
	attach();
	cr_assert(work(2 * N, none) == N + N / 1000, "the rest, each once");
	wait_for_bytes(129u << 20);
	attachment_close(&worker);
	publish(2 * N + 1, 3 * N, 1000);
	attach();
	cr_assert(work(3 * N, second_half) == N, "and what came then");
}
