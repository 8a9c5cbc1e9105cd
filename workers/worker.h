/*
 * worker - the program around a service: options, the parent that respawns, the child that works.
 */
#ifndef HEADGATE_WORKERS_WORKER_H
#define HEADGATE_WORKERS_WORKER_H

#include "workers/service.h"

/* The whole of a worker's main(). Exit statuses as in the program's page. What points into argv or the environment is not
 * to be used behind it: what ps shows is written there. */
int worker_main(const struct service *, int argc, char **argv);

#endif
