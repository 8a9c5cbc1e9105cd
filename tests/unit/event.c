/*
 * Events: every line is one JSON object, whatever the values.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "message/json.h"
#include "telemetry/event.h"
#include "telemetry/sink.h"

enum { OUTPUT_BYTES = 1 << 22, FIELDS = 16 };

static char *output;
static size_t output_length;
static int file, saved;

/* Redirects stderr to a file. */
static void
capture(bool verbose)
{
	saved = dup(STDERR_FILENO);
	file = memfd_create("events", MFD_CLOEXEC);
	cr_assert(file >= 0 && dup2(file, STDERR_FILENO) == STDERR_FILENO, "stderr");
	event_init("headgate-test", verbose);
}

/* Restores stderr and reads the file. */
static void
end_capture(void)
{
	ssize_t n;

	dup2(saved, STDERR_FILENO);
	free(output);
	output = calloc(1, OUTPUT_BYTES + JSON_PADDING);
	n = pread(file, output, OUTPUT_BYTES, 0);
	cr_assert(n >= 0 && n < OUTPUT_BYTES, "read");
	output_length = (size_t)n;
	close(file);
	close(saved);
}

struct fields {
	struct json_field field[FIELDS];
	size_t count;
};

static int
keep(void *context, const struct json_field *field)
{
	struct fields *fields = context;

	if (fields->count == FIELDS)
		return 1;
	fields->field[fields->count++] = *field;
	return 0;
}

/* Parses the first line of output strictly as JSON, and checks the fields of every event. */
static void
parse_line(struct fields *fields)
{
	static const char *const always[] = { "timestamp", "severity", "event", "service" };
	struct json_reader *reader = json_reader_new(OUTPUT_BYTES);
	char *end = memchr(output, '\n', output_length);
	enum json_error error;

	cr_assert(end != NULL, "no line: %s", output);
	fields->count = 0;
	error = json_walk(reader, output, (size_t)(end - output), keep, fields);
	cr_assert(
	    error == JSON_OK, "%s: %.*s", json_error_text(error), (int)(end - output), output);
	json_reader_free(reader);
	cr_assert(fields->count >= 4, "%.*s", (int)(end - output), output);
	for (size_t i = 0; i < 4; i++)
		cr_assert(strncmp(fields->field[i].name.data, always[i], strlen(always[i])) == 0,
		    "%s", always[i]);
}

static const struct json_value *
find(const struct fields *fields, const char *name)
{
	for (size_t i = 0; i < fields->count; i++)
		if (fields->field[i].name.length == strlen(name) &&
		    memcmp(fields->field[i].name.data, name, strlen(name)) == 0)
			return &fields->field[i].value;
	return NULL;
}

/* Checks that a field's value is the beginning of `text`. Returns the value's length. */
static size_t
expect_start(const struct fields *fields, const char *name, const char *text, size_t length)
{
	const struct json_value *value = find(fields, name);
	char *plain = malloc(OUTPUT_BYTES);
	long n;

	cr_assert(value != NULL && value->type == JSON_STRING, "%s is not there", name);
	n = json_unescape(value, plain, OUTPUT_BYTES);
	cr_assert(n >= 0 && (size_t)n <= length && memcmp(plain, text, (size_t)n) == 0, "%s: %.*s",
	    name, (int)n, plain);
	free(plain);
	return (size_t)n;
}

static void
expect_text(const struct fields *fields, const char *name, const char *text)
{
	size_t length = expect_start(fields, name, text, strlen(text));

	cr_assert(length == strlen(text), "%s is cut", name);
}

static void
expect_number(const struct fields *fields, const char *name, const char *text)
{
	const struct json_value *value = find(fields, name);

	cr_assert(value != NULL && value->type == JSON_NUMBER &&
		value->raw.length == strlen(text) &&
		memcmp(value->raw.data, text, strlen(text)) == 0,
	    "%s", name);
}

TestSuite(event, .timeout = 600);

