/*
 * worker - the program around a service: options, the parent that respawns, the child that works.
 */
#ifndef HEADGATE_WORKERS_WORKER_H
#define HEADGATE_WORKERS_WORKER_H

#include "workers/service.h"

/* A worker's main(). Returns the exit status, see the program's page. Pointers into argv and the
 * environment are invalid afterwards, because the process's title is written there. */
int worker_main(const struct service *, int argc, char **argv);

#endif
