/*
 * detach - moves a program to the background. The started process, the "waiter", ends when the
 * background process is ready.
 *
 * Standard error of the background process and its children is a pipe to the waiter, which passes
 * the bytes on. Only the waiter therefore has the caller's standard error open, and closes it by
 * its end.
 */
#ifndef HEADGATE_CONFIG_DETACH_H
#define HEADGATE_CONFIG_DETACH_H

#include <stdbool.h>
#include <stdint.h>

/* Forks, and returns a descriptor in the background process. Does not return in the waiter, which
 * ends
 * (1) with 0 after `times` calls of detach_ready() with status 0, by the background process and its
 * children;
 * (2) with the background process's exit status, after its end, if one of them reports another
 * status;
 * (3) with EX_TEMPFAIL after limit_ns, with an error that refers to the file `log`; the background
 * process goes on;
 * (4) after SIGINT or SIGTERM, which it passes to the background process.
 * The background process leads a session, has closed all inherited descriptors, and works in the
 * root directory with
 * /dev/null as standard input and output. */
int detach_begin(unsigned times, uint64_t limit_ns, const char *log);

/* Reports ready (status 0), or never ready (an exit status). *fd: from detach_begin(), or -1 for no
 * effect. Sets *fd to -1. */
void detach_ready(int *fd, int status);

/* True once the waiter has ended. False for -1. */
bool detach_alone(int fd);

#endif
