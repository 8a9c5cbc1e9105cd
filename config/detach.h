/*
 * detach - a program that goes to the background once it is ready.
 *
 * The process that was started waits for the one in the background. What that one and its children write to standard
 * error goes through a pipe to the one that waits, which passes it on: so nobody but this one has the caller's standard
 * error, and it is closed when it ends.
 */
#ifndef HEADGATE_CONFIG_DETACH_H
#define HEADGATE_CONFIG_DETACH_H

#include <stdbool.h>
#include <stdint.h>

/* Goes on in a new process, in the background, and returns a descriptor there; does not return in the
 * one that was started. That one ends
 * - with 0 when detach_ready() was called with 0 so many times, by the new process and its children,
 * - with the status of the new process when one of them is not to become ready, behind the new process,
 * - with EX_TEMPFAIL after limit_ns; the new process goes on, and log is named as the file that says why,
 * - when SIGINT or SIGTERM stops it; it stops the new process, too.
 * The new process leads a session, keeps no descriptor that was open, and works in the root directory: its
 * standard input and output are /dev/null. */
int detach_begin(unsigned times, uint64_t limit_ns, const char *log);

/* Ready (status 0), or not to become ready (an exit status). *fd: as detach_begin() returned it, or -1
 * for nothing to tell; -1 afterwards. */
void detach_ready(int *fd, int status);

/* Does the one that was started wait no more? Not for a fd of -1. */
bool detach_alone(int fd);

#endif
