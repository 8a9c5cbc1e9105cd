/*
 * process - what every program does before anything else.
 */
#ifndef HEADGATE_CONFIG_PROCESS_H
#define HEADGATE_CONFIG_PROCESS_H

/* The first call of each main():
 * - Standard descriptors that are closed are opened on /dev/null, the wrong way round, so that their use fails. A file
 *   or socket would get their number otherwise, and be read or written as if it were the standard one.
 * - Signals that whoever started us had blocked are unblocked, and SIGCHLD and SIGALRM, which we need, are as they are in a
 *   new process. Ignored SIGINT, SIGHUP and SIGTERM stay so until a program catches them.
 * - SIGPIPE and SIGXFSZ are ignored: the write fails instead, with EPIPE or EFBIG.
 * - Standard output that does not block is waited for (config/output.h).
 * - As process 1, of a container, it becomes an init: it returns in a child, passes signals on to it, reaps the
 *   processes that are left to process 1, and ends as the child does. */
void process_begin(void);

#endif
