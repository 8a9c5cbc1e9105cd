/*
 * policy - what the workers of a queue must know of how it deals with failures.
 *
 * Two read the configuration, each when it starts: who runs the queue, the router, and who handles its
 * messages, a worker. If they went by different files, one would wait for what the other never does. So
 * the router tells each worker what holds (message/wire.h, WELCOME), and a worker goes by that alone.
 */
#ifndef HEADGATE_CONFIG_POLICY_H
#define HEADGATE_CONFIG_POLICY_H

#include "config/config.h"

struct policy {
	bool
	    blocks_server_error; /* a 5xx is tried again while its group waits, else the gate closes */
	bool blocks_client_error; /* a 4xx is tried again likewise, else it ends the message */
	uint32_t receives_max;    /* lives that a message may cost; 0: as many as it wants */
	uint64_t visibility_ns;   /* a handler that takes longer is ended */
};

void policy_of(struct policy *, const struct config_queue *);

/* Is a message that was answered so to be tried again, while only its group waits? */
bool policy_blocks(const struct policy *, int status);

/* The setting by which two of them differ, the first one if there are several; NULL: they are the same. */
const char *policy_difference(const struct policy *, const struct policy *);

#endif
