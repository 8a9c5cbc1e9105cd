#include "tests/sim/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "router/queue/queue.h"

struct row {
	unsigned message; /* its number plus 1; 0: no row */
	int status;
	unsigned deaths;
	unsigned failures; /* answers that blocked the group */
	int last_status;   /* of the last such answer */
	bool skip;         /* a person allowed to give the message up */
	bool told;         /* a person was told that the message is a dead letter */
	bool skipped;      /* the message was lost in a power cut, or the sequence never used */
};

enum { UNSYNCED_NS_MAX = 2000000000 }; /* older writes are durable, with durability "os" */

static struct message *messages;
static unsigned count, capacity;
static const struct config *config;
static uint64_t window_ns;
static unsigned brief;   /* length of most texts, at most */
static unsigned longer;  /* chance of a longer text, of 100000 */
static unsigned trouble; /* chance of a message that is not simply done, of 100000 */
static struct store {
	struct row *rows; /* by sequence */
	uint64_t capacity, highest;
	unsigned *last; /* the message applied last, plus 1; by publisher and group */
	size_t last_capacity;
	uint64_t applied[MODEL_GROUPS]; /* highest sequence */
	uint64_t failing[MODEL_GROUPS]; /* the message that blocks the group; 0: none */
	bool skip[MODEL_GROUPS];        /* a person allowed to give the head up */
	uint64_t log_id;
	uint64_t ran_ns; /* time during which the queue was RUNNING under a router */
	uint64_t looked_ns;
	uint64_t checked; /* settlements up to this sequence */
	uint64_t logged;  /* highest generation of the state on the disk */
	enum control_state logged_state;
} stores[MODEL_QUEUES];
static uint64_t durable_logs[2 * MODEL_QUEUES]; /* ids of the logs with a durable batch */
static unsigned filling; /* all messages are long and go to so many queues; 0: off */

void
model_begin(const struct config *of)
{
	model_end();
	config = of;
	window_ns = of->topics[0].dedup_window_ns;
	trouble = (unsigned)world_below(6000);
	brief = world_chance(50000) ? 200 : 1;
	longer = 5000;
	filling = 0;
}

void
model_end(void)
{
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		world_free(stores[q].rows);
		world_free(stores[q].last);
	}
	memset(stores, 0, sizeof(stores));
	memset(durable_logs, 0, sizeof(durable_logs));
	world_free(messages);
	messages = NULL;
	count = capacity = 0;
}

/*
 * Publishing.
 */

static enum fate
draw_fate(void)
{
	static const enum fate fates[] = { FATE_FAILED, FATE_SERVER_ERROR, FATE_DEATH, FATE_HANG,
		FATE_LATER };

	return world_chance(trouble) ? fates[world_below(5)] : FATE_DONE;
}

void
model_fill(unsigned queues)
{
	filling = queues;
}

void
model_be_brief(unsigned length)
{
	brief = length;
	longer = 0;
}

unsigned
model_make(unsigned publisher)
{
	struct message *message;

	if (count == capacity) {
		capacity = capacity ? 2 * capacity : 1024;
		messages = world_alloc(messages, capacity * sizeof(*messages));
	}
	message = &messages[count];
	*message = (struct message){ .first = count, .publisher = publisher };
	message->group = (unsigned)world_below(MODEL_GROUPS);
	message->queues = 1 + (unsigned)world_below(MODEL_QUEUES);
	message->length =
	    (unsigned)(world_chance(filling > 0 ? 100000 : longer) ? world_below(2000)
								   : world_below(brief));
	if (filling > 0)
		message->queues = filling;
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		message->fate[q] = draw_fate();
		message->tries[q] = 1 + (unsigned)world_below(4);
	}
	if (count > 0 && world_chance(5000)) {
		unsigned back = (unsigned)world_below(count < 200 ? count : 200);
		const struct message *first = &messages[messages[count - 1 - back].first];

		message->first = (unsigned)(first - messages);
		messages[message->first].shared = true;
		message->group = first->group;
		message->queues = first->queues;
	}
	return count++;
}