Test(event, a_line_has_everything_it_was_given)
{
	struct fields fields;

	capture(false);
	event(EVENT_WARN, "queue.opened", "s:queue", "payments", "u:depth", UINT64_MAX, "d:status",
	    -5, "s:absent", NULL, "s:empty", "", "u:zero", (uint64_t)0, NULL);
	end_capture();
	parse_line(&fields);
	expect_text(&fields, "severity", "warn");
	expect_text(&fields, "event", "queue.opened");
	expect_text(&fields, "service", "headgate-test");
	expect_text(&fields, "queue", "payments");
	expect_number(&fields, "depth", "18446744073709551615");
	expect_number(&fields, "status", "-5");
	expect_number(&fields, "zero", "0");
	cr_assert(find(&fields, "absent") == NULL && fields.count == 8, "%zu fields", fields.count);
}

Test(event, debug_is_for_the_verbose)
{
	struct fields fields;

	capture(false);
	event(EVENT_DEBUG, "a", NULL);
	end_capture();
	cr_assert(output_length == 0, "%s", output);
	capture(true);
	event(EVENT_DEBUG, "a", NULL);
	end_capture();
	parse_line(&fields);
	expect_text(&fields, "severity", "debug");
}

Test(event, what_json_must_escape_is_escaped)
{
	char every[128] = "";
	struct fields fields;

	for (int i = 1; i < 128; i++)
		every[i - 1] = (char)i;
	capture(false);
	event(EVENT_INFO, "a", "s:every", every, "s:quoted", "he said \"\\\"", "s:utf8",
	    "\xe2\x82\xac \xf0\x9f\x98\x80", "d:behind", 1, NULL);
	end_capture();
	parse_line(&fields);
	expect_text(&fields, "every", every);
	expect_text(&fields, "quoted", "he said \"\\\"");
	expect_text(&fields, "utf8", "\xe2\x82\xac \xf0\x9f\x98\x80");
	expect_number(&fields, "behind", "1");
	cr_assert(
	    (char *)memchr(output, '\n', output_length) == output + output_length - 1, "one line");
}

Test(event, bytes_that_are_no_text_still_make_json)
{
	static const char *const bad[] = { "\xff", "\xc3", "a\xe2\x82", "\x80\x80", "\xed\xa0\x80",
		"\xf4\x90\x80\x80", "\xc0\xaf" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct fields fields;

		capture(false);
		event(EVENT_INFO, "a", "s:bad", bad[i], "d:behind", 1, NULL);
		end_capture();
		parse_line(&fields);
		expect_number(&fields, "behind", "1");
	}
}

/* Texts of one repeated character, with lengths near the limits of lines and values; by
 * EVENT_SEED. */
Test(event, long_values_are_cut_and_the_line_stays_whole)
{
	static const char *const characters[] = { "x", "\"", "\x01", "\xc3\xa9", "\xe2\x82\xac",
		"\xf0\x9f\x98\x80" };
	const char *given = getenv("EVENT_SEED");
	unsigned seed = given != NULL ? (unsigned)atoi(given) : (unsigned)getpid();
	char text[10000];

	fprintf(stdout, "# EVENT_SEED=%u\n", seed);
	for (size_t which = 0; which < sizeof(characters) / sizeof(characters[0]); which++) {
		size_t each = strlen(characters[which]);

		for (size_t length = 100; length < 5000; length +=
		     1 + (size_t)rand_r(&seed) % (length < 700 || length > 4200 ? 190 : 90)) {
			struct fields fields;
			size_t kept, characters_kept;

			for (size_t i = 0; i < length; i++)
				text[i] = characters[which][i % each];
			text[length - length % each] = '\0';
			capture(true);
			event(EVENT_INFO, "a", "s:first", text, "d:behind", 1, NULL);
			end_capture();
			parse_line(&fields);
			kept = expect_start(&fields, "first", text, strlen(text));
			characters_kept = kept / each;
			cr_assert(kept == strlen(text) || characters_kept >= 100, "%zu of %zu",
			    kept, length);
			cr_assert(kept % each == 0, "cut in a character: %zu of %zu", kept, each);
			expect_number(&fields, "behind", "1");
		}
	}
}

