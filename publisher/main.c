/*
 * headgate-publish(1)
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/command.h"
#include "config/config.h"
#include "config/output.h"
#include "config/process.h"
#include "config/suggest.h"
#include "config/usage.h"
#include "publisher/convert.h"
#include "publisher/input.h"
#include "publisher/look.h"
#include "publisher/report.h"
#include "publisher/session.h"

enum {
	WAIT_S = 30,      /* default of --wait */
	RETRY_MS = 50,    /* between two attempts to reach the router */
	SILENT_MS = 2000, /* least time in which a connected router may owe an answer */
	TICK_MS = 500,
	TELL_MS = 1000,        /* an outage that lasts longer is told of */
	SIGNAL_WAIT_MS = 2000, /* after a signal: for answers to messages in flight */
	SIGNAL_LIMIT_S = 10,   /* after a signal: for the end, even if nobody reads the output */
	BATCH_LINES = 512      /* converted between two looks at the socket */
};

struct publisher {
	struct config config;
	struct config_options options;
	const char *topic_name, *rejects_path;
	bool verbose;
	uint64_t wait_ns;

	struct topic_settings topic;
	struct session session;
	struct window *window;
	struct input *input;
	struct converter *converter;
	struct report report;

	bool input_ended;
	bool input_failed; /* an input could not be read, or not to its end */
	bool connected_once;
	bool try_again; /* the outage is the router's request to try again */
	bool told;      /* of this outage */
	/* Times: CLOCK_MONOTONIC, 0: none. */
	uint64_t outage_ns;  /* begin of the outage */
	uint64_t retry_ns;   /* earliest next attempt to connect */
	uint64_t silent_ns;  /* since then the router has owed an answer, and sent none */
	uint64_t stopped_ns; /* a signal was seen */
	char error[512];     /* of the last attempt to connect */
	char again[256];     /* the router's reason to try again */
};

static volatile sig_atomic_t stop_signal;

static void
on_signal(int signal)
{
	stop_signal = signal;
	alarm(SIGNAL_LIMIT_S);
}

static void
on_alarm(int number)
{
	(void)number;
	signal(stop_signal, SIG_DFL);
	raise(stop_signal);
}

static void
print_help(void)
{
	fputs(
	    "usage: headgate-publish [-hVv] [-c FILE] [-D DIR] [-t TOPIC] [--receipts]\n"
	    "                        [--rejects FILE] [--progress] [--wait TIME] [FILE...]\n"
	    "Publishes JSON objects, one a line, from files or stdin; ends when all are durable.\n"
	    "  -c, --config FILE     configuration; without it the built-in utility system\n"
	    "  -D, --directory DIR   base directory: DIR/run and DIR/state\n"
	    "  -t, --topic TOPIC     where to publish; the configuration's first topic\n"
	    "      --receipts        one JSON line on stdout for each line of input\n"
	    "      --rejects FILE    keep refused lines in FILE\n"
	    "      --progress        show progress on stderr\n"
	    "      --wait TIME       how long to wait for the router in each outage: 30s\n"
	    "  -v, --verbose         say more\n"
	    "  -V, --version         print the version\n"
	    "  -h, --help            print this\n",
	    stdout);
}

static void
read_options(struct publisher *publisher, int argc, char **argv)
{
	enum { RECEIPTS = 256, REJECTS, PROGRESS, WAIT };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "directory", required_argument, NULL, 'D' },
		{ "topic", required_argument, NULL, 't' },
		{ "receipts", no_argument, NULL, RECEIPTS },
		{ "rejects", required_argument, NULL, REJECTS },
		{ "progress", no_argument, NULL, PROGRESS },
		{ "wait", required_argument, NULL, WAIT },
		{ "verbose", no_argument, NULL, 'v' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	publisher->topic_name = "";
	publisher->wait_ns = WAIT_S * UINT64_C(1000000000);
	while ((option = usage_next(
		    argc, argv, ":c:D:t:vVh", options, NULL, "headgate-publish --help")) != -1) {
		switch (option) {
		case 'c':
			publisher->options.file = optarg;
			break;
		case 'D':
			publisher->options.base_dir = optarg;
			break;
		case 't':
			publisher->topic_name = optarg;
			break;
		case RECEIPTS:
			publisher->report.receipts = true;
			break;
		case REJECTS:
			publisher->rejects_path = optarg;
			break;
		case PROGRESS:
			publisher->report.progress = true;
			break;
		case WAIT:
			usage_duration("--wait", optarg, &publisher->wait_ns);
			break;
		case 'v':
			publisher->verbose = true;
			break;
		case 'V':
			puts("headgate-publish " VERSION_TEXT);
			exit(output_end(0));
		case 'h':
			print_help();
			exit(output_end(0));
		}
	}
}

