/*
 * look - the state of a router that does not answer: absent, starting, hanging or busy.
 */
#ifndef HEADGATE_PUBLISHER_LOOK_H
#define HEADGATE_PUBLISHER_LOOK_H

#include <stdint.h>

#include "shm/control.h"

enum look_result {
	LOOK_NONE,     /* no router holds the lock of run_dir */
	LOOK_STARTING, /* a router holds the lock, and is not ready for messages */
	LOOK_SILENT,   /* the router's heartbeat is older than LOOK_SILENT_NS */
	LOOK_RUNNING
};

#define LOOK_SILENT_NS UINT64_C(2000000000)

struct look {
	enum look_result result;
	uint32_t pid;                         /* 0: unknown */
	uint64_t silent_ns;                   /* age of the heartbeat */
	char config_file[CONTROL_PATH_BYTES]; /* the last router's; "": built in, or unknown */
};

void look_for_router(struct look *, const char *run_dir);

#endif
