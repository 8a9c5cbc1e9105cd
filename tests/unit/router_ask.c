/*
 * headgate-router as a process. The test is its worker, which blocks groups and answers probes, and
 * its clients, which list blocked groups: patient clients, greedy ones, and some that break the
 * protocol.
 *
 * Every wait has a deadline.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <msgpack.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "log/format.h"
#include "message/blocked.h"
#include "message/envelope.h"
#include "message/wire.h"
#include "shm/lane_lock.h"
#include "workers/attachment.h"

enum { DEADLINE_S = 300, LOOK_NS = 2000000, ANSWER_MS = 200000, MANY = 100000 };

static const char queue[] = "payment-processing";
static char dir[64];
static pid_t router;
static int lock_fd = -1;
static struct attachment worker;
static uint8_t payload[WIRE_SMALL_BYTES];
static struct blocked_page page;

static char *
path(const char *name)
{
	static char paths[4][192];
	static int turn;
	char *at = paths[turn++ % 4];

	snprintf(at, sizeof(paths[0]), "%s/%s", dir, name);
	return at;
}

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void
look_again(uint64_t began_ns, const char *what)
{
	const struct timespec pause = { .tv_nsec = LOOK_NS };

	cr_assert(now_ns() - began_ns < DEADLINE_S * UINT64_C(1000000000), "%s", what);
	nanosleep(&pause, NULL);
}

static pid_t
spawn(const char *program, const char *in)
{
	static char directory[] = "-D", configuration[] = "-c";
	posix_spawn_file_actions_t actions;
	char file[256];
	char *argv[] = { file, directory, dir, configuration, path("conf"), NULL };
	pid_t pid;
	int rc;

	snprintf(file, sizeof(file), "%s/%s", getenv("top_builddir"), program);
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
attach(void)
{
	uint64_t began_ns = now_ns();
	char error[512];

	while (attachment_open(&worker, path("run"), "test", queue, LANE_LOCK_ALL, lock_fd, error,
		   sizeof(error)) != 0)
		look_again(began_ns, error);
}

/* Publishes `each` messages for each of the groups C1, C2, ... */
static void
publish(unsigned groups, unsigned each)
{
	FILE *file = fopen(path("in"), "w");
	static unsigned before; /* message ids used so far */
	int status;
	pid_t pid;

	for (unsigned i = 0; i < groups * each; i++)
		fprintf(file,
		    "{\"customer_id\":\"C%u\",\"transaction_type\":\"payment\",\"n\":%u,"
		    "\"message_id\":\"m%u\"}\n",
		    i % groups + 1, i, before + i + 1);
	before += groups * each;
	fclose(file);
	pid = spawn("headgate-publish", path("in"));
	cr_assert(waitpid(pid, &status, 0) == pid && status == 0, "publish: %x", (unsigned)status);
}

static void
complete(unsigned lane, uint64_t sequence, int status, uint32_t flags, const char *reason)
{
	uint64_t began_ns = now_ns();

	while (attachment_complete(&worker, lane, sequence, attachment_state(&worker), status,
		   flags, reason) == 0) {
		attachment_publish(&worker);
		look_again(began_ns, "no room for completions");
	}
}

/* Takes the next delivery; copies its reason to give up, if `reason` is not NULL. */
static struct lane_delivery
take(unsigned *lane, char reason[LANE_REASON_BYTES + 1])
{
	uint64_t began_ns = now_ns();
	struct lane_delivery delivery;
	struct ring_record record;
	int rc;

	while ((rc = attachment_take(&worker, &record, lane)) == 0) {
		attachment_release(&worker);
		attachment_publish(&worker);
		look_again(began_ns, "nothing comes from the router");
	}
	cr_assert(rc == 1, "take: %d", rc);
	memcpy(&delivery, record.payload, sizeof(delivery));
	if (reason != NULL) {
		memcpy(reason, (const char *)record.payload + sizeof(delivery),
		    delivery.reason_length);
		reason[delivery.reason_length] = '\0';
	}
	return delivery;
}

/* Fails the first message of each group, and gives later ones back. */
static void
block(unsigned groups, unsigned deliveries)
{
	for (unsigned i = 0; i < deliveries; i++) {
		unsigned lane;
		struct lane_delivery delivery = take(&lane, NULL);

		if (delivery.sequence <= groups)
			complete(lane, delivery.sequence, 503, 0, "no answer from the ledger");
		else
			complete(lane, delivery.sequence, 200, LANE_GIVEN_BACK, "");
	}
	attachment_release(&worker);
	attachment_publish(&worker);
}

/*
 * Clients.
 */

static int
client(enum wire_role role, const char *name)
{
	const struct wire_hello hello = { .role = role, .program = "test", .name = name };
	uint64_t began_ns = now_ns();
	enum wire_type type;
	size_t length;
	int fd, rc;

	while ((fd = wire_connect(path("run"), 10000)) < 0)
		look_again(began_ns, "no router");
	rc = wire_send_hello(fd, &hello, -1);
	if (rc == 0)
		rc = wire_receive(fd, &type, payload, &length, NULL, NULL, ANSWER_MS);
	cr_assert(rc == 0 && type == WIRE_WELCOME, "hello: %d", rc);
	return fd;
}

