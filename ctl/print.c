/*
 * headgatectl status: text for a person, JSON for a program.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "config/command.h"
#include "ctl/message.h"
#include "ctl/status.h"
#include "ctl/text.h"
#include "message/json.h"

enum {
	NAME_WIDTH_MIN = 22,
	SLOW_S = 3 /* a handler that takes longer is named */
};

static const char *
state_text(enum control_state state)
{
	const char *name = control_state_name(state);

	return name != NULL ? name : "UNKNOWN"; /* somebody wrote into the control segment */
}

/*
 * JSON.
 */

static void
quote(const char *text)
{
	char quoted[6 * CONTROL_TEXT_BYTES + 2];
	long length = json_quote(quoted, sizeof(quoted), text, strnlen(text, CONTROL_TEXT_BYTES));

	fwrite(quoted, 1, length > 0 ? (size_t)length : 0, stdout);
}

static void
json_time(uint64_t ns)
{
	char text[40];
	time_t seconds = (time_t)(ns / 1000000000);
	struct tm tm;

	if (ns == 0) {
		fputs("null", stdout);
		return;
	}
	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	quote(text);
}

static void
json_text_or_null(const char *text)
{
	if (text[0] == '\0')
		fputs("null", stdout);
	else
		quote(text);
}

/* Of any length; NULL or "": null. */
static void
json_why(const char *name, const char *text)
{
	bool none = text == NULL || text[0] == '\0';

	message_put_json_text(name, none ? NULL : text, none ? 0 : strlen(text), false);
}

static void
json_workers(const struct status_queue *queue)
{
	fputs(",\"workers\":[", stdout);
	for (unsigned i = 0; i < queue->worker_count; i++) {
		const struct status_worker *worker = &queue->workers[i];
		bool first = true;

		printf("%s{\"pid\":%" PRIu32 ",\"lanes\":[", i ? "," : "", worker->pid);
		for (unsigned lane = 0; lane < 64; lane++) {
			if (!(worker->lanes >> lane & 1))
				continue;
			printf("%s%u", first ? "" : ",", lane);
			first = false;
		}
		printf("],\"heartbeat_age_s\":%.3f,\"handling\":", worker->heartbeat_age_s);
		if (worker->handling != 0)
			printf("%" PRIu64 ",\"handling_s\":%.3f}", worker->handling,
			    worker->handling_s);
		else
			fputs("null,\"handling_s\":null}", stdout);
	}
	putchar(']');
}

static void
json_seconds_or_null(double seconds)
{
	if (seconds < 0)
		fputs("null", stdout);
	else
		printf("%.3f", seconds);
}

static void
json_state(const struct status_queue *queue)
{
	const struct control_detail *detail = &queue->detail;

	fputs(",\"state\":", stdout);
	quote(state_text(queue->state));
	fputs(",\"reason\":", stdout);
	json_text_or_null(detail->reason);
	fputs(",\"by\":", stdout);
	if (detail->since_ns != 0) {
		char by[2 * CONTROL_NAME_BYTES + 32];

		snprintf(by, sizeof(by), "%s (%s, pid %" PRIu32 ")", detail->user, detail->program,
		    detail->pid);
		quote(by);
	} else {
		fputs("null", stdout);
	}
	fputs(",\"since\":", stdout);
	json_time(detail->since_ns);
	fputs(",\"tripped_by\":", stdout);
	if (detail->sequence != 0) {
		fputs("{\"message_id\":", stdout);
		json_text_or_null(detail->message_id);
		printf(",\"status\":%" PRIu32 ",\"error\":", detail->status);
		quote(detail->error);
		putchar('}');
	} else {
		fputs("null", stdout);
	}
	fputs(",\"next_probe_s\":", stdout);
	json_seconds_or_null(queue->next_probe_s);
}

static void
json_figures(const struct status_queue *queue)
{
	printf(",\"depth\":%" PRIu64 ",\"in_flight\":%" PRIu64 ",\"oldest_age_s\":", queue->depth,
	    queue->in_flight);
	json_seconds_or_null(queue->oldest_age_s);
	printf(",\"published\":%" PRIu64 ",\"duplicates\":%" PRIu64 ",\"done\":%" PRIu64
	       ",\"failed\":%" PRIu64 ",\"dead_lettered\":%" PRIu64 ",\"expired\":%" PRIu64
	       ",\"blocked_groups\":%" PRIu64 ",\"parked\":%" PRIu64,
	    queue->published, queue->duplicates, queue->done, queue->failed, queue->dead_lettered,
	    queue->expired, queue->blocked_groups, queue->parked);
}

