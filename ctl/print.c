/*
 * headgatectl status: text for a person.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/command.h"
#include "ctl/message.h"
#include "ctl/status.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "message/answer.h"

enum { SLOW_S = 3 /* of a handler; slower ones are shown */ };

const char *
status_state_text(enum control_state state)
{
	const char *name = control_state_name(state);

	return name != NULL ? name : "UNKNOWN"; /* somebody wrote into the control segment */
}

static void
put(const char *text)
{
	text_put_safe(text, strlen(text));
}

static const char *
colour_of(enum control_state state)
{
	if (!text_has_colours())
		return "";
	return state == CONTROL_RUNNING ? "\033[32m"
	    : state == CONTROL_TRIPPED  ? "\033[31m"
					: "\033[33m";
}

/*
 * The tables.
 */

enum {
	QUEUE,
	STATE,
	DEPTH,
	IN_RATE,
	OUT_RATE,
	IN_FLIGHT,
	OLDEST,
	DUPLICATES,
	DONE,
	FAILED,
	WORKERS,
	COLUMNS
};
static const struct table_column all_columns[COLUMNS] = {
	[QUEUE] = { "QUEUE", TABLE_NAME },
	[STATE] = { "STATE", TABLE_TEXT },
	[DEPTH] = { "DEPTH", TABLE_NUMBER },
	[IN_RATE] = { "IN/S", TABLE_NUMBER },
	[OUT_RATE] = { "OUT/S", TABLE_NUMBER },
	[IN_FLIGHT] = { "IN FLIGHT", TABLE_NUMBER },
	[OLDEST] = { "OLDEST", TABLE_NUMBER },
	[DUPLICATES] = { "DUPS", TABLE_NUMBER },
	[DONE] = { "DONE", TABLE_NUMBER },
	[FAILED] = { "FAILED", TABLE_NUMBER },
	[WORKERS] = { "WORKERS", TABLE_NUMBER },
};

/* --watch shows rates in place of DONE; -v adds duplicates. */
static bool
is_wanted(const struct ctl *ctl, unsigned column)
{
	if (column == IN_RATE || column == OUT_RATE)
		return ctl->watch;
	if (column == DONE)
		return !ctl->watch || ctl->wide;
	return column != DUPLICATES || ctl->verbose;
}

/* The same queue in the previous picture. */
static const struct status_queue *
find_before(const struct status *before, const char *name)
{
	for (unsigned i = 0; before != NULL && i < before->queue_count; i++)
		if (strcmp(before->queues[i].name, name) == 0)
			return &before->queues[i];
	return NULL;
}

struct row {
	const struct status_queue *queue, *before;
	double seconds; /* between the two */
};

static void
add_rate(struct table *table, const struct row *row, uint64_t now, uint64_t then)
{
	if (row->before == NULL || row->seconds <= 0 || now < then)
		table_text(table, "-");
	else
		table_number(table, (uint64_t)((double)(now - then) / row->seconds + 0.5));
}

/* Without a router no queue is RUNNING; other states are shown, as they stay. */
static void
add_state(struct table *table, const struct status_queue *queue, bool running)
{
	if (!running && queue->state == CONTROL_RUNNING)
		table_text(table, "-");
	else
		table_coloured(table, status_state_text(queue->state), colour_of(queue->state));
}

static void
add_cell(struct table *table, const struct row *row, unsigned column, bool running)
{
	const struct status_queue *queue = row->queue, *before = row->before;
	char age[TEXT_AGE_BYTES] = "-";

	switch (column) {
	case STATE:
		add_state(table, queue, running);
		break;
	case DEPTH:
		table_number(table, queue->depth);
		break;
	case IN_RATE:
		add_rate(table, row, queue->published, before ? before->published : 0);
		break;
	case OUT_RATE:
		add_rate(table, row, queue->done + queue->failed,
		    before ? before->done + before->failed : 0);
		break;
	case IN_FLIGHT:
		table_number(table, queue->in_flight);
		break;
	case OLDEST:
		if (queue->oldest_age_s >= 0)
			text_age(age, queue->oldest_age_s);
		table_text(table, age);
		break;
	case DUPLICATES:
		table_number(table, queue->duplicates);
		break;
	case DONE:
		table_number(table, queue->done);
		break;
	case FAILED:
		table_number(table, queue->failed);
		break;
	default:
		table_number(table, queue->worker_count);
	}
}

