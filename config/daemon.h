/*
 * daemon - where a router or worker runs and what its log is: the foreground with standard error, or with -d the
 * background with a log file.
 */
#ifndef HEADGATE_CONFIG_DAEMON_H
#define HEADGATE_CONFIG_DAEMON_H

#include <stdbool.h>

#include "config/config.h"

struct daemon {
	const char *program;
	const char *log;  /* of --log, NULL: none was given */
	uint64_t wait_ns; /* of --wait: how long the caller of -d waits at most */
	bool detach, verbose;
	int ready_fd; /* as detach_begin() has it; -1: nobody waits */
};

#define DAEMON_WAIT_NS UINT64_C(60000000000) /* default of --wait */

/* Reads the argument of --wait. Ends the program when it is none. */
void daemon_read_wait(struct daemon *, const char *text);

/* Makes the names absolute that a process needs in another directory: of the options, the log, and HEADGATE_DIR. To be
 * called before config_load(). */
void daemon_fix_paths(struct daemon *, struct config_options *);

/* Goes to the background with -d, opens the log, begins event(), and has SIGHUP and SIGUSR1 open the log again. times: of
 * daemon_ready(), until the caller of -d is let go. Ends the program when that fails. */
void daemon_begin(struct daemon *, const struct config *, unsigned times);

/* Ready (0), or not to become ready (an exit status); the caller of -d is told. Standard error is the log from here on,
 * if the caller does not wait for a reason. */
void daemon_ready(struct daemon *, int status);

/* For a parent whose children have the log, too: was it told to open it again since the last call? */
bool daemon_was_hung_up(void);

/* For a parent whose children become ready: standard error is the log once the caller waits no more. */
void daemon_look(struct daemon *);

#endif