/*
 * How it ends.
 */

static void
say_durable(const struct publisher *publisher)
{
	const struct window_entry *head = window_head(publisher->window);

	if (head != NULL)
		warnx("%" PRIu64 " lines are durable; the first that is not is %s:%" PRIu64,
		    publisher->report.durable, head->source, head->line);
	else
		warnx("%" PRIu64 " lines are durable%s", publisher->report.durable,
		    publisher->input_ended ? "" : "; what is behind them was not sent");
	report_duplicates(&publisher->report);
}

static void
settle_refusals(struct publisher *publisher)
{
	const struct window_entry *head;

	while ((head = window_head(publisher->window)) != NULL && head->message.data == NULL) {
		char reason[512];

		snprintf(
		    reason, sizeof(reason), "%.*s", (int)head->reason.length, head->reason.data);
		report_refused(&publisher->report, head, head->status, reason);
		window_pop(publisher->window);
	}
}

/* Returns 0, or EX_IOERR after a warning about the output that could not be written. */
static int
check_outputs(struct publisher *publisher)
{
	FILE *rejects = publisher->report.rejects;

	if (!output_flush()) {
		warnx("stdout: %s", output_error());
		return EX_IOERR;
	}
	if (rejects != NULL && (fflush(rejects) != 0 || ferror(rejects))) {
		warn("%s", publisher->rejects_path);
		return EX_IOERR;
	}
	return 0;
}

/* Writes receipts for all lines that have no answer: their user may publish them again. */
static void
tell_unanswered(struct publisher *publisher, const char *reason)
{
	const struct window_entry *head;

	settle_refusals(publisher);
	while ((head = window_head(publisher->window)) != NULL) {
		report_given_up(&publisher->report, head, reason);
		window_pop(publisher->window);
		settle_refusals(publisher);
	}
	(void)check_outputs(publisher);
}

/* Tells a router that does not answer from an absent one: only the latter can be started. */
static void
tell_outage(const struct publisher *publisher)
{
	const char *options = publisher->config.options, *env = publisher->config.env;
	struct config_options last = { .base_dir = publisher->options.base_dir };
	char *last_options = NULL;
	struct look look;
	char pid[32] = "";

	look_for_router(&look, publisher->config.run_dir);
	if (publisher->options.file == NULL && look.config_file[0] != '\0') {
		last.file = look.config_file;
		last_options = command_options(&last);
	}
	if (last_options != NULL)
		options = last_options;
	if (look.pid == 0)
		look.pid = publisher->session.router_pid;
	if (look.pid != 0)
		snprintf(pid, sizeof(pid), " (pid %" PRIu32 ")", look.pid);
	if (look.result == LOOK_STARTING)
		warnx(
		    "the router%s is starting, and takes no messages yet: wait longer with --wait, "
		    "and see %sheadgatectl%s status",
		    pid, env, options);
	else if (look.result == LOOK_SILENT)
		warnx("the router%s does not answer, it has been silent for %" PRIu64
		      "s: see %sheadgatectl%s status",
		    pid, look.silent_ns / UINT64_C(1000000000), env, options);
	else if (look.result == LOOK_RUNNING)
		warnx("the router%s is running, but: %s: see %sheadgatectl%s status", pid,
		    publisher->error, env, options);
	else if (publisher->session.router_pid != 0)
		warnx("the router%s is there, but: %s: see %sheadgatectl%s status", pid,
		    publisher->error, env, options);
	else if (publisher->connected_once)
		warnx("the router is gone and did not come back: %s: start it with: "
		      "%sheadgate-router%s -d",
		    publisher->error, env, options);
	else if (access(publisher->config.run_dir, F_OK) != 0 &&
	    (errno == ENOENT || errno == ENOTDIR))
		warnx("no router: there is no directory %s: give the router's with -D, or start it "
		      "with: %sheadgate-router%s -d",
		    publisher->config.run_dir, env, options);
	else
		warnx("no router: %s: start it with: %sheadgate-router%s -d, or give its directory "
		      "with -D",
		    publisher->error, env, options);
	free(last_options);
}

