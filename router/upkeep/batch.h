/*
 * batch - group commit: what was gathered goes to all logs that it touches as one transaction, and
 * only then is anybody told.
 */
#ifndef HEADGATE_ROUTER_UPKEEP_BATCH_H
#define HEADGATE_ROUTER_UPKEEP_BATCH_H

#include "router/state.h"

/* Closes the gathered batch and hands it to the disk, if none is on its way and there is something to
 * write: messages, answers, state changes at once; settlements alone only after a pause. Returns how
 * long from now, in nanoseconds, something will be due: -1 for nothing. */
int64_t batch_commit(struct router *);

/* Callback of all writers. */
void batch_log_durable(struct writer *, int result);

#endif