struct message *
model_message(unsigned i)
{
	if (i >= count)
		world_violation("message %u was never made", i);
	return &messages[i];
}

unsigned
model_count(void)
{
	return count;
}

void
model_sent(unsigned i)
{
	struct message *message = model_message(i);

	if (message->attempts++ == 0) {
		message->first_sent_ns = world.now_ns;
		for (unsigned q = 0; q < MODEL_QUEUES; q++)
			message->ran_ns[q] = stores[q].ran_ns;
	}
	message->open = true;
}

void
model_not_answered(unsigned i, bool refused)
{
	struct message *message = model_message(i);

	message->open = false;
	message->lost = message->lost || !refused;
	message->last_ended_ns = world.now_ns;
}

void
model_answered(unsigned i, bool duplicate)
{
	struct message *message = model_message(i);

	if (duplicate && message->first == i && message->attempts == 1) {
		bool sent_again = false;

		for (unsigned k = i + 1; k < count && !sent_again; k++)
			sent_again = messages[k].first == i && messages[k].attempts > 0;
		if (!sent_again)
			world_violation("P4: message %u is said to be a duplicate, and is none", i);
	}
	message->open = false;
	message->answered = true;
	message->unsynced = config->topics[0].durability == CONFIG_DURABILITY_OS;
	message->last_ended_ns = world.now_ns;
	world_trace("answered %u%s", i, duplicate ? " duplicate" : "");
}

/*
 * Handling.
 */

static struct row *
row_at(unsigned queue, uint64_t sequence)
{
	struct store *store = &stores[queue];

	if (sequence >= store->capacity) {
		uint64_t more = 2 * sequence + 1024;

		store->rows = world_alloc(store->rows, more * sizeof(*store->rows));
		memset(store->rows + store->capacity, 0,
		    (more - store->capacity) * sizeof(*store->rows));
		store->capacity = more;
	}
	return &store->rows[sequence];
}

/* The latest time at which the message may have been accepted. */
static uint64_t
latest_ns(const struct message *message)
{
	return message->open ? world.now_ns : message->last_ended_ns;
}

/* Two copies of one deduplication id in a queue are allowed only if the window may have passed
 * between. */
static void
check_duplicate(unsigned queue, unsigned i)
{
	const struct message *message = &messages[i];

	for (unsigned k = message->first; k < count; k++) {
		const struct message *other = &messages[k];

		if (other->first != message->first || other->sequence[queue] == 0 ||
		    row_at(queue, other->sequence[queue])->skipped)
			continue;
		if (latest_ns(message) < other->first_sent_ns + window_ns &&
		    latest_ns(other) < message->first_sent_ns + window_ns)
			world_violation("P3: queue %u has message %u, and message %u with the same "
					"deduplication id at sequence %" PRIu64
					", within the window",
			    queue, i, k, other->sequence[queue]);
	}
}

void
model_located(unsigned i, unsigned queue, uint64_t sequence)
{
	struct message *message = model_message(i);
	struct row *row = row_at(queue, sequence);

	if (queue >= message->queues)
		world_violation("P4: message %u is in queue %u, which does not take it", i, queue);
	if (!message->open && !message->lost && !message->answered)
		world_violation("P4: message %u is in queue %u, and was refused", i, queue);
	if (row->message != 0 && row->message != i + 1)
		world_violation("P1: queue %u: sequence %" PRIu64
				" was message %u and is message %u",
		    queue, sequence, row->message - 1, i);
	if (row->message != 0)
		return;
	check_duplicate(queue, i);
	row->message = i + 1;
	message->sequence[queue] = sequence;
	message->copies[queue]++;
	if (sequence > stores[queue].highest)
		stores[queue].highest = sequence;
}

int
model_find(unsigned queue, uint64_t sequence, unsigned i)
{
	model_located(i, queue, sequence);
	return row_at(queue, sequence)->status;
}

