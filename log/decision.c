#include "log/decision.h"

#include <errno.h>
#include <stdlib.h>

/* Notes for the log with this id: the commit record proves the batch before. The batch before is a
 * barrier if it is also the last barrier. */
static int
add_proof(struct log_decision *decision, uint64_t log_id, const struct log_commit *commit)
{
	struct log_proof *proof;
	size_t i = 0;

	while (i < decision->proof_count && decision->proofs[i].log_id != log_id)
		i++;
	if (i == decision->proof_capacity) {
		size_t more = i ? 2 * i : 64;
		void *bigger = realloc(decision->proofs, more * sizeof(*decision->proofs));

		if (bigger == NULL)
			return -ENOMEM;
		decision->proofs = bigger;
		decision->proof_capacity = more;
	}
	proof = &decision->proofs[i];
	if (i == decision->proof_count) {
		*proof = (struct log_proof){ .log_id = log_id };
		decision->proof_count++;
	}
	if (commit->previous > proof->batch)
		proof->batch = commit->previous;
	if (commit->previous == commit->barrier && commit->previous > proof->barrier) {
		proof->barrier = commit->previous;
		proof->proven_by = commit->batch;
	}
	return 0;
}

int
log_decision_add(void *context, const struct log_commit *commit)
{
	const uint64_t *ids = (const void *)(commit + 1);
	struct log_decision *decision = context;
	int rc = 0;

	if (commit->barrier > decision->barrier)
		decision->barrier = commit->barrier;

	for (uint32_t i = 0; rc == 0 && i < commit->previous_logs; i++)
		rc = add_proof(decision, ids[commit->logs + i], commit);
	return rc;
}

void
log_decision_free(struct log_decision *decision)
{
	free(decision->proofs);
	decision->proofs = NULL;
	decision->proof_count = decision->proof_capacity = 0;
}

static const struct log_decision_log *
find_by_id(const struct log_decision *decision, uint64_t log_id)
{
	for (unsigned i = 0; i < decision->count; i++)
		if (decision->logs[i].log_id == log_id)
			return &decision->logs[i];
	return NULL;
}

/* True if each log named by the highest batch has the highest batch whole. Logs of retired queues
 * are absent and ignored. */
static bool
highest_complete(const struct log_decision *decision)
{
	for (unsigned i = 0; i < decision->count; i++) {
		const struct log_tail *tail = decision->logs[i].tail;

		if (tail->last_batch != decision->highest || decision->highest == 0)
			continue;
		for (size_t k = 0; k < tail->last_log_count; k++) {
			const struct log_decision_log *other =
			    find_by_id(decision, tail->last_logs[k]);

			if (other != NULL && other->tail->last_batch != decision->highest)
				return false;
		}
	}
	return true;
}

/* True if some log lacks a proven batch. A lost barrier is among these; log_decision_lost() then
 * reports damage. */
static bool
power_was_cut(const struct log_decision *decision)
{
	for (size_t k = 0; k < decision->proof_count; k++) {
		const struct log_proof *proof = &decision->proofs[k];
		const struct log_decision_log *log = find_by_id(decision, proof->log_id);

		if (log != NULL && proof->batch > log->tail->last_batch)
			return true;
	}
	return false;
}

/*
 * The recovery point is
 *	1. the barrier, if a proven batch is missing in some log: a power cut took unsynced writes;
 *	2. the highest batch, if complete: whole in all its logs, or at or below a registered batch;
 *	3. the batch before the highest batch otherwise: the highest batch was under way.
 *
 * The barrier is the highest batch known to be synced and durable: named as barrier by a commit
 * record, registered, or the highest batch itself if complete and synced. An ending router
 * registers batches after everything is durable.
 */