static void
send_ask(int fd, const char *name, uint64_t from)
{
	struct blocked_ask ask = { .from = from };
	msgpack_sbuffer buffer;
	int rc;

	strcpy(ask.queue, name);
	msgpack_sbuffer_init(&buffer);
	blocked_pack_ask(&buffer, &ask);
	rc = wire_send(fd, WIRE_GROUPS, buffer.data, buffer.size, NULL, 0);
	msgpack_sbuffer_destroy(&buffer);
	cr_assert(rc == 0, "send: %d", rc);
}

static void
take_page(int fd, uint64_t from)
{
	enum wire_type type;
	size_t length;
	int rc = wire_receive(fd, &type, payload, &length, NULL, NULL, ANSWER_MS);

	cr_assert(rc == 0 && type == WIRE_GROUP_LIST, "answer: %d, type %d", rc, (int)type);
	cr_assert(blocked_read_page(&page, from, payload, length), "a page that cannot be");
}

/* Returns the number of blocked groups; calls `each`, if not NULL, for each group. */
static unsigned
ask_all(int fd, void (*each)(const struct blocked_group *))
{
	unsigned found = 0;
	uint64_t from = 0;

	do {
		send_ask(fd, queue, from);
		take_page(fd, from);
		for (uint32_t i = 0; each != NULL && i < page.count; i++)
			each(&page.groups[i]);
		found += page.count;
		if (page.count > 0)
			from = page.groups[page.count - 1].hash + 1;
	} while (page.more);
	return found;
}

static void
wait_for_blocked(unsigned groups)
{
	uint64_t began_ns = now_ns();
	int fd = client(WIRE_CONTROL, "");

	do {
		send_ask(fd, queue, 0);
		take_page(fd, 0);
		if (page.total != groups)
			look_again(began_ns, "not all groups are blocked");
	} while (page.total != groups);
	close(fd);
}

/* Expects the router to close this connection. */
static void
is_hung_up_on(int fd, const char *what)
{
	enum wire_type type;
	size_t length;
	int rc;

	do
		rc = wire_receive(fd, &type, payload, &length, NULL, NULL, ANSWER_MS);
	while (rc == 0);
	cr_assert(rc == -EPIPE || rc == -ECONNRESET, "%s: %d", what, rc);
	close(fd);
	cr_assert(kill(router, 0) == 0 && waitpid(router, NULL, WNOHANG) == 0, "%s", what);
}

static int
send_try(int fd, const struct blocked_try *try)
{
	msgpack_sbuffer buffer;
	int rc;

	msgpack_sbuffer_init(&buffer);
	blocked_pack_try(&buffer, try);
	rc = wire_send(fd, WIRE_TRY, buffer.data, buffer.size, NULL, 0);
	msgpack_sbuffer_destroy(&buffer);
	return rc;
}

static struct blocked_try
order(const char *group, bool skip, const char *message_id)
{
	struct blocked_try try = { .skip = skip, .reason = "a test" };

	strcpy(try.queue, queue);
	strcpy(try.group, group);
	strcpy(try.message_id, message_id);
	return try;
}

static struct blocked_tried
take_tried(int fd)
{
	struct blocked_tried tried;
	enum wire_type type;
	size_t length;
	int rc = wire_receive(fd, &type, payload, &length, NULL, NULL, ANSWER_MS);

	cr_assert(rc == 0 && type == WIRE_TRIED, "answer: %d, type %d", rc, (int)type);
	cr_assert(blocked_read_tried(&tried, payload, length), "an answer that cannot be");
	return tried;
}

static struct blocked_tried
try_now(int fd, const char *group, bool skip, const char *message_id)
{
	const struct blocked_try try = order(group, skip, message_id);

	cr_assert(send_try(fd, &try) == 0, "send");
	return take_tried(fd);
}

/* True if no answer has arrived. */
static bool
is_quiet(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };

	return poll(&poller, 1, 0) == 0;
}

/* Expects this delivery as the next one. */
static void
expect(uint64_t sequence, unsigned flags, unsigned *lane)
{
	char reason[LANE_REASON_BYTES + 1];
	struct lane_delivery delivery = take(lane, reason);

	cr_assert(delivery.sequence == sequence && delivery.flags == flags,
	    "sequence %lu, flags %u instead of %lu, %u", delivery.sequence,
	    (unsigned)delivery.flags, sequence, flags);
	if (flags & LANE_GIVE_UP)
		cr_assert(
		    delivery.status == 503 && strcmp(reason, "no answer from the ledger") == 0,
		    "%u %s", (unsigned)delivery.status, reason);
}

static void
answer(unsigned lane, uint64_t sequence, int status, uint32_t flags)
{
	complete(lane, sequence, status, flags, status >= 400 ? "no answer from the ledger" : "");
	attachment_release(&worker);
	attachment_publish(&worker);
}

static uint64_t
router_kib(void)
{
	char file[64], line[128];
	uint64_t kib = 0;
	FILE *status;

	snprintf(file, sizeof(file), "/proc/%d/status", (int)router);
	status = fopen(file, "r");
	while (status != NULL && fgets(line, sizeof(line), status) != NULL)
		if (sscanf(line, "VmRSS: %lu", &kib) == 1)
			break;
	cr_assert(kib > 0, "%s", file);
	fclose(status);
	return kib;
}