Test(event, more_than_a_line_holds_leaves_whole_fields_out)
{
	char text[3000];

	for (size_t length = 1; length < sizeof(text); length += 13) {
		struct fields fields;

		memset(text, 'x', length);
		text[length] = '\0';
		capture(true);
		event(EVENT_INFO, "a", "s:a", text, "s:b", text, "s:c", text, "s:d", text, "s:e",
		    text, "u:f", UINT64_MAX, NULL);
		end_capture();
		cr_assert(output_length <= 4096, "%zu bytes", output_length);
		parse_line(&fields);
		expect_start(&fields, "a", text, length);
	}
}

Test(event, lines_of_several_processes_do_not_mix)
{
	enum { WRITERS = 4, EVENTS = 500 };
	static const char letters[WRITERS + 1] = "abcd";
	size_t at = 0;
	unsigned lines = 0;
	pid_t child[WRITERS];
	int status;

	capture(true);
	fcntl(STDERR_FILENO, F_SETFL, O_APPEND);
	for (int i = 0; i < WRITERS; i++) {
		child[i] = fork();
		if (child[i] == 0) {
			char text[600];

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			memset(text, letters[i], sizeof(text));
			text[sizeof(text) - 1] = '\0';
			for (int n = 0; n < EVENTS; n++)
				event(EVENT_INFO, "a", "s:text", text, NULL);
			_exit(0);
		}
	}
	for (int i = 0; i < WRITERS; i++)
		cr_assert(waitpid(child[i], &status, 0) == child[i] && status == 0, "%x", status);
	end_capture();
	while (at < output_length) {
		char *line = output + at, *end = memchr(line, '\n', output_length - at);
		char *text;

		cr_assert(end != NULL, "a line has no end");
		*end = '\0';
		text = strstr(line, "\"text\":\"");
		cr_assert(text != NULL && end[-1] == '}', "%s", line);
		text += 8;
		cr_assert(strspn(text, (char[]){ *text, '\0' }) == 599, "%s", line);
		at = (size_t)(end + 1 - output);
		lines++;
	}
	cr_assert(lines == WRITERS * EVENTS, "%u lines", lines);
}

/* Captures an event as written to a terminal. */
static void
capture_terminal(const char *value)
{
	char text[8192];
	size_t length = 0;
	int person, terminal;
	ssize_t n;

	saved = dup(STDERR_FILENO);
	cr_assert(openpty(&person, &terminal, NULL, NULL, NULL) == 0, "openpty");
	cr_assert(dup2(terminal, STDERR_FILENO) == STDERR_FILENO, "stderr");
	event_init("headgate-test", false);
	event(EVENT_INFO, "queue.opened", "s:value", value, "d:behind", 1, NULL);
	dup2(saved, STDERR_FILENO);
	while (length < sizeof(text) - 1 && memchr(text, '\n', length) == NULL) {
		struct pollfd polled = { .fd = person, .events = POLLIN };

		cr_assert(poll(&polled, 1, 20000) == 1, "nothing on the terminal");
		n = read(person, text + length, sizeof(text) - 1 - length);
		cr_assert(n > 0, "read");
		length += (size_t)n;
	}
	close(person);
	close(terminal);
	free(output);
	output = calloc(1, length + 1);
	memcpy(output, text, length);
	output_length = length;
}

Test(event, on_a_terminal_it_reads_well)
{
	capture_terminal("payments");
	cr_assert(strstr(output, "Z info queue.opened value=payments behind=1\r\n") != NULL, "%s",
	    output);
	capture_terminal("two words");
	cr_assert(strstr(output, " value=\"two words\" behind=1\r\n") != NULL, "%s", output);
	capture_terminal("a\nb");
	cr_assert(strstr(output, " value=\"a\\u000ab\" behind=1\r\n") != NULL, "%s", output);
}

Test(event, a_terminal_is_not_told_what_to_do_by_a_value)
{
	capture_terminal("a\x1b[2Jb");
	cr_assert(strchr(output, '\x1b') == NULL, "an escape sequence went through");
	cr_assert(strstr(output, " behind=1\r\n") != NULL, "%s", output);
}

Test(event, long_values_are_cut_on_a_terminal_too)
{
	char text[6000];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	capture_terminal(text);
	cr_assert(strstr(output, " value=\"xxxxxxxxxx") != NULL &&
		strstr(output, "x\" behind=1\r\n") != NULL,
	    "%s", output);
}

/*
 * Readers that do not read.
 */

