/*
 * usage - what is said of an option that getopt_long(3) does not take: one line, and where to look.
 */
#ifndef HEADGATE_CONFIG_USAGE_H
#define HEADGATE_CONFIG_USAGE_H

#include <getopt.h>

/* For getopt_long() that returned '?' or, with a ':' in front of the letters, ':'. opterr is 0. help: the command that
 * says more. Ends the program with EX_USAGE. */
_Noreturn void usage_bad_option(
    int problem, char **argv, const struct option *options, const char *help);

#endif
