/*
 * headgatectl(1)
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "config/output.h"
#include "config/process.h"
#include "ctl/ctl.h"
#include "router/filter.h"

enum { WAIT_S = 30, COUNT = 10 };

struct command {
	const char *name; /* one word or two */
	const char *arguments, *help;
	int (*run)(struct ctl *);
	const char
	    *options; /* the long ones, apart from those that all take; a blank before and behind */
	bool which;   /* may name a message behind the queue */
};

static const struct command commands[] = {
	{ "status", "[--json] [--watch] [QUEUE...]", "what runs, what is stopped, and why",
	    status_main, " json watch wide ", false },
	{ "health", "[QUEUE...]", "is there something that needs a person? For monitoring",
	    health_main, " ", false },
	{ "start",
	    "[--skip-head [--message ID] [--force]] [--reason TEXT] [--group ID] [-t TIME] "
	    "QUEUE... | --all",
	    "open the gate of a queue; or try what blocks a group", start_main,
	    " skip-head message force reason group timeout all ", false },
	{ "stop", "[--drain [-t TIME]] [--reason TEXT] QUEUE... | --all",
	    "close the gate of a queue", stop_main, " drain timeout reason all ", false },
	{ "wait", "[--ready|--workers|--empty|--state S] [-t TIME] [QUEUE...]",
	    "wait until it holds", wait_main, " ready workers empty state timeout all ", false },
	{ "shutdown", "[--workers | --all] [-t TIME]", "end the router, the workers, or both",
	    shutdown_main, " workers all timeout ", false },
	{ "peek", "[--groups | --reveal] [-n N] [--json] QUEUE",
	    "the next messages of a queue; or its blocked groups", peek_main,
	    " groups count json reveal ", false },
	{ "dead list", "[--json] [--filter F]... QUEUE",
	    "its dead letters, and what was wrong with them", dead_list_main, " json filter ",
	    false },
	{ "dead show", "[--json|--raw] [--reveal] QUEUE [SEQUENCE|MESSAGE-ID]",
	    "one of them, with its body", dead_show_main, " json raw reveal filter ", true },
	{ "dead redrive", "[--to QUEUE] [--rate N] [--dry-run] [--filter F]... [-t TIME] QUEUE",
	    "give them back to the queue that they come from", dead_redrive_main,
	    " to rate dry-run filter timeout ", false },
	{ "dead purge", "[--force] [--filter F]... [-t TIME] QUEUE", "remove them for good",
	    dead_purge_main, " force filter timeout ", false },
	{ "check", "[--json] [QUEUE...] | [--json] --salvage QUEUE",
	    "whether the logs of queues are whole; no router may run", check_main, " json salvage ",
	    false },
	{ "config", "", "check the configuration and print what is in force", config_main, " ",
	    false },
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void
usage(FILE *out)
{
	fputs("usage: headgatectl [-hVv] [-c FILE] [-D DIR] COMMAND ...\n", out);
	for (int i = 0; i < COMMANDS; i++)
		fprintf(out, "  %s %s\n      %s\n", commands[i].name, commands[i].arguments,
		    commands[i].help);
	fputs("options:\n"
	      "  -c, --config FILE     configuration; without it the built-in utility system\n"
	      "  -D, --directory DIR   base directory: DIR/run and DIR/state\n"
	      "      --json            print JSON\n"
	      "      --watch           print again each second\n"
	      "      --wide            lines as long as they need to be\n"
	      "      --all             every queue\n"
	      "      --reason TEXT     why, for those who ask later\n"
	      "      --drain           handle what was handed to workers first\n"
	      "      --group ID        what blocks this group, with one queue\n"
	      "      --skip-head       give up the message that tripped it, or blocks the group\n"
	      "      --message ID      ... if it is this one still\n"
	      "      --ready           the router takes messages\n"
	      "      --workers         and each queue has a worker\n"
	      "      --empty           nothing is left to do\n"
	      "      --state S         the queues are RUNNING, STOPPED, TRIPPED or PROBING\n"
	      "  -t, --timeout TIME    how long to wait: 30s\n"
	      "  -n, --count N         how many messages, or groups: 10\n"
	      "      --groups          the groups that wait because a message of theirs failed\n"
	      "      --filter F        only with code=422, code=4xx, group=ID, message_id=ID\n"
	      "      --raw             only the body, as it was published\n"
	      "      --reveal          account numbers, too\n"
	      "      --to QUEUE        where they go, instead of where they come from\n"
	      "      --rate N          at most so many a second\n"
	      "      --dry-run         say what would be done\n"
	      "      --force           do not ask, although messages are gone for good\n"
	      "      --salvage         make a whole log of what is whole in a damaged one\n"
	      "  -v, --verbose         say more\n"
	      "  -V, --version         print the version\n"
	      "  -h, --help            print this\n",
	    out);
}

int
ctl_open_control(const struct ctl *ctl, struct control *control, bool writable)
{
	char path[CONFIG_PATH_BYTES + 16];

	int rc;

	snprintf(path, sizeof(path), "%s/control", ctl->config.run_dir);
	rc = control_open(control, path, writable);
	if (rc == -EACCES || rc == -EPERM)
		ctl_no_permission(ctl->config.run_dir);
	return rc;
}

void
ctl_no_permission(const char *path)
{
	errx(EX_NOPERM, "%s: no permission: be the user that the router runs as, or root", path);
}

double
ctl_router_age_s(const struct control *control)
{
	uint64_t then_ns =
	    atomic_load_explicit(&control->shared->router_heartbeat_ns, memory_order_relaxed);
	uint64_t now_ns = ctl_monotonic_ns();

	return now_ns > then_ns ? (double)(now_ns - then_ns) / 1e9 : 0;
}

bool
ctl_has_worker(const struct control *control, unsigned queue)
{
	for (unsigned i = 0; i < CONTROL_WORKERS; i++)
		if (atomic_load_explicit(&control->shared->worker[i].pid, memory_order_acquire) !=
			0 &&
		    control->shared->worker[i].queue == queue)
			return true;
	return false;
}

static uint64_t
clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t
ctl_wall_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

uint64_t
ctl_monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

void
ctl_pause_ms(int ms)
{
	struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&pause, NULL);
}