/* Makes stderr one end of a pair, fills the pair, and returns the other end, unread. */
static int
stall(int ends[2])
{
	char nothing[4096] = "";
	int flags = fcntl(ends[1], F_GETFL);

	saved = dup(STDERR_FILENO);
	fcntl(ends[1], F_SETFL, flags | O_NONBLOCK);
	while (write(ends[1], nothing, sizeof(nothing)) > 0)
		;
	fcntl(ends[1], F_SETFL, flags);
	cr_assert(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO, "stderr");
	sink_never_wait();
	event_init("headgate-test", false);
	cr_assert(fcntl(ends[1], F_GETFL) == flags, "the flags that others see are as they were");
	return ends[0];
}

/* Reads all bytes but the zeros of stall(); the next lines have room then. */
static void
take(int reader)
{
	char bytes[65536];
	ssize_t n;

	free(output);
	output = calloc(1, OUTPUT_BYTES + JSON_PADDING);
	output_length = 0;
	fcntl(reader, F_SETFL, O_NONBLOCK);
	while ((n = read(reader, bytes, sizeof(bytes))) > 0)
		for (ssize_t i = 0; i < n; i++)
			if (bytes[i] != '\0')
				output[output_length++] = bytes[i];
}

static void
expect_dropped_lines_are_told(int ends[2])
{
	struct fields fields;
	int reader = stall(ends);

	for (int i = 0; i < 7; i++)
		event(EVENT_INFO, "a", NULL);
	take(reader);
	event(EVENT_INFO, "b", NULL);
	take(reader);
	dup2(saved, STDERR_FILENO);
	parse_line(&fields);
	expect_text(&fields, "event", "log.dropped");
	cr_assert(strstr(output, "\"event\":\"b\"") != NULL, "%s", output);
	/* Some lines fitted into the socket beside the zeros, so fewer are counted as lost. */
	cr_assert(find(&fields, "lines") != NULL && find(&fields, "lines")->raw.data[0] <= '7',
	    "%s", output);
}

Test(event, a_full_pipe_is_not_waited_for)
{
	int ends[2];

	cr_assert(pipe(ends) == 0, "pipe");
	expect_dropped_lines_are_told(ends);
	cr_assert(strstr(output, "\"lines\":7}") != NULL, "%s", output);
}

Test(event, nor_is_a_full_socket)
{
	int ends[2];

	cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
	expect_dropped_lines_are_told(ends);
}

static uint64_t
number_of(const char *name)
{
	const char *at = strstr(output, name);

	return at != NULL ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static unsigned
lines(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < output_length; i++)
		n += output[i] == '\n';
	return n;
}

Test(event, what_was_dropped_is_told_without_another_line)
{
	struct fields fields;
	int ends[2], reader;

	cr_assert(pipe(ends) == 0, "pipe");
	reader = stall(ends);
	for (int i = 0; i < 7; i++)
		event(EVENT_INFO, "a", NULL);
	event_tick();
	take(reader);
	event_flush();
	event_flush();
	take(reader);
	dup2(saved, STDERR_FILENO);
	parse_line(&fields);
	expect_text(&fields, "event", "log.dropped");
	expect_number(&fields, "lines", "7");
	cr_assert(lines() == 1, "%s", output);
}

/* A peer that causes a million refusals a second must not fill the disk with events. */
Test(event, what_is_repeated_is_limited_and_counted)
{
	enum { EVENTS = 100000 };
	struct stat before, after;
	uint64_t written, told;

	capture(false);
	for (int i = 0; i < EVENTS; i++)
		event(EVENT_WARN, "peer.refused", "s:program", i % 2 ? "one" : "two", NULL);
	event(EVENT_WARN, "another", NULL);
	fstat(file, &before);
	do {
		event(EVENT_WARN, "peer.refused", NULL);
		fstat(file, &after);
	} while (after.st_size == before.st_size); /* until the limit's interval has passed */
	end_capture();
	written = lines();
	cr_assert(
	    written >= 202 && written < EVENTS / 10, "%llu lines", (unsigned long long)written);
	cr_assert(strstr(output, "\"event\":\"another\"") != NULL, "another name has its own");
	capture(false);
	event_tick();
	event_tick();
	end_capture();
	told = number_of("\"lines\":");
	cr_assert(strstr(output, "\"event\":\"log.suppressed\"") != NULL &&
		strstr(output, "\"of\":\"peer.refused\"") != NULL && lines() == 1,
	    "%s", output);
	cr_assert(told + written >= EVENTS + 2, "%llu are told of", (unsigned long long)told);
}

