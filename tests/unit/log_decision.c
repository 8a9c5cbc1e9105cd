/* The recovery decision (which batches count) for logs with all kinds of ends. */
#include <criterion/criterion.h>
#include <string.h>

#include "log/decision.h"

enum { LOGS = 3 };

/* A batch and its logs: bit i for log i. */
struct batch {
	unsigned logs;
	bool synced;
};

static struct log_tail tails[LOGS];
static uint64_t ids[LOGS][LOGS];
static struct log_decision_log logs[LOGS];

static uint64_t
id_of(unsigned log)
{
	return 100 + log;
}

/* The commit record of batch n, from 1, in each of its logs. */
static const struct log_commit *
end_of(const struct batch *batches, uint64_t n)
{
	static struct {
		struct log_commit end;
		uint64_t ids[2 * LOGS];
	} made;

	memset(&made, 0, sizeof(made));
	made.end.batch = n;
	made.end.previous = n - 1;
	made.end.synced = batches[n - 1].synced;
	for (uint64_t k = 1; k < n; k++)
		if (batches[k - 1].synced)
			made.end.barrier = k;
	for (unsigned i = 0; i < LOGS; i++)
		if (batches[n - 1].logs & 1u << i)
			made.ids[made.end.logs++] = id_of(i);
	for (unsigned i = 0; n > 1 && i < LOGS; i++)
		if (batches[n - 2].logs & 1u << i)
			made.ids[made.end.logs + made.end.previous_logs++] = id_of(i);
	return &made.end;
}

/* has[i]: the last whole batch of log i. torn[i]: a torn batch behind. known: the last batch
 * according to the record of a router that ended properly; 0: the router was killed. */
static void
decide(struct log_decision *decision, const struct batch *batches, const uint64_t has[LOGS],
    const uint64_t torn[LOGS], uint64_t known, bool cached)
{
	*decision = (struct log_decision){ .logs = logs, .count = LOGS };
	for (unsigned i = 0; i < LOGS; i++) {
		tails[i] = (struct log_tail){ .torn_batch = torn[i], .torn_os = cached };
		logs[i] = (struct log_decision_log){ .log_id = id_of(i), .tail = &tails[i] };
		for (uint64_t n = 1; n <= known; n++)
			if (batches[n - 1].logs & 1u << i)
				logs[i].registered = n;
		for (uint64_t n = 1; n <= has[i]; n++) {
			const struct log_commit *end;

			if (!(batches[n - 1].logs & 1u << i))
				continue;
			end = end_of(batches, n);
			log_decision_add(decision, end);
			tails[i].last_batch = n;
			tails[i].last_synced = end->synced;
			tails[i].last_log_count = end->logs;
			memcpy(ids[i], end + 1, end->logs * sizeof(ids[i][0]));
			tails[i].last_logs = ids[i];
		}
	}
	log_decision_make(decision);
}

static bool
any_lost(const struct log_decision *decision)
{
	uint64_t lost, later;

	for (unsigned i = 0; i < LOGS; i++)
		if (log_decision_lost(decision, i, &lost, &later))
			return true;
	return false;
}

Test(log_decision, decides_what_counts)
{
	/* Batch 2 is a barrier; the batches behind were not synced. */
	static const struct batch cached[] = { { 7, true }, { 7, true }, { 3, false }, { 5, false },
		{ 6, false }, { 3, false } };
	static const struct batch synced[] = { { 7, true }, { 3, true }, { 6, true }, { 1, true },
		{ 5, true }, { 7, true } };
	static const struct {
		const char *what;
		const struct batch *batches;
		uint64_t has[LOGS], torn[LOGS];
		uint64_t recovery_point;
		bool power_cut, damage;
		uint64_t known;
	} cases[] = {
		{ "all is there", cached, { 6, 6, 5 }, { 0 }, 6, false, false, 0 },
		{ "the highest was under way", cached, { 6, 5, 5 }, { 0, 6, 0 }, 5, false, false,
		    0 },
		{ "... and its first log has nothing of it", cached, { 4, 6, 5 }, { 0 }, 5, false,
		    false, 0 },
		{ "one that was acknowledged is gone from one log", cached, { 6, 6, 4 }, { 0 }, 2,
		    true, false, 0 },
		{ "... which shows in the one behind", cached, { 3, 5, 5 }, { 0 }, 2, true, false,
		    0 },
		{ "a log has none behind the barrier", cached, { 6, 2, 5 }, { 0 }, 2, true, false,
		    0 },
		{ "... and the others, too", cached, { 2, 2, 2 }, { 0 }, 2, false, false, 0 },
		{ "torn in one log, whole in others", cached, { 6, 3, 5 }, { 0, 5, 0 }, 2, true,
		    false, 0 },
		{ "the barrier itself is gone from a log", cached, { 6, 1, 5 }, { 0 }, 2, true,
		    true, 0 },
		{ "the barrier is under way", cached, { 2, 1, 2 }, { 0 }, 1, false, false, 0 },
		{ "torn at the barrier, when a later one is there", cached, { 6, 1, 5 },
		    { 0, 2, 0 }, 2, true, true, 0 },
		{ "synced, all is there", synced, { 6, 6, 6 }, { 0 }, 6, false, false, 0 },
		{ "synced, the highest was under way", synced, { 6, 3, 5 }, { 0, 6, 6 }, 5, false,
		    false, 0 },
		{ "synced, one before the highest is gone", synced, { 4, 6, 6 }, { 0 }, 5, false,
		    true, 0 },
		{ "known, all is there", synced, { 6, 6, 6 }, { 0 }, 6, false, false, 6 },
		{ "known, the highest is gone from one", synced, { 6, 3, 6 }, { 0, 6, 0 }, 6, false,
		    true, 6 },
		{ "known, the highest is gone from all", synced, { 5, 3, 5 }, { 0 }, 5, false, true,
		    6 },
		{ "known, and the next router was killed", synced, { 6, 3, 5 }, { 0, 6, 6 }, 5,
		    false, false, 5 },
		{ "known, not synced before, gone from one", cached, { 6, 5, 5 }, { 0 }, 6, false,
		    true, 6 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct log_decision made;

		decide(&made, cases[i].batches, cases[i].has, cases[i].torn, cases[i].known,
		    cases[i].batches == cached);
		cr_expect(any_lost(&made) == cases[i].damage, "%s: damage", cases[i].what);
		if (!cases[i].damage) {
			cr_expect(made.recovery_point == cases[i].recovery_point,
			    "%s: recovery point %lu", cases[i].what,
			    (unsigned long)made.recovery_point);
			cr_expect(
			    made.power_cut == cases[i].power_cut, "%s: power cut", cases[i].what);
		}
		log_decision_free(&made);
	}
}