static void
add_row(struct table *table, const struct row *row, const struct ctl *ctl, bool running)
{
	const struct status_queue *queue = row->queue;

	table_text(table, queue->name);
	for (unsigned c = QUEUE + 1; c < COLUMNS; c++) {
		if (!is_wanted(ctl, c))
			continue;
		if (!status_is_known(queue))
			table_text(table, "?");
		else if (queue->absent)
			table_text(table, "-");
		else
			add_cell(table, row, c, running);
	}
}

/* True for a dead-letter queue that never had a message; not shown. */
static bool
is_quiet(const struct status_queue *queue)
{
	return queue->dead_letters && status_is_known(queue) &&
	    (queue->absent || (queue->published == 0 && queue->state == CONTROL_RUNNING));
}

static void
print_queues(const struct status *status, const struct status *before, const struct ctl *ctl)
{
	struct table_column columns[COLUMNS];
	struct table *table;
	unsigned count = 0;

	for (unsigned c = 0; c < COLUMNS; c++)
		if (is_wanted(ctl, c))
			columns[count++] = all_columns[c];
	table = table_new(columns, count, text_columns(ctl->wide), 0);
	for (unsigned i = 0; i < status->queue_count; i++) {
		struct row row = { .queue = &status->queues[i] };

		row.before = find_before(before, row.queue->name);
		if (row.before != NULL)
			row.seconds = text_seconds(before->taken_ns, status->taken_ns);
		if (ctl->queue_count > 0 || !is_quiet(row.queue))
			add_row(table, &row, ctl, status->running);
	}
	table_flush(table);
	table_free(table);
}

static void
print_topics(const struct status *status, const struct ctl *ctl)
{
	static const struct table_column columns[] = {
		{ "TOPIC", TABLE_NAME },
		{ "PUBLISHED", TABLE_NUMBER },
		{ "DUPLICATES", TABLE_NUMBER },
		{ "UNROUTABLE", TABLE_NUMBER },
		{ "REFUSED", TABLE_NUMBER },
		{ "IDS", TABLE_NUMBER },
	};
	struct table *table =
	    table_new(columns, sizeof(columns) / sizeof(columns[0]), text_columns(ctl->wide), 0);

	for (unsigned i = 0; i < status->topic_count; i++) {
		const struct status_topic *topic = &status->topics[i];

		table_text(table, topic->name);
		table_number(table, topic->published);
		table_number(table, topic->duplicates);
		table_number(table, topic->unroutable);
		table_number(table, topic->refused);
		table_number(table, topic->ids);
	}
	putchar('\n');
	table_flush(table);
	table_free(table);
}

/*
 * Below the tables: faults, each with the command to type next.
 */

/* Prints the command that gives the message up; with its id, if known, so that no other message is
 * given up. */
static void
print_skip(const struct status_queue *queue, const struct ctl *ctl)
{
	char word[COMMAND_WORD_BYTES(CONTROL_ID_BYTES)];

	command_word(word, sizeof(word), queue->detail.message_id);
	printf("             or give the message up: %sheadgatectl%s start --skip-head%s%s %s\n",
	    ctl->config.env, ctl->config.options, queue->detail.message_id[0] ? " --message " : "",
	    queue->detail.message_id[0] ? word : "", queue->name);
}

/* Prints the command that starts the queue's worker. */
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
			printf("    next:    start its worker: %s%s%s -d\n", ctl->config.env,
			    workers[i].program, ctl->config.options);
			return;
		}
	printf("    next:    start its worker, your program for queue %s\n", queue->name);
}

