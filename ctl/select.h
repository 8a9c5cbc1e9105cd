/*
 * select - the dead letters that a command acts on.
 */
#ifndef HEADGATE_CTL_SELECT_H
#define HEADGATE_CTL_SELECT_H

#include "ctl/message.h"

struct selection {
	const struct ctl *ctl;
	const char *dead;   /* the dead-letter queue's name */
	const char *source; /* only dead letters of this queue; NULL: all */
	const char *which;  /* a message id, or a sequence if no message has this id; NULL: all */
	uint64_t sequence;  /* `which`, if a number; else 0 */
};

/* Reads the selection from the command line. Ends the program with EX_USAGE after an error. */
void selection_init(struct selection *, const struct ctl *);

/* As message_read(), for the selected messages. */
int selection_read(const struct selection *, uint64_t after,
    int (*message)(void *context, const struct message *), void *context);

#endif
