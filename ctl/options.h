/*
 * options - headgatectl's options: one table for parsing, help and errors.
 */
#ifndef HEADGATE_CTL_OPTIONS_H
#define HEADGATE_CTL_OPTIONS_H

#include "ctl/ctl.h"

struct command;

/* Reads the options into *ctl, which has the defaults, and sets *words to the other arguments, in
 * order. Returns the number of these. Ends the program with EX_USAGE after an error. */
int options_read(struct ctl *, int argc, char **argv, char ***words);

/* Ends the program with EX_USAGE for an option that (1) the command does not accept, (2) needs
 * another option, or (3) excludes another option. */
void options_check(const struct command *);

/* Prints the help of the options in `names` (blanks around each) and of the common options; NULL:
 * of all options. */
void options_print(const char *names);

#endif
