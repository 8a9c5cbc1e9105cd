/*
 * headgate-publish as a process, with the test as its router. The test speaks the protocol by
 * itself, and misbehaves as a real router rarely does.
 *
 * Every wait is for a condition, with a deadline.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <msgpack.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "message/envelope.h"
#include "message/wire.h"
#include "publisher/convert.h"
#include "publisher/input.h"
#include "publisher/sniff.h"
#include "tests/unit/mutate.h"

enum { DEADLINE_MS = 20000, ARGUMENTS = 12, FILE_BYTES = 64 << 20, TOPIC = 7 };

static char dir[64];
static int listen_fd = -1, router_fd = -1;
static bool wanted_receipts;

/* The rest of the frame being read. */
static uint32_t messages_left;
static uint64_t next_number;

static char *
path(const char *name)
{
	static char paths[8][128];
	static int turn;
	char *at = paths[turn++ % 8];

	snprintf(at, sizeof(paths[0]), "%s/%s", dir, name);
	return at;
}

static void
write_file(const char *name, const char *bytes, size_t length)
{
	int fd = open(path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert(fd >= 0 && write(fd, bytes, length) == (ssize_t)length);
	close(fd);
}

static char *
read_file(const char *name)
{
	static char *contents[3];
	static int turn;
	FILE *file = fopen(path(name), "r");
	int i = turn++ % 3;
	size_t length;

	if (contents[i] == NULL)
		contents[i] = malloc(FILE_BYTES);
	cr_assert(file != NULL, "%s", name);
	length = fread(contents[i], 1, FILE_BYTES - 1, file);
	contents[i][length] = '\0';
	fclose(file);
	return contents[i];
}

/*
 * The router.
 */

static void
router_listen(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/router.sock", dir);
	unlink(address.sun_path);
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(bind(listen_fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	cr_assert(listen(listen_fd, 4) == 0);
}

/* Closes the connection; unanswered messages stay unanswered. */
static void
router_hang_up(void)
{
	close(router_fd);
	router_fd = -1;
}

static void
router_read(void *buffer, size_t length)
{
	for (size_t done = 0; done < length;) {
		struct pollfd polled = { .fd = router_fd, .events = POLLIN };
		ssize_t n;

		cr_assert(poll(&polled, 1, DEADLINE_MS) == 1, "nothing comes from the publisher");
		n = read(router_fd, (char *)buffer + done, length - done);
		cr_assert(n > 0, "the publisher hung up");
		done += (size_t)n;
	}
}

static void
pack_text(msgpack_packer *packer, const char *text)
{
	msgpack_pack_str(packer, strlen(text));
	msgpack_pack_str_body(packer, text, strlen(text));
}

static void
router_send(enum wire_type type, msgpack_sbuffer *payload)
{
	int rc = wire_send(router_fd, type, payload->data, payload->size, NULL, 0);

	/* The publisher may have hung up because of an earlier answer. */
	cr_assert(rc == 0 || rc == -EPIPE || rc == -ECONNRESET, "%s", strerror(-rc));
	msgpack_sbuffer_destroy(payload);
}

static void
router_accept(void)
{
	struct pollfd polled = { .fd = listen_fd, .events = POLLIN };
	struct wire_header header;
	char payload[1024];

	cr_assert(poll(&polled, 1, DEADLINE_MS) == 1, "the publisher does not connect");
	router_fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	router_read(&header, sizeof(header));
	cr_assert(header.type == WIRE_HELLO && header.length < sizeof(payload));
	router_read(payload, header.length);
	cr_assert(wire_check(payload, header.length, 2));
	wanted_receipts = memchr(payload, 0xc3, header.length) != NULL;
	messages_left = 0;
	next_number = 1;
}

static void
router_welcome(void)
{
	msgpack_sbuffer buffer;
	msgpack_packer packer;

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 7);
	msgpack_pack_int(&packer, TOPIC);
	pack_text(&packer, "test-topic");
	msgpack_pack_int(&packer, ENVELOPE_BODY_BYTES);
	msgpack_pack_array(&packer, 1);
	pack_text(&packer, "customer_id");
	msgpack_pack_array(&packer, 1);
	pack_text(&packer, "message_id");
	msgpack_pack_false(&packer);
	msgpack_pack_array(&packer, 2);
	pack_text(&packer, "left");
	pack_text(&packer, "right");
	router_send(WIRE_WELCOME, &buffer);
}

/* Takes the next message, and checks that numbers have no gap. */
static void
router_take(struct envelope *envelope)
{
	static char bytes[ENVELOPE_BODY_BYTES_MAX + ENVELOPE_OVERHEAD_BYTES];
	const char *why;
	uint32_t length;

	if (messages_left == 0) {
		struct wire_header header;
		struct wire_publish publish;

		router_read(&header, sizeof(header));
		cr_assert(wire_header_valid(&header) && header.type == WIRE_PUBLISH);
		router_read(&publish, sizeof(publish));
		cr_assert(publish.first == next_number && publish.count > 0);
		messages_left = publish.count;
	}
	router_read(&length, sizeof(length));
	cr_assert(length <= sizeof(bytes));
	router_read(bytes, length);
	cr_assert(
	    envelope_open(envelope, bytes, length, ENVELOPE_BODY_BYTES, &why) == 0, "%s", why);
	cr_assert(envelope->topic == TOPIC);
	messages_left--;
	next_number++;
}

static void
router_take_id(const char *id)
{
	struct envelope envelope;

	router_take(&envelope);
	cr_assert(envelope.message_id.length == strlen(id) &&
		memcmp(envelope.message_id.data, id, strlen(id)) == 0,
	    "%.*s instead of %s", (int)envelope.message_id.length, envelope.message_id.data, id);
}

/* Sends one result. reason NULL: success; sequence 0: without a receipt. */
static void
router_answer(uint64_t first, uint32_t count, int status, bool duplicate, uint64_t sequence,
    const char *reason)
{
	msgpack_sbuffer buffer;
	msgpack_packer packer;

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 1);
	msgpack_pack_array(&packer, 5);
	msgpack_pack_uint64(&packer, first);
	msgpack_pack_uint32(&packer, count);
	msgpack_pack_int(&packer, status);
	if (duplicate)
		msgpack_pack_true(&packer);
	else
		msgpack_pack_false(&packer);
	if (reason != NULL) {
		pack_text(&packer, reason);
	} else {
		msgpack_pack_array(&packer, sequence != 0);
		if (sequence != 0) {
			msgpack_pack_array(&packer, 2);
			msgpack_pack_int(&packer, 1);
			msgpack_pack_uint64(&packer, sequence);
		}
	}
	router_send(WIRE_RESULT, &buffer);
}

static void
router_refuse(int status, const char *text)
{
	msgpack_sbuffer buffer;
	msgpack_packer packer;

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 2);
	msgpack_pack_int(&packer, status);
	pack_text(&packer, text);
	router_send(WIRE_ERROR, &buffer);
}

