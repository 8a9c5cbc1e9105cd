/*
 * queues - the queues that there are: those of the router that runs, or else those of the configuration.
 */
#ifndef HEADGATE_CTL_QUEUES_H
#define HEADGATE_CTL_QUEUES_H

#include "config/config.h"
#include "shm/control.h"

struct ctl;

struct queues {
	struct {
		char name[CONFIG_NAME_BYTES];
		unsigned dead_letter_queue; /* index; its own: it is a dead-letter queue */
		uint64_t visibility_ns;
	} queue[CONTROL_QUEUES];
	unsigned count;
	bool of_router;
	char source[CONFIG_PATH_BYTES]; /* the configuration that has them, for messages */
};

/* Fills ctl->known from the configuration. */
void queues_of_config(struct ctl *);
/* Fills ctl->known from the segment of a router that runs, and ends the program with EX_CONFIG when a queue that was
 * named is not there. Commands that are printed name the router's configuration from then on. */
void queues_of_router(struct ctl *, const struct control *);
/* Asks a router, if one runs, and else the configuration. Ends the program when a queue that was named is in neither:
 * EX_CONFIG, or without a router EX_USAGE. */
void queues_find(struct ctl *);

/* Index of the queue with this name, or -1. */
int queues_index(const struct ctl *, const char *name);
bool queues_is_dead(const struct ctl *, unsigned index);
/* The name of the dead-letter queue of a queue that is known. */
const char *queues_dead_name(const struct ctl *, const char *name);
/* Is this queue meant when none is named? Dead-letter queues and control messages are not. */
bool queues_is_managed(const struct ctl *, const char *name);
/* Is this queue among those named (or managed, when none is)? */
bool queues_is_selected(const struct ctl *, const char *name);

/* Ends the program: no queue has this name. what: "" or the option in front of it. */
_Noreturn void queues_none(const struct ctl *, const char *what, const char *name);

#endif