void
model_commit(unsigned queue, uint64_t sequence, unsigned i, int status)
{
	struct store *store = &stores[queue];
	struct row *row = row_at(queue, sequence);
	size_t key = (size_t)messages[i].publisher * MODEL_GROUPS + messages[i].group;

	if (row->status != 0)
		world_violation("P3: queue %u: message %u is applied twice", queue, i);
	row->status = status;
	if (sequence < store->applied[messages[i].group])
		world_violation("P2: queue %u: sequence %" PRIu64 " of group %u is applied after "
				"sequence %" PRIu64,
		    queue, sequence, messages[i].group, store->applied[messages[i].group]);
	store->applied[messages[i].group] = sequence;
	world_trace("committed %u %" PRIu64 " %u %d", queue, sequence, i, status);
	if (key >= store->last_capacity) {
		size_t more = 2 * key + 64;

		store->last = world_alloc(store->last, more * sizeof(*store->last));
		memset(store->last + store->last_capacity, 0,
		    (more - store->last_capacity) * sizeof(*store->last));
		store->last_capacity = more;
	}
	/* A message that was a duplicate at its first attempt, and none at a later attempt, may
	 * come late. */
	if (messages[i].copies[queue] > 1 ||
	    ((messages[i].first != i || messages[i].shared) && messages[i].attempts > 1))
		return;
	if (store->last[key] > i + 1)
		world_violation("P2: queue %u: message %u of group %u is applied after message %u",
		    queue, i, messages[i].group, store->last[key] - 1);
	store->last[key] = i + 1;
}

/*
 * Lost pages.
 */

void
model_pages_lost(void)
{
	for (unsigned i = 0; i < count; i++)
		messages[i].forgotten = messages[i].forgotten ||
		    (messages[i].answered && messages[i].unsynced &&
			world.now_ns - messages[i].last_ended_ns < UNSYNCED_NS_MAX);
}

void
model_skipped(unsigned queue, uint64_t first, uint64_t end)
{
	world_trace("queue %u: skipped %" PRIu64 " to %" PRIu64, queue, first, end);
	for (uint64_t s = first; s < end; s++) {
		struct row *row = row_at(queue, s);
		const struct message *message =
		    row->message != 0 ? &messages[row->message - 1] : NULL;

		row->skipped = true;
		if (message != NULL && message->answered && !message->forgotten)
			world_violation("P1: queue %u: sequence %" PRIu64
					", message %u, is gone, and was acknowledged",
			    queue, s, row->message - 1);
	}
}

/* True if the row has an outcome, or never will. */
static bool
is_over(const struct row *row)
{
	return row->status != 0 || row->skipped;
}

/*
 * Groups that are blocked.
 */

void
model_started(unsigned queue, uint64_t sequence, unsigned i)
{
	uint64_t *failing = &stores[queue].failing[messages[i].group];

	if (*failing != 0 && is_over(row_at(queue, *failing)))
		*failing = 0;
	if (*failing != 0 && sequence > *failing)
		world_violation("P2: queue %u: it is the turn of sequence %" PRIu64
				" of group %u, of which sequence %" PRIu64 " failed",
		    queue, sequence, messages[i].group, *failing);
	if (sequence == *failing)
		*failing = 0;
}

void
model_failed(unsigned queue, uint64_t sequence, unsigned i, int status)
{
	struct row *row = row_at(queue, sequence);

	row->failures++;
	row->last_status = status;
	stores[queue].failing[messages[i].group] = sequence;
}

void
model_given_up(unsigned queue, uint64_t sequence, int status, unsigned retry_max)
{
	const struct row *row = row_at(queue, sequence);
	bool by_person = row->skip ||
	    (row->message != 0 && stores[queue].skip[messages[row->message - 1].group]);

	if (!by_person && (retry_max == 0 || row->failures < retry_max))
		world_violation("P4: queue %u: sequence %" PRIu64
				" is given up after %u tries of %u",
		    queue, sequence, row->failures, retry_max);
	if (row->failures == 0 || status != row->last_status)
		world_violation("P4: queue %u: sequence %" PRIu64
				" is given up as %d, and answered %d",
		    queue, sequence, status, row->last_status);
}

void
model_skip(unsigned queue, uint64_t sequence, unsigned group)
{
	if (sequence != 0)
		row_at(queue, sequence)->skip = true;
	else
		stores[queue].skip[group] = true;
}

