/*
 * text - what must be done to a configuration's text before libconfuse may see it: it counts lines
 * wrongly behind comments, takes a missing last brace, and lets a repeated setting win in silence.
 */
#ifndef HEADGATE_CONFIG_TEXT_H
#define HEADGATE_CONFIG_TEXT_H

#include <stddef.h>

/* Reads a regular file of at most 1 MiB without NUL bytes. Returns 0 with *text to free(3), or -errno
 * (-EISDIR, -EFBIG, -EILSEQ ...). */
int text_read_file(const char *path, char **text);

/* Blanks comments in place, and finds unbalanced braces and quotes and settings that stand twice in
 * one section. Returns 0, or -EINVAL with *line and why filled. */
int text_prepare(char *text, int *line, char *why, size_t why_bytes);

#endif
