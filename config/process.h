/*
 * process - the first steps of every program.
 */
#ifndef HEADGATE_CONFIG_PROCESS_H
#define HEADGATE_CONFIG_PROCESS_H

/* The first call of each main():
 * (1) Opens closed standard descriptors on /dev/null, with the wrong access mode, so that their use
 * fails. Otherwise the next
 *     opened file or socket would get a standard descriptor's number, and be used as such.
 * (2) Unblocks all signals, and resets SIGCHLD and SIGALRM to their defaults. Ignored SIGINT,
 * SIGHUP and SIGTERM stay
 *     ignored until a program catches them.
 * (3) Ignores SIGPIPE and SIGXFSZ: the write fails with EPIPE or EFBIG instead.
 * (4) Catches SIGBUS: a program whose mapped file is truncated says so, and ends with 74.
 * (5) Makes output wait even if standard output is non-blocking (config/output.h).
 * (6) As process 1, of a container: becomes an init, and returns in a child. The init passes
 * signals to the child, reaps
 *     orphans, and ends with the child's status. */
void process_begin(void);

#endif