int
config_main(struct ctl *ctl)
{
	char why[256];

	if (ctl->queue_count > 0)
		errx(EX_USAGE, "config takes no arguments");
	for (size_t i = 0; i < ctl->config.queue_count; i++) {
		const struct config_queue *queue = &ctl->config.queues[i];
		struct filter *filter;

		if (filter_compile(&filter, queue->filter_policy, why, sizeof(why)) != 0)
			errx(EX_CONFIG, "%s:%d: queue %s: filter_policy: %s",
			    ctl->config.file ? ctl->config.file : "built-in configuration",
			    queue->line, queue->name, why);
		filter_free(filter);
	}
	config_print(&ctl->config, stdout);
	return 0;
}

static void
parse_timeout(struct ctl *ctl, const char *text)
{
	if (config_parse_duration(text, &ctl->timeout_ns) != 0)
		errx(EX_USAGE, "-t %s: seconds, or with ms, s, m, h, d", text);
}

static void
parse_state(struct ctl *ctl, const char *text)
{
	ctl->condition = CTL_STATE;
	ctl->state = control_state_parse(text);
	if (ctl->state == 0)
		errx(EX_USAGE, "--state %s: RUNNING, STOPPED, TRIPPED or PROBING", text);
}

static uint64_t
parse_number(const char *option, const char *text)
{
	const char *why;
	long long number = strtonum(text, 1, INT32_MAX, &why);

	if (why != NULL)
		errx(EX_USAGE, "%s %s: %s", option, text, why);
	return (uint64_t)number;
}

static void
add_filter(struct ctl *ctl, const char *filter)
{
	if (ctl->filter_count == CTL_FILTERS)
		errx(EX_USAGE, "--filter: at most %d", CTL_FILTERS);
	ctl->filters[ctl->filter_count++] = filter;
}

/* What was given; which of it a command takes is known when the command is. */
static const char *given[64];
static unsigned given_count;

static void
note_given(const struct option *options, int value)
{
	for (; options->name != NULL; options++)
		if (options->val == value && given_count < sizeof(given) / sizeof(given[0]))
			given[given_count++] = options->name;
}

