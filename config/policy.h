/*
 * policy - the treatment of failed messages on which router and workers must agree.
 *
 * Router and workers read the configuration at their own starts, so may have read different
 * versions; with different policies, one side would wait for actions that the other never takes.
 * The router therefore sends its policy to each worker (message/wire.h, WELCOME), and the worker
 * applies no other.
 */
#ifndef HEADGATE_CONFIG_POLICY_H
#define HEADGATE_CONFIG_POLICY_H

#include "config/config.h"

struct policy {
	bool blocks_server_error; /* a 5xx blocks the message's group; false: closes the gate */
	bool blocks_client_error; /* a 4xx blocks the message's group; false: ends the message */
	uint32_t receives_max;    /* handlers of a message that may die; 0: no limit */
	uint64_t visibility_ns;   /* longest time of a handler */
	bool fault_markers;       /* false: no worker rehearses faults, whatever its configuration */
};

void policy_of(struct policy *, const struct config_queue *);

/* True if a message with this status is retried while only its group waits. */
bool policy_blocks(const struct policy *, int status);

/* The name of the first setting in which the policies differ; NULL if equal. */
const char *policy_difference(const struct policy *, const struct policy *);

#endif
