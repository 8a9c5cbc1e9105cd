/*
 * command - parts of command lines that are printed for people to type.
 */
#ifndef HEADGATE_CONFIG_COMMAND_H
#define HEADGATE_CONFIG_COMMAND_H

#include <stddef.h>

struct config_options;

/* Writes the text as one word for any POSIX shell, quoted where necessary. COMMAND_WORD_BYTES(n) bytes
 * suffice for a text of n bytes. */
#define COMMAND_WORD_BYTES(n) (9 * (n) + 16)
void command_word(char *to, size_t capacity, const char *text);

/* Options for a printed command, " -c FILE -D DIR", so that the command acts on this instance in
 * any shell. Paths are absolute and quoted; a default is left out. -D covers HEADGATE_DIR, too.
 * Returns allocated memory; NULL without memory. */
char *command_options(const struct config_options *);

/* The prefix for a printed command, for the same purpose: "env XDG_RUNTIME_DIR=DIR
 * XDG_STATE_HOME=DIR HEADGATE_ENVIRONMENT=NAME ". The directories stand there if these variables,
 * or their absence, chose them; the name, if set; "" for neither. Returns allocated memory; NULL
 * without memory. */
char *command_env(const struct config_options *);

/* The absolute path, in allocated memory; NULL without memory. */
char *command_absolute(const char *path);

#endif
