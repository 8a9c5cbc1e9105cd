/*
 * compactor - frees the disk of settled messages.
 *
 * One job at a time, a small piece of it each turn of the loop:
 *
 *   choose    old segments of one queue with no live messages, or with so few that one segment can take them all
 *   wait      until the log says durably what was settled
 *   copy      read them: the ids within the deduplication window to an .ids file (log/ids.h), the
 *             live messages, in order, to a new segment
 *             (more than a segment takes: the job ends here, and how long they are is known)
 *   free      put the compacted segment in the place of the first, remove the others
 *
 * A crash at any point leaves either the old segments, or the new one with some old ones that its
 * header says it replaces; an .ids file too many does no harm. No segment goes before the checkpoint
 * of the active one is durable: what it said of others is in there.
 */
#ifndef HEADGATE_ROUTER_UPKEEP_COMPACTOR_H
#define HEADGATE_ROUTER_UPKEEP_COMPACTOR_H

#include "router/state.h"

struct compactor;

struct compactor *compactor_new(struct router *);
/* Runs io until nothing of it is pending. */
void compactor_free(struct compactor *);

/* Does what can be done now. Returns false when there is nothing more to do for the moment; it must be
 * called again after a while all the same. */
bool compactor_step(struct compactor *);

#endif
