/*
 * output - writes standard output and detects errors: a result that could not be written must not
 * look like a success.
 */
#ifndef HEADGATE_CONFIG_OUTPUT_H
#define HEADGATE_CONFIG_OUTPUT_H

#include <stdbool.h>
#include <sys/stat.h>

/* Makes writes wait for a full pipe even if standard output or error is non-blocking, as some
 * parents leave them. */
void output_begin(void);

/* Flushes standard output. False after an error, now or before. */
bool output_flush(void);

/* The text of the error. */
const char *output_error(void);

/* For the end of main(): returns `status`, or another exit status if output could not be written.
 * Reports the error on standard error, except for a pipe without a reader. */
int output_end(int status);

/* True if both are the same regular file or pipe, so that bytes written to one are read from the
 * other. */
bool output_same_file(const struct stat *, const struct stat *);

#endif
