/*
 * options - headgatectl's options, one row each, from which they are parsed, printed and complained about.
 */
#ifndef HEADGATE_CTL_OPTIONS_H
#define HEADGATE_CTL_OPTIONS_H

#include "ctl/ctl.h"

struct command;

/* Reads the options into *ctl, which has the defaults before, and leaves the other arguments in *words, in order.
 * Returns how many these are. Ends the program with EX_USAGE when it cannot. */
int options_read(struct ctl *, int argc, char **argv, char ***words);

/* Ends the program with EX_USAGE when an option was given that the command does not take, or that means nothing
 * without, or beside, another one. */
void options_check(const struct command *);

/* Prints those with these names, blanks around each, and those that all commands take; or all, for NULL. */
void options_print(const char *names);

#endif