static void
json_queue(const struct status_queue *queue)
{
	static const char *const unknown[] = {
		"state",
		"reason",
		"by",
		"since",
		"tripped_by",
		"next_probe_s",
		"depth",
		"in_flight",
		"oldest_age_s",
		"published",
		"duplicates",
		"done",
		"failed",
		"dead_lettered",
		"expired",
		"blocked_groups",
		"parked",
	};

	fputs("{\"name\":", stdout);
	quote(queue->name);
	if (status_is_known(queue)) {
		json_state(queue);
		json_figures(queue);
	} else {
		for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
			printf(",\"%s\":null", unknown[i]);
	}
	json_workers(queue);
	json_why("refuses", control_refusal_text(queue->refuses));
	json_why("error", queue->error);
	putchar('}');
}

void
status_print_json(const struct status *status)
{
	printf("{\"version\":1,\"router\":{\"running\":%s,\"pid\":",
	    status->running ? "true" : "false");
	if (status->running)
		printf(
		    "%" PRIu32 ",\"heartbeat_age_s\":%.3f", status->pid, status->heartbeat_age_s);
	else
		fputs("null,\"heartbeat_age_s\":null", stdout);
	fputs("},\"queues\":[", stdout);
	for (unsigned i = 0; i < status->queue_count; i++) {
		if (i > 0)
			putchar(',');
		json_queue(&status->queues[i]);
	}
	fputs("],\"topics\":[", stdout);
	for (unsigned i = 0; i < status->topic_count; i++) {
		const struct status_topic *topic = &status->topics[i];

		printf("%s{\"name\":", i ? "," : "");
		quote(topic->name);
		printf(",\"published\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"unroutable\":%" PRIu64
		       ",\"ids\":%" PRIu64 ",\"ids_bytes\":%" PRIu64,
		    topic->published, topic->refused, topic->unroutable, topic->ids,
		    topic->ids_bytes);
		json_why("refuses", control_refusal_text(topic->refuses));
		putchar('}');
	}
	puts("]}");
}

/*
 * Text.
 */

static bool
colours(void)
{
	const char *no_color = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && (no_color == NULL || no_color[0] == '\0');
}

static const char *
colour_of(enum control_state state)
{
	if (!colours())
		return "";
	return state == CONTROL_RUNNING ? "\033[32m"
	    : state == CONTROL_TRIPPED  ? "\033[31m"
					: "\033[33m";
}

static int
name_width(const struct status *status)
{
	size_t width = NAME_WIDTH_MIN;

	for (unsigned i = 0; i < status->queue_count; i++)
		if (strlen(status->queues[i].name) > width)
			width = strlen(status->queues[i].name);
	return (int)width;
}

static void
print_row(const struct status_queue *queue, int width)
{
	char age[TEXT_AGE_BYTES] = "-";

	if (!status_is_known(queue)) {
		printf("%-*s  %-8s %10s %10s %9s %12s %9s %8s\n", width, queue->name, "?", "?", "?",
		    "?", "?", "?", "?");
		return;
	}
	if (queue->oldest_age_s >= 0)
		text_age(age, queue->oldest_age_s);
	printf("%-*s  %s%-8s%s %10" PRIu64 " %10" PRIu64 " %9s %12" PRIu64 " %9" PRIu64 " %8u\n",
	    width, queue->name, colour_of(queue->state), state_text(queue->state),
	    colours() ? "\033[0m" : "", queue->depth, queue->in_flight, age, queue->done,
	    queue->failed, queue->worker_count);
}

/* A dead-letter queue in which nothing ever was is no news. */
static bool
is_quiet(const struct status_queue *queue)
{
	return queue->dead_letters && queue->published == 0 && queue->state == CONTROL_RUNNING &&
	    status_is_known(queue);
}

static void
put(const char *text)
{
	text_put_safe(text, strlen(text));
}

/* What to type to give it up: only if it is this message still, when its id is known. */
static void
print_skip(const struct status_queue *queue, const struct ctl *ctl)
{
	char word[COMMAND_WORD_BYTES(CONTROL_ID_BYTES)];

	command_word(word, sizeof(word), queue->detail.message_id);
	printf("             or give the message up: headgatectl%s start --skip-head%s%s %s\n",
	    ctl->config.options, queue->detail.message_id[0] ? " --message " : "",
	    queue->detail.message_id[0] ? word : "", queue->name);
}