/* Options that mean nothing without, or beside, another one. */
static const struct {
	const char *command, *option, *other;
	bool beside;
} pairs[] = {
	{ "start", "message", "skip-head", false },
	{ "start", "force", "skip-head", false },
	{ "stop", "timeout", "drain", false },
	{ "wait", "ready", "workers", true },
	{ "wait", "ready", "empty", true },
	{ "wait", "ready", "state", true },
	{ "wait", "workers", "empty", true },
	{ "wait", "workers", "state", true },
	{ "wait", "empty", "state", true },
	{ "shutdown", "workers", "all", true },
	{ "peek", "groups", "reveal", true },
	{ "dead show", "json", "raw", true },
};

static bool
was_given(const char *option)
{
	for (unsigned i = 0; i < given_count; i++)
		if (strcmp(given[i], option) == 0)
			return true;
	return false;
}

static void
check_pairs(const struct command *command)
{
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (strcmp(pairs[i].command, command->name) != 0 || !was_given(pairs[i].option) ||
		    was_given(pairs[i].other) != pairs[i].beside)
			continue;
		if (pairs[i].beside)
			errx(EX_USAGE, "%s: --%s, or --%s: not both", command->name,
			    pairs[i].option, pairs[i].other);
		errx(EX_USAGE, "%s: --%s goes with --%s", command->name, pairs[i].option,
		    pairs[i].other);
	}
}

static void
check_given(const struct command *command)
{
	static const char common[] = " config directory verbose version help ";
	char word[64];

	for (unsigned i = 0; i < given_count; i++) {
		snprintf(word, sizeof(word), " %s ", given[i]);
		if (strstr(common, word) == NULL && strstr(command->options, word) == NULL)
			errx(EX_USAGE, "%s does not take --%s", command->name, given[i]);
	}
	check_pairs(command);
}

static void
read_options(struct ctl *ctl, int argc, char **argv)
{
	enum {
		JSON = 256,
		WATCH,
		WIDE,
		ALL,
		REASON,
		DRAIN,
		SKIP_HEAD,
		MESSAGE,
		READY,
		WORKERS,
		EMPTY,
		STATE,
		GROUP,
		GROUPS,
		FILTER,
		RAW,
		REVEAL,
		TO,
		RATE,
		DRY_RUN,
		FORCE,
		SALVAGE
	};
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "directory", required_argument, NULL, 'D' },
		{ "json", no_argument, NULL, JSON },
		{ "watch", no_argument, NULL, WATCH },
		{ "wide", no_argument, NULL, WIDE },
		{ "all", no_argument, NULL, ALL },
		{ "reason", required_argument, NULL, REASON },
		{ "drain", no_argument, NULL, DRAIN },
		{ "skip-head", no_argument, NULL, SKIP_HEAD },
		{ "message", required_argument, NULL, MESSAGE },
		{ "ready", no_argument, NULL, READY },
		{ "workers", no_argument, NULL, WORKERS },
		{ "empty", no_argument, NULL, EMPTY },
		{ "state", required_argument, NULL, STATE },
		{ "timeout", required_argument, NULL, 't' },
		{ "count", required_argument, NULL, 'n' },
		{ "group", required_argument, NULL, GROUP },
		{ "groups", no_argument, NULL, GROUPS },
		{ "filter", required_argument, NULL, FILTER },
		{ "raw", no_argument, NULL, RAW },
		{ "reveal", no_argument, NULL, REVEAL },
		{ "to", required_argument, NULL, TO },
		{ "rate", required_argument, NULL, RATE },
		{ "dry-run", no_argument, NULL, DRY_RUN },
		{ "force", no_argument, NULL, FORCE },
		{ "salvage", no_argument, NULL, SALVAGE },
		{ "verbose", no_argument, NULL, 'v' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	ctl->timeout_ns = WAIT_S * UINT64_C(1000000000);
	ctl->condition = CTL_READY;
	ctl->reason = "";
	ctl->count = COUNT;
	while ((option = getopt_long(argc, argv, "c:D:n:t:vVh", options, NULL)) != -1) {
		note_given(options, option);
		switch (option) {
		case 'c':
			ctl->options.file = optarg;
			break;
		case 'D':
			if (optarg[0] == '\0')
				errx(EX_USAGE, "-D: the name of the directory is empty");
			ctl->options.base_dir = optarg;
			break;
		case JSON:
			ctl->json = true;
			break;
		case WATCH:
			ctl->watch = true;
			break;
		case WIDE:
			ctl->wide = true;
			break;
		case ALL:
			ctl->all = true;
			break;
		case REASON:
			ctl->reason = optarg;
			break;
		case DRAIN:
			ctl->drain = true;
			break;
		case SKIP_HEAD:
			ctl->skip_head = true;
			break;
		case MESSAGE:
			ctl->message = optarg;
			break;
		case READY:
			ctl->condition = CTL_READY;
			break;
		case WORKERS:
			ctl->condition = CTL_WORKERS;
			ctl->workers = true;
			break;
		case EMPTY:
			ctl->condition = CTL_EMPTY;
			break;
		case STATE:
			parse_state(ctl, optarg);
			break;
		case 't':
			parse_timeout(ctl, optarg);
			break;
		case 'n':
			ctl->count = parse_number("-n", optarg);
			break;
		case GROUP:
			ctl->group = optarg;
			break;
		case GROUPS:
			ctl->groups = true;
			break;
		case FILTER:
			add_filter(ctl, optarg);
			break;
		case RAW:
			ctl->raw = true;
			break;
		case REVEAL:
			ctl->reveal = true;
			break;
		case TO:
			ctl->to = optarg;
			break;
		case RATE:
			ctl->rate = parse_number("--rate", optarg);
			break;
		case DRY_RUN:
			ctl->dry_run = true;
			break;
		case FORCE:
			ctl->force = true;
			break;
		case SALVAGE:
			ctl->salvage = true;
			break;
		case 'v':
			ctl->verbose = true;
			break;
		case 'V':
			puts("headgatectl " VERSION_TEXT);
			exit(output_end(0));
		case 'h':
			usage(stdout);
			exit(output_end(0));
		default:
			usage(stderr);
			exit(EX_USAGE);
		}
	}
}

