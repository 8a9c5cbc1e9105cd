/*
 * recovery - what the router does with the logs that it finds.
 *
 * The end of each log is read and checked, from its newest checkpoint on, and older segments as far as
 * they hold ids within the deduplication window. The highest batch of all of them counts only if every log that
 * it names has its end frame; else it is cut from all: nobody was told of it. What is cut is zeroed,
 * what counts and is not proven to be durable is written again, both are synced, and only then is anything answered.
 * A damaged place in front of a whole batch is no torn write: the router refuses to start.
 */
#ifndef HEADGATE_ROUTER_UPKEEP_RECOVERY_H
#define HEADGATE_ROUTER_UPKEEP_RECOVERY_H

#include "router/state.h"

/* What a log says of its subscription. */
struct recovered_state {
	enum control_state state;
	uint64_t generation; /* 0: the log says nothing */
	struct control_detail detail;
};

/* Recovers all queues of the router: sequences, settlements, index entries, deduplication, counters (the
 * control segment must be there). Opens their writers. Fills states[] and sets router->batch. Returns
 * 0 or -errno with error filled. */
int recovery_run(
    struct router *, struct recovered_state states[CONFIG_QUEUES], char *error, size_t error_bytes);

#endif
