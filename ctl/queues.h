/*
 * queues - the known queues: those of the running router, else those of the configuration.
 */
#ifndef HEADGATE_CTL_QUEUES_H
#define HEADGATE_CTL_QUEUES_H

#include "config/config.h"
#include "shm/control.h"

struct ctl;

struct queues {
	struct {
		char name[CONFIG_NAME_BYTES];
		unsigned dead_letter_queue; /* index; a dead-letter queue has its own index */
		uint64_t visibility_ns;
	} queue[CONTROL_QUEUES];
	unsigned count;
	bool of_router;
	char source[CONFIG_PATH_BYTES]; /* configuration of these queues, for errors */
};

/* Fills ctl->known from the configuration. */
void queues_of_config(struct ctl *);
/* Fills ctl->known from a running router's segment. Ends the program with EX_CONFIG if a queue of
 * the command line is unknown. Printed commands refer to the router's configuration afterwards. */
void queues_of_router(struct ctl *, const struct control *);
/* Fills ctl->known from the running router, else from the configuration. Ends the program if a
 * queue of the command line is unknown: with EX_CONFIG, or without a router EX_USAGE. */
void queues_find(struct ctl *);

/* The index of the queue with this name, or -1. */
int queues_index(const struct ctl *, const char *name);
bool queues_is_dead(const struct ctl *, unsigned index);
/* The name of a known queue's dead-letter queue. */
const char *queues_dead_name(const struct ctl *, const char *name);
/* True for a queue that commands without queue names act on: all but dead-letter queues and the
 * queue of control messages. */
bool queues_is_managed(const struct ctl *, const char *name);
/* True for a queue of the command line; without any there, for a managed queue. */
bool queues_is_selected(const struct ctl *, const char *name);

/* Ends the program: no queue has this name. what: the option before the name, or "". */
_Noreturn void queues_none(const struct ctl *, const char *what, const char *name);

#endif