uint64_t
model_failing(unsigned queue, unsigned *group)
{
	unsigned first = (unsigned)world_below(MODEL_GROUPS);

	for (unsigned n = 0; n < MODEL_GROUPS; n++) {
		uint64_t sequence;

		*group = (first + n) % MODEL_GROUPS;
		sequence = stores[queue].failing[*group];
		if (sequence != 0 && !is_over(row_at(queue, sequence)))
			return sequence;
	}
	return 0;
}

bool
model_at(unsigned queue, uint64_t sequence, unsigned *i)
{
	const struct row *row = row_at(queue, sequence);

	*i = row->message - 1;
	return row->message != 0;
}

void
model_told_blocked(unsigned queue, uint64_t sequence, unsigned group)
{
	unsigned i;

	if (sequence != 0 && model_at(queue, sequence, &i) && messages[i].group != group)
		world_violation("P8: queue %u: sequence %" PRIu64
				" is said to block group %u, and is of group %u",
		    queue, sequence, group, messages[i].group);
}

void
model_told_ended(unsigned queue, uint64_t sequence, int status, bool dead_lettered)
{
	struct row *row = row_at(queue, sequence);

	if (row->status != status)
		world_violation("P1: queue %u: sequence %" PRIu64
				" is said to have ended with %d, and has %d",
		    queue, sequence, status, row->status);
	row->told = row->told || dead_lettered;
}

void
model_expired(unsigned queue, unsigned i)
{
	uint64_t age_ns = stores[queue].ran_ns - messages[i].ran_ns[queue];

	if (config->queues[queue].retention_ns == 0 || age_ns < config->queues[queue].retention_ns)
		world_violation("P4: queue %u: message %u expires when it has waited %" PRIu64
				" ns before an open gate",
		    queue, i, age_ns);
}

void
model_count_death(unsigned queue, uint64_t sequence)
{
	row_at(queue, sequence)->deaths++;
}

/*
 * Checks of the promises.
 */

static void
check_settled(const struct queue *queue)
{
	struct store *store = &stores[queue->number];

	for (; store->checked < queue->settled.low_watermark; store->checked++)
		if (!is_over(row_at(queue->number, store->checked + 1)))
			world_violation("P1: queue %u: sequence %" PRIu64 " is settled and was not "
					"applied",
			    queue->number, store->checked + 1);
}

static void
check_received(const struct queue *queue)
{
	for (size_t i = 0; i < queue->receives.died.count; i++) {
		const struct log_received *received = &queue->receives.died.counts[i];

		if (received->count > row_at(queue->number, received->sequence)->deaths)
			world_violation("P5: queue %u: sequence %" PRIu64 " has a receive count of "
					"%u, and cost %u lives",
			    queue->number, received->sequence, received->count,
			    row_at(queue->number, received->sequence)->deaths);
	}
}

static void
remember_state(const struct queue *queue)
{
	struct store *store = &stores[queue->number];
	uint64_t word = queue->control->state;

	if (queue->control->logged <= store->logged)
		return;
	store->logged = queue->control->logged;
	store->logged_state = control_word_generation(word) == store->logged
	    ? control_word_state(word)
	    : (enum control_state)0;
}

static void
pass_time(const struct queue *queue)
{
	struct store *store = &stores[queue->number];

	if (control_word_state(queue->control->state) == CONTROL_RUNNING)
		store->ran_ns += world.now_ns - store->looked_ns;
	store->looked_ns = world.now_ns;
}

/* The message that PROBING lets through must not wait for the next try of its group, as the gate
 * waits for the message. */
static void
check_probe(const struct queue *queue)
{
	const struct group *group;
	char name[16];
	unsigned i;
	int length;

	if (control_word_state(queue->control->state) != CONTROL_PROBING ||
	    queue->control->state != queue->probe.word || !queue->probe.looked_up ||
	    !model_at(queue->number, queue->probe.sequence, &i))
		return;
	length = snprintf(name, sizeof(name), "g%u", messages[i].group);
	group = groups_find(&queue->groups, log_group_hash_whole(name, (size_t)length));
	if (group != NULL && !group->releasing && group->in_flight == 0 &&
	    group->due_ns > world.now_ns)
		world_violation(
		    "P8: queue %u is PROBING, and its message waits with its group", queue->number);
}

