/*
 * decision - which batches count, from how all logs of a router end.
 *
 * A batch counts when each log that it names has it, and is written only after the one before is written
 * everywhere. So what is not whole was torn when it is of the highest batch of all logs, and nobody was told
 * of that one. And the end of each batch proves the one before, and names the last barrier (log/format.h).
 *
 * A router that ends by itself leaves word of the last batch of each log: no batch up to there was torn.
 *
 * What else is missing is damage up to the barrier. Above it the power was cut before it was synced: then
 * nothing above the barrier counts, in any log, so that all logs are as they were at one moment.
 */
#ifndef HEADGATE_LOG_DECISION_H
#define HEADGATE_LOG_DECISION_H

#include "log/scan.h"

struct log_decision_log {
	uint64_t log_id;     /* 0: there is none, or it cannot be told */
	uint64_t registered; /* batch that it had, durably (log/registry.h); 0: nothing is known */
	const struct log_tail *tail;
};

struct log_decision {
	/* To be filled in before log_decision_make(). */
	const struct log_decision_log *logs;
	unsigned count;

	uint64_t highest;       /* batch that is whole in some log */
	uint64_t highest_begun; /* ... or torn in some */
	bool complete; /* the highest is whole in all logs that it names: else it is cut from all */
	bool synced;   /* the highest is a barrier, if it is complete */
	uint64_t barrier; /* the last one that is known: all that was written before is durable */
	bool power_cut;   /* some that was written and not synced is not there */
	uint64_t recovery_point; /* batches above this one are cut from all logs */

	struct log_proof { /* what batch ends say of other logs: the highest batch in them ... */
		uint64_t log_id, batch;
		uint64_t barrier, proven_by; /* ... and the highest that is a barrier, and where */
	} * proofs;
	size_t proof_count, proof_capacity;
};

/* For log_visitor.batch, with the decision as its context, in log_scan_tail() of each log. */
int log_decision_add(void *decision, const struct log_commit *);

void log_decision_make(struct log_decision *);
void log_decision_free(struct log_decision *);

/* After log_decision_make(). Is a batch that was durable not whole in the log with this index? Then *lost is
 * its number, *later that of a batch that proves it. */
bool log_decision_lost(const struct log_decision *, unsigned i, uint64_t *lost, uint64_t *later);
/* Is what is cut from a log with this tail of batches that were not synced? They may have been acknowledged. */
bool log_decision_cuts_unsynced(const struct log_decision *, const struct log_tail *);
/* Position behind which this log is cut; its scan is asked when that is not known. Returns 0 or what
 * log_scan_segment() does. */
int log_decision_end(const struct log_decision *, unsigned i, struct log_scan *, uint64_t *end);

#endif