void
log_decision_make(struct log_decision *decision)
{
	uint64_t registered = 0;

	decision->highest = decision->highest_begun = 0;
	decision->synced = false;
	for (unsigned i = 0; i < decision->count; i++) {
		const struct log_tail *tail = decision->logs[i].tail;

		if (tail->last_batch > decision->highest)
			decision->highest = tail->last_batch;
		if (tail->torn_batch > decision->highest_begun)
			decision->highest_begun = tail->torn_batch;
		if (decision->logs[i].registered > registered)
			registered = decision->logs[i].registered;
	}
	if (decision->highest_begun < registered)
		decision->highest_begun = registered;
	if (decision->highest_begun < decision->highest)
		decision->highest_begun = decision->highest;
	if (decision->barrier < registered)
		decision->barrier = registered;
	for (unsigned i = 0; i < decision->count; i++)
		decision->synced |= decision->logs[i].tail->last_batch == decision->highest &&
		    decision->logs[i].tail->last_synced;
	decision->complete = decision->highest <= registered || highest_complete(decision);
	if (decision->complete && decision->synced && decision->barrier < decision->highest)
		decision->barrier = decision->highest;
	decision->recovery_point = decision->highest;
	decision->power_cut = power_was_cut(decision);
	if (decision->power_cut)
		decision->recovery_point = decision->barrier;
	else if (!decision->complete)
		decision->recovery_point--;
}

/* True if a commit record of the highest batch names the log with this id. */
static bool
is_named(const struct log_decision *decision, uint64_t log_id)
{
	for (unsigned i = 0; i < decision->count; i++) {
		const struct log_tail *tail = decision->logs[i].tail;

		for (size_t k = 0;
		     tail->last_batch == decision->highest && k < tail->last_log_count; k++)
			if (tail->last_logs[k] == log_id)
				return true;
	}
	return false;
}

/*
 * Log i lacks a durable batch if
 *	1. its torn batch is below the highest begun batch: the torn batch was written everywhere
 *	   before a later batch began. Exception: unsynced, above the barrier;
 *	2. its registered batch is missing;
 *	3. a barrier proven by another log's commit record is missing; or
 *	4. the highest batch is synced, names the log and is missing there, and a later batch was
 *	   begun: the highest batch was written everywhere before.
 */
bool
log_decision_lost(const struct log_decision *decision, unsigned i, uint64_t *lost, uint64_t *later)
{
	const struct log_decision_log *log = &decision->logs[i];
	const struct log_tail *tail = log->tail;

	*lost = tail->torn_batch;
	*later = decision->highest_begun;
	if (tail->torn_batch != 0 && tail->torn_batch < decision->highest_begun &&
	    (!tail->torn_os || tail->torn_batch <= decision->barrier))
		return true;
	if (log->log_id == 0)
		return false;
	*lost = *later = log->registered;
	if (log->registered > tail->last_batch)
		return true;
	for (size_t k = 0; k < decision->proof_count; k++) {
		*lost = decision->proofs[k].barrier;
		*later = decision->proofs[k].proven_by;
		if (decision->proofs[k].log_id == log->log_id && *lost > tail->last_batch)
			return true;
	}
	*lost = decision->highest;
	*later = decision->highest_begun;
	return !decision->complete && decision->synced &&
	    decision->highest_begun > decision->highest && tail->last_batch < decision->highest &&
	    is_named(decision, log->log_id);
}

bool
log_decision_cuts_unsynced(const struct log_decision *decision, const struct log_tail *tail)
{
	return decision->power_cut || tail->torn_os ||
	    (tail->last_batch > decision->recovery_point && !tail->last_synced);
}

/* The tail tells the end if at most the last batch of the log is cut. After a power cut more may be
 * cut: then a scan finds the last batch that counts. Only the active segment is scanned: the router
 * begins a segment only after everything before is durable. */
int
log_decision_end(
    const struct log_decision *decision, unsigned i, struct log_scan *scan, uint64_t *end)
{
	static const struct log_visitor nobody;
	const struct log_tail *tail = decision->logs[i].tail;
	uint64_t all = scan->last_batch;
	int rc;

	*end = tail->last_batch <= decision->recovery_point ? tail->end : tail->last_start;
	if (tail->last_batch <= decision->recovery_point + 1)
		return 0;
	scan->last_batch = decision->recovery_point;
	rc = log_scan_segment(scan, tail->segment, &nobody, end);
	scan->last_batch = all;
	return rc;
}
