/*
 * command - what is printed for a person to type.
 */
#ifndef HEADGATE_CONFIG_COMMAND_H
#define HEADGATE_CONFIG_COMMAND_H

#include <stddef.h>

struct config_options;

/* As one word for a shell, quoted where it must be, to be pasted from a terminal. Bytes of to that suffice
 * for a text of n: */
#define COMMAND_WORD_BYTES(n) (4 * (n) + 16)
void command_word(char *to, size_t capacity, const char *text);

/* " -c FILE -D DIR": the options that a printed command needs to mean this instance in any shell. Each stands there
 * unless it is the default, wherever it came from (-D: also from HEADGATE_DIR), absolute and quoted. To be freed; NULL:
 * no memory. */
char *command_options(const struct config_options *);

/* What a printed command needs before it, for the same: "env XDG_RUNTIME_DIR=DIR XDG_STATE_HOME=DIR " where the directories
 * were chosen by these variables, or because they are not set; else "". To be freed; NULL: no memory. */
char *command_env(const struct config_options *);

/* The path from the root on. To be freed; NULL: no memory. */
char *command_absolute(const char *path);

#endif
