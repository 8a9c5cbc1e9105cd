#include "router/delivery/completion.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "router/delivery/blocking.h"
#include "router/delivery/probe.h"
#include "router/delivery/requests.h"
#include "router/queue/lookup.h"
#include "router/queue/queue.h"
#include "router/queue/subscription.h"
#include "router/queue/transfer.h"
#include "telemetry/crash.h"

enum { FLIGHTS_MIN = 4096 };

struct parked
completion_find(const struct worker *worker, uint64_t sequence, struct redelivery **redelivery)
{
	struct queue *queue = worker->queue;

	*redelivery = groups_in_flight(&queue->groups, sequence);
	if (*redelivery == NULL)
		return (struct parked){ sequence, flights_find(&worker->flights, sequence) };
	if (group_in_lanes((*redelivery)->group, worker->lanes, queue->config->lanes))
		return (*redelivery)->parked;
	return (struct parked){ sequence, 0 };
}

/* A copy of a completion, out of the worker's reach, checked. */
static bool
read_completion(const struct worker *worker, const struct ring_record *record,
    struct lane_completion *completion, char reason[LANE_REASON_BYTES + 1])
{
	if (record->tag != LANE_TAG_COMPLETION || record->length < sizeof(*completion))
		return false;
	memcpy(completion, record->payload, sizeof(*completion));
	if (completion->reason_length > LANE_REASON_BYTES ||
	    record->length < sizeof(*completion) + completion->reason_length ||
	    completion->status < 200 || completion->status > 599 || completion->sequence == 0 ||
	    completion->sequence > worker->delivered || completion->flags > LANE_GIVEN_BACK)
		return false;
	memcpy(
	    reason, (const char *)record->payload + sizeof(*completion), completion->reason_length);
	reason[completion->reason_length] = '\0';
	return true;
}

/* A worker that answered 5xx under the gate starts nothing before the state is another one: so there is one such answer
 * a state. One more, or under a state that never was, is not to be had by waiting, and would cost the router a trip each
 * time. */
static bool
may_trip(struct worker *worker, uint64_t state_seen)
{
	uint64_t generation = control_word_generation(state_seen);

	if (generation <= worker->failed_generation ||
	    generation > control_word_generation(subscription_word(worker->queue)))
		return false;
	worker->failed_generation = generation;
	return true;
}

/* A 5xx of the message at position: the gate closes, or stays closed, unless the state has changed since the handler
 * was started. When two workers fail at once, the message that comes first is the head. */
static void
trip(struct worker *worker, const struct lane_completion *completion, uint64_t position,
    const char *reason)
{
	struct queue *queue = worker->queue;
	struct control_detail detail = { 0 };

	if (received_set(&queue->receives.answered, completion->sequence,
		received_count(&queue->receives.answered, completion->sequence) + 1) != 0)
		queue->router->failed = -ENOMEM;
	subscription_by_router(queue, &detail);
	detail.sequence = completion->sequence;
	detail.status = completion->status;
	strlcpy(detail.error, reason, sizeof(detail.error));
	strlcpy(detail.reason, "server error", sizeof(detail.reason));
	lookup_message_id(queue, position, completion->sequence, detail.message_id);
	subscription_gate(queue, completion->state_seen, GATE_FAILED, &detail);
	subscription_lower_head(queue, completion->state_seen, &detail);
}

/* How often a handler was started on a message that ends: those that died, those that answered before, and
 * the one that answered now, if it was not given up without being tried. Of a 5xx that ended, and of a 4xx
 * that is to be tried again, that is so: a handler's answer would not have ended it. */
static uint32_t
count_handlers(const struct queue *queue, const struct lane_completion *completion,
    const struct redelivery *redelivery)
{
	uint64_t sequence = completion->sequence;
	uint32_t count = received_count(&queue->receives.died, sequence) +
	    received_count(&queue->receives.answered, sequence);

	if (redelivery != NULL && redelivery->group->sequence == sequence)
		count += redelivery->group->tries;
	return count +
	    (completion->status < 500 && queue->config->client_error != CONFIG_CLIENT_RETRY);
}

/* Ends a message by its outcome. Returns 1; 0 when it was settled before; -EAGAIN when there is no room for
 * that now, or the message could not be read; -EBADMSG; or -ENOMEM. */
