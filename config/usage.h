/*
 * usage - parses options; an error is one line with the command for help.
 */
#ifndef HEADGATE_CONFIG_USAGE_H
#define HEADGATE_CONFIG_USAGE_H

#include <getopt.h>
#include <stdint.h>

/* As getopt_long(3); `letters` begins with ':'. Ends the program with EX_USAGE for (1) an unknown
 * option, and (2) an empty value, as an unset variable in a script yields, unless the option's long
 * name is may_be_empty (NULL: none). help: the command named in the error. */
int usage_next(int argc, char **argv, const char *letters, const struct option *options,
    const char *may_be_empty, const char *help);

/* Parses an option's duration. Ends the program with EX_USAGE for an invalid one. */
void usage_duration(const char *option, const char *text, uint64_t *ns);

#endif
