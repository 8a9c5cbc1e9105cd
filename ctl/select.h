/*
 * select - which dead letters are meant.
 */
#ifndef HEADGATE_CTL_SELECT_H
#define HEADGATE_CTL_SELECT_H

#include "ctl/message.h"

struct selection {
	const struct ctl *ctl;
	const char *dead;   /* the dead-letter queue's name */
	const char *source; /* only what was published to this queue; NULL: all */
	const char *which;  /* a message id, or a sequence if no message has that id; NULL: all */
	uint64_t sequence;  /* of which, when it is a number; else 0 */
};

/* What the command line says. Ends the program with EX_USAGE when that makes no sense. */
void selection_init(struct selection *, const struct ctl *);

/* As message_read(), for those that are meant. */
int selection_read(const struct selection *, uint64_t after,
    int (*message)(void *context, const struct message *), void *context);

#endif
