#include "log/judge.h"

#include <errno.h>
#include <stdlib.h>

/* Remembers that the batch before this one was in a log. */
static int
add_proof(struct log_judge *judge, uint64_t log_id, const struct log_batch_end *end)
{
	struct log_proof *proof;
	size_t i = 0;

	while (i < judge->proof_count && judge->proofs[i].log_id != log_id)
		i++;
	if (i == judge->proof_capacity) {
		size_t more = i ? 2 * i : 64;
		void *bigger = realloc(judge->proofs, more * sizeof(*judge->proofs));

		if (bigger == NULL)
			return -ENOMEM;
		judge->proofs = bigger;
		judge->proof_capacity = more;
	}
	proof = &judge->proofs[i];
	if (i == judge->proof_count) {
		*proof = (struct log_proof){ .log_id = log_id };
		judge->proof_count++;
	}
	if (end->previous > proof->batch)
		proof->batch = end->previous;
	if (end->previous == end->barrier && end->previous > proof->barrier) {
		proof->barrier = end->previous;
		proof->said_in = end->batch;
	}
	return 0;
}

/* A batch is written only when the one before is written to all its logs: its end proves that one. */
int
log_judge_see(void *context, const struct log_batch_end *end)
{
	const uint64_t *ids = (const void *)(end + 1);
	struct log_judge *judge = context;
	int rc = 0;

	if (end->barrier > judge->barrier)
		judge->barrier = end->barrier;

	for (uint32_t i = 0; rc == 0 && i < end->previous_logs; i++)
		rc = add_proof(judge, ids[end->logs + i], end);
	return rc;
}

void
log_judge_free(struct log_judge *judge)
{
	free(judge->proofs);
	judge->proofs = NULL;
	judge->proof_count = judge->proof_capacity = 0;
}

static const struct log_judge_log *
find_by_id(const struct log_judge *judge, uint64_t log_id)
{
	for (unsigned i = 0; i < judge->count; i++)
		if (judge->logs[i].log_id == log_id)
			return &judge->logs[i];
	return NULL;
}

/* Does each log that the highest batch names have its end? A log that is not there any more (its queue
 * was retired) has nothing to say. */
static bool
highest_complete(const struct log_judge *judge)
{
	for (unsigned i = 0; i < judge->count; i++) {
		const struct log_tail *tail = judge->logs[i].tail;

		if (tail->last_batch != judge->highest || judge->highest == 0)
			continue;
		for (size_t k = 0; k < tail->last_log_count; k++) {
			const struct log_judge_log *other = find_by_id(judge, tail->last_logs[k]);

			if (other != NULL && other->tail->last_batch != judge->highest)
				return false;
		}
	}
	return true;
}

/* Is a batch not there that was written, was not synced, and is not the highest? */
static bool
power_was_cut(const struct log_judge *judge)
{
	for (size_t k = 0; k < judge->proof_count; k++) {
		const struct log_proof *proof = &judge->proofs[k];
		const struct log_judge_log *log = find_by_id(judge, proof->log_id);

		if (log != NULL && proof->batch > log->tail->last_batch)
			return true;
	}
	return false;
}

void
log_judge_decide(struct log_judge *judge)
{
	uint64_t known = 0;

	judge->highest = judge->begun = 0;
	judge->synced = false;
	for (unsigned i = 0; i < judge->count; i++) {
		const struct log_tail *tail = judge->logs[i].tail;

		if (tail->last_batch > judge->highest)
			judge->highest = tail->last_batch;
		if (tail->torn_batch > judge->begun)
			judge->begun = tail->torn_batch;
		if (judge->logs[i].known > known)
			known = judge->logs[i].known;
	}
	if (judge->begun < known)
		judge->begun = known;
	if (judge->begun < judge->highest)
		judge->begun = judge->highest;
	if (judge->barrier < known)
		judge->barrier = known;
	for (unsigned i = 0; i < judge->count; i++)
		judge->synced |= judge->logs[i].tail->last_batch == judge->highest &&
		    judge->logs[i].tail->last_synced;
	judge->complete = judge->highest <= known || highest_complete(judge);
	if (judge->complete && judge->synced && judge->barrier < judge->highest)
		judge->barrier = judge->highest;
	judge->last = judge->highest;
	judge->power_cut = power_was_cut(judge);
	if (judge->power_cut)
		judge->last = judge->barrier;
	else if (!judge->complete)
		judge->last--;
}

/* Does a log's end of the highest batch name the log? */
static bool
is_named(const struct log_judge *judge, uint64_t log_id)
{
	for (unsigned i = 0; i < judge->count; i++) {
		const struct log_tail *tail = judge->logs[i].tail;

		for (size_t k = 0; tail->last_batch == judge->highest && k < tail->last_log_count;
		     k++)
			if (tail->last_logs[k] == log_id)
				return true;
	}
	return false;
}

bool
log_judge_lost(const struct log_judge *judge, unsigned i, uint64_t *lost, uint64_t *later)
{
	const struct log_judge_log *log = &judge->logs[i];
	const struct log_tail *tail = log->tail;

	*lost = tail->torn_batch;
	*later = judge->begun;
	if (tail->torn_batch != 0 && tail->torn_batch < judge->begun &&
	    (!tail->torn_os || tail->torn_batch <= judge->barrier))
		return true;
	if (log->log_id == 0)
		return false;
	*lost = *later = log->known;
	if (log->known > tail->last_batch)
		return true;
	for (size_t k = 0; k < judge->proof_count; k++) {
		*lost = judge->proofs[k].barrier;
		*later = judge->proofs[k].said_in;
		if (judge->proofs[k].log_id == log->log_id && *lost > tail->last_batch)
			return true;
	}
	/* A frame of a later batch proves the highest one, too. */
	*lost = judge->highest;
	*later = judge->begun;
	return !judge->complete && judge->synced && judge->begun > judge->highest &&
	    tail->last_batch < judge->highest && is_named(judge, log->log_id);
}

bool
log_judge_cuts_unsynced(const struct log_judge *judge, const struct log_tail *tail)
{
	return judge->power_cut || tail->torn_os ||
	    (tail->last_batch > judge->last && !tail->last_synced);
}

int
log_judge_end(const struct log_judge *judge, unsigned i, struct log_scan *scan, uint64_t *end)
{
	static const struct log_visitor nobody;
	const struct log_tail *tail = judge->logs[i].tail;
	uint64_t all = scan->last_batch;
	int rc;

	*end = tail->last_batch <= judge->last ? tail->end : tail->last_start;
	if (tail->last_batch <= judge->last + 1)
		return 0;
	scan->last_batch = judge->last;
	rc = log_scan_segment(scan, tail->segment, &nobody, end);
	scan->last_batch = all;
	return rc;
}
