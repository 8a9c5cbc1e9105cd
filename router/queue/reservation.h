/*
 * reservation - sequences that are promised in the log before they are given: none is ever given twice.
 */
#ifndef HEADGATE_ROUTER_QUEUE_RESERVATION_H
#define HEADGATE_ROUTER_QUEUE_RESERVATION_H

#include "router/state.h"

/* The simulation draws it. */
#ifndef RESERVATION_SEQUENCES
#define RESERVATION_SEQUENCES (1 << 20) /* sequences that are promised at once */
#endif

/* When a log is opened: what was promised to messages, and is not there, is given to no other. Returns 0 or
 * -ENOMEM. */
int reservation_skip(struct queue *);
/* Puts a promise of sequences into the gathered batch when it needs one; the batch is synced then. */
void reservation_log(struct queue *);
/* Does it need one although nothing is gathered? */
bool reservation_ends(const struct queue *);

#endif
