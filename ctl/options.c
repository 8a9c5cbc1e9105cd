#include "ctl/options.h"

#include <ctype.h>
#include <err.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "config/usage.h"
#include "ctl/command.h"

static void
set_directory(struct ctl *ctl, const char *text)
{
	ctl->options.base_dir = text;
}

static void
set_file(struct ctl *ctl, const char *text)
{
	ctl->options.file = text;
}

static void
set_timeout(struct ctl *ctl, const char *text)
{
	usage_duration("-t", text, &ctl->timeout_ns);
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
set_count(struct ctl *ctl, const char *text)
{
	ctl->count = parse_number("-n", text);
}

static void
set_rate(struct ctl *ctl, const char *text)
{
	ctl->rate = parse_number("--rate", text);
}

static void
set_ready(struct ctl *ctl, const char *text)
{
	(void)text;
	ctl->condition = CTL_READY;
}

static void
set_workers(struct ctl *ctl, const char *text)
{
	(void)text;
	ctl->condition = CTL_WORKERS;
	ctl->workers = true;
}

static void
set_empty(struct ctl *ctl, const char *text)
{
	(void)text;
	ctl->condition = CTL_EMPTY;
}

static void
set_state(struct ctl *ctl, const char *text)
{
	ctl->condition = CTL_STATE;
	ctl->state = control_state_parse(text);
	if (ctl->state == 0)
		errx(EX_USAGE, "--state %s: RUNNING, STOPPED, TRIPPED or PROBING", text);
}

static void
add_filter(struct ctl *ctl, const char *text)
{
	if (ctl->filter_count == CTL_FILTERS)
		errx(EX_USAGE, "--filter: at most %d", CTL_FILTERS);
	ctl->filters[ctl->filter_count++] = text;
}

static void
set_reason(struct ctl *ctl, const char *text)
{
	if (strlen(text) >= CONTROL_TEXT_BYTES)
		errx(EX_USAGE, "--reason: longer than %d bytes", CONTROL_TEXT_BYTES - 1);
	ctl->reason = text;
}

struct row {
	const char *name;
	char letter;          /* 0: none */
	bool common;          /* accepted by all commands */
	const char *argument; /* NULL: none */
	const char *help;
	void (*set)(struct ctl *, const char *); /* NULL: `at` is used */
	size_t at; /* offset in struct ctl of a bool or, with an argument, of a text */
};

#define AT(field) .at = offsetof(struct ctl, field)

static const struct row rows[] = {
	{ "config", 'c', true, "FILE", "configuration; without it the built-in utility system",
	    .set = set_file },
	{ "directory", 'D', true, "DIR", "base directory: DIR/run and DIR/state",
	    .set = set_directory },
	{ "json", 0, false, NULL, "print JSON", AT(json) },
	{ "watch", 0, false, NULL, "print again each second, with rates", AT(watch) },
	{ "wide", 0, false, NULL, "lines as long as they need to be", AT(wide) },
	{ "all", 0, false, NULL, "every queue", AT(all) },
	{ "reason", 0, false, "TEXT", "why, for those who ask later", .set = set_reason },
	{ "drain", 0, false, NULL, "handle what was handed to workers first", AT(drain) },
	{ "group", 0, false, "ID", "what blocks this group, with one queue", AT(group) },
	{ "skip-head", 0, false, NULL, "give up the message that tripped it, or blocks the group",
	    AT(skip_head) },
	{ "message", 0, false, "ID", "... if it is this one still", AT(message) },
	{ "ready", 0, false, NULL, "the router takes messages", .set = set_ready },
	{ "workers", 0, false, NULL, "and each queue has a worker; only workers",
	    .set = set_workers },
	{ "empty", 0, false, NULL, "nothing is left to do", .set = set_empty },
	{ "state", 0, false, "S", "the queues are RUNNING, STOPPED, TRIPPED or PROBING",
	    .set = set_state },
	{ "timeout", 't', false, "TIME", "how long to wait: 30s", .set = set_timeout },
	{ "count", 'n', false, "N", "how many messages, or groups: 10", .set = set_count },
	{ "groups", 0, false, NULL, "the groups that wait because a message of theirs failed",
	    AT(groups) },
	{ "filter", 0, false, "F", "only with code=422, code=4xx, group=ID, message_id=ID",
	    .set = add_filter },
	{ "raw", 0, false, NULL, "only the body, as it was published", AT(raw) },
	{ "reveal", 0, false, NULL, "account numbers, too", AT(reveal) },
	{ "to", 0, false, "QUEUE", "where they go, instead of where they come from", AT(to) },
	{ "rate", 0, false, "N", "at most so many a second", .set = set_rate },
	{ "dry-run", 0, false, NULL, "say what would be done", AT(dry_run) },
	{ "force", 0, false, NULL, "do not ask, although messages are gone for good", AT(force) },
	{ "salvage", 0, false, NULL, "make a whole log of what is whole in a damaged one",
	    AT(salvage) },
	{ "verbose", 'v', true, NULL, "say more", AT(verbose) },
	{ "version", 'V', true, NULL, "print the version", AT(version) },
	{ "help", 'h', true, NULL, "print this, or behind a command what it takes", AT(help) },
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]), LONG_ONLY = 256 };

