/*
 * text - prepares a configuration's text for libconfuse, which (1) counts lines wrongly after
 * comments, (2) accepts a missing last brace, (3) silently lets a repeated setting win, and (4)
 * expands ${NAME} from the environment.
 */
#ifndef HEADGATE_CONFIG_TEXT_H
#define HEADGATE_CONFIG_TEXT_H

#include <stddef.h>

/* Reads a regular file of at most 1 MiB without NUL bytes. Returns 0 with *text allocated, or
 * -errno (-EISDIR, -EFBIG, -EILSEQ, ...). */
int text_read_file(const char *path, char **text);

/* Blanks comments in place, and checks for unbalanced braces and quotes, for settings repeated in a
 * section, and for ${ outside single quotes. Returns 0, or -EINVAL with *line and `why` filled. */
int text_prepare(char *text, int *line, char *why, size_t why_bytes);

/* Line of the setting at the top of a text that text_prepare() accepted; 0: not set. */
int text_line_of(char *text, const char *setting);

#endif