static void __attribute__((noreturn)) give_up(struct publisher *publisher)
{
	const char *reason = publisher->try_again ? publisher->again : publisher->error;

	report_end_progress(&publisher->report);
	if (publisher->try_again)
		warnx("the router asks to try again: %s", reason);
	else
		tell_outage(publisher);
	say_durable(publisher);
	tell_unanswered(publisher, reason);
	exit(publisher->try_again ? EX_TEMPFAIL : EX_UNAVAILABLE);
}

/* The router sent an ERROR frame to this publisher. */
static void __attribute__((noreturn)) end_refused(struct publisher *publisher)
{
	report_end_progress(&publisher->report);
	warnx("the router refuses to go on: %s", publisher->session.error);
	say_durable(publisher);
	tell_unanswered(publisher, publisher->session.error);
	exit(EX_PROTOCOL);
}

static void __attribute__((noreturn)) die_by_signal(struct publisher *publisher)
{
	report_end_progress(&publisher->report);
	say_durable(publisher);
	tell_unanswered(publisher, "stopped before the router answered");
	signal(stop_signal, SIG_DFL);
	raise(stop_signal);
	_exit(128 + stop_signal);
}

/* Stops, as receipts cannot be written any more. */
static void __attribute__((noreturn)) end_without_output(struct publisher *publisher)
{
	if (stop_signal != 0) /* the signal interrupted the write */
		die_by_signal(publisher);
	report_end_progress(&publisher->report);
	warnx("stdout: %s: stopped", output_error());
	say_durable(publisher);
	exit(EX_IOERR);
}

/*
 * The connection.
 */

/* maybe_taken: messages that were sent may be durable, although their answers are lost. */
static void
lose_connection(struct publisher *publisher, bool maybe_taken)
{
	uint64_t now_ns = clock_monotonic_ns();

	session_close(&publisher->session);
	window_rewind(publisher->window, maybe_taken);
	publisher->silent_ns = 0;
	if (publisher->outage_ns == 0)
		publisher->outage_ns = now_ns;
	else if (now_ns - publisher->outage_ns >= publisher->wait_ns)
		give_up(publisher);
	publisher->retry_ns = now_ns + RETRY_MS * UINT64_C(1000000);
}

