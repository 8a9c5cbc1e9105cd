/*
 * daemon - runs a router or worker in the foreground with standard error as its log, or with -d in
 * the background with a log file.
 */
#ifndef HEADGATE_CONFIG_DAEMON_H
#define HEADGATE_CONFIG_DAEMON_H

#include <stdbool.h>

#include "config/config.h"

struct daemon {
	const char *program;
	const char *log;  /* argument of --log; NULL: not given */
	uint64_t wait_ns; /* argument of --wait: longest wait of the caller of -d */
	bool detach, verbose;
	int ready_fd; /* from detach_begin(); -1: nobody waits */
};

#define DAEMON_WAIT_NS UINT64_C(60000000000) /* default of --wait */

/* Makes paths absolute, as a process in the background changes its directory: the options, the log,
 * and HEADGATE_DIR. Call before config_load(). */
void daemon_fix_paths(struct daemon *, struct config_options *);

/* With -d goes to the background; opens the log, initialises event(), and makes SIGHUP and SIGUSR1
 * open the log again. times: calls of daemon_ready() until the caller of -d may go on. Ends the
 * program after an error. */
void daemon_begin(struct daemon *, const struct config *, unsigned times);

/* Tells the caller of -d that the process is ready (0), or will not be (an exit status). Then makes
 * standard error the log, unless the caller still waits for an error. */
void daemon_ready(struct daemon *, int status);

/* For a parent whose children share the log: true if a signal to open the log again has come since
 * the last call. */
bool daemon_was_hung_up(void);

/* For a parent whose children become ready: makes standard error the log once the caller of -d has
 * gone on. */
void daemon_look(struct daemon *);

#endif
