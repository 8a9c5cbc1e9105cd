/*
 * command - headgatectl's commands, one row each, which help is printed from, too.
 */
#ifndef HEADGATE_CTL_COMMAND_H
#define HEADGATE_CTL_COMMAND_H

#include "ctl/ctl.h"

struct command {
	const char *name; /* one word or two */
	const char *arguments, *help;
	int (*run)(struct ctl *);
	const char *options; /* the long ones, apart from those that all take; blanks around each */
	bool which;          /* may name a message behind the queue */
};

/* The command that begins the words, each of which may be abbreviated as long as no other command begins so; *used
 * says how many of them it is. Ends the program with EX_USAGE when it is none. */
const struct command *command_find(char **words, int count, int *used);

/* Prints all commands and options; or one command and what it takes. */
void command_help_all(void);
void command_help(const struct command *);

#endif
