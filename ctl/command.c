#include "ctl/command.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "config/suggest.h"
#include "ctl/options.h"

static const struct command commands[] = {
	{ "status", "[--json] [--watch] [--wide] [QUEUE...]", "what runs, what is stopped, and why",
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
	{ "wait", "[--ready | --workers | --empty | --state S] [-t TIME] [QUEUE...]",
	    "wait until it holds", wait_main, " ready workers empty state timeout all ", false },
	{ "shutdown", "[--workers | --all] [-t TIME]", "end the router, the workers, or both",
	    shutdown_main, " workers all timeout ", false },
	{ "peek", "[--groups | --reveal] [-n N] [--json] [--wide] QUEUE",
	    "the next messages of a queue; or its blocked groups", peek_main,
	    " groups count json reveal wide ", false },
	{ "dead list", "[--json] [--wide] [--filter F]... QUEUE",
	    "its dead letters, and what was wrong with them", dead_list_main, " json filter wide ",
	    false },
	{ "dead show", "[--json | --raw] [--reveal] QUEUE [SEQUENCE | MESSAGE-ID]",
	    "one of them, with its body", dead_show_main, " json raw reveal filter ", true },
	{ "dead redrive", "[--to QUEUE] [--rate N] [--dry-run] [--filter F]... [-t TIME] QUEUE",
	    "give them back to the queue that they come from", dead_redrive_main,
	    " to rate dry-run filter timeout ", false },
	{ "dead purge", "[--force] [--filter F]... [-t TIME] QUEUE", "remove them for good",
	    dead_purge_main, " force filter timeout ", false },
	{ "check", "[--json] [--wide] [QUEUE...] | [--json] --salvage QUEUE",
	    "whether the logs of queues are whole; no router may run", check_main,
	    " json salvage wide ", false },
	{ "config", "", "check the configuration and print what is in force", config_main, " ",
	    false },
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

enum match { NONE, BEGINS, SAME };

static enum match
match_word(const char *word, const char *name, size_t length)
{
	size_t typed = strlen(word);

	if (typed == 0 || typed > length || memcmp(word, name, typed) != 0)
		return NONE;
	return typed == length ? SAME : BEGINS;
}

/* *used: the number of compared words. */
static enum match
match_command(const struct command *command, char **words, int count, int *used)
{
	const char *second = strchr(command->name, ' ');
	size_t length = second != NULL ? (size_t)(second - command->name) : strlen(command->name);
	enum match first = match_word(words[0], command->name, length), rest;

	*used = 1;
	if (first == NONE || second == NULL)
		return first;
	if (count < 2)
		return NONE;
	*used = 2;
	rest = match_word(words[1], second + 1, strlen(second + 1));
	return rest < first ? rest : first;
}

/* Ends the program: the words are ambiguous, or a command's second word is missing. */
static _Noreturn void
ask_for_one(char **words, int count)
{
	char list[256] = "";
	int used;

	for (int i = 0; i < COMMANDS; i++) {
		char *second[] = { words[0], strchr(commands[i].name, ' ') };

		if (second[1] != NULL)
			second[1]++;
		if (match_command(&commands[i], words, count, &used) == NONE &&
		    (count > 1 || second[1] == NULL ||
			match_command(&commands[i], second, 2, &used) == NONE))
			continue;
		if (list[0] != '\0')
			strlcat(list, ", ", sizeof(list));
		strlcat(list, commands[i].name, sizeof(list));
	}
	errx(EX_USAGE, "%s: which one: %s?", words[0], list);
}

static _Noreturn void
no_command(char **words, int count)
{
	bool two = count > 1 && match_word(words[0], "dead", strlen("dead")) != NONE;
	struct suggestion meant = { .word = words[0] };
	char typed[256];

	snprintf(typed, sizeof(typed), "%s%s%s", two ? "dead" : words[0], two ? " " : "",
	    two ? words[1] : "");
	if (two)
		meant.word = typed;
	for (int i = 0; i < COMMANDS; i++)
		suggest_consider(&meant, commands[i].name);
	errx(EX_USAGE, "%s: no such command%s%s%s see: headgatectl help", typed,
	    meant.best != NULL ? "; did you mean " : "", meant.best != NULL ? meant.best : "",
	    meant.best != NULL ? "? Or" : ";");
}

const struct command *
command_find(char **words, int count, int *used)
{
	const struct command *best = NULL;
	enum match matched = NONE;
	unsigned same = 0;
	int n;

	if (count < 1)
		errx(EX_USAGE, "which command? See: headgatectl help");
	if (count == 1 && match_word(words[0], "dead", strlen("dead")) != NONE)
		ask_for_one(words, count);
	for (int i = 0; i < COMMANDS; i++) {
		enum match match = match_command(&commands[i], words, count, &n);

		if (match == NONE || match < matched)
			continue;
		same = match == matched ? same + 1 : 1;
		matched = match;
		best = &commands[i];
		*used = n;
	}
	if (best == NULL)
		no_command(words, count);
	if (same > 1)
		ask_for_one(words, count);
	return best;
}

void
command_help_all(void)
{
	puts("usage: headgatectl [-hVv] [-c FILE] [-D DIR] COMMAND ...");
	for (int i = 0; i < COMMANDS; i++)
		printf("  %s%s%s\n      %s\n", commands[i].name,
		    commands[i].arguments[0] != '\0' ? " " : "", commands[i].arguments,
		    commands[i].help);
	puts("  help [COMMAND]\n      this, or what a command takes, as COMMAND --help\n"
	     "Commands may be abbreviated.\noptions:");
	options_print(NULL);
}

void
command_help(const struct command *command)
{
	printf("usage: headgatectl [-hVv] [-c FILE] [-D DIR] %s %s\n%s.\n", command->name,
	    command->arguments, command->help);
	options_print(command->options);
}