static void
print_no_worker(const struct status_queue *queue, const struct ctl *ctl)
{
	char waiting[TEXT_COUNT_BYTES];

	if (queue->depth > 0)
		printf("\n%s: %s, and no worker is attached\n", queue->name,
		    text_count(waiting, queue->depth, "message waits", "messages wait"));
	else
		printf("\n%s: no worker is attached\n", queue->name);
	print_start_worker(queue, ctl);
}

static void
print_probing(const struct status_queue *queue, const struct status *status, const struct ctl *ctl)
{
	if (!status->running)
		puts("    next:    nothing is tried without a router; when it is started the queue "
		     "is TRIPPED as before");
	else if (queue->worker_count > 0)
		printf("    next:    the message is being tried; if it passes, the gate opens; to "
		       "wait for it:\n             %sheadgatectl%s start %s\n",
		    ctl->config.env, ctl->config.options, queue->name);
	else
		puts("    next:    the message is tried when a worker is attached");
}

static void
print_next(const struct status_queue *queue, const struct status *status, const struct ctl *ctl)
{
	char age[TEXT_AGE_BYTES];

	if (queue->state == CONTROL_PROBING) {
		print_probing(queue, status, ctl);
		return;
	}
	printf("    next:    %s%sheadgatectl%s start %s\n",
	    queue->detail.sequence != 0 ? "mend the cause, then: " : "", ctl->config.env,
	    ctl->config.options, queue->name);
	if (queue->state == CONTROL_TRIPPED && !queue->dead_letters &&
	    !answer_is_of_store(queue->detail.error))
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

/* Prints the reason why publishers are asked to try again, and the remedy. */
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
	case CONTROL_FILES_GONE:
		puts("the router still has the files open: move them back, or copy them before it "
		     "ends,\n"
		     "             as headgate-operations(7), \"Log files were removed or moved\", "
		     "says");
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

static void
print_slow(
    const struct status_queue *queue, const struct status_worker *worker, const struct ctl *ctl)
{
	uint64_t sequence = worker->handling;
	char age[TEXT_AGE_BYTES], limit[TEXT_AGE_BYTES];

	text_age(age, worker->handling_s);
	text_age(limit, (double)queue->visibility_ns / 1e9);
	printf("\n%s: worker %" PRIu32 " has been at message", queue->name, worker->pid);
	(void)message_read(ctl, queue->name, sequence - 1, put_id, &sequence);
	printf(" (sequence %" PRIu64
	       ") for %s\n    next:    wait: after visibility_timeout (%s) it "
	       "is ended, and the message tried again\n",
	    sequence, age, limit);
}

/* Behind a command with a process number. */
static const char *
where(const struct status *status)
{
	return status->foreign ? ", in that pid namespace" : "";
}

static void
print_silent(const struct status_queue *queue, const struct status_worker *worker,
    const struct status *status)
{
	char age[TEXT_AGE_BYTES];

	text_age(age, worker->heartbeat_age_s);
	if (worker->frozen)
		printf("\n%s: worker %" PRIu32 " is stopped by a signal (SIGSTOP), or by a debugger"
		       "\n    next:    kill -CONT %" PRIu32 "\n",
		    queue->name, worker->pid, worker->pid);
	else
		printf("\n%s: worker %" PRIu32
		       " has been silent for %s: its disk does not answer, or "
		       "it hangs\n    next:    if it does not go on: kill -KILL %" PRIu32
		       "%s; it is started again by itself\n",
		    queue->name, worker->pid, age, worker->pid, where(status));
}

static void
print_parent_frozen(const struct status_queue *queue, const struct status_worker *worker)
{
	printf(
	    "\n%s: process %d, the parent of worker %" PRIu32
	    ", is stopped by a signal (SIGSTOP), or by a debugger: it would not start the worker "
	    "again\n    next:    kill -CONT %d\n",
	    queue->name, (int)worker->parent, worker->pid, (int)worker->parent);
}

static void
print_store_empty(const struct status_queue *queue, const struct status_worker *worker)
{
	printf("\n%s: the store of worker %" PRIu32
	       " has none of the messages that were done: it is "
	       "new, or another one\n    next:    if it should have them: headgate-operations(7), "
	       "\"was removed or replaced\"\n",
	    queue->name, worker->pid);
}

/* Prints faults of workers, whatever the state of the gate: no worker; a frozen or silent worker; a
 * slow handler, with its time limit. */
static void
print_workers(const struct status_queue *queue, const struct status *status, const struct ctl *ctl)
{
	if (status->heartbeat_age_s > CTL_SILENT_S)
		return; /* the router repeats what the workers say, and does not at present */
	if (status->running && queue->worker_count == 0 && !queue->dead_letters &&
	    (queue->depth > 0 || queues_is_managed(ctl, queue->name)))
		print_no_worker(queue, ctl);
	for (unsigned i = 0; i < queue->worker_count; i++) {
		const struct status_worker *worker = &queue->workers[i];

		if (worker->store_empty)
			print_store_empty(queue, worker);
		if (worker->parent_frozen)
			print_parent_frozen(queue, worker);
		if (status_is_silent(worker))
			print_silent(queue, worker, status);
		else if (worker->handling != 0 && worker->handling_s >= SLOW_S)
			print_slow(queue, worker, ctl);
	}
}

static void
print_blocked(const struct status_queue *queue, const struct ctl *ctl)
{
	char groups[TEXT_COUNT_BYTES], messages[TEXT_COUNT_BYTES];

	if (queue->blocked_groups > 0)
		printf("\n%s: %s blocked, with %s; each is tried again %s\n    which:   "
		       "%sheadgatectl%s peek --groups %s\n",
		    queue->name,
		    text_count(groups, queue->blocked_groups, "group is", "groups are"),
		    text_count(messages, queue->parked, "message", "messages"),
		    queue->state == CONTROL_RUNNING ? "by itself" : "when the gate is open",
		    ctl->config.env, ctl->config.options, queue->name);
}

static void
put_by(const struct control_detail *detail)
{
	put(detail->user);
	fputs(" (", stdout);
	put(detail->program);
	printf(", pid %" PRIu32 ")", detail->pid);
}

/* Prints why and since when a gate is closed, and the next command. */
static void
print_closed(const struct status_queue *queue, const struct status *status, const struct ctl *ctl)
{
	const struct control_detail *detail = &queue->detail;
	char since[TEXT_TIME_BYTES], age[TEXT_AGE_BYTES];

	text_time(since, status_since_ns(queue));
	text_age(age, text_seconds(status_since_ns(queue), clock_wall_ns()));
	printf("\n%s is %s since %s (%s), by ", queue->name, status_state_text(queue->state), since,
	    age);
	put_by(detail);
	putchar('\n');
	if (status_probed_ns(queue) != 0) {
		text_time(since, detail->since_ns);
		text_age(age, text_seconds(detail->since_ns, clock_wall_ns()));
		printf("    probed:  %s (%s), and it failed again\n", since, age);
	}
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
print_queue(const struct status_queue *queue, const struct status *status, const struct ctl *ctl)
{
	if (!status_is_known(queue)) {
		printf("\n%s: ", queue->name);
		put(queue->error);
		printf("\n    next:    %sheadgatectl%s check %s\n", ctl->config.env,
		    ctl->config.options, queue->name);
		return;
	}
	if (queue->absent)
		return;
	print_refusal("", queue->name, queue->refuses, ctl);
	print_blocked(queue, ctl);
	if (queue->state != CONTROL_RUNNING)
		print_closed(queue, status, ctl);
	print_workers(queue, status, ctl);
}

static void
print_unknown(const struct status *status, const struct ctl *ctl)
{
	char waiting[TEXT_COUNT_BYTES];

	for (unsigned i = 0; i < status->unknown_count; i++) {
		const struct status_unknown *unknown = &status->unknown[i];

		putchar('\n');
		put(unknown->name);
		printf(": has a log (%s), and %s no such queue (%s)\n",
		    unknown->readable
			? text_count(waiting, unknown->depth, "message waits", "messages wait")
			: "which cannot be read",
		    status->running ? "the router has" : "there is", ctl->known.source);
	}
}

static void
print_no_router(const struct status *status, const struct ctl *ctl)
{
	if (status->stale)
		printf("router: running, of another version than this headgatectl; this is what is "
		       "on disk in\n"
		       "        %s\n\n",
		    ctl->config.state_dir);
	else if (status->starting)
		printf("router: starting, or its file %s/control was removed; this is what is on "
		       "disk in\n"
		       "        %s\n"
		       "        it goes on by itself; if not, headgate-router's log says why\n\n",
		    ctl->config.run_dir, ctl->config.state_dir);
	else if (status->no_state)
		printf("router: not running, and there is no directory %s\n"
		       "        is it another one? -D DIR or HEADGATE_DIR names it; to begin here, "
		       "start it "
		       "with: %sheadgate-router%s -d\n\n",
		    ctl->config.state_dir, ctl->config.env, ctl->config.options);
	else if (status->owner[0] != '\0')
		printf("router: not running; this is what is on disk in %s\n"
		       "        it belongs to user %s, as whom it is to be started: "
		       "%sheadgate-router%s -d\n\n",
		    ctl->config.state_dir, status->owner, ctl->config.env, ctl->config.options);
	else
		printf("router: not running; this is what is on disk in %s\n"
		       "        start it with: %sheadgate-router%s -d\n\n",
		    ctl->config.state_dir, ctl->config.env, ctl->config.options);
}

static void
print_router(const struct status *status, const struct ctl *ctl)
{
	const char *other = status->foreign ? " of another pid namespace" : "";
	char age[TEXT_AGE_BYTES], silent[TEXT_AGE_BYTES];

	if (!status->running) {
		print_no_router(status, ctl);
		return;
	}
	text_age(age, text_seconds(status->since_ns, status->taken_ns));
	text_age(silent, status->heartbeat_age_s);
	if (status->heartbeat_age_s <= CTL_SILENT_S)
		printf("router: running for %s, pid %" PRIu32 "%s\n", age, status->pid, other);
	else
		printf("router: running for %s, but silent for %s, pid %" PRIu32 "%s\n"
		       "        until it goes on nothing is taken or delivered, and figures are "
		       "old\n",
		    age, silent, status->pid, other);
	if (status->frozen)
		printf("        it is stopped by a signal (SIGSTOP), or by a debugger\n"
		       "        next: kill -CONT %" PRIu32 "\n",
		    status->pid);
	else if (status->heartbeat_age_s > CTL_SILENT_S)
		printf("        if it does not: kill -KILL %" PRIu32
		       "%s, then %sheadgate-router%s -d\n",
		    status->pid, where(status), ctl->config.env, ctl->config.options);
	if (ctl->verbose)
		printf("        configuration: %s\n        state:         %s\n", ctl->known.source,
		    ctl->config.state_dir);
	putchar('\n');
}

void
status_print_text(const struct status *status, const struct status *before, const struct ctl *ctl)
{
	print_router(status, ctl);
	print_queues(status, before, ctl);
	if (ctl->verbose)
		print_topics(status, ctl);
	for (unsigned i = 0; i < status->queue_count; i++)
		print_queue(&status->queues[i], status, ctl);
	for (unsigned i = 0; i < status->topic_count; i++)
		print_refusal("topic ", status->topics[i].name, status->topics[i].refuses, ctl);
	print_unknown(status, ctl);
}