static bool given[ROWS];

/* Options that need another one, or (beside) exclude another one. */
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

static void
set(struct ctl *ctl, const struct row *row, const char *argument)
{
	char *field = (char *)ctl + row->at;

	given[row - rows] = true;
	if (row->set != NULL)
		row->set(ctl, argument);
	else if (row->argument != NULL)
		*(const char **)(void *)field = argument;
	else
		*(bool *)field = true;
}

/* Makes the tables for usage_next(). */
static void
list_options(struct option options[ROWS + 1], char letters[2 * ROWS + 2])
{
	char *end = letters;

	*end++ = ':';
	for (int i = 0; i < ROWS; i++) {
		bool has = rows[i].argument != NULL;

		options[i] = (struct option){
			.name = rows[i].name,
			.has_arg = has ? required_argument : no_argument,
			.val = LONG_ONLY + i,
		};
		if (rows[i].letter == '\0')
			continue;
		*end++ = rows[i].letter;
		if (has)
			*end++ = ':';
	}
	*end = '\0';
	options[ROWS] = (struct option){ .name = NULL };
}

/* The row for a value of usage_next(). */
static const struct row *
find_row(int value)
{
	const struct row *row = rows;

	if (value >= LONG_ONLY)
		return &rows[value - LONG_ONLY];
	while (row->letter != value)
		row++;
	return row;
}

int
options_read(struct ctl *ctl, int argc, char **argv, char ***words)
{
	struct option options[ROWS + 1];
	char letters[2 * ROWS + 2];
	int value;

	list_options(options, letters);
	/* An empty --reason counts as none: a script that stops a queue must not fail for an unset
	 * variable. */
	while (
	    (value = usage_next(argc, argv, letters, options, "reason", "headgatectl help")) != -1)
		set(ctl, find_row(value), optarg);
	*words = argv + optind;
	return argc - optind;
}

static bool
was_given(const char *name)
{
	for (int i = 0; i < ROWS; i++)
		if (strcmp(rows[i].name, name) == 0)
			return given[i];
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

static bool
is_among(const char *names, const struct row *row)
{
	char word[64];

	snprintf(word, sizeof(word), " %s ", row->name);
	return row->common || names == NULL || strstr(names, word) != NULL;
}

void
options_check(const struct command *command)
{
	for (int i = 0; i < ROWS; i++)
		if (given[i] && !is_among(command->options, &rows[i]))
			errx(EX_USAGE, "%s does not take --%s", command->name, rows[i].name);
	check_pairs(command);
}

void
options_print(const char *names)
{
	for (int i = 0; i < ROWS; i++) {
		const struct row *row = &rows[i];
		char letter[] = { '-', row->letter, ',', '\0' }, name[64];

		if (!is_among(names, row))
			continue;
		snprintf(name, sizeof(name), "--%s%s%s", row->name, row->argument ? " " : "",
		    row->argument ? row->argument : "");
		printf("  %3s %-18s %s\n", row->letter ? letter : "", name, row->help);
	}
}
