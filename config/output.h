/*
 * output - what a program says on standard output, and whether it could: what it did and could not say is not done
 * for whoever reads it.
 */
#ifndef HEADGATE_CONFIG_OUTPUT_H
#define HEADGATE_CONFIG_OUTPUT_H

#include <stdbool.h>
#include <sys/stat.h>

/* Whoever started us may have left standard output or error non-blocking. Nothing is lost then: a full pipe is waited
 * for, as one that blocks would be. */
void output_begin(void);

/* Writes what was printed. False when that could not be, now or before. */
bool output_flush(void);

/* Why it could not be. */
const char *output_error(void);

/* For main(), as the last thing: returns the status that a program ends with that would end with this one.
 * Output that could not be written is told on standard error; a pipe that nobody reads any more is not. */
int output_end(int status);

/* Are both the same plain file, or the same pipe? Then what is written to one gets into the other. */
bool output_same_file(const struct stat *, const struct stat *);

#endif
