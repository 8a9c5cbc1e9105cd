/*
 * managed - the functions that control messages act on: those listed in MANAGED_FUNCTIONS, else all
 * queues of the configuration.
 */
#ifndef HEADGATE_WORKERS_MANAGED_H
#define HEADGATE_WORKERS_MANAGED_H

#include "config/config.h"
#include "message/json.h"

enum { MANAGED_TEXT_BYTES = 256 };

struct managed_function {
	char queue[CONFIG_NAME_BYTES];        /* service_name */
	char name[MANAGED_TEXT_BYTES];        /* function_name; default: the queue's name */
	char description[MANAGED_TEXT_BYTES]; /* "" for none */
	/* "All services" excludes this one: a dead-letter queue or the queue of control
	 * messages. */
	bool apart;
};

struct managed {
	struct managed_function functions[CONFIG_QUEUES];
	size_t count;
	char run_dir[CONFIG_PATH_BYTES], state_dir[CONFIG_PATH_BYTES];
};

/* Reads the configuration and MANAGED_FUNCTIONS. Returns 0, or -errno with `error` filled and
 * *managed unchanged. */
int managed_load(struct managed *, const struct config_options *, char *error, size_t error_bytes);

/* Finds a function by its service name, in any case. NULL if absent. */
const struct managed_function *managed_find(const struct managed *, struct span service);

/* The number of functions that "all services" includes. */
size_t managed_count(const struct managed *);

#endif