/* What to do when no worker is attached. */
static void
print_start_worker(const struct status_queue *queue, const struct ctl *ctl)
{
	static const struct {
		const char *queue, *program;
	} workers[] = {
		{ "payment-processing", "headgate-payment" },
		{ "bank-account-setup", "headgate-bank-account" },
		{ "subscription-control", "headgate-subscription-manager" },
	};

	for (size_t i = 0; i < sizeof(workers) / sizeof(workers[0]); i++)
		if (strcmp(queue->name, workers[i].queue) == 0) {
			printf("    next:    start its worker: %s%s -d\n", workers[i].program,
			    ctl->config.options);
			return;
		}
	printf("    next:    start its worker, your program for queue %s\n", queue->name);
}

static void
print_probing(const struct status_queue *queue, const struct status *status, const struct ctl *ctl)
{
	if (!status->running) {
		puts("    next:    nothing is tried without a router; when it is started the queue "
		     "is TRIPPED as before");
	} else if (queue->worker_count == 0) {
		puts("    no worker is attached; the message is tried when one is");
		print_start_worker(queue, ctl);
	} else {
		printf("    next:    the message is being tried; if it passes, the gate opens; to "
		       "wait for it:\n             headgatectl%s start %s\n",
		    ctl->config.options, queue->name);
	}
}

static void
print_next(const struct status_queue *queue, const struct status *status, const struct ctl *ctl)
{
	char age[TEXT_AGE_BYTES];

	if (queue->state == CONTROL_PROBING) {
		print_probing(queue, status, ctl);
		return;
	}
	printf("    next:    mend the cause, then: headgatectl%s start %s\n", ctl->config.options,
	    queue->name);
	if (queue->state == CONTROL_TRIPPED && !queue->dead_letters)
		print_skip(queue, ctl);
	if (queue->next_probe_s >= 0) {
		text_age(age, queue->next_probe_s);
		printf("             or wait: it is tried by itself in %s (auto_probe)\n", age);
	}
}

