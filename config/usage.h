/*
 * usage - the options of a command line. An error is one line, which says where to look.
 */
#ifndef HEADGATE_CONFIG_USAGE_H
#define HEADGATE_CONFIG_USAGE_H

#include <getopt.h>

/* getopt_long(3), with ':' in front of the letters. Ends the program with EX_USAGE for an option that it does not take, and
 * for one with an empty value, which is what a variable of a script gives that is not set; unless it is may_be_empty, the
 * long name of one (NULL: none). help: the command that says more. */
int usage_next(int argc, char **argv, const char *letters, const struct option *options,
    const char *may_be_empty, const char *help);

#endif
