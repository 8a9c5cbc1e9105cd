/*
 * managed - the functions that control messages are about: what MANAGED_FUNCTIONS lists, or else every
 * queue of the configuration.
 */
#ifndef HEADGATE_WORKERS_MANAGED_H
#define HEADGATE_WORKERS_MANAGED_H

#include "config/config.h"
#include "message/json.h"

enum { MANAGED_TEXT_BYTES = 256 };

struct managed_function {
	char queue[CONFIG_NAME_BYTES];        /* service_name */
	char name[MANAGED_TEXT_BYTES];        /* function_name; the queue's unless it is listed */
	char description[MANAGED_TEXT_BYTES]; /* "" for none */
	bool
	    apart; /* only meant when it is named: dead letters, and the control messages themselves */
};

struct managed {
	struct managed_function functions[CONFIG_QUEUES];
	size_t count;
	char run_dir[CONFIG_PATH_BYTES];
};

/* Reads the configuration and MANAGED_FUNCTIONS. Returns 0, or -errno with error filled; *managed is then
 * as it was. */
int managed_load(struct managed *, const struct config_options *, char *error, size_t error_bytes);

/* By service name, in any case. NULL: there is none of this name. */
const struct managed_function *managed_find(const struct managed *, struct span service);

/* How many are meant when none is named. */
size_t managed_count(const struct managed *);

#endif