static void
start_router(const char *settings)
{
	FILE *conf = fopen(path("conf"), "w");

	fprintf(conf,
	    "topic transaction-processing { group_by = {customer_id} dedup_by = {message_id} }\n"
	    "queue payment-processing {\n"
	    "topic = transaction-processing retry_base = 5m %s\n}\n",
	    settings);
	fclose(conf);
	router = spawn("headgate-router", "/dev/null");
}

static void
begin(void)
{
	signal(SIGPIPE, SIG_IGN);
	strcpy(dir, "/tmp/hg-ask-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL, "mkdtemp");
	start_router("server_error = block-group");
	for (uint64_t began_ns = now_ns();;) {
		lock_fd = lane_lock_open(path("run"), "payment-processing");
		if (lock_fd >= 0)
			break;
		look_again(began_ns, "no run directory");
	}
	cr_assert(lane_lock_take(lock_fd, LANE_LOCK_ALL) == 0, "lock");
	attach();
}

static void
end(void)
{
	char command[128];

	attachment_close(&worker);
	kill(router, SIGKILL);
	waitpid(router, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert(system(command) == 0, "%s", command);
}

TestSuite(router_ask, .init = begin, .fini = end, .timeout = 2000);

static unsigned waiting;

static void
check_many(const struct blocked_group *group)
{
	waiting += group->state == BLOCKED_WAITING && group->sequence >= 1 &&
	    group->sequence <= MANY && group->tries == 1 && group->status == 503 &&
	    group->behind == 1 && group->since_ns > 0 && group->due_in_ns > UINT64_C(60000000000) &&
	    strcmp(group->error, "no answer from the ledger") == 0;
}

/* Sends more than 4000 requests for the first page at once. Returns their number. */
static unsigned
send_many(int fd)
{
	struct blocked_ask ask = { .from = 0 };
	struct wire_header header = { .type = WIRE_GROUPS };
	static char pieces[160000];
	msgpack_sbuffer buffer;
	unsigned count = 0;
	size_t one, used = 0;

	strcpy(ask.queue, queue);
	msgpack_sbuffer_init(&buffer);
	blocked_pack_ask(&buffer, &ask);
	header.length = (uint32_t)buffer.size;
	one = sizeof(header) + buffer.size;
	for (; used + one <= sizeof(pieces); used += one, count++) {
		memcpy(pieces + used, &header, sizeof(header));
		memcpy(pieces + used + sizeof(header), buffer.data, buffer.size);
	}
	msgpack_sbuffer_destroy(&buffer);
	cr_assert(send(fd, pieces, used, 0) == (ssize_t)used && count > 4000, "%u", count);
	return count;
}

/* With many groups and a greedy client, the router's turns stay short, and its memory does not
 * grow. */
Test(router_ask, a_hundred_thousand_groups_hold_nobody_up)
{
	uint64_t longest_ns = 0, before_kib, began_ns;
	unsigned asked, answered = 0, found;
	int fd, greedy;

	publish(MANY, 2);
	block(MANY, MANY);
	wait_for_blocked(MANY);
	/* The second message of each group meets a blocked group, and is parked. */
	fd = client(WIRE_CONTROL, "");
	began_ns = now_ns();
	do {
		waiting = 0;
		found = ask_all(fd, check_many);
		cr_assert(found == MANY, "%u groups", found);
		if (waiting != MANY)
			look_again(began_ns, "not all facts are right");
	} while (waiting != MANY);
	began_ns = now_ns();
	ask_all(fd, NULL);
	fprintf(stderr, "# %u groups in %.1f ms\n", found, (double)(now_ns() - began_ns) / 1e6);

	before_kib = router_kib();
	greedy = client(WIRE_CONTROL, "");
	asked = send_many(greedy);
	for (int i = 0; i < 100; i++) {
		began_ns = now_ns();
		close(client(WIRE_CONTROL, ""));
		if (now_ns() - began_ns > longest_ns)
			longest_ns = now_ns() - began_ns;
	}
	began_ns = now_ns();
	found = ask_all(fd, NULL);
	cr_assert(found == MANY, "another client is answered: %u", found);
	fprintf(stderr,
	    "# beside a greedy client: %u groups in %.1f ms, %u requests, %ld KiB, "
	    "longest hello %.1f ms\n",
	    found, (double)(now_ns() - began_ns) / 1e6, asked, (long)(router_kib() - before_kib),
	    (double)longest_ns / 1e6);
	cr_assert(
	    router_kib() < before_kib + 65536, "%lu KiB, then %lu KiB", before_kib, router_kib());
	cr_assert(longest_ns < 1000000000, "a hello took %lu ns", longest_ns);
	/* The greedy client gets all answers, once it reads. */
	for (; answered < asked / 2; answered++) {
		take_page(greedy, 0);
		cr_assert(page.count == BLOCKED_PAGE && page.total == MANY, "answer %u", answered);
	}
	close(greedy); /* with answers outstanding */
	cr_assert(ask_all(fd, NULL) == MANY, "the router goes on");
	close(fd);
}

Test(router_ask, clients_that_hang_up_half_way_leave_nothing_behind)
{
	uint64_t began_ns = now_ns();
	char command[64], count[16] = "";

	publish(1000, 1);
	block(1000, 1000);
	wait_for_blocked(1000);
	for (int i = 0; i < 300; i++) {
		int fd = client(WIRE_CONTROL, "");

		send_ask(fd, queue, 0);
		if (i % 3 == 0)
			send_ask(fd, queue, 0);
		if (i % 3 == 1) /* reads half of an answer */
			cr_assert(read(fd, payload, 100) == 100, "read");
		if (i % 3 == 2)
			cr_assert(write(fd, "\x20\0\0\0", 4) == 4, "half of a question");
		close(fd);
	}
	snprintf(command, sizeof(command), "ls /proc/%d/fd | wc -l", (int)router);
	do {
		FILE *pipe = popen(command, "r");

		cr_assert(pipe != NULL && fgets(count, sizeof(count), pipe) != NULL, "popen");
		pclose(pipe);
		if (atoi(count) >= 100)
			look_again(began_ns, "descriptors are left open");
	} while (atoi(count) >= 100);
	wait_for_blocked(1000);
}

Test(router_ask, what_cannot_be_is_hung_up_on)
{
	struct wire_header header = { .length = 5, .type = WIRE_GROUPS };
	unsigned seed = 7;
	int fd;

	publish(3, 1);
	block(3, 3);
	wait_for_blocked(3);
	fd = wire_connect(path("run"), 10000);
	send_ask(fd, queue, 0);
	is_hung_up_on(fd, "no hello");
	fd = client(WIRE_PUBLISHER, "");
	send_ask(fd, queue, 0);
	is_hung_up_on(fd, "a publisher");
	for (int i = 0; i < 300; i++) {
		fd = client(WIRE_CONTROL, "");
		for (size_t k = 0; k < sizeof(payload); k++)
			payload[k] = (uint8_t)rand_r(&seed);
		header.type = i % 2 ? WIRE_GROUPS : WIRE_GROUP_LIST;
		header.length = 1 + (uint32_t)rand_r(&seed) % 3000;
		payload[0] = i % 4 < 2 ? 0x92 : payload[0]; /* an array of two */
		if (send(fd, &header, sizeof(header), MSG_NOSIGNAL) == sizeof(header))
			send(fd, payload, header.length, MSG_NOSIGNAL);
		is_hung_up_on(fd, "garbage");
	}
	fd = client(WIRE_CONTROL, "");
	send_ask(fd, "no-such-queue", 0);
	take_page(fd, 0);
	cr_assert(!page.known && page.count == 0 && !page.more, "a queue that is not there");
	send_ask(fd, queue, 0);
	take_page(fd, 0);
	cr_assert(page.known && page.total == 3 && page.count == 3, "and one that is");
	send_ask(fd, queue, page.groups[1].hash);
	take_page(fd, page.groups[1].hash);
	cr_assert(page.count == 2 && !page.more, "from one of them on");
	close(fd);
}

/* Blocks groups C1 to C3, with the messages 1 to 3, 4 to 6, and 7 to 9. */
static void
block_three(void)
{
	publish(3, 3);
	block(3, 9);
	wait_for_blocked(3);
}

static unsigned
ended_count(void)
{
	const struct control_counters *counters =
	    &worker.control.shared->queue[worker.queue].counters;

	return (unsigned)(counters->done + counters->failed);
}

Test(router_ask, one_group_is_tried_when_a_person_says_so)
{
	struct blocked_tried tried;
	struct blocked_try try;
	unsigned lane;
	int fd;

	block_three();
	fd = client(WIRE_CONTROL, "");
	for (int i = 0; i < 2; i++) {
		try = order("C2", false, i > 0 ? "m2" : "");
		cr_assert(send_try(fd, &try) == 0, "send");
		expect(2, LANE_AGAIN, &lane);
		cr_assert(is_quiet(fd), "it is told of a try before that has ended");
		answer(lane, 2, 503, 0);
		tried = take_tried(fd);
		cr_assert(tried.outcome == BLOCKED_FAILED_AGAIN && tried.sequence == 2 &&
			tried.status == 503 && strcmp(tried.message_id, "m2") == 0 &&
			strcmp(tried.text, "no answer from the ledger") == 0,
		    "outcome %d: %u %s", (int)tried.outcome, tried.status, tried.text);
	}
	try = order("C2", false, "");
	cr_assert(send_try(fd, &try) == 0, "send");
	expect(2, LANE_AGAIN, &lane);
	answer(lane, 2, 200, 0);
	tried = take_tried(fd);
	cr_assert(tried.outcome == BLOCKED_ENDED && tried.status == 200, "%d", (int)tried.outcome);
	expect(5, 0, &lane);
	answer(lane, 5, 200, 0);
	expect(8, 0, &lane);
	answer(lane, 8, 200, 0);
	wait_for_blocked(2);
	tried = try_now(fd, "C2", false, "");
	cr_assert(tried.outcome == BLOCKED_NOT_BLOCKED, "%d", (int)tried.outcome);
	/* The other groups are unchanged. */
	ask_all(fd, NULL);
	for (uint32_t i = 0; i < page.count; i++)
		cr_assert(page.groups[i].tries == 1 && page.groups[i].state == BLOCKED_WAITING &&
			page.groups[i].due_in_ns > UINT64_C(60000000000) &&
			page.groups[i].behind == 2,
		    "sequence %lu", page.groups[i].sequence);
	close(fd);
}

Test(router_ask, exactly_the_head_of_one_group_is_given_up)
{
	struct blocked_tried tried;
	struct blocked_try try;
	unsigned lane;
	int fd;

	block_three();
	fd = client(WIRE_CONTROL, "");
	tried = try_now(fd, "C1", true, "m4");
	cr_assert(tried.outcome == BLOCKED_OTHER_HEAD && strcmp(tried.message_id, "m1") == 0,
	    "%d %s", (int)tried.outcome, tried.message_id);
	try = order("C1", true, "m1");
	cr_assert(send_try(fd, &try) == 0, "send");
	expect(1, LANE_AGAIN | LANE_GIVE_UP, &lane);
	answer(lane, 1, 503, LANE_ENDED);
	tried = take_tried(fd);
	cr_assert(
	    tried.outcome == BLOCKED_DEAD_LETTER && tried.sequence == 1, "%d", (int)tried.outcome);
	expect(4, 0, &lane);
	/* A group that is being released has no message to give up. */
	tried = try_now(fd, "C1", true, "m1");
	cr_assert(tried.outcome == BLOCKED_GOES_ON, "%d", (int)tried.outcome);
	answer(lane, 4, 200, 0);
	expect(7, 0, &lane);
	answer(lane, 7, 200, 0);
	wait_for_blocked(2);
	/* The store had applied the message: its stored outcome counts, so nothing is given up. */
	try = order("C3", true, "");
	cr_assert(send_try(fd, &try) == 0, "send");
	expect(3, LANE_AGAIN | LANE_GIVE_UP, &lane);
	answer(lane, 3, 200, 0);
	tried = take_tried(fd);
	cr_assert(tried.outcome == BLOCKED_ENDED && tried.status == 200, "%d", (int)tried.outcome);
	cr_assert(worker.control.shared->queue[worker.queue].counters.dead_lettered == 1,
	    "one dead letter");
	close(fd);
}

static uint64_t
blocked_groups(void)
{
	return atomic_load(&worker.control.shared->queue[worker.queue].counters.blocked_groups);
}

Test(router_ask, who_is_told_that_a_group_is_open_finds_it_so_in_the_figures)
{
	enum { GROUPS = 20 };
	struct blocked_tried tried;
	struct blocked_try try;
	char group[16], id[16];
	unsigned lane;
	int fd;

	publish(GROUPS, 1);
	block(GROUPS, GROUPS);
	wait_for_blocked(GROUPS);
	fd = client(WIRE_CONTROL, "");
	cr_assert(blocked_groups() == GROUPS, "%lu are blocked", blocked_groups());
	for (unsigned i = 1; i <= GROUPS; i++) {
		bool skip = i % 2;

		snprintf(group, sizeof(group), "C%u", i);
		snprintf(id, sizeof(id), "m%u", i);
		try = order(group, skip, id);
		cr_assert(send_try(fd, &try) == 0, "send");
		expect(i, LANE_AGAIN | (skip ? LANE_GIVE_UP : 0), &lane);
		answer(lane, i, skip ? 503 : 200, skip ? LANE_ENDED : 0);
		tried = take_tried(fd);
		cr_assert(tried.outcome == (skip ? BLOCKED_DEAD_LETTER : BLOCKED_ENDED), "%d",
		    (int)tried.outcome);
		cr_assert(blocked_groups() == GROUPS - i, "%lu of %u are blocked", blocked_groups(),
		    GROUPS - i);
	}
	close(fd);
}

/* The message is in a worker's hands when the request arrives. */
Test(router_ask, a_message_that_is_being_tried_is_given_up_when_it_fails)
{
	struct blocked_tried tried;
	struct blocked_try try = order("C1", false, "");
	unsigned lane;
	int fd, other;

	block_three();
	fd = client(WIRE_CONTROL, "");
	other = client(WIRE_CONTROL, "");
	cr_assert(send_try(other, &try) == 0, "send");
	expect(1, LANE_AGAIN, &lane);
	try = order("C1", true, "m1");
	cr_assert(send_try(fd, &try) == 0, "send");
	/* An answer to a later request proves that the first request has arrived. */
	tried = try_now(client(WIRE_CONTROL, ""), "C2", true, "m1");
	cr_assert(tried.outcome == BLOCKED_OTHER_HEAD, "%d", (int)tried.outcome);
	answer(lane, 1, 503, 0);
	tried = take_tried(other);
	cr_assert(tried.outcome == BLOCKED_FAILED_AGAIN, "%d", (int)tried.outcome);
	expect(1, LANE_AGAIN | LANE_GIVE_UP, &lane);
	cr_assert(is_quiet(fd), "it is told before the message is given up");
	answer(lane, 1, 503, LANE_ENDED);
	tried = take_tried(fd);
	cr_assert(tried.outcome == BLOCKED_DEAD_LETTER, "%d", (int)tried.outcome);
	close(fd);
	close(other);
}

/* A request belongs to the group, so outlives the worker and the client. */
Test(router_ask, an_order_stands_when_worker_and_client_are_gone)
{
	struct blocked_try try = order("C1", true, "m1");
	struct blocked_tried tried;
	unsigned lane, before;
	uint64_t began_ns;
	int fd;

	block_three();
	fd = client(WIRE_CONTROL, "");
	cr_assert(send_try(fd, &try) == 0, "send");
	expect(1, LANE_AGAIN | LANE_GIVE_UP, &lane);
	attachment_close(&worker);
	attach();
	expect(1, LANE_AGAIN | LANE_GIVE_UP, &lane);
	cr_assert(is_quiet(fd), "nothing became of it yet");
	answer(lane, 1, 503, LANE_ENDED);
	tried = take_tried(fd);
	cr_assert(tried.outcome == BLOCKED_DEAD_LETTER, "%d", (int)tried.outcome);
	close(fd);
	expect(4, 0, &lane);
	answer(lane, 4, 200, 0);
	expect(7, 0, &lane);
	answer(lane, 7, 200, 0);
	wait_for_blocked(2);

	before = ended_count();
	fd = client(WIRE_CONTROL, "");
	try = order("C2", true, "m2");
	cr_assert(send_try(fd, &try) == 0, "send");
	expect(2, LANE_AGAIN | LANE_GIVE_UP, &lane);
	close(fd);
	answer(lane, 2, 503, LANE_ENDED);
	began_ns = now_ns();
	while (ended_count() == before)
		look_again(began_ns, "it is not ended");
	expect(5, 0, &lane);
	close(client(WIRE_CONTROL, ""));
}

Test(router_ask, an_order_that_cannot_be_carried_out_is_refused)
{
	struct blocked_try try = order("C1", true, "");
	struct blocked_tried tried;
	unsigned seed = 11;
	int fd;

	block_three();
	fd = client(WIRE_CONTROL, "");
	strcpy(try.queue, "no-such-queue");
	cr_assert(send_try(fd, &try) == 0, "send");
	tried = take_tried(fd);
	cr_assert(tried.outcome == BLOCKED_NO_QUEUE, "%d", (int)tried.outcome);
	tried = try_now(fd, "C4", true, "");
	cr_assert(tried.outcome == BLOCKED_NOT_BLOCKED, "%d", (int)tried.outcome);
	attachment_close(&worker);
	for (uint64_t began_ns = now_ns();;) {
		tried = try_now(fd, "C1", true, "m2"); /* another message: no effect */
		if (tried.outcome == BLOCKED_REFUSED)
			break;
		look_again(began_ns, "it is not refused without a worker");
	}
	cr_assert(strstr(tried.text, "no worker") != NULL, "%s", tried.text);
	close(fd);
	/* A frame between TRY and TRIED; and garbage. */
	attach();
	fd = client(WIRE_CONTROL, "");
	for (uint64_t began_ns = now_ns(); !attachment_has_delivery(&worker);) {
		try = order("C1", false, "");
		cr_assert(send_try(fd, &try) == 0, "send");
		/* The router refuses until it has found the waiting messages again. */
		while (is_quiet(fd) && !attachment_has_delivery(&worker))
			look_again(began_ns, "it is not tried");
		if (!is_quiet(fd))
			take_tried(fd);
	}
	send_ask(fd, queue, 0);
	is_hung_up_on(fd, "a question behind an order");
	for (int i = 0; i < 200; i++) {
		struct wire_header header = { .type = WIRE_TRY };

		fd = client(WIRE_CONTROL, "");
		for (size_t k = 0; k < sizeof(payload); k++)
			payload[k] = (uint8_t)rand_r(&seed);
		header.length = 1 + (uint32_t)rand_r(&seed) % 300;
		payload[0] = i % 2 ? 0x95 : payload[0];
		if (send(fd, &header, sizeof(header), MSG_NOSIGNAL) == sizeof(header))
			send(fd, payload, header.length, MSG_NOSIGNAL);
		is_hung_up_on(fd, "garbage");
	}
	wait_for_blocked(3);
}

/* The worker dies while handling this message. */
static void
die_at(uint64_t sequence)
{
	attachment_start(&worker, sequence, now_ns());
	attachment_close(&worker);
	attach();
}

/* A message that has cost a worker's life is delivered alone, except while its group is blocked. */
Test(router_ask, a_blocked_message_that_cost_a_life_holds_up_its_group_only)
{
	unsigned lane;

	publish(3, 1);
	expect(1, 0, &lane);
	die_at(1);
	expect(1, 0, &lane);
	answer(lane, 1, 503, 0);
	expect(2, 0, &lane);
	answer(lane, 2, 200, 0);
	expect(3, 0, &lane);
	answer(lane, 3, 200, 0);
	wait_for_blocked(1);
}

Test(router_ask, nor_does_one_that_waits_behind_another)
{
	unsigned lane;

	publish(3, 2);
	for (uint64_t sequence = 1; sequence <= 6; sequence++)
		expect(sequence, 0, &lane);
	die_at(4);
	for (uint64_t sequence = 1; sequence <= 3; sequence++) {
		expect(sequence, 0, &lane);
		answer(lane, sequence, sequence == 1 ? 503 : 200, 0);
	}
	expect(5, 0, &lane);
	answer(lane, 5, 200, 0);
	expect(6, 0, &lane);
	answer(lane, 6, 200, 0);
	wait_for_blocked(1);
}

/*
 * Probes.
 */

TestSuite(router_probe, .init = begin, .fini = end, .timeout = 2000);

/* Changes the state word, as another process than the router. */
static uint64_t
change(enum control_state to, uint64_t sequence, uint32_t flags)
{
	const struct control_detail detail = {
		.sequence = sequence, .status = 500, .flags = flags
	};
	struct control_detail before;
	struct control control;
	uint64_t word, now;
	int rc = control_open(&control, path("run/control"), true);

	cr_assert(rc == 0, "control: %d", rc);
	do
		control_read_state(&control, worker.queue, &word, &before);
	while (control_change_state(
		   &control, worker.queue, CONTROL_CTL_SLOT, word, to, &detail, &now) != 0);
	control_close(&control);
	wire_poke(path("run"), "test", 5000);
	return now;
}

/* Waits until the state word differs from `word`. Returns the new state. */
static enum control_state
wait_for_change(uint64_t word, struct control_detail *detail)
{
	uint64_t began_ns = now_ns(), now;

	for (;;) {
		control_read_state(&worker.control, worker.queue, &now, detail);
		if (now != word)
			return control_word_state(now);
		look_again(began_ns, "the state stays as it is");
	}
}

/* Waits until the router probes by itself. Returns the state word. */
static uint64_t
wait_for_probe(void)
{
	uint64_t began_ns = now_ns(), word;

	while (control_word_state(word = attachment_state(&worker)) != CONTROL_PROBING)
		look_again(began_ns, "it is not probed");
	return word;
}

static void
restart_router(const char *settings)
{
	attachment_close(&worker);
	kill(router, SIGTERM); /* completions are on disk afterwards */
	waitpid(router, NULL, 0);
	start_router(settings);
	attach();
}

/* Answers of a worker; status 0: the worker dies. */
static const struct answer {
	int status;
	uint32_t flags;
} answers[] = { { 200, 0 }, { 404, LANE_ENDED }, { 503, LANE_ENDED }, { 503, 0 }, { 404, 0 },
	{ 0, 0 } };

enum { ANSWERS = sizeof(answers) / sizeof(answers[0]) };

static const char *const servers[] = { "stop", "block-group", "retry" };
static const char *const clients[] = { "dead-letter", "record", "retry" };

/* Gives one answer to a probed message. Returns the number of groups that the answer blocks. */
static unsigned
probe_once(const struct answer *given, unsigned server, unsigned client, bool by_itself)
{
	bool failed = given->status >= 400 && given->flags == 0;
	bool blocks = failed && (given->status >= 500 ? server != 0 : client == 2);
	bool tells = given->status != 0 && (!failed || blocks || given->status >= 500);
	enum control_state to = failed && !blocks ? CONTROL_TRIPPED : CONTROL_RUNNING;
	struct control_detail detail;
	unsigned lane;
	uint64_t sequence = take(&lane, NULL).sequence, word;
	enum control_state now;

	change(CONTROL_TRIPPED, sequence, 0);
	word = by_itself ? wait_for_probe() : change(CONTROL_PROBING, sequence, 0);
	if (given->status != 0)
		answer(lane, sequence, given->status, given->flags);
	if (!tells) {
		if (given->status == 0) /* another worker starts again */
			die_at(sequence);
		else
			attachment_close(&worker); /* the answer broke the protocol */
		if (given->status != 0)
			attach();
		expect(sequence, 0, &lane);
		cr_assert(attachment_state(&worker) == word, "it is being probed still");
		answer(lane, sequence, 200, 0);
		to = CONTROL_RUNNING;
	}
	now = wait_for_change(word, &detail);
	if (to == CONTROL_TRIPPED) {
		cr_assert(now == to || (by_itself && now == CONTROL_PROBING), "%d", (int)now);
		cr_assert(detail.sequence == sequence, "the head is %lu", detail.sequence);
		word = by_itself ? wait_for_probe() : change(CONTROL_PROBING, sequence, 0);
		answer(lane, sequence, 200, 0);
		now = wait_for_change(word, &detail);
		to = CONTROL_RUNNING;
	}
	cr_assert(now == to, "server_error %s, client_error %s, %d %u: state %d", servers[server],
	    clients[client], given->status, given->flags, (int)now);
	return blocks;
}

static void
answer_next(int status)
{
	unsigned lane;
	uint64_t sequence = take(&lane, NULL).sequence;

	answer(lane, sequence, status, 0);
}

static void
answer_under(unsigned lane, uint64_t sequence, uint64_t state)
{
	cr_assert(
	    attachment_complete(&worker, lane, sequence, state, 503, 0, "again") == 1, "room");
	attachment_publish(&worker);
}

/* A worker that repeats a 5xx would keep the router busy. The router drops such a worker, and the
 * queue goes on with the next one. */
Test(router_probe, a_5xx_that_no_handler_can_have_answered_breaks_the_protocol)
{
	restart_router("server_error = stop");
	publish(1, 1);
	for (int lie = 0; lie < 4; lie++) {
		uint64_t began_ns = now_ns(), word = attachment_state(&worker), now;
		struct control_detail detail;
		unsigned lane;

		expect(1, 0, &lane);
		attachment_release(&worker);
		if (lie < 3) {
			answer_under(lane, 1, word);
			cr_assert(wait_for_change(word, &detail) == CONTROL_TRIPPED, "tripped");
		}
		now = attachment_state(&worker);
		/* The same state again; an older state; a state that never was, before and after an
		 * honest answer. */
		answer_under(lane, 1, lie == 0 ? word : lie == 1 ? word - 1 : now + 1);
		while (attachment_alive(&worker))
			look_again(began_ns, "it is not dropped");
		cr_assert(attachment_state(&worker) == now, "lie %d changed the state", lie);
		attachment_close(&worker);
		attach();
		change(CONTROL_RUNNING, 0, 0);
	}
	answer_next(200);
}

/* A worker must not give more answers than it got deliveries, also for a settled message. */
Test(router_probe, a_message_that_is_answered_again_and_again_breaks_the_protocol)
{
	uint64_t began_ns = now_ns();
	unsigned lane;

	publish(2, 1);
	expect(1, 0, &lane);
	answer(lane, 1, 200, 0);
	answer(lane, 1, 200, 0); /* counted for the other delivery */
	answer(lane, 1, 200, 0);
	while (attachment_alive(&worker))
		look_again(began_ns, "it is not dropped");
	attachment_close(&worker);
	attach();
	expect(2, 0, &lane);
	answer(lane, 2, 200, 0);
}

/* Each answer leads out of PROBING, under each policy, and the messages behind go on. */
static void
probe_all(const char *more, bool by_itself)
{
	char settings[256];
	unsigned blocked = 0;

	/* A probe by the router itself takes a tick, so fewer cases. */
	for (unsigned i = 0; i < 9; i += by_itself ? 8 : 1) {
		snprintf(settings, sizeof(settings), "server_error = %s client_error = %s %s",
		    servers[i / 3], clients[i % 3], more);
		restart_router(settings);
		for (; blocked > 0; blocked--) /* blocked under the previous policy */
			answer_next(200);
		publish(ANSWERS + 1, 1);
		for (unsigned k = 0; k < ANSWERS; k++) {
			blocked += probe_once(&answers[k], i / 3, i % 3, by_itself);
			cr_assert(blocked_groups() == blocked, "%s: %lu of %u are blocked",
			    settings, blocked_groups(), blocked);
		}
		answer_next(200);
	}
}

Test(router_probe, each_outcome_under_each_policy_leads_out_of_it)
{
	probe_all("", false);
}

Test(router_probe, likewise_when_the_router_probes_by_itself)
{
	probe_all("auto_probe = 10ms", true);
}

/* The group's next try is minutes away; the probe does not wait for that time. */
Test(router_probe, a_probe_does_not_wait_for_the_group_of_its_message)
{
	struct control_detail detail;
	unsigned lane;
	uint64_t word;

	publish(1, 2);
	expect(1, 0, &lane);
	answer(lane, 1, 503, 0);
	expect(2, 0, &lane);
	answer(lane, 2, 503, LANE_GIVEN_BACK);
	wait_for_blocked(1);
	for (int i = 0; i < 3; i++) {
		if (i == 1) { /* without a worker, the router forgets the group's messages */
			attachment_close(&worker);
			attach();
		}
		change(CONTROL_TRIPPED, 1, 0);
		word = change(CONTROL_PROBING, 1, i == 2 ? CONTROL_SKIP : 0);
		expect(1, LANE_AGAIN, &lane);
		answer(lane, 1, 503, i == 2 ? LANE_ENDED : 0);
		cr_assert(wait_for_change(word, &detail) == CONTROL_RUNNING, "%d", i);
	}
	expect(2, 0, &lane);
}

/* An earlier message of the same group fails. The probed message then waits behind that one, so the
 * probe has no outcome. */
Test(router_probe, a_message_that_waits_behind_another_of_its_group_is_not_probed_for_ever)
{
	struct control_detail detail;
	unsigned lane;
	uint64_t word;

	publish(1, 2);
	for (int skip = 1; skip >= 0; skip--) {
		expect(1, 0, &lane);
		expect(2, 0, &lane);
		change(CONTROL_TRIPPED, 2, 0);
		word = change(CONTROL_PROBING, 2, skip ? CONTROL_SKIP : 0);
		answer(lane, 1, 503, 0);
		answer(lane, 2, 503, LANE_GIVEN_BACK);
		/* A skip needs another probe of the message; a plain probe does not. */
		cr_assert(
		    wait_for_change(word, &detail) == (skip ? CONTROL_TRIPPED : CONTROL_RUNNING),
		    "skip %d", skip);
		cr_assert(detail.sequence == (skip ? 2 : 0), "%lu", detail.sequence);
		if (skip)
			restart_router("server_error = block-group");
		if (skip)
			change(CONTROL_RUNNING, 0, 0);
	}
	wait_for_blocked(1);
}