/* The simulated disk changes no synced byte, so no log may be called damaged. */
static void
check_damage(const struct queue *queue)
{
	static const char damaged[] = "log damaged";
	uint64_t word = queue->control->state;

	if (control_word_state(word) == CONTROL_STOPPED &&
	    control_word_slot(word) < CONTROL_SLOTS &&
	    strncmp(queue->control->detail[control_word_slot(word)].reason, damaged,
		strlen(damaged)) == 0)
		world_violation(
		    "P8: the log of queue %u is called damaged, and is not", queue->number);
}

void
model_check(const struct router *router)
{
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		check_settled(&router->queues[q]);
		check_received(&router->queues[q]);
		check_probe(&router->queues[q]);
		remember_state(&router->queues[q]);
		pass_time(&router->queues[q]);
	}
	for (unsigned q = 0; q < router->queue_count; q++)
		check_damage(&router->queues[q]);
	/* Logs of dead-letter queues count even without messages: batches name them. */
	for (unsigned q = 0; q < router->queue_count; q++)
		if (router->queues[q].logged.durable.checkpoint != 0)
			durable_logs[q] = router->queues[q].writer.log_id;
}

void
model_check_stopped(const struct router *router)
{
	for (unsigned q = 0; q < router->queue_count; q++) {
		const struct control_queue *queue = router->queues[q].control;

		if (queue->logged != control_word_generation(queue->state))
			world_violation("P8: the router ends, and queue %u has its state, "
					"generation %" PRIu64 ", not in the log, but %" PRIu64,
			    q, control_word_generation(queue->state), queue->logged);
	}
}

void
model_check_opened(const struct router *router)
{
	for (unsigned q = 0; q < router->queue_count; q++)
		if (durable_logs[q] != 0 && router->queues[q].writer.log_id != durable_logs[q])
			world_violation("P1: the log of queue %u, which was durable, is gone", q);
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		const struct queue *queue = &router->queues[q];
		struct store *store = &stores[q];
		uint64_t word = queue->control->state;

		if (store->highest > 0 && queue->writer.log_id != store->log_id)
			world_violation("P1: queue %u has another log", q);
		store->log_id = queue->writer.log_id;
		store->looked_ns = world.now_ns;
		if (queue->next_sequence <= store->highest)
			world_violation("P1: queue %u ends before sequence %" PRIu64
					", which was acknowledged or delivered",
			    q, store->highest);
		if (control_word_generation(word) < store->logged ||
		    (control_word_generation(word) == store->logged && store->logged_state != 0 &&
			control_word_state(word) != gate_next(store->logged_state, GATE_RESTART)))
			world_violation("P8: queue %u forgot state %d, generation %" PRIu64
					": it has %d, %" PRIu64,
			    q, store->logged_state, store->logged, control_word_state(word),
			    control_word_generation(word));
		for (uint64_t s = queue->settled.low_watermark + 1; s <= store->highest; s++)
			if (row_at(q, s)->told && !settled_has(&queue->settled, s))
				world_violation("P8: queue %u: sequence %" PRIu64
						" is no dead letter any more",
				    q, s);
		for (uint64_t s = queue->settled.low_watermark + 1; s <= queue->settled.highest;
		     s++)
			if (settled_has(&queue->settled, s) && !is_over(row_at(q, s)))
				world_violation("P1: queue %u: sequence %" PRIu64
						" is settled and was not applied",
				    q, s);
	}
}

uint64_t
model_progress(const struct router *router)
{
	uint64_t progress = 0;

	for (unsigned q = 0; q < MODEL_QUEUES; q++)
		progress +=
		    router->queues[q].next_sequence + router->queues[q].logged.settled_count;
	return progress;
}

bool
model_is_at_rest(const struct router *router)
{
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		const struct queue *queue = &router->queues[q];

		if (queue->settled.low_watermark + 1 != queue->next_sequence ||
		    queue_settlements_due(queue))
			return false;
	}
	return !router->batch.in_flight && !router->batch.dirty;
}

