#include "log/judge.h"

#include <errno.h>
#include <stdlib.h>

/* Remembers that a batch was in a log. */
static int
add_proof(struct log_judge *judge, uint64_t log_id, uint64_t batch, uint64_t said_in)
{
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
	if (i == judge->proof_count)
		judge->proofs[judge->proof_count++] = (struct log_proof){ .log_id = log_id };
	if (batch > judge->proofs[i].batch)
		judge->proofs[i] =
		    (struct log_proof){ .log_id = log_id, .batch = batch, .said_in = said_in };
	return 0;
}

/* A batch is written only when the one before is durable in all its logs: its end proves that one. */
int
log_judge_see(void *context, const struct log_batch_end *end)
{
	const uint64_t *ids = (const void *)(end + 1);
	struct log_judge *judge = context;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < end->previous_logs; i++)
		rc = add_proof(judge, ids[end->logs + i], end->previous, end->batch);
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

void
log_judge_decide(struct log_judge *judge)
{
	judge->highest = judge->begun = 0;
	for (unsigned i = 0; i < judge->count; i++) {
		const struct log_tail *tail = judge->logs[i].tail;

		if (tail->last_batch > judge->highest)
			judge->highest = tail->last_batch;
		if (tail->torn_batch > judge->begun)
			judge->begun = tail->torn_batch;
	}
	if (judge->begun < judge->highest)
		judge->begun = judge->highest;
	judge->complete = highest_complete(judge);
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
	if (tail->torn_batch != 0 && tail->torn_batch < judge->begun)
		return true;
	if (log->log_id == 0)
		return false;
	for (size_t k = 0; k < judge->proof_count; k++) {
		*lost = judge->proofs[k].batch;
		*later = judge->proofs[k].said_in;
		if (judge->proofs[k].log_id == log->log_id && *lost > tail->last_batch)
			return true;
	}
	/* A frame of a later batch proves the highest one, too. */
	*lost = judge->highest;
	*later = judge->begun;
	return !judge->complete && judge->begun > judge->highest &&
	    tail->last_batch < judge->highest && is_named(judge, log->log_id);
}

uint64_t
log_judge_end(const struct log_judge *judge, unsigned i)
{
	const struct log_tail *tail = judge->logs[i].tail;

	return !judge->complete && tail->last_batch == judge->highest ? tail->last_start
								      : tail->end;
}