/* Is it the first of words? Returns how many it is, 0 for no. */
static int
is_command(const struct command *command, char **words, int count)
{
	const char *blank = strchrnul(command->name, ' ');
	size_t length = (size_t)(blank - command->name);

	if (count < 1 || strlen(words[0]) != length || memcmp(command->name, words[0], length) != 0)
		return 0;
	if (*blank == '\0')
		return 1;
	return count >= 2 && strcmp(blank + 1, words[1]) == 0 ? 2 : 0;
}

static const struct command *
find_command(struct ctl *ctl, char **words, int count)
{
	const struct command *command = NULL;
	int n = 0;

	for (int i = 0; i < COMMANDS && n == 0; i++) {
		command = &commands[i];
		n = is_command(command, words, count);
	}
	if (n == 0) {
		if (count > 0)
			warnx("%s%s%s: no such command", words[0],
			    count > 1 && strcmp(words[0], "dead") == 0 ? " " : "",
			    count > 1 && strcmp(words[0], "dead") == 0 ? words[1] : "");
		usage(stderr);
		exit(EX_USAGE);
	}
	ctl->queues = words + n;
	ctl->queue_count = count - n;
	if (command->which && ctl->queue_count == 2)
		ctl->which = ctl->queues[--ctl->queue_count];
	return command;
}

int
main(int argc, char **argv)
{
	static struct ctl ctl;
	char error[CONFIG_PATH_BYTES + 512];
	const struct command *command;
	int status;

	process_begin();
	read_options(&ctl, argc, argv);
	command = find_command(&ctl, argv + optind, argc - optind);
	check_given(command);
	if (ctl.all && ctl.queue_count > 0)
		errx(EX_USAGE, "--all, or the names of queues: not both");
	if (config_load(&ctl.config, &ctl.options, error, sizeof(error)) != 0)
		errx(EX_CONFIG, "%s", error);
	queues_find(&ctl);
	status = output_end(command->run(&ctl));
	config_free(&ctl.config);
	return status;
}