static void
put_free_space(const char *dir)
{
	struct statvfs fs;

	if (statvfs(dir, &fs) == 0)
		printf(", which has %" PRIu64 " MB left",
		    (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize / 1000000);
}

/* Why publishers are asked to try again, and what ends that. */
static void
print_refusal(
    const char *what, const char *name, enum control_refusal refusal, const struct ctl *ctl)
{
	if (refusal == CONTROL_TAKES)
		return;
	printf("\n%s%s takes no messages: %s\n    next:    ", what, name,
	    control_refusal_text(refusal));
	switch (refusal) {
	case CONTROL_DISK_FULL:
	case CONTROL_DEAD_LETTERS_FULL:
		printf("make room on the file system of %s", ctl->config.state_dir);
		put_free_space(ctl->config.state_dir);
		puts(refusal == CONTROL_DISK_FULL ? ", or let what waits be handled;"
						  : ", or redrive or purge them;");
		puts("             it goes on by itself within a second or two");
		break;
	case CONTROL_MAX_BYTES:
		puts("let what waits be handled: it goes on by itself;\n"
		     "             or raise max_bytes and start the router again");
		break;
	case CONTROL_DEDUP_FULL:
		puts("when ids are older than dedup_window it goes on by itself;\n"
		     "             or raise dedup_max and start the router again");
		break;
	default:
		puts("log.no_room in the router's log says why; mend that");
	}
}

static int
put_id(void *context, const struct message *message)
{
	if (message->sequence == *(uint64_t *)context && message->unreadable == NULL) {
		putchar(' ');
		text_put_safe(
		    message->envelope.message_id.data, message->envelope.message_id.length);
	}
	return 1;
}

/* Handlers that have been at one message for long, and what ends that. */
static void
print_slow(const struct status_queue *queue, const struct ctl *ctl)
{
	const struct config_queue *config = config_find_queue(&ctl->config, queue->name);
	char age[TEXT_AGE_BYTES], limit[TEXT_AGE_BYTES];

	for (unsigned i = 0; i < queue->worker_count && config != NULL; i++) {
		const struct status_worker *worker = &queue->workers[i];
		uint64_t sequence = worker->handling;

		if (sequence == 0 || worker->handling_s < SLOW_S)
			continue;
		text_age(age, worker->handling_s);
		text_age(limit, (double)config->visibility_ns / 1e9);
		printf("\n%s: worker %" PRIu32 " has been at message", queue->name, worker->pid);
		(void)message_read(ctl, queue->name, sequence - 1, put_id, &sequence);
		printf(" (sequence %" PRIu64
		       ") for %s\n    next:    wait: after visibility_timeout "
		       "(%s) it is ended, and the message tried again\n",
		    sequence, age, limit);
	}
}

/* Why a queue whose gate is open does not move. */
static void
print_waiting(const struct status_queue *queue, const struct status *status, const struct ctl *ctl)
{
	if (queue->state == CONTROL_RUNNING && status->running && queue->depth > 0 &&
	    queue->worker_count == 0 && !queue->dead_letters) {
		printf("\n%s: %" PRIu64 " messages wait, and no worker is attached\n", queue->name,
		    queue->depth);
		print_start_worker(queue, ctl);
	}
	print_slow(queue, ctl);
}

static void
print_blocked(const struct status_queue *queue, const struct ctl *ctl)
{
	if (queue->blocked_groups > 0)
		printf("\n%s: %" PRIu64 " groups are blocked, with %" PRIu64
		       " messages; each is tried again %s\n    which:   headgatectl%s peek "
		       "--groups %s\n",
		    queue->name, queue->blocked_groups, queue->parked,
		    queue->state == CONTROL_RUNNING ? "by itself" : "when the gate is open",
		    ctl->config.options, queue->name);
}

/* Why a gate is closed, since when, and what to type next. */
static void
print_closed(const struct status_queue *queue, const struct status *status, const struct ctl *ctl)
{
	const struct control_detail *detail = &queue->detail;
	char since[TEXT_TIME_BYTES], age[TEXT_AGE_BYTES];

	if (!status_is_known(queue)) {
		printf("\n%s: ", queue->name);
		put(queue->error);
		putchar('\n');
		return;
	}
	print_refusal("", queue->name, queue->refuses, ctl);
	print_blocked(queue, ctl);
	print_waiting(queue, status, ctl);
	if (queue->state == CONTROL_RUNNING)
		return;
	text_time(since, detail->since_ns);
	text_age(age, (double)(ctl_wall_ns() - detail->since_ns) / 1e9);
	printf("\n%s is %s since %s (%s), by ", queue->name, state_text(queue->state), since, age);
	put(detail->user);
	fputs(" (", stdout);
	put(detail->program);
	printf(", pid %" PRIu32 ")\n", detail->pid);
	if (detail->reason[0] != '\0') {
		fputs("    why:     ", stdout);
		put(detail->reason);
		putchar('\n');
	}
	if (detail->sequence != 0) {
		fputs("    message: ", stdout);
		put(detail->message_id);
		printf(" (sequence %" PRIu64 ") answered %" PRIu32 ": ", detail->sequence,
		    detail->status);
		put(detail->error);
		putchar('\n');
	}
	print_next(queue, status, ctl);
}

static void
print_router(const struct status *status, const struct ctl *ctl)
{
	char age[TEXT_AGE_BYTES], silent[TEXT_AGE_BYTES];

	if (!status->running) {
		printf("router: not running; this is what is on disk in %s\n"
		       "        start it with: headgate-router%s -d\n\n",
		    ctl->config.state_dir, ctl->config.options);
		return;
	}
	text_age(age, (double)(ctl_wall_ns() - status->since_ns) / 1e9);
	text_age(silent, status->heartbeat_age_s);
	if (status->heartbeat_age_s <= CTL_SILENT_S)
		printf("router: running for %s, pid %" PRIu32 "\n\n", age, status->pid);
	else
		printf("router: running for %s, but silent for %s, pid %" PRIu32 "\n"
		       "        until it goes on nothing is taken or delivered, and figures are "
		       "old\n"
		       "        if it does not: kill -KILL %" PRIu32
		       ", then headgate-router%s -d\n\n",
		    age, silent, status->pid, status->pid, ctl->config.options);
}

void
status_print_text(const struct status *status, const struct ctl *ctl)
{
	int width = name_width(status);

	print_router(status, ctl);
	printf("%-*s  %-8s %10s %10s %9s %12s %9s %8s\n", width, "QUEUE", "STATE", "DEPTH",
	    "IN FLIGHT", "OLDEST", "DONE", "FAILED", "WORKERS");
	for (unsigned i = 0; i < status->queue_count; i++)
		if (ctl->queue_count > 0 || !is_quiet(&status->queues[i]))
			print_row(&status->queues[i], width);
	for (unsigned i = 0; i < status->queue_count; i++)
		print_closed(&status->queues[i], status, ctl);
	for (unsigned i = 0; i < status->topic_count; i++)
		print_refusal("topic ", status->topics[i].name, status->topics[i].refuses, ctl);
}