/* Each acknowledged deduplication id must be in all of its queues. */
static void
check_outcomes(unsigned i, bool found[][MODEL_QUEUES])
{
	const struct message *message = &messages[i];

	for (unsigned q = 0; q < message->queues; q++)
		if (message->answered && !message->forgotten && !found[message->first][q])
			world_violation(
			    "P1: message %u was acknowledged and is not in queue %u", i, q);
}

static void
check_counters(const struct queue *queue)
{
	uint64_t done = 0, failed = 0, expired = 0;

	for (uint64_t s = 1; s < queue->next_sequence; s++) {
		int status = row_at(queue->number, s)->status;

		if (row_at(queue->number, s)->skipped)
			continue;
		if (status == 0)
			world_violation(
			    "P4: queue %u: sequence %" PRIu64 " has no outcome", queue->number, s);
		done += status < 300;
		failed += status >= 300;
		expired += status == RETENTION_STATUS;
	}
	if (queue->control->counters.expired != expired)
		world_violation("P8: queue %u: %" PRIu64 " expired, and in the store %" PRIu64,
		    queue->number, queue->control->counters.expired, expired);
	if (queue->control->counters.published != done + failed ||
	    queue->control->counters.done != done || queue->control->counters.failed != failed)
		world_violation("P8: queue %u: %" PRIu64 " published, %" PRIu64 " done, %" PRIu64
				" failed; in the store %" PRIu64 " and %" PRIu64,
		    queue->number, queue->control->counters.published,
		    queue->control->counters.done, queue->control->counters.failed, done, failed);
}

/* Each failed message that belongs into the dead-letter queue must be there, once. */
static void
check_dead_letters(const struct router *router, unsigned q)
{
	const struct queue *queue = &router->queues[q];
	const struct queue *dead = &router->queues[queue->config->dead_letter_queue];
	int least = queue->config->client_error != CONFIG_CLIENT_RECORD ? 400 : 500;
	uint64_t wanted = 0;

	for (uint64_t s = 1; s < queue->next_sequence; s++)
		wanted += row_at(q, s)->status >= least && !row_at(q, s)->skipped;
	if (dead->control->counters.published != wanted || dead->next_sequence != wanted + 1 ||
	    queue->control->counters.dead_lettered != wanted)
		world_violation("P4: queue %u: %" PRIu64 " messages failed for good, %" PRIu64
				" are counted, %" PRIu64 " dead letters are there, next %" PRIu64,
		    q, wanted, queue->control->counters.dead_lettered,
		    dead->control->counters.published, dead->next_sequence);
}

/* Queues with the same messages must have the same order. A message with two copies (outside the
 * window) is left out: the model knows one copy per queue, and not the same one. */
static void
check_same_order(void)
{
	uint64_t last = 0;

	for (uint64_t s = 1; s <= stores[0].highest; s++) {
		unsigned i = row_at(0, s)->message;

		if (i == 0 || messages[i - 1].queues < MODEL_QUEUES ||
		    messages[i - 1].copies[0] > 1 || messages[i - 1].copies[1] > 1 ||
		    messages[i - 1].sequence[0] != s || row_at(0, s)->skipped ||
		    row_at(1, messages[i - 1].sequence[1])->skipped)
			continue;
		if (messages[i - 1].sequence[1] <= last)
			world_violation(
			    "P2: message %u stands in another order in the two queues", i - 1);
		last = messages[i - 1].sequence[1];
	}
}

void
model_check_at_rest(const struct router *router)
{
	bool(*found)[MODEL_QUEUES] = world_alloc(NULL, count * sizeof(*found));

	memset(found, 0, count * sizeof(*found));
	for (unsigned i = 0; i < count; i++)
		for (unsigned q = 0; q < MODEL_QUEUES; q++)
			if (messages[i].sequence[q] != 0)
				found[messages[i].first][q] = true;
	for (unsigned i = 0; i < count; i++)
		check_outcomes(i, found);
	world_free(found);
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		check_counters(&router->queues[q]);
		check_dead_letters(router, q);
	}
	check_same_order();
}