static int
end_message(struct worker *worker, const struct lane_completion *completion, uint64_t position,
    const struct redelivery *redelivery, const char *reason)
{
	struct queue *queue = worker->queue;
	uint64_t sequence = completion->sequence;
	struct failure failure;
	int rc;

	if (!transfer_takes(queue, completion->status))
		return queue_settle(queue, sequence, completion->status);
	if (settled_has(&queue->settled, sequence))
		return 0;
	failure = (struct failure){
		.sequence = sequence,
		.position = position,
		.status = completion->status,
		.receives = count_handlers(queue, completion, redelivery),
		.reason = reason,
	};
	/* Of a message that expired before a restart too: the store remembers. */
	if (completion->flags & LANE_ENDED && completion->status == RETENTION_STATUS &&
	    strcmp(reason, RETENTION_REASON) == 0)
		failure.flags = LOG_SETTLED_EXPIRED;
	rc = transfer_to_dead_letters(queue, &failure);
	return rc == 0 ? -EAGAIN : rc;
}

/* Finds the lane whose next completion has the lowest sequence: so runs become ranges. Returns 1 with the lane, 0 when no
 * lane has a completion, -EPROTO when a ring holds what no ring can. */
static int
lowest_head(struct worker *worker, unsigned *lane)
{
	uint64_t lowest = 0;
	bool found = false;

	for (unsigned i = 0; i < worker->lane_count; i++) {
		uint64_t sequence = 0;
		int rc = 1;

		if (!worker->head[i].there)
			rc = ring_peek(&worker->completion[i], &worker->head[i].record);
		if (rc < 0)
			return rc;
		worker->head[i].there = rc == 1;
		if (!worker->head[i].there)
			continue;
		if (worker->head[i].record.length >= sizeof(sequence))
			memcpy(&sequence, worker->head[i].record.payload, sizeof(sequence));
		if (!found || sequence < lowest) {
			found = true;
			*lane = i;
			lowest = sequence;
		}
	}
	return found;
}

/* It is neither settled nor parked nor in flight any more. When somebody opens the gate again, the cursor must
 * meet it again before all that is behind it: as for the next worker. */
static void
lose(struct worker *worker, uint64_t sequence)
{
	subscription_stop_unreadable(worker->queue, sequence);
	worker->reason = WORKER_LOST;
}

/* A message that is to be tried again, or that comes behind one in its group. Returns as take_completion(). */
static int
take_blocked(struct worker *worker, const struct lane_completion *completion, struct parked parked,
    struct redelivery *redelivery, const char *reason)
{
	bool given_back = completion->flags & LANE_GIVEN_BACK;
	struct queue *queue = worker->queue;
	struct group *group = NULL;
	int rc = 0;

	/* First what may fail for now: then nothing has changed. */
	if (redelivery == NULL)
		rc = blocking_group(queue, parked, !given_back, &group);
	if (rc == -ENOMEM || rc == -EAGAIN)
		return rc;
	if (redelivery != NULL)
		group = groups_land(&queue->groups, redelivery);
	else
		flights_remove(&worker->flights, parked.sequence);
	worker->in_flight -= worker->in_flight > 0;
	worker_count_returned(worker, 1);
	if (worker->alone == parked.sequence) /* it may wait for long: the others do not */
		worker->alone = 0;
	if (rc == -EBADMSG) {
		lose(worker, parked.sequence);
		return 0;
	}
	if (rc != 0)
		return rc;
	if (given_back)
		return blocking_given_back(worker, group, parked);
	rc = blocking_failed(worker, group, parked, completion->status, reason);
	if (rc != 0)
		return rc;
	requests_failed(queue, parked.sequence, completion->status, reason);
	probe_blocked(queue, group, parked.sequence);
	return 0;
}

/* One that ended for good. Returns as take_completion(). */
static int
take_ended(struct worker *worker, const struct lane_completion *completion, uint64_t position,
    struct redelivery *redelivery, const char *reason)
{
	int rc = end_message(worker, completion, position, redelivery, reason);

	if (rc == -EBADMSG) {
		lose(worker, completion->sequence);
		return 0;
	}
	if (rc < 0)
		return rc;
	worker->in_flight -= rc > 0 && worker->in_flight > 0;
	requests_ended(worker->queue, completion->sequence, completion->status, reason,
	    transfer_takes(worker->queue, completion->status));
	if (redelivery != NULL)
		blocking_ended(worker, groups_land(&worker->queue->groups, redelivery));
	return 0;
}

/* What a completion says of its message. */
enum verdict { VERDICT_ENDED, VERDICT_BLOCKS, VERDICT_TRIPS, VERDICT_WRONG };

