/*
 * decision - the recovery decision: which batches count, from the ends of all logs of a router.
 *
 * The decision rests on five facts:
 *	1. The router writes a batch only after the batch before is written in all its logs. So a
 *	   crash can tear only the highest batch of all logs.
 *	2. The router acknowledges and delivers only durable batches. So nobody knows of a torn batch.
 *	3. A commit record names the batch before and the logs of that batch. So a commit record in
 *	   one log proves a batch in other logs.
 *	4. A commit record names the last barrier. Everything up to the barrier is durable.
 *	5. A router that ends in order registers the last batch of each log (log/registry.h). No
 *	   registered batch was torn.
 *
 * A proven batch that is missing is damage at or below the barrier. Above the barrier, a power cut
 * took unsynced writes. Then nothing above the barrier counts, in any log: all logs return to one
 * moment.
 */
#ifndef HEADGATE_LOG_DECISION_H
#define HEADGATE_LOG_DECISION_H

#include "log/scan.h"

struct log_decision_log {
	uint64_t log_id;     /* 0: no log, or an unreadable id */
	uint64_t registered; /* batch in the log's registry entry; 0: none */
	const struct log_tail *tail;
};

struct log_decision {
	/* Set by the caller before log_decision_make(). */
	const struct log_decision_log *logs;
	unsigned count;

	uint64_t highest;        /* highest batch whole in some log */
	uint64_t highest_begun;  /* highest batch whole, torn or registered in some log */
	bool complete;           /* the highest batch is whole in all its logs; else cut from all */
	bool synced;             /* the highest batch is synced; a barrier if complete */
	uint64_t barrier;        /* last known barrier */
	bool power_cut;          /* unsynced batches below the highest are missing */
	uint64_t recovery_point; /* last batch that counts; higher batches are cut from all logs */

	struct log_proof { /* per log: what commit records of the next batches prove */
		uint64_t log_id;
		uint64_t batch;     /* highest proven batch of the log */
		uint64_t barrier;   /* highest proven batch of the log that is a barrier */
		uint64_t proven_by; /* batch with the commit record that proves the barrier */
	} * proofs;
	size_t proof_count, proof_capacity;
};

/* Takes a commit record into account. A log_visitor.batch with the decision as context, for
 * log_scan_tail() of each log. Returns 0 or -ENOMEM. */
int log_decision_add(void *decision, const struct log_commit *);

/* Decides: fills `highest` to `recovery_point`. */
void log_decision_make(struct log_decision *);
void log_decision_free(struct log_decision *);

/* The functions below may be called after log_decision_make(). */

/* True if log i lacks a durable batch: damage. *lost is the number of the batch, *later the number
 * of a batch that proves *lost; equal if the registry proves *lost. */
bool log_decision_lost(const struct log_decision *, unsigned i, uint64_t *lost, uint64_t *later);
/* True if the cut from a log with this tail may take unsynced batches: their messages may have been
 * acknowledged. */
bool log_decision_cuts_unsynced(const struct log_decision *, const struct log_tail *);
/* Finds the position behind which log i is cut. Scans the tail's segment if necessary. Returns 0,
 * or as log_scan_segment(). */
int log_decision_end(const struct log_decision *, unsigned i, struct log_scan *, uint64_t *end);

#endif