/* Time for the router's WELCOME: the rest of --wait, as a router may be busy with its logs. */
static int
answer_ms(const struct publisher *publisher, uint64_t now_ns)
{
	uint64_t gone_ns = now_ns - publisher->outage_ns;
	uint64_t end_ns = publisher->wait_ns, left_ms;

	/* Until the outage is told of: a person is not to look at nothing for so long. */
	if (!publisher->told && end_ns > TELL_MS * UINT64_C(1000000))
		end_ns = TELL_MS * UINT64_C(1000000);
	left_ms = gone_ns < end_ns ? (end_ns - gone_ns) / UINT64_C(1000000) : 0;

	return left_ms < RETRY_MS ? RETRY_MS : left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

/* The router does not know the topic. Suggests a similar name from the configuration. */
static void
tell_topic(const struct publisher *publisher)
{
	const struct config *config = &publisher->config;
	struct suggestion meant = { .word = publisher->topic_name };

	for (size_t i = 0; i < config->topic_count; i++)
		suggest_consider(&meant, config->topics[i].name);
	warnx("%s: %s%s%s%s", publisher->topic_name[0] ? publisher->topic_name : "topic",
	    publisher->error, meant.best != NULL ? "; did you mean " : "",
	    meant.best != NULL ? meant.best : "", meant.best != NULL ? "?" : "");
}

/* Ends after an error that another attempt would not mend. */
static void __attribute__((noreturn)) end_without_router(struct publisher *publisher, int status)
{
	report_end_progress(&publisher->report);
	if (status == EX_USAGE)
		tell_topic(publisher);
	else
		warnx("%s", publisher->error);
	if (publisher->connected_once)
		say_durable(publisher);
	tell_unanswered(publisher, publisher->error);
	exit(status);
}

/* Tries to connect if retry_ns has come. */
static void
try_connect(struct publisher *publisher)
{
	uint64_t now_ns = clock_monotonic_ns();
	int rc;

	if (publisher->session.fd >= 0 || now_ns < publisher->retry_ns)
		return;
	if (publisher->outage_ns == 0)
		publisher->outage_ns = now_ns;
	rc = session_open(&publisher->session, publisher->config.run_dir, publisher->topic_name,
	    publisher->report.receipts, answer_ms(publisher, now_ns), &publisher->topic,
	    publisher->error, sizeof(publisher->error));
	now_ns = clock_monotonic_ns();
	if (rc == -EINVAL)
		end_without_router(publisher, EX_USAGE);
	if (rc == -EACCES || rc == -EPERM)
		end_without_router(publisher, EX_NOPERM);
	if (rc == 0) {
		publisher->connected_once = true;
		if (publisher->verbose)
			warnx("connected to %s/router.sock, topic %s", publisher->config.run_dir,
			    publisher->topic.name);
		/* With messages in the window, the outage ends with the first result instead. */
		if (window_empty(publisher->window))
			publisher->outage_ns = 0;
		return;
	}
	if (now_ns - publisher->outage_ns >= publisher->wait_ns)
		give_up(publisher);
	publisher->retry_ns = now_ns + RETRY_MS * UINT64_C(1000000);
}

/* The router asks to try again. The messages from this one on go over a new connection. */
static int
start_over(struct publisher *publisher, const char *reason)
{
	strlcpy(publisher->again, reason, sizeof(publisher->again));
	publisher->try_again = true;
	if (publisher->outage_ns != 0 &&
	    clock_monotonic_ns() - publisher->outage_ns >= publisher->wait_ns)
		give_up(publisher);
	return -EAGAIN;
}

/* Settles the oldest unsettled messages with a result of the router. */
static int
take_result(void *context, const struct session_result *result)
{
	struct publisher *publisher = context;

	if (result->status == 503)
		return start_over(publisher, result->error);
	publisher->outage_ns = publisher->silent_ns = 0;
	publisher->try_again = false;
	for (uint32_t i = 0; i < result->count; i++) {
		const struct window_entry *head;

		settle_refusals(publisher);
		head = window_head(publisher->window);
		if (head == NULL)
			return -EPROTO;
		if (result->status < 300)
			report_durable(&publisher->report, &publisher->topic, head, result,
			    window_head_resent(publisher->window));
		else
			report_refused(&publisher->report, head, result->status, result->error);
		window_pop(publisher->window);
	}
	settle_refusals(publisher);
	return 0;
}

/*
 * The input.
 */

static bool
is_blank(struct span text)
{
	for (size_t i = 0; i < text.length; i++)
		if (strchr(" \t\r\v\f", text.data[i]) == NULL || text.data[i] == '\0')
			return false;
	return true;
}

static void
add_line(struct publisher *publisher, const struct input_line *line)
{
	bool keep = publisher->report.rejects != NULL;
	struct envelope_source source;
	int status, rc;

	if (is_blank(line->text))
		return;
	status = convert_line(
	    publisher->converter, &publisher->topic, line->text, clock_wall_ns(), &source);
	rc = status == 0 ? window_add_message(publisher->window, line, &source, keep) : 0;
	if (rc == -EMSGSIZE)
		status = 413;
	if (status != 0)
		rc = window_add_refusal(publisher->window, line, (unsigned)status,
		    rc == -EMSGSIZE ? "attributes and ids too large"
				    : convert_reason(publisher->converter),
		    keep);
	if (rc != 0)
		errx(EX_OSERR, "out of memory");
}

/* An error ends the input. Lines read before are still published. */
static void
fail_input(struct publisher *publisher, int rc)
{
	report_end_progress(&publisher->report);
	warnc(-rc, "%s", input_source(publisher->input));
	publisher->input_ended = publisher->input_failed = true;
}

/* Takes a piece of a refused line or source. The rest of a refused source is read for the rejects
 * file only. */
static void
take_refused(struct publisher *publisher, const struct input_line *line)
{
	report_piece(&publisher->report, line);
	if (line->status == 400 && publisher->report.rejects == NULL)
		input_skip_source(publisher->input);
	else
		input_advance(publisher->input);
}

/* Reads and converts available lines, at most a batch. Returns the descriptor to poll, or -1. */
static int
read_input(struct publisher *publisher)
{
	struct input_line line;

	for (int lines = 0; lines < BATCH_LINES && !window_full(publisher->window); lines++) {
		enum input_result result = input_peek(publisher->input, &line);
		int rc;

		if (result == INPUT_END) {
			publisher->input_ended = true;
			return -1;
		}
		if (result == INPUT_MORE) {
			if (input_fd(publisher->input) >= 0)
				return input_fd(publisher->input);
			rc = input_read(publisher->input);
			if (rc != 0) {
				fail_input(publisher, rc);
				return -1;
			}
			continue;
		}
		if (line.refusal == NULL) {
			add_line(publisher, &line);
			input_advance(publisher->input);
		} else if (window_empty(publisher->window)) {
			take_refused(publisher, &line);
		} else {
			/* Pieces bypass the window, so earlier lines must settle first. */
			return -1;
		}
	}
	return -1;
}

/* Polls the input (unless -1) and the socket, then reads a readable input once. */
static void
wait_for_events(struct publisher *publisher, int input_fd_wanted, bool blocked)
{
	struct pollfd fds[2] = { { .fd = input_fd_wanted, .events = POLLIN },
		{ .fd = publisher->session.fd,
		    .events = (short)(POLLIN | (blocked ? POLLOUT : 0)) } };
	bool more = input_fd_wanted < 0 && publisher->session.fd >= 0 && !publisher->input_ended &&
	    !blocked && !window_full(publisher->window) && stop_signal == 0;
	int timeout = publisher->session.fd < 0 ? RETRY_MS : TICK_MS;
	struct input_line line;
	int rc;

	/* Lines wait in memory: do not sleep. */
	if (more && (input_peek(publisher->input, &line) != INPUT_LINE || line.refusal == NULL))
		timeout = 0;
	if (poll(fds, 2, timeout) <= 0 || !(fds[0].revents & (POLLIN | POLLHUP | POLLERR)))
		return;
	rc = input_read(publisher->input);
	if (rc != 0)
		fail_input(publisher, rc);
}

static void
check_signal(struct publisher *publisher)
{
	if (stop_signal == 0)
		return;
	if (publisher->stopped_ns == 0)
		publisher->stopped_ns = clock_monotonic_ns();
	if (window_empty(publisher->window) || publisher->session.fd < 0 ||
	    clock_monotonic_ns() - publisher->stopped_ns > SIGNAL_WAIT_MS * UINT64_C(1000000))
		die_by_signal(publisher);
}

static void
end_connection(struct publisher *publisher, int rc)
{
	if (rc == -EINVAL)
		end_refused(publisher);
	if (rc == -ETIMEDOUT)
		strlcpy(publisher->error, "it does not answer", sizeof(publisher->error));
	else if (rc != -EAGAIN)
		snprintf(publisher->error, sizeof(publisher->error), "router: %s", strerror(-rc));
	if (publisher->verbose)
		warnx("connection lost: %s", rc == -EAGAIN ? "asked to try again" : strerror(-rc));
	/* A 503 result means that the router stored nothing from that message on. */
	lose_connection(publisher, rc != -EAGAIN);
}

/* A connected router that owes an answer for longer than --wait counts as an outage. A sync may take
 * its time, so this holds for a short --wait only after SILENT_MS. */
static int
check_silence(struct publisher *publisher)
{
	uint64_t now_ns = clock_monotonic_ns(), limit_ns = SILENT_MS * UINT64_C(1000000);

	if (limit_ns < publisher->wait_ns)
		limit_ns = publisher->wait_ns;
	if (!session_unanswered(&publisher->session))
		publisher->silent_ns = 0;
	else if (publisher->silent_ns == 0)
		publisher->silent_ns = now_ns;
	else if (now_ns - publisher->silent_ns >= limit_ns) {
		if (publisher->outage_ns == 0)
			publisher->outage_ns = publisher->silent_ns;
		return -ETIMEDOUT;
	}
	return 0;
}

/* Warns once per outage, after a while, as nothing else shows that the publisher is waiting. */
static void
tell_waiting(struct publisher *publisher)
{
	const uint64_t tell_ns = TELL_MS * UINT64_C(1000000);

	if (publisher->outage_ns == 0)
		publisher->told = false;
	if (publisher->outage_ns == 0 || publisher->told || publisher->wait_ns <= tell_ns ||
	    (publisher->session.fd >= 0 && !publisher->try_again) ||
	    clock_monotonic_ns() - publisher->outage_ns < tell_ns)
		return;
	publisher->told = true;
	report_end_progress(&publisher->report);
	warnx("waiting for the router, %g s at most (--wait): %s", (double)publisher->wait_ns / 1e9,
	    publisher->try_again ? publisher->again : publisher->error);
}

/* One turn: read, send, receive. Returns false when all lines are settled. */
static bool
turn(struct publisher *publisher)
{
	int wanted = -1, sent = 0, rc = 0;

	try_connect(publisher);
	tell_waiting(publisher);
	if (publisher->session.fd >= 0) {
		if (stop_signal == 0 && !publisher->input_ended)
			wanted = read_input(publisher);
		settle_refusals(publisher);
		sent = session_send(&publisher->session, publisher->window);
	}
	check_signal(publisher);
	if (publisher->input_ended && window_empty(publisher->window))
		return false;
	wait_for_events(publisher, wanted, sent == 1);
	/* Receives even after an error in sending: answers that arrived before are valid. */
	if (publisher->session.fd >= 0)
		rc = session_receive(&publisher->session, take_result, publisher);
	if (rc == 0 && sent < 0)
		rc = sent;
	if (rc == 0 && publisher->session.fd >= 0)
		rc = check_silence(publisher);
	if (rc < 0)
		end_connection(publisher, rc);
	if (publisher->report.receipts && !output_flush())
		end_without_output(publisher);
	report_progress(&publisher->report, false);
	return true;
}

/* "-": standard input. */
static bool
is_file(int fd, const char *name)
{
	struct stat output, other;

	return fstat(fd, &output) == 0 &&
	    (strcmp(name, "-") == 0 ? fstat(STDIN_FILENO, &other) : stat(name, &other)) == 0 &&
	    output_same_file(&output, &other);
}

/* An output that is also an input would be truncated, or be read without end. */
static void
check_read(const struct publisher *publisher, int rejects, const char *name)
{
	const char *source = strcmp(name, "-") == 0 ? "stdin" : name;

	if (rejects >= 0 && is_file(rejects, name))
		errx(
		    EX_USAGE, "%s: is read, and cannot take the refused lines (--rejects)", source);
	if ((publisher->report.receipts || publisher->report.rejects == stdout) &&
	    is_file(STDOUT_FILENO, name))
		errx(EX_USAGE, "%s: is read, and cannot be standard output, too", source);
	if (is_file(STDERR_FILENO, name))
		errx(EX_USAGE, "%s: is read, and cannot be standard error, too", source);
}

/* Whoever opens a file twice writes over what is there: lines in it would be lost. */
static void
check_rejects(const struct publisher *publisher, int rejects)
{
	if (is_file(STDOUT_FILENO, publisher->rejects_path))
		errx(EX_USAGE, "--rejects %s: is standard output: %s", publisher->rejects_path,
		    publisher->report.receipts ? "the receipts are there; name another file"
					       : "write --rejects - for that");
	if (is_file(STDERR_FILENO, publisher->rejects_path))
		errx(EX_USAGE, "--rejects %s: is standard error: name another file",
		    publisher->rejects_path);
	if (publisher->config.file != NULL && is_file(rejects, publisher->config.file))
		errx(EX_USAGE, "--rejects %s: is the configuration: name another file",
		    publisher->rejects_path);
}

/* Opens the rejects file; -1: there is none, or it is standard output. */
static int
open_rejects(struct publisher *publisher)
{
	int fd;

	if (publisher->rejects_path == NULL)
		return -1;
	if (strcmp(publisher->rejects_path, "-") == 0) {
		if (publisher->report.receipts)
			errx(EX_USAGE,
			    "--rejects -: the receipts are on standard output: name a file");
		publisher->report.rejects = stdout;
		return -1;
	}
	fd = open(publisher->rejects_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		err(EX_CANTCREAT, "%s", publisher->rejects_path);
	return fd;
}

/* Truncates the rejects file only after a check that nothing else needs what is in it. */
static void
begin_outputs(struct publisher *publisher, char *const *names, size_t count)
{
	struct stat file;
	int rejects = open_rejects(publisher);

	for (size_t i = 0; i < count; i++)
		check_read(publisher, rejects, names[i]);
	if (rejects < 0)
		return;
	check_rejects(publisher, rejects);
	if (fstat(rejects, &file) != 0 || (S_ISREG(file.st_mode) && ftruncate(rejects, 0) != 0))
		err(EX_CANTCREAT, "%s", publisher->rejects_path);
	publisher->report.rejects = fdopen(rejects, "w");
	if (publisher->report.rejects == NULL)
		err(EX_OSERR, "%s", publisher->rejects_path);
}

static void
prepare(struct publisher *publisher, int argc, char **argv)
{
	static char stdin_name[] = "-";
	static char *const only_stdin[] = { stdin_name };
	struct sigaction action = { .sa_handler = on_signal }, before;
	char error[CONFIG_PATH_BYTES + 512];
	char *const *names;
	size_t count;
	bool files;

	read_options(publisher, argc, argv);
	files = optind < argc;
	names = files ? argv + optind : only_stdin;
	count = files ? (size_t)(argc - optind) : 1;
	if (config_load(&publisher->config, &publisher->options, error, sizeof(error)) != 0)
		errx(EX_CONFIG, "%s", error);
	for (int i = optind; i < argc; i++)
		if (strcmp(argv[i], "-") != 0 && access(argv[i], R_OK) != 0)
			err(EX_NOINPUT, "%s", argv[i]);
	publisher->report.name_files = count > 1;
	begin_outputs(publisher, names, count);
	if (isatty(STDERR_FILENO) && (files || !isatty(STDIN_FILENO)))
		publisher->report.progress = true;
	publisher->window = window_new();
	publisher->converter = convert_new();
	publisher->input = input_new(names, count);
	if (session_init(&publisher->session) != 0 || publisher->window == NULL ||
	    publisher->converter == NULL || publisher->input == NULL)
		errx(EX_OSERR, "out of memory");
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN) /* nohup */
		sigaction(SIGHUP, &action, NULL);
	action.sa_handler = on_alarm;
	sigaction(SIGALRM, &action, NULL);
}

int
main(int argc, char **argv)
{
	static struct publisher publisher;
	int status;

	process_begin();
	prepare(&publisher, argc, argv);
	while (turn(&publisher))
		;
	report_progress(&publisher.report, true);
	report_end_progress(&publisher.report);
	status = check_outputs(&publisher);
	if (status != 0 || publisher.input_failed)
		say_durable(&publisher);
	else
		report_duplicates(&publisher.report);
	session_free(&publisher.session);
	window_free(publisher.window);
	convert_free(publisher.converter);
	input_free(publisher.input);
	config_free(&publisher.config);
	if (status == 0 && publisher.input_failed)
		status = EX_NOINPUT;
	if (status == 0 && publisher.report.refused > 0)
		status = EX_DATAERR;
	return status;
}