static enum verdict
verdict_of(const struct queue *queue, const struct lane_completion *completion)
{
	if (completion->flags & LANE_GIVEN_BACK)
		return VERDICT_BLOCKS;
	if (completion->status < 400 || completion->flags & LANE_ENDED)
		return VERDICT_ENDED;
	if (policy_blocks(&queue->policy, completion->status))
		return VERDICT_BLOCKS;
	/* Of a 4xx it was told that it is recorded, and has not done it. */
	return completion->status >= 500 ? VERDICT_TRIPS : VERDICT_WRONG;
}

/* An answer to a message that is not settled. Returns as take_completion(). */
static int
take_answer(struct worker *worker, const struct lane_completion *completion, enum verdict verdict,
    const char *reason)
{
	struct redelivery *redelivery;
	struct parked given = completion_find(worker, completion->sequence, &redelivery);

	if (given.position == 0)
		return -EPROTO;
	if (verdict == VERDICT_BLOCKS)
		return take_blocked(worker, completion, given, redelivery, reason);
	if (verdict == VERDICT_ENDED)
		return take_ended(worker, completion, given.position, redelivery, reason);
	trip(worker, completion, given.position, reason);
	return 0;
}

/* A delivery is answered once, but for a 5xx under the gate, after which it is tried again: so nobody keeps the router at
 * work with answers. Returns 0, -EAGAIN when it must be tried again, -EPROTO, or -ENOMEM. */
static int
take_completion(struct worker *worker, const struct ring_record *record)
{
	struct queue *queue = worker->queue;
	struct lane_completion completion;
	char reason[LANE_REASON_BYTES + 1];
	enum verdict verdict;
	int rc = 0;

	if (!read_completion(worker, record, &completion, reason))
		return -EPROTO;
	verdict = verdict_of(queue, &completion);
	if (verdict == VERDICT_WRONG ||
	    (verdict == VERDICT_TRIPS ? !may_trip(worker, completion.state_seen)
				      : worker->unanswered == 0))
		return -EPROTO;
	if (!settled_has(&queue->settled, completion.sequence))
		rc = take_answer(worker, &completion, verdict, reason);
	worker->unanswered -= rc == 0 && verdict != VERDICT_TRIPS;
	return rc;
}

/* As soon as they are: then what is answered next is mostly the oldest. */
static void
drop_settled_flights(struct worker *worker)
{
	struct flights *flights = &worker->flights;
	const struct flight *oldest;

	while ((oldest = flights_oldest(flights)) != NULL &&
	    settled_has(&worker->queue->settled, oldest->sequence))
		flights_drop_oldest(flights);
}

static void
forget_settled_flights(struct worker *worker)
{
	struct flights *flights = &worker->flights;

	drop_settled_flights(worker);
	/* Behind one that is not settled for long there are many that are. */
	if (flights->count > 2 * worker->in_flight + FLIGHTS_MIN)
		flights_compact(flights, &worker->queue->settled);
}

/* Gives back the room of what was settled; what was only looked at comes again. */
static void
release(struct worker *worker)
{
	for (unsigned i = 0; i < worker->lane_count; i++) {
		if (worker->head[i].there)
			ring_unpeek(&worker->completion[i], &worker->head[i].record);
		worker->head[i].there = false;
		ring_release(&worker->completion[i]);
	}
}

bool
completion_settle(struct worker *worker)
{
	unsigned n = 0, lane = 0;
	int found = 0, rc = 0;

	if (worker->state == WORKER_DETACHED || worker->reason == WORKER_BROKEN)
		return false;
	while (n < COMPLETION_SETTLE_MAX && (found = lowest_head(worker, &lane)) > 0) {
		rc = take_completion(worker, &worker->head[lane].record);
		if (rc != 0)
			break;
		worker->head[lane].there = false;
		drop_settled_flights(worker);
		n++;
	}
	if (n > 0)
		CRASH_POINT("completions.settled");
	worker->no_room = rc == -EAGAIN; /* it comes again when a batch is on disk */
	forget_settled_flights(worker);
	release(worker);
	if (rc == -ENOMEM)
		worker->queue->router->failed = rc;
	if (found < 0 || rc == -EPROTO) {
		worker->reason = WORKER_BROKEN; /* what else is in its rings is not believed */
		worker_drop(worker, "a completion that cannot be");
		return false;
	}
	if (worker->reason == WORKER_LOST)
		worker_log_unread(worker, "a message cannot be read again");
	return n > 0;
}