/*
 * The publisher.
 */

struct publisher {
	pid_t pid;
	int in; /* its stdin; -1: the file "in" */
};

static void
add_redirections(posix_spawn_file_actions_t *actions, int stdin_fd, int stdout_fd)
{
	int flags = O_WRONLY | O_CREAT | O_TRUNC;

	posix_spawn_file_actions_init(actions);
	if (stdin_fd >= 0)
		posix_spawn_file_actions_adddup2(actions, stdin_fd, STDIN_FILENO);
	else
		posix_spawn_file_actions_addopen(actions, STDIN_FILENO, path("in"), O_RDONLY, 0);
	if (stdout_fd >= 0)
		posix_spawn_file_actions_adddup2(actions, stdout_fd, STDOUT_FILENO);
	else
		posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, path("out"), flags, 0600);
	posix_spawn_file_actions_addopen(actions, STDERR_FILENO, path("err"), flags, 0600);
}

/* Starts the publisher with these arguments, ended by NULL. */
static pid_t
start(int stdin_fd, int stdout_fd, va_list arguments)
{
	const char *build = getenv("top_builddir");
	char program[512], directory[] = "-D";
	char *argv[ARGUMENTS + 4] = { program, directory, dir };
	char *environment[] = { NULL };
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int rc;

	snprintf(program, sizeof(program), "%s/headgate-publish", build != NULL ? build : ".");
	for (int i = 3; i < ARGUMENTS; i++)
		if ((argv[i] = va_arg(arguments, char *)) == NULL)
			break;
	add_redirections(&actions, stdin_fd, stdout_fd);
	rc = posix_spawn(&pid, program, &actions, NULL, argv, environment);
	posix_spawn_file_actions_destroy(&actions);
	cr_assert(rc == 0, "%s: %s", program, strerror(rc));
	return pid;
}

/* Starts a publisher that reads the file "in". */
static struct publisher
publish(const char *first, ...)
{
	struct publisher publisher = { .in = -1 };
	va_list arguments;

	(void)first;
	va_start(arguments, first);
	publisher.pid = start(-1, -1, arguments);
	va_end(arguments);
	return publisher;
}

/* Starts a publisher that reads a pipe from the test. */
static struct publisher
publish_pipe(const char *first, ...)
{
	struct publisher publisher;
	va_list arguments;
	int ends[2];

	(void)first;
	cr_assert(pipe2(ends, O_CLOEXEC) == 0);
	va_start(arguments, first);
	publisher.pid = start(ends[0], -1, arguments);
	va_end(arguments);
	close(ends[0]);
	publisher.in = ends[1];
	return publisher;
}

/* Waits for the publisher's end. Returns the wait(2) status. */
static int
finish_raw(struct publisher *publisher)
{
	int pidfd = (int)syscall(SYS_pidfd_open, publisher->pid, 0);
	struct pollfd polled = { .fd = pidfd, .events = POLLIN };
	int status = -1, ended;

	if (publisher->in >= 0)
		close(publisher->in);
	cr_assert(pidfd >= 0);
	ended = poll(&polled, 1, DEADLINE_MS);
	if (ended != 1)
		kill(publisher->pid, SIGKILL);
	waitpid(publisher->pid, &status, 0);
	close(pidfd);
	cr_assert(ended == 1, "headgate-publish does not end; it said: %s", read_file("err"));
	return status;
}

static void
finish(struct publisher *publisher, int wanted)
{
	int status = finish_raw(publisher);

	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == wanted,
	    "exit status %d (signal %d) instead of %d: %s", WEXITSTATUS(status),
	    WIFSIGNALED(status) ? WTERMSIG(status) : 0, wanted, read_file("err"));
}

static void
expect_said(const char *text)
{
	cr_assert(strstr(read_file("err"), text) != NULL, "not said: %s, but: %s", text,
	    read_file("err"));
}

/* Writes lines with the message ids m1 to mCOUNT. */
static void
write_lines(int count)
{
	char *bytes = malloc((size_t)count * 128 + 1);
	size_t length = 0;

	for (int i = 1; i <= count; i++)
		length += (size_t)sprintf(
		    bytes + length, "{\"customer_id\":\"C\",\"message_id\":\"m%d\"}\n", i);
	write_file("in", bytes, length);
	free(bytes);
}

static void
take_lines(int first, int last)
{
	char id[16];

	for (int i = first; i <= last; i++) {
		snprintf(id, sizeof(id), "m%d", i);
		router_take_id(id);
	}
}

