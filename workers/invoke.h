/*
 * invoke - runs a service's handler on one message from stdin, without router and store.
 */
#ifndef HEADGATE_WORKERS_INVOKE_H
#define HEADGATE_WORKERS_INVOKE_H

#include "workers/service.h"

/* Prints the outcome as one JSON object. Returns the exit status: 0 for 2xx, EX_DATAERR for 4xx,
 * EX_SOFTWARE for 5xx. */
int invoke_main(const struct service *, const struct config *);

#endif