Test(event, a_queue_that_is_noisy_hides_no_other)
{
	capture(false);
	for (int i = 0; i < 1000; i++)
		event(EVENT_WARN, "group.blocked", "u:sequence", (uint64_t)i, "d:status", 503,
		    "s:queue", "noisy", NULL);
	event(EVENT_WARN, "group.blocked", "u:sequence", (uint64_t)1, "s:queue", "quiet", NULL);
	end_capture();
	cr_assert(strstr(output, "\"quiet\"") != NULL && lines() < 500, "%u lines", lines());
	capture(false);
	event_flush();
	end_capture();
	cr_assert(
	    strstr(output, "\"of\":\"group.blocked\",\"queue\":\"noisy\",\"lines\":") != NULL &&
		lines() == 1,
	    "%s", output);
}

Test(event, more_queues_than_have_limits_are_limited_together)
{
	char queue[32];

	capture(false);
	for (int i = 0; i < 4000; i++) {
		snprintf(queue, sizeof(queue), "q%d", i < 2000 ? i : 2000);
		event(EVENT_WARN, "group.blocked", "s:queue", queue, NULL);
	}
	end_capture();
	cr_assert(lines() < 3000, "%u lines", lines());
}

Test(event, what_a_parent_has_to_tell_is_not_told_by_its_child_too)
{
	int status;
	pid_t child;

	capture(false);
	for (int i = 0; i < 1000; i++)
		event(EVENT_WARN, "peer.refused", NULL);
	child = fork();
	if (child == 0) {
		event_flush();
		_exit(0);
	}
	cr_assert(waitpid(child, &status, 0) == child && status == 0, "%x", status);
	event_flush();
	end_capture();
	cr_assert(strstr(output, "log.suppressed") != NULL &&
		strstr(strstr(output, "log.suppressed") + 1, "log.suppressed") == NULL,
	    "once");
}

Test(event, a_log_file_is_opened_again_and_standard_error_with_it)
{
	char path[] = "/tmp/hg-event-XXXXXX", old[64], line[1024] = "";
	int fd = mkstemp(path);
	ssize_t n;

	snprintf(old, sizeof(old), "%s.old", path);
	saved = dup(STDERR_FILENO);
	cr_assert(fd >= 0 && sink_open(path) == 0, "%s", path);
	event_init("headgate-test", false);
	sink_take_stderr();
	event(EVENT_INFO, "first", NULL);
	rename(path, old);
	sink_reopen();
	event(EVENT_INFO, "second", NULL);
	dprintf(STDERR_FILENO, "third\n");
	dup2(saved, STDERR_FILENO);
	n = pread(fd, line, sizeof(line) - 1, 0);
	cr_assert(
	    n > 0 && strstr(line, "first") != NULL && strstr(line, "second") == NULL, "%s", line);
	close(fd);
	fd = open(path, O_RDONLY);
	memset(line, 0, sizeof(line));
	n = pread(fd, line, sizeof(line) - 1, 0);
	cr_assert(
	    n > 0 && strstr(line, "second") != NULL && strstr(line, "third") != NULL, "%s", line);
	unlink(path);
	mkdir(path, 0700);
	sink_reopen();
	event_flush();
	event(EVENT_INFO, "fifth", NULL);
	memset(line, 0, sizeof(line));
	n = pread(fd, line, sizeof(line) - 1, 0);
	cr_assert(n > 0 && strstr(line, "fifth") != NULL, "the old file stays in use: %s", line);
	cr_assert(strstr(line, "\"event\":\"log.not_reopened\",") != NULL &&
		strstr(line, "Is a directory") != NULL && strstr(line, path) != NULL,
	    "not said: %s", line);
	cr_assert(strstr(strstr(line, "not_reopened") + 1, "not_reopened") == NULL, "once");
	close(fd);
	rmdir(path);
	unlink(old);
}