static void
setup(void)
{
	strcpy(dir, "/tmp/hg-publish-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL && mkdir(path("run"), 0700) == 0);
	router_listen();
}

static void
teardown(void)
{
	static const char *const names[] = { "in", "out", "err", "rejects", "run/router.sock",
		"run/router.lock" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(path(names[i]));
	rmdir(path("run"));
	rmdir(dir);
}

TestSuite(publisher_run, .init = setup, .fini = teardown, .timeout = 600);

/*
 * Good days.
 */

Test(publisher_run, all_lines_go_out_in_order_and_it_ends_when_all_are_durable)
{
	struct publisher publisher;

	write_lines(5000);
	publisher = publish("", NULL);
	router_accept();
	cr_assert(!wanted_receipts);
	router_welcome();
	take_lines(1, 5000);
	router_answer(1, 4999, 200, false, 0, NULL);
	cr_assert(waitpid(publisher.pid, NULL, WNOHANG) == 0, "it did not wait for the last");
	router_answer(5000, 1, 200, false, 0, NULL);
	finish(&publisher, 0);
	cr_assert(read_file("err")[0] == '\0', "it said: %s", read_file("err"));
}

Test(publisher_run, receipts_follow_the_input_whoever_refused)
{
	static const char in[] = "{\"customer_id\":\"C\",\"message_id\":\"m1\"}\n"
				 "\n"
				 "no json\n"
				 "{\"customer_id\":\"C\",\"message_id\":\"m4\"}\n"
				 "{\"customer_id\":\"C\",\"message_id\":\"m5\"}\n"
				 "{\"message_id\":\"m6\"}\n"
				 "{\"customer_id\":\"C\",\"message_id\":\"m7\"}";
	struct publisher publisher;

	write_file("in", in, strlen(in));
	publisher = publish("", "--receipts", NULL);
	router_accept();
	cr_assert(wanted_receipts);
	router_welcome();
	router_take_id("m1");
	router_take_id("m4");
	router_take_id("m5");
	router_take_id("m7");
	router_answer(1, 1, 200, false, 41, NULL);
	router_answer(2, 1, 422, false, 0, "no queue takes this message");
	router_answer(3, 1, 200, true, 0, NULL);
	router_answer(4, 1, 200, false, 42, NULL);
	finish(&publisher, EX_DATAERR);
	cr_assert(
	    strcmp(read_file("out"),
		"{\"line\":1,\"message_id\":\"m1\",\"status\":200,\"duplicate\":false,"
		"\"queues\":[{\"name\":\"right\",\"sequence\":41}]}\n"
		"{\"line\":3,\"status\":400,\"error\":\"invalid JSON at byte 2: neither true, "
		"false nor null\"}\n"
		"{\"line\":4,\"status\":422,\"error\":\"no queue takes this message\"}\n"
		"{\"line\":5,\"message_id\":\"m5\",\"status\":200,\"duplicate\":true,\"queues\":[]}"
		"\n"
		"{\"line\":6,\"status\":400,\"error\":\"no group: message_group_id is missing, "
		"customer_id is missing\"}\n"
		"{\"line\":7,\"message_id\":\"m7\",\"status\":200,\"duplicate\":false,"
		"\"queues\":[{\"name\":\"right\",\"sequence\":42}]}\n") == 0,
	    "%s", read_file("out"));
	expect_said("stdin:3: invalid JSON");
	expect_said("stdin:4: no queue takes this message");
}

Test(publisher_run, receipts_of_several_files_name_them)
{
	struct publisher publisher;
	char expected[512];

	write_lines(1);
	write_file("one", "{\"customer_id\":\"C\",\"message_id\":\"m1\"}\n", 38);
	write_file("two", "no json\n", 8);
	publisher = publish("", "--receipts", path("one"), path("two"), NULL);
	router_accept();
	router_welcome();
	router_take_id("m1");
	router_answer(1, 1, 200, false, 41, NULL);
	finish(&publisher, EX_DATAERR);
	snprintf(expected, sizeof(expected),
	    "{\"line\":1,\"file\":\"%s\",\"message_id\":\"m1\",\"status\":200,\"duplicate\":false,"
	    "\"queues\":[{\"name\":\"right\",\"sequence\":41}]}\n"
	    "{\"line\":1,\"file\":\"%s\",\"status\":400,\"error\":\"invalid JSON at byte 2: "
	    "neither true, "
	    "false nor null\"}\n",
	    path("one"), path("two"));
	cr_assert(strcmp(read_file("out"), expected) == 0, "%s", read_file("out"));
}

Test(publisher_run, refused_lines_are_kept_byte_for_byte_and_in_order)
{
	static const char in[] =
	    " {\"customer_id\":\"C\",\"message_id\":\"m1\" }\r\n"
	    "bad\xff\n"
	    "{\"Type\":\"Notification\",\"Message\":\"{\\\"customer_id\\\":\\\"C\\\"}\"}\n"
	    "{\"customer_id\":\"C\",\"message_id\":\"m4\"}\n"
	    "last";
	struct publisher publisher;
	struct envelope envelope;

	write_file("in", in, strlen(in));
	publisher = publish("", "--rejects", path("rejects"), NULL);
	router_accept();
	router_welcome();
	router_take_id("m1");
	router_take(&envelope);
	router_take_id("m4");
	router_answer(1, 2, 422, false, 0, "no");
	router_answer(3, 1, 200, false, 0, NULL);
	finish(&publisher, EX_DATAERR);
	cr_assert(
	    strcmp(read_file("rejects"),
		" {\"customer_id\":\"C\",\"message_id\":\"m1\" }\r\n"
		"bad\xff\n"
		"{\"Type\":\"Notification\",\"Message\":\"{\\\"customer_id\\\":\\\"C\\\"}\"}\n"
		"last") == 0,
	    "%s", read_file("rejects"));
}

Test(publisher_run, the_end_of_a_line_is_no_part_of_the_message)
{
	static const char in[] = "\xef\xbb\xbf{\"customer_id\":\"C\"}\r\n{\"customer_id\":\"C\"}\n";
	struct publisher publisher;
	struct envelope envelope;

	write_file("in", in, strlen(in));
	publisher = publish("", "--rejects", path("rejects"), NULL);
	router_accept();
	router_welcome();
	for (int i = 0; i < 2; i++) {
		router_take(&envelope);
		cr_assert(envelope.body.length == strlen("{\"customer_id\":\"C\"}"), "%.*s",
		    (int)envelope.body.length, envelope.body.data);
	}
	router_answer(1, 2, 422, false, 0, "no");
	finish(&publisher, EX_DATAERR);
	cr_assert(strcmp(read_file("rejects"), in + 3) == 0, "%s", read_file("rejects"));
}

/* A refused source yields one error and one receipt. The next source is published. */
static void
check_refused_source(const char *bytes, size_t length, const char *hint)
{
	const char *kept;
	struct publisher publisher;
	char *err;

	write_file("in", bytes, length);
	write_file("one", "{\"customer_id\":\"C\",\"message_id\":\"m1\"}\n", 38);
	publisher =
	    publish("", "--receipts", "--rejects", path("rejects"), path("in"), path("one"), NULL);
	router_accept();
	router_welcome();
	router_take_id("m1");
	router_answer(1, 1, 200, false, 41, NULL);
	finish(&publisher, EX_DATAERR);
	err = read_file("err");
	cr_assert(strstr(err, hint) != NULL && strchr(err, '\n')[1] == '\0', "%s", err);
	cr_assert(strstr(err, "nothing of it is published") != NULL, "%s", err);
	cr_assert(strncmp(read_file("out"), "{\"line\":1,\"file\":", 17) == 0);
	cr_assert(strstr(read_file("out"), "\"status\":400,\"error\":") != NULL);
	kept = read_file("rejects");
	cr_assert(memcmp(kept, bytes, length) == 0 && kept[length] == '\0', "not kept");
	router_hang_up();
}

Test(publisher_run, what_is_no_lines_of_json_is_one_error)
{
	static const char object[] = "{\n  \"a\": 1\n}\n", array[] = "[\n{},\n{}\n]\n";
	static char packed[3 << 20] = "\x1f\x8b\x08";

	memset(packed + 3, '\n', sizeof(packed) - 3);
	check_refused_source(packed, sizeof(packed), "gzip -dc");
	check_refused_source(object, strlen(object), "jq -c .");
	check_refused_source(array, strlen(array), "jq -c '.[]'");
}

Test(publisher_run, a_refused_pipe_that_is_not_kept_is_not_read_to_its_end)
{
	struct publisher publisher = publish_pipe("", NULL);

	router_accept();
	router_welcome();
	cr_assert(write(publisher.in, "\x1f\x8b\x08", 3) == 3);
	{
		int in = publisher.in;

		publisher.in = -1;
		finish(&publisher, EX_DATAERR);
		close(in);
	}
	expect_said("stdin:1: compressed with gzip");
}

Test(publisher_run, a_trickle_goes_out_at_once)
{
	static const char one[] =
	    "{\"customer_id\":\"C\",\"message_id\":\"m1\"}\n{\"customer_id\":",
			  two[] = "\"C\",\"message_id\":\"m2\"}\n";
	struct publisher publisher = publish_pipe("", NULL);

	router_accept();
	router_welcome();
	cr_assert(write(publisher.in, one, strlen(one)) == (ssize_t)strlen(one));
	router_take_id("m1");
	cr_assert(write(publisher.in, two, strlen(two)) == (ssize_t)strlen(two));
	router_take_id("m2");
	router_answer(1, 2, 200, false, 0, NULL);
	finish(&publisher, 0);
}

/*
 * Outages.
 */

Test(publisher_run, what_has_no_answer_is_sent_again_to_the_next_router)
{
	struct publisher publisher;

	write_lines(2000);
	publisher = publish("", NULL);
	router_accept();
	router_welcome();
	take_lines(1, 1500);
	router_answer(1, 700, 200, false, 0, NULL);
	router_hang_up();
	router_accept();
	router_welcome();
	take_lines(701, 2000);
	router_answer(1, 800, 200, true, 0, NULL);
	router_answer(801, 500, 200, false, 0, NULL);
	finish(&publisher, 0);
	expect_said(
	    "800 lines were sent again after a lost connection; the router had them already");
	cr_assert(strstr(read_file("err"), "duplicate") == NULL, "%s", read_file("err"));
}

Test(publisher_run, duplicates_are_counted_and_said)
{
	struct publisher publisher;

	write_lines(3);
	publisher = publish("", "--progress", NULL);
	router_accept();
	router_welcome();
	take_lines(1, 3);
	router_answer(1, 1, 200, false, 0, NULL);
	router_answer(2, 2, 200, true, 0, NULL);
	finish(&publisher, 0);
	expect_said("2 of 3 lines are duplicates and not delivered");
	expect_said("3 durable, 2 of them duplicates, 0 refused");
}

Test(publisher_run, duplicates_are_said_when_it_gives_up_too)
{
	struct publisher publisher;

	write_lines(3);
	publisher = publish("", "--wait", "100ms", NULL);
	router_accept();
	router_welcome();
	take_lines(1, 3);
	router_answer(1, 1, 200, true, 0, NULL);
	close(listen_fd);
	router_hang_up();
	finish(&publisher, EX_UNAVAILABLE);
	expect_said("1 lines are durable");
	expect_said("1 of 1 lines is a duplicate and not delivered");
}

Test(publisher_run, a_router_that_dies_again_and_again_loses_nothing)
{
	int done = 0;
	struct publisher publisher;

	write_lines(1000);
	publisher = publish("", NULL);
	while (done < 1000) {
		router_accept();
		router_welcome();
		take_lines(done + 1, done + 100);
		router_answer(1, 50, 200, false, 0, NULL);
		done += 50;
		if (done == 950)
			break;
		router_hang_up();
	}
	router_answer(51, 50, 200, false, 0, NULL);
	finish(&publisher, 0);
}

Test(publisher_run, try_again_starts_over_from_that_message)
{
	struct publisher publisher;

	write_lines(10);
	publisher = publish("", NULL);
	router_accept();
	router_welcome();
	take_lines(1, 10);
	router_answer(1, 4, 200, false, 0, NULL);
	router_answer(5, 1, 503, false, 0, "queue left: No space left on device: try again");
	router_answer(6, 1, 503, false, 0, "behind a message that was asked to try again");
	router_accept();
	router_welcome();
	take_lines(5, 10);
	router_answer(1, 6, 200, false, 0, NULL);
	finish(&publisher, 0);
}

Test(publisher_run, try_again_for_too_long_names_the_first_line_that_is_not_durable)
{
	struct pollfd polled = { .fd = listen_fd, .events = POLLIN };
	struct publisher publisher;

	write_lines(3);
	publisher = publish("", "--wait", "300ms", NULL);
	/* The publisher reconnects until --wait is over. */
	while (poll(&polled, 1, 1500) == 1) {
		router_accept();
		router_welcome();
		take_lines(1, 1);
		router_answer(1, 1, 503, false, 0, "the disk is full");
		router_hang_up();
	}
	finish(&publisher, EX_TEMPFAIL);
	expect_said("the disk is full");
	expect_said("stdin:1");
	expect_said("0 lines are durable");
}

Test(publisher_run, no_router_ends_after_the_wait_and_says_what_to_do)
{
	struct publisher publisher;

	close(listen_fd);
	write_lines(3);
	publisher = publish("", "--wait", "100ms", NULL);
	finish(&publisher, EX_UNAVAILABLE);
	expect_said("0 lines are durable");
	expect_said("start it with: headgate-router");
}

/* A starting router has its lock, and no socket yet. */
Test(publisher_run, a_router_that_starts_is_told_from_none)
{
	struct publisher publisher;
	int fd = open(path("run/router.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	cr_assert(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
	close(listen_fd);
	write_lines(3);
	publisher = publish("", "--wait", "100ms", NULL);
	finish(&publisher, EX_UNAVAILABLE);
	expect_said("the router is starting, and takes no messages yet");
	cr_assert(strstr(read_file("err"), "start it with") == NULL, "%s", read_file("err"));
	close(fd);
}

Test(publisher_run, a_router_for_another_user_is_no_wrong_topic)
{
	struct publisher publisher;

	write_lines(1);
	publisher = publish("", NULL);
	router_accept();
	router_refuse(403, "not permitted: run as the router's user");
	finish(&publisher, EX_NOPERM);
	expect_said("headgate-publish: not permitted: run as the router's user");
}

/* The router may hang up before the publisher has sent HELLO. */
Test(publisher_run, a_refusal_counts_however_early_it_comes, .timeout = 6000)
{
	for (int i = 0; i < 50; i++) {
		struct pollfd polled = { .fd = listen_fd, .events = POLLIN };
		struct publisher publisher;

		write_lines(1);
		publisher = publish("", "--wait", "200ms", NULL);
		cr_assert(poll(&polled, 1, DEADLINE_MS) == 1);
		router_fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		router_refuse(403, "not permitted");
		router_hang_up();
		finish(&publisher, EX_NOPERM);
	}
}

Test(publisher_run, a_router_that_does_not_come_back_ends_it_too)
{
	struct publisher publisher;

	write_lines(10);
	publisher = publish("", "--wait", "100ms", NULL);
	router_accept();
	router_welcome();
	take_lines(1, 10);
	router_answer(1, 4, 200, false, 0, NULL);
	close(listen_fd);
	router_hang_up();
	finish(&publisher, EX_UNAVAILABLE);
	expect_said("4 lines are durable");
	expect_said("stdin:5");
}

Test(publisher_run, a_router_that_answers_nothing_ends_it_after_the_wait)
{
	struct publisher publisher;

	write_lines(10);
	publisher = publish("", "--wait", "200ms", NULL);
	router_accept();
	router_welcome();
	take_lines(1, 10);
	router_answer(1, 4, 200, false, 0, NULL);
	finish(&publisher, EX_UNAVAILABLE);
	expect_said("it does not answer");
	expect_said("4 lines are durable");
	expect_said("stdin:5");
}

Test(publisher_run, a_router_without_a_welcome_ends_it_after_the_wait)
{
	struct publisher publisher;

	write_lines(3);
	publisher = publish("", "--wait", "100ms", NULL);
	router_accept();
	finish(&publisher, EX_UNAVAILABLE);
	expect_said("does not answer");
	expect_said("0 lines are durable");
}

Test(publisher_run, an_idle_pipe_waits_for_ever_and_survives_a_new_router)
{
	static const char line[] = "{\"customer_id\":\"C\",\"message_id\":\"m1\"}\n";
	struct publisher publisher = publish_pipe("", "--wait", "10s", NULL);

	router_accept();
	router_welcome();
	router_hang_up();
	router_accept();
	router_welcome();
	cr_assert(write(publisher.in, line, strlen(line)) == (ssize_t)strlen(line));
	router_take_id("m1");
	router_answer(1, 1, 200, false, 0, NULL);
	finish(&publisher, 0);
}

Test(publisher_run, a_signal_stops_reading_and_waits_for_what_is_under_way)
{
	static const char line[] = "{\"customer_id\":\"C\",\"message_id\":\"m1\"}\n";
	struct publisher publisher = publish_pipe("", NULL);
	int status;

	router_accept();
	router_welcome();
	cr_assert(write(publisher.in, line, strlen(line)) == (ssize_t)strlen(line));
	router_take_id("m1");
	kill(publisher.pid, SIGTERM);
	router_answer(1, 1, 200, false, 0, NULL);
	status = finish_raw(&publisher);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "status %x", status);
	expect_said("1 line");
}

Test(publisher_run, a_signal_loses_no_refused_line)
{
	static const char in[] = "no json\n{\"customer_id\":\"C\",\"message_id\":\"m1\"}\n";
	struct publisher publisher = publish_pipe("", "--rejects", path("rejects"), NULL);
	int status;

	router_accept();
	router_welcome();
	cr_assert(write(publisher.in, in, strlen(in)) == (ssize_t)strlen(in));
	router_take_id("m1");
	kill(publisher.pid, SIGTERM);
	router_answer(1, 1, 200, false, 0, NULL);
	status = finish_raw(&publisher);
	cr_assert(WIFSIGNALED(status));
	cr_assert(strcmp(read_file("rejects"), "no json\n") == 0, "%s", read_file("rejects"));
}

/*
 * Peers and people that break the rules.
 */

/* After a bad answer the publisher must give up, or go on with a good router, without a crash and
 * in bounded time. */
static void
check_bad_answer(uint64_t first, uint32_t count, int status)
{
	struct publisher publisher;
	int ended;

	write_lines(3);
	publisher = publish("", "--wait", "200ms", NULL);
	router_accept();
	router_welcome();
	take_lines(1, 3);
	router_answer(first, count, status, false, 0, status == 200 ? NULL : "why");
	close(listen_fd);
	router_hang_up();
	ended = finish_raw(&publisher);
	cr_assert(WIFEXITED(ended) && WEXITSTATUS(ended) != 0, "status %x", ended);
	setup();
}

Test(publisher_run, answers_to_what_was_not_sent_are_not_believed)
{
	check_bad_answer(1, 4, 200);
	check_bad_answer(2, 1, 200);
	check_bad_answer(0, 1, 200);
	check_bad_answer(UINT64_MAX, 2, 200);
	check_bad_answer(1, UINT32_MAX, 200);
	check_bad_answer(1, 1, 100);
}

Test(publisher_run, an_answer_to_a_frame_that_is_under_way_is_not_believed)
{
	size_t length = ENVELOPE_BODY_BYTES - 64;
	char *in = malloc(8 * (length + 128));
	struct publisher publisher;
	size_t used = 0;
	int ended;

	/* More than the socket holds, in frames of one message. */
	for (int i = 0; i < 8; i++)
		used += (size_t)sprintf(
		    in + used, "{\"customer_id\":\"C\",\"x\":\"%0*d\"}\n", (int)length - 40, 0);
	write_file("in", in, used);
	free(in);
	publisher = publish("", "--wait", "200ms", NULL);
	router_accept();
	router_welcome();
	{
		struct pollfd polled = { .fd = router_fd, .events = POLLIN };

		cr_assert(poll(&polled, 1, DEADLINE_MS) == 1);
	}
	for (int i = 1; i <= 8; i++)
		router_answer((uint64_t)i, 1, 200, false, 0, NULL);
	close(listen_fd);
	router_hang_up();
	ended = finish_raw(&publisher);
	cr_assert(WIFEXITED(ended), "signal %d", WTERMSIG(ended));
	cr_assert(WEXITSTATUS(ended) != 0, "believed: %s", read_file("err"));
}

/* A router may answer a frame's first messages while the rest of the frame is still being sent. */
Test(publisher_run, an_answer_to_the_front_of_a_frame_that_is_under_way_counts)
{
	enum { N = 400, LENGTH = 6000, SOCKET_BYTES = 240 << 10 };
	char *in = malloc(N * (LENGTH + 64));
	unsigned answered = 0, under_way = 0;
	struct publisher publisher;
	struct envelope envelope;
	size_t used = 0;

	for (int i = 0; i < N; i++)
		used += (size_t)sprintf(
		    in + used, "{\"customer_id\":\"C\",\"x\":\"%0*d\"}\n", LENGTH - 40, i);
	write_file("in", in, used);
	free(in);
	publisher = publish("", "--wait", "200ms", NULL);
	router_accept();
	close(listen_fd); /* the publisher cannot reconnect */
	router_welcome();
	for (unsigned i = 1; i <= N; i++) {
		bool begins = messages_left == 0;

		router_take(&envelope);
		/* Long frames arise while earlier ones fill the socket. */
		if (!begins || messages_left * LENGTH < SOCKET_BYTES)
			continue;
		under_way++;
		router_answer(answered + 1, i - answered, 200, false, 0, NULL);
		answered = i;
	}
	cr_assert(under_way > 0, "no frame was longer than the socket holds");
	router_answer(answered + 1, N - answered, 200, false, 0, NULL);
	finish(&publisher, 0);
}

/* A router refuses this publisher each time: --wait limits the attempts. */
Test(publisher_run, a_router_that_always_refuses_is_not_asked_for_ever)
{
	struct publisher publisher;
	struct pollfd polled = { .fd = listen_fd, .events = POLLIN };
	int rounds = 0;

	write_lines(1);
	publisher = publish("", "--wait", "300ms", NULL);
	while (rounds < 200 && poll(&polled, 1, 1500) == 1) {
		router_accept();
		router_welcome();
		take_lines(1, 1);
		router_refuse(400, "this publisher breaks the rules");
		router_hang_up();
		rounds++;
	}
	if (rounds == 200)
		kill(publisher.pid, SIGKILL);
	finish_raw(&publisher);
	cr_assert(rounds < 200, "it came back %d times, beyond --wait", rounds);
	expect_said("this publisher breaks the rules");
}

Test(publisher_run, a_refused_hello_ends_it_with_the_reason)
{
	struct publisher publisher;

	write_lines(1);
	publisher = publish("", "-t", "nowhere", NULL);
	router_accept();
	router_refuse(404, "no topic of this name");
	finish(&publisher, EX_USAGE);
	expect_said("no topic of this name");
}

Test(publisher_run, the_rejects_file_cannot_be_the_input)
{
	struct publisher publisher;

	write_lines(3);
	publisher = publish("", "--rejects", path("in"), "--wait", "0", path("in"), NULL);
	finish(&publisher, EX_USAGE);
	cr_assert(strlen(read_file("in")) > 0, "the input is gone");
}

Test(publisher_run, rejects_that_cannot_be_made_are_an_error_before_anything_is_sent)
{
	struct publisher publisher;

	write_lines(3);
	publisher = publish("", "--rejects", path("missing/rejects"), NULL);
	finish(&publisher, EX_CANTCREAT);
}

Test(publisher_run, rejects_are_for_their_owner_only)
{
	struct publisher publisher;
	struct stat file;

	write_lines(1);
	publisher = publish("", "--rejects", path("rejects"), NULL);
	router_accept();
	router_welcome();
	take_lines(1, 1);
	router_answer(1, 1, 200, false, 0, NULL);
	finish(&publisher, 0);
	cr_assert(stat(path("rejects"), &file) == 0 && (file.st_mode & 0777) == 0600 &&
	    file.st_size == 0);
}

Test(publisher_run, a_full_disk_for_rejects_is_an_error)
{
	struct publisher publisher;

	write_file("in", "no json\n", 8);
	publisher = publish("", "--rejects", "/dev/full", NULL);
	router_accept();
	router_welcome();
	finish(&publisher, EX_IOERR);
}

Test(publisher_run, a_reader_of_receipts_who_leaves_ends_it_and_it_says_how_far_it_was)
{
	struct publisher publisher = { .in = -1 };
	int ends[2], status;

	write_lines(1000);
	cr_assert(pipe2(ends, O_CLOEXEC) == 0);
	close(ends[0]);
	{
		posix_spawn_file_actions_t actions;
		const char *build = getenv("top_builddir");
		char program[512], option[] = "--receipts", directory[] = "-D";
		char *argv[] = { program, directory, dir, option, NULL };
		char *environment[] = { NULL };

		snprintf(program, sizeof(program), "%s/headgate-publish", build ? build : ".");
		add_redirections(&actions, -1, ends[1]);
		cr_assert(
		    posix_spawn(&publisher.pid, program, &actions, NULL, argv, environment) == 0);
		posix_spawn_file_actions_destroy(&actions);
	}
	close(ends[1]);
	router_accept();
	router_welcome();
	take_lines(1, 1000);
	router_answer(1, 1000, 200, false, 1, NULL);
	status = finish_raw(&publisher);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == EX_IOERR, "%x", status);
	expect_said("stdout: Broken pipe");
	expect_said("1000 lines are durable");
}

Test(publisher_run, what_is_not_durable_when_it_gives_up_has_a_receipt_too)
{
	struct publisher publisher;

	write_lines(3);
	publisher = publish("", "--receipts", "--wait", "100ms", NULL);
	router_accept();
	router_welcome();
	take_lines(1, 3);
	router_answer(1, 1, 200, false, 9, NULL);
	close(listen_fd);
	router_hang_up();
	finish(&publisher, EX_UNAVAILABLE);
	cr_assert(strstr(read_file("out"), "{\"line\":2,\"status\":503,\"error\":") != NULL &&
		strstr(read_file("out"), "{\"line\":3,\"status\":503,\"error\":") != NULL,
	    "%s", read_file("out"));
}

/*
 * Random lines: PUBLISH_SEED, PUBLISH_ROUNDS.
 */

enum { FUZZ_LINES = 200, FUZZ_ROUNDS = 30 };

enum outcome { BLANK, MESSAGE, REFUSED };

/* A line of the input, with its expected outcome. */
struct fuzz_line {
	const char *text;
	size_t length, whole; /* without and with the line ending */
	enum outcome outcome;
	bool good; /* not mutated */
	int status;
};

struct fuzz {
	char *bytes;
	size_t length, count;
	struct fuzz_line *lines;
};

static size_t
put_good(char *to)
{
	return (size_t)sprintf(
	    to, "{\"customer_id\":\"C\",\"message_id\":\"good-%u\"}", mutate_below(1000000));
}

/* Makes a file of lines. first_good: begins with a good line, so sniff() accepts the file. */
static void
fuzz_make(struct fuzz *fuzz, bool first_good)
{
	static const char *const ends[] = { "\n", "\r\n", "\n\n", "\r\r\n", "" };

	fuzz->length = 0;
	for (unsigned i = mutate_below(FUZZ_LINES); i > 0; i--) {
		char *at = fuzz->bytes + fuzz->length;

		if ((first_good && fuzz->length == 0) || mutate_below(3) == 0) {
			fuzz->length += put_good(at);
			fuzz->bytes[fuzz->length++] = '\n';
			continue;
		}
		if (first_good && mutate_below(500) == 0) {
			memset(at, 'x', INPUT_LINE_BYTES + 1);
			fuzz->length += INPUT_LINE_BYTES + 1;
		}
		fuzz->length += mutate_line(fuzz->bytes + fuzz->length);
		at = fuzz->bytes + fuzz->length;
		fuzz->length += strlen(strcpy(at, ends[mutate_below(5)]));
		/* Ends the line, so that the next one is separate. */
		if (i > 1 && fuzz->length > 0 && fuzz->bytes[fuzz->length - 1] != '\n')
			fuzz->bytes[fuzz->length++] = '\n';
	}
}

static bool
fuzz_is_blank(const struct fuzz_line *line)
{
	for (size_t i = 0; i < line->length; i++)
		if (line->text[i] == '\0' || strchr(" \t\r\v\f", line->text[i]) == NULL)
			return false;
	return true;
}

static bool
fuzz_is_good(const struct fuzz_line *line)
{
	static const char head[] = "{\"customer_id\":\"C\",\"message_id\":\"good-";
	size_t digits;

	if (line->length < sizeof(head) || memcmp(line->text, head, sizeof(head) - 1) != 0)
		return false;
	digits = strspn(line->text + sizeof(head) - 1, "0123456789");
	return digits > 0 && line->length == sizeof(head) - 1 + digits + 2 &&
	    memcmp(line->text + line->length - 2, "\"}", 2) == 0;
}

/* The line's outcome, by the publisher's own converter. */
static enum outcome
fuzz_outcome(struct converter *converter, struct fuzz_line *line)
{
	static const struct topic_settings topic = {
		.id = TOPIC,
		.name = "test-topic",
		.max_body_bytes = ENVELOPE_BODY_BYTES,
		.group_by = { "customer_id" },
		.group_by_count = 1,
		.dedup_by = { TOPIC_DEDUP_MESSAGE_ID },
		.dedup_by_count = 1,
	};
	static char packed[ENVELOPE_BODY_BYTES_MAX + ENVELOPE_OVERHEAD_BYTES];
	struct envelope_source source;
	const char *why;
	char *copy;
	long n = 0;

	if (fuzz_is_blank(line))
		return BLANK;
	line->status = 413;
	if (line->length > INPUT_LINE_BYTES)
		return REFUSED;
	copy = calloc(1, line->length + JSON_PADDING);
	memcpy(copy, line->text, line->length);
	line->status =
	    convert_line(converter, &topic, (struct span){ copy, line->length }, 1, &source);
	if (line->status == 0) {
		struct envelope envelope;

		n = envelope_pack(packed, sizeof(packed), &source);
		cr_assert(n > 0 &&
		    envelope_open(&envelope, packed, (size_t)n, ENVELOPE_BODY_BYTES, &why) == 0);
	} else {
		cr_assert(line->status == 400 || line->status == 413, "%d", line->status);
		cr_assert(convert_reason(converter)[0] != '\0');
	}
	free(copy);
	return line->status == 0 ? MESSAGE : REFUSED;
}

static void
fuzz_split(struct fuzz *fuzz, struct converter *converter)
{
	size_t mark = 0, at = 0;
	const char *why;

	fuzz->count = 0;
	if (sniff(fuzz->bytes, fuzz->length, true, &mark, &why) == SNIFF_REFUSED) {
		fuzz->lines[fuzz->count++] = (struct fuzz_line){
			.text = fuzz->bytes,
			.length = fuzz->length,
			.whole = fuzz->length,
			.outcome = REFUSED,
			.status = 400,
		};
		return;
	}
	for (at = mark; at < fuzz->length;) {
		const char *text = fuzz->bytes + at;
		const char *newline = memchr(text, '\n', fuzz->length - at);
		struct fuzz_line *line = &fuzz->lines[fuzz->count++];
		size_t length = newline != NULL ? (size_t)(newline - text) : fuzz->length - at;

		*line = (struct fuzz_line){ .text = text, .length = length };
		line->whole = length + (newline != NULL);
		if (length > 0 && length <= INPUT_LINE_BYTES + 1 && text[length - 1] == '\r')
			line->length--;
		line->outcome = fuzz_outcome(converter, line);
		line->good = fuzz_is_good(line);
		cr_assert(!line->good || line->outcome == MESSAGE);
		at += line->whole;
	}
}

/* The next line from `at` that the publisher sends. Sets *waits if a line too long comes before:
 * the publisher then waits for all answers first. */
static size_t
fuzz_next(const struct fuzz *fuzz, size_t at, bool *waits)
{
	for (; at < fuzz->count && fuzz->lines[at].outcome != MESSAGE; at++)
		*waits |= fuzz->lines[at].length > INPUT_LINE_BYTES;
	return at;
}

/* Takes messages and answers them as the seed decides; hangs up now and then. */
static void
fuzz_route(struct fuzz *fuzz)
{
	bool waits = false;
	size_t answered = fuzz_next(fuzz, 0, &waits); /* the first unanswered line */

	router_accept();
	router_welcome();
	while (answered < fuzz->count) {
		size_t taken = answered, most = 1 + mutate_below(20);
		uint64_t number = next_number;

		if (mutate_below(40) == 0) {
			router_hang_up();
			router_accept();
			router_welcome();
			number = 1;
		}
		waits = false;
		for (size_t i = 0; i < most && taken < fuzz->count && !waits; i++) {
			struct envelope envelope;

			router_take(&envelope);
			if (fuzz->lines[taken].good)
				cr_assert(envelope.body.length == fuzz->lines[taken].length &&
				    memcmp(envelope.body.data, fuzz->lines[taken].text,
					envelope.body.length) == 0);
			taken = fuzz_next(fuzz, taken + 1, &waits);
		}
		for (; answered < taken; answered = fuzz_next(fuzz, answered + 1, &waits)) {
			bool refused = mutate_below(4) == 0;

			fuzz->lines[answered].status = refused ? 422 : 200;
			router_answer(number++, 1, refused ? 422 : 200,
			    !refused && mutate_below(3) == 0, 0, refused ? "no queue" : NULL);
		}
	}
}

/* Checks for one receipt per line that is not blank, in order, and all refused lines in the rejects
 * file, with their line endings. */
static bool
fuzz_check(const struct fuzz *fuzz)
{
	const char *receipt = read_file("out");
	char *wanted = malloc(fuzz->length + 1), *kept;
	size_t wanted_length = 0;
	bool refused = false;
	struct stat file;

	for (size_t i = 0; i < fuzz->count; i++) {
		const struct fuzz_line *line = &fuzz->lines[i];
		char head[64], status[32];
		const char *end = strchr(receipt, '\n');

		if (line->outcome == BLANK)
			continue;
		cr_assert(end != NULL, "no receipt for line %zu", i + 1);
		snprintf(head, sizeof(head), "{\"line\":%zu,", i + 1);
		snprintf(status, sizeof(status), "\"status\":%d,", line->status);
		cr_assert(strncmp(receipt, head, strlen(head)) == 0 &&
			memmem(receipt, (size_t)(end - receipt), status, strlen(status)) != NULL,
		    "%.*s for line %zu, %d", (int)(end - receipt), receipt, i + 1, line->status);
		receipt = end + 1;
		if (line->status == 200)
			continue;
		refused = true;
		memcpy(wanted + wanted_length, line->text, line->whole);
		wanted_length += line->whole;
	}
	cr_assert(*receipt == '\0', "a receipt too many: %s", receipt);
	kept = read_file("rejects");
	cr_assert(stat(path("rejects"), &file) == 0 && (size_t)file.st_size == wanted_length &&
	    memcmp(kept, wanted, wanted_length) == 0);
	free(wanted);
	return refused;
}

Test(publisher_run, each_line_has_one_outcome_whatever_it_is, .timeout = 36000)
{
	const char *given = getenv("PUBLISH_ROUNDS");
	int rounds = given != NULL ? atoi(given) : FUZZ_ROUNDS;
	struct converter *converter = convert_new();
	struct fuzz fuzz = { .bytes = malloc(FILE_BYTES),
		.lines = malloc(FUZZ_LINES * (MUTATED_BYTES + 8) * sizeof(*fuzz.lines)) };

	mutate_seed("PUBLISH_SEED", 20261130);
	for (int round = 0; round < rounds; round++) {
		uint64_t seed = mutate_state;
		struct publisher publisher;
		bool refused;
		int status;

		fuzz_make(&fuzz, round % 4 != 0);
		fuzz_split(&fuzz, converter);
		write_file("in", fuzz.bytes, fuzz.length);
		publisher = publish("", "--receipts", "--rejects", path("rejects"), NULL);
		fuzz_route(&fuzz);
		status = finish_raw(&publisher);
		router_hang_up();
		refused = fuzz_check(&fuzz);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == (refused ? EX_DATAERR : 0),
		    "PUBLISH_SEED=%llu: status %x: %s", (unsigned long long)seed, status,
		    read_file("err"));
	}
	convert_free(converter);
	free(fuzz.bytes);
	free(fuzz.lines);
}
