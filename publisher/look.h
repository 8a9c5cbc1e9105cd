/*
 * look - what can be seen of a router that does not answer: none is there, it starts, it hangs, or
 * it is busy.
 */
#ifndef HEADGATE_PUBLISHER_LOOK_H
#define HEADGATE_PUBLISHER_LOOK_H

#include <stdint.h>

enum look_result {
	LOOK_NONE,     /* no router holds the lock of the directory */
	LOOK_STARTING, /* it has not taken messages yet */
	LOOK_SILENT,   /* its heartbeat is older than LOOK_SILENT_NS */
	LOOK_RUNNING
};

#define LOOK_SILENT_NS UINT64_C(2000000000)

struct look {
	enum look_result result;
	uint32_t pid;       /* 0: not known */
	uint64_t silent_ns; /* age of its heartbeat */
};

void look_for_router(struct look *, const char *run_dir);

#endif
