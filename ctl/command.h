/*
 * command - headgatectl's commands: one table, also for the help.
 */
#ifndef HEADGATE_CTL_COMMAND_H
#define HEADGATE_CTL_COMMAND_H

#include "ctl/ctl.h"

struct command {
	const char *name; /* one or two words */
	const char *arguments, *help;
	int (*run)(struct ctl *);
	const char *options; /* long names, blanks around each; without the common options */
	bool which;          /* accepts a message after the queue */
};

/* Finds the command at the beginning of the words, and sets *used to its number of words.
 * Unambiguous abbreviations are allowed. Ends the program with EX_USAGE if none matches. */
const struct command *command_find(char **words, int count, int *used);

/* Print the help: all commands and options, or a command with its options. */
void command_help_all(void);
void command_help(const struct command *);

#endif
