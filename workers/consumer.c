#include "workers/consumer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "log/format.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"
#include "workers/blocked_groups.h"

enum {
	WAIT_NS = 100000000,  /* longest sleep; the socket is checked in between */
	ALIVE_NS = 100000000, /* between two checks of the socket */
	ALARM_S = 2           /* beyond visibility_timeout, the router's limit */
};

_Static_assert(CONSUMER_ARENA_BYTES >=
	ENVELOPE_BODY_BYTES_MAX + ENVELOPE_OVERHEAD_BYTES + LANE_REASON_BYTES + JSON_PADDING,
    "an empty arena takes any message");

/* A message in the arena. */
struct item {
	uint64_t sequence;
	size_t offset, length; /* of the envelope */
	unsigned lane;
	uint32_t receives;       /* earlier handlers of the message that died */
	uint16_t give_up_status; /* record the message as failed with this status; 0: handle */
	uint16_t give_up_length; /* of the reason to give up, which stands before the envelope */
	bool unblocked;          /* the router has unblocked the message's group */
	uint64_t blocked_group;  /* hash of the group that the message blocked; 0: none */
	/* The outcome, once there is one. */
	uint16_t status;
	uint16_t flags; /* enum lane_completion_flag */
	char *reason;   /* of a failure, else NULL */
};

struct consumer {
	const struct service *service;
	struct store *store;
	struct service_context context;
	const volatile sig_atomic_t *stop;
	size_t max_message_bytes;
	uint8_t *arena;
	size_t used;
	struct item *items;
	size_t count, next; /* items in the arena; the first item not completed */
	uint64_t highest;   /* the store has no row of the log beyond this sequence */
	bool one_by_one;    /* after a store error: batches of one message, to find the cause */
	struct blocked_groups blocked;
	uint64_t detail_state; /* state word that `detail` belongs to */
	struct control_detail detail;
	uint64_t handled, alive_ns;
};

struct consumer *
consumer_new(const struct service *service, const struct config_queue *config, struct store *store,
    size_t max_message_bytes, const volatile sig_atomic_t *stop)
{
	struct consumer *consumer;

	if (service->table != NULL && store == NULL)
		return NULL; /* messages would settle without their effects being stored */
	consumer = calloc(1, sizeof(*consumer));
	if (consumer == NULL)
		return NULL;
	consumer->service = service;
	consumer->store = store;
	consumer->stop = stop;
	consumer->max_message_bytes = max_message_bytes;
	consumer->context.config = config;
	consumer->context.reader = json_reader_new(max_message_bytes);
	consumer->context.row = calloc(1, service->row_bytes ? service->row_bytes : 1);
	consumer->arena = malloc(CONSUMER_ARENA_BYTES);
	consumer->items = calloc(CONSUMER_MESSAGES, sizeof(*consumer->items));
	if (consumer->context.reader == NULL || consumer->context.row == NULL ||
	    consumer->arena == NULL || consumer->items == NULL) {
		consumer_free(consumer);
		return NULL;
	}
	return consumer;
}

static void
forget_items(struct consumer *consumer)
{
	for (size_t i = 0; i < consumer->count; i++)
		free(consumer->items[i].reason);
	consumer->count = consumer->next = consumer->used = 0;
}

void
consumer_free(struct consumer *consumer)
{
	if (consumer == NULL)
		return;
	if (consumer->items != NULL)
		forget_items(consumer);
	blocked_groups_free(&consumer->blocked);
	json_reader_free(consumer->context.reader);
	free(consumer->context.row);
	free(consumer->arena);
	free(consumer->items);
	free(consumer);
}

/*
 * Taking.
 */

/* False if the router cannot have written this header. Unknown flags are not guessed at. */
static bool
is_delivery(const struct lane_delivery *delivery, size_t length, uint32_t max_message_bytes)
{
	bool give_up = delivery->flags & LANE_GIVE_UP;

	return delivery->sequence != 0 && delivery->flags <= (LANE_AGAIN | LANE_GIVE_UP) &&
	    delivery->reason_length <= (give_up ? LANE_REASON_BYTES : 0) &&
	    delivery->reason_length <= length &&
	    length - delivery->reason_length <= max_message_bytes + ENVELOPE_OVERHEAD_BYTES &&
	    (!give_up || (delivery->status >= 400 && delivery->status < 600));
}

/* Copies a delivery out of the shared ring, so that nobody can change it between check and use.
 * Returns 1, 0 if the arena is full, or -EPROTO. */
static int
copy_item(struct consumer *consumer, const struct ring_record *record, unsigned lane,
    uint32_t max_message_bytes)
{
	struct lane_delivery delivery;
	struct item *item = &consumer->items[consumer->count];
	size_t length = record->length - sizeof(delivery);

	memcpy(&delivery, record->payload, sizeof(delivery));
	if (!is_delivery(&delivery, length, max_message_bytes))
		return -EPROTO;
	if (consumer->count == CONSUMER_MESSAGES ||
	    consumer->used + length + JSON_PADDING > CONSUMER_ARENA_BYTES)
		return 0;
	memcpy(consumer->arena + consumer->used, (const char *)record->payload + sizeof(delivery),
	    length);
	/* JSON_PADDING. The reader ignores its contents; zeros keep valgrind quiet. */
	memset(consumer->arena + consumer->used + length, 0, JSON_PADDING);
	*item = (struct item){
		.sequence = delivery.sequence,
		.offset = consumer->used,
		.length = length,
		.lane = lane,
		.receives = delivery.receive_count,
		.unblocked = delivery.flags & LANE_AGAIN,
	};
	if (delivery.flags & LANE_GIVE_UP) {
		item->give_up_status = delivery.status;
		item->give_up_length = delivery.reason_length;
		item->offset += delivery.reason_length;
		item->length -= delivery.reason_length;
	}
	consumer->used += (length + JSON_PADDING + 7) & ~(size_t)7;
	consumer->count++;
	return 1;
}

/* Fills the empty arena with deliveries from the lanes. */
static int
take_items(struct consumer *consumer, struct attachment *attachment)
{
	struct ring_record record;
	unsigned lane;
	int rc;

	forget_items(consumer);
	consumer->one_by_one = false;
	while ((rc = attachment_take(attachment, &record, &lane)) == 1) {
		rc = copy_item(consumer, &record, lane, attachment->lane[lane].max_message_bytes);
		if (rc == 1)
			continue;
		attachment_untake(attachment, &record, lane);
		break;
	}
	if (rc < 0)
		return rc;
	if (consumer->count == 0)
		return 0;
	CRASH_POINT("messages.taken");
	attachment_release(attachment);
	CRASH_POINT("messages.released");
	return 0;
}

/*
 * Handling.
 */

static int
open_message(struct consumer *consumer, const struct attachment *attachment,
    const struct item *item, struct message *message, struct outcome *outcome)
{
	const char *why;

	*message = (struct message){
		.log = attachment->log_id,
		.sequence = item->sequence,
		.lane = attachment->lane[item->lane].number,
	};
	if (envelope_open(&message->envelope, consumer->arena + item->offset, item->length,
		consumer->max_message_bytes, &why) == 0)
		return 0;
	service_answer(outcome, 500, why); /* cannot happen: the router has checked the envelope */
	return -EBADMSG;
}

/* Reads the detail of `state` into consumer->detail. False if the state has changed. */
static bool
read_detail(struct consumer *consumer, const struct attachment *attachment, uint64_t state)
{
	if (consumer->detail_state == state)
		return true;
	if (!attachment_detail(attachment, state, &consumer->detail))
		return false;
	consumer->detail_state = state;
	return true;
}

/* True if a person stopped the queue with --drain: messages handed out before are still handled. */
static bool
is_draining(struct consumer *consumer, const struct attachment *attachment, uint64_t state)
{
	return control_word_state(state) == CONTROL_STOPPED &&
	    read_detail(consumer, attachment, state) && consumer->detail.flags & CONTROL_DRAIN;
}

/* True if a handler may start on this message in this state. PROBING lets the head through, and
 * nothing behind the head. */
static bool
may_start(struct consumer *consumer, const struct attachment *attachment, const struct item *item,
    uint64_t state)
{
	switch (control_word_state(state)) {
	case CONTROL_RUNNING:
		return true;
	case CONTROL_PROBING:
		return read_detail(consumer, attachment, state) &&
		    item->sequence <= consumer->detail.sequence;
	case CONTROL_STOPPED:
		return is_draining(consumer, attachment, state);
	case CONTROL_TRIPPED:
		return false;
	}
	return false;
}

/* True, with the outcome filled, if the message is to be given up instead of handled, because
 * (1) a person skips the head, (2) the router's delivery says so, or (3) the message has cost
 * max_receive_count handlers their life. */
static bool
give_up(const struct consumer *consumer, const struct attachment *attachment,
    const struct item *item, uint64_t state, struct outcome *outcome)
{
	uint32_t most = attachment->policy.receives_max;
	char reason[SERVICE_REASON_BYTES];

	if (control_word_state(state) == CONTROL_PROBING && consumer->detail.flags & CONTROL_SKIP &&
	    item->sequence == consumer->detail.sequence) {
		service_answer(outcome,
		    consumer->detail.status >= 500 && consumer->detail.status < 600
			? (int)consumer->detail.status
			: 500,
		    consumer->detail.error);
		return true;
	}
	if (item->give_up_status != 0) {
		snprintf(reason, sizeof(reason), "%.*s", (int)item->give_up_length,
		    (const char *)consumer->arena + item->offset - item->give_up_length);
		service_answer(outcome, item->give_up_status, reason);
		return true;
	}
	if (most == 0 || item->receives < most)
		return false;
	snprintf(reason, sizeof(reason),
	    "the worker died, or took too long, %u times while it handled this message",
	    item->receives);
	service_answer(outcome, 500, reason);
	return true;
}

static uint64_t
group_of(const struct message *message)
{
	return log_group_hash_whole(message->envelope.group.data, message->envelope.group.length);
}

/* True if the message's group is blocked. A delivery with LANE_AGAIN unblocks its group. */
static bool
is_blocked(struct consumer *consumer, const struct item *item, const struct message *message)
{
	if (consumer->blocked.count == 0)
		return false;
	if (item->unblocked)
		blocked_groups_remove(&consumer->blocked, group_of(message));
	return blocked_groups_has(&consumer->blocked, group_of(message));
}

/* Blocks the group of a failed message. False without memory. */
static bool
block_group(struct consumer *consumer, const struct attachment *attachment, struct item *item)
{
	struct message message;
	struct outcome outcome;

	if (open_message(consumer, attachment, item, &message, &outcome) != 0)
		return false;
	item->blocked_group = group_of(&message);
	return blocked_groups_add(&consumer->blocked, item->blocked_group);
}

enum answer {
	ANSWER_STOP,      /* the message failed and closes the gate, which ends the batch */
	ANSWER_ENDED,     /* the message ended, done or failed */
	ANSWER_RETRY,     /* the message failed and blocks its group until a retry */
	ANSWER_GIVEN_BACK /* the message was not handled, as its group is blocked */
};

/* The answer for a failed message that will be retried: only its group waits, if the policy says so
 * and memory suffices; else the queue waits. */
static int
postpone(struct consumer *consumer, const struct attachment *attachment, struct item *item,
    const struct outcome *outcome)
{
	return policy_blocks(&attachment->policy, outcome->status) &&
		block_group(consumer, attachment, item)
	    ? ANSWER_RETRY
	    : ANSWER_STOP;
}

/* The answer if the store has another message's row under the same log and sequence. The message
 * cannot be applied. If given up, the message gets no row. */
static int
answer_collision(struct consumer *consumer, const struct attachment *attachment, struct item *item,
    uint64_t state, struct outcome *outcome)
{
	if (give_up(consumer, attachment, item, state, outcome))
		return ANSWER_ENDED;
	service_answer(outcome, 503, store_error(consumer->store));
	return postpone(consumer, attachment, item, outcome);
}

/* Handles a message that has no row in the store. Returns an enum answer, or -EIO. */
static int
handle_new(struct consumer *consumer, const struct attachment *attachment, struct item *item,
    const struct message *message, uint64_t state, uint64_t *clock_ns, struct outcome *outcome)
{
	uint64_t started_ns = *clock_ns;
	bool given_up = give_up(consumer, attachment, item, state, outcome);
	int rc = 0;

	if (!given_up)
		consumer->service->handle(&consumer->context, message, outcome);
	*clock_ns = clock_monotonic_ns();
	if (!given_up &&
	    (outcome->status >= 500 || policy_blocks(&attachment->policy, outcome->status)))
		return postpone(consumer, attachment, item, outcome);
	if (consumer->store != NULL)
		rc = outcome->status < 300
		    ? store_apply(consumer->store, &consumer->context, message,
			  (double)(*clock_ns - started_ns) / 1e6)
		    : store_fail(consumer->store, &consumer->context, message, outcome);
	return rc < 0 ? rc : ANSWER_ENDED;
}

/* Handles one message, unless its group is blocked or its row is in the store, and writes its
 * effect into the open transaction. Returns an enum answer, or -EIO. */
static int
handle_item(struct consumer *consumer, const struct attachment *attachment, struct item *item,
    uint64_t state, uint64_t *clock_ns, struct outcome *outcome)
{
	struct message message;
	int rc = 0;

	if (open_message(consumer, attachment, item, &message, outcome) != 0)
		return ANSWER_STOP;
	if (is_blocked(consumer, item, &message)) {
		service_answer(outcome, 503, "");
		return ANSWER_GIVEN_BACK;
	}
	/* The store needs a look-up only up to `highest`. Messages handed out before are among
	 * these, and so are sequences that a log without its lost end assigns again. */
	if (consumer->store != NULL && item->sequence <= consumer->highest)
		rc = store_find(consumer->store, &message, outcome);
	if (rc == -EEXIST)
		return answer_collision(consumer, attachment, item, state, outcome);
	if (rc != 0)
		return rc < 0 ? rc : ANSWER_ENDED;
	return handle_new(consumer, attachment, item, &message, state, clock_ns, outcome);
}

/* How a batch ended. run_batch() sets all members before any error. */
struct batch {
	size_t end;           /* first item not handled */
	bool gate_closed;     /* item `end` may not start under `state` */
	bool server_error;    /* item `end` failed and closes the gate (ANSWER_STOP) */
	struct outcome error; /* of item `end` */
	uint64_t state;       /* state word when the last item was started */
};

static void
keep_outcome(struct item *item, const struct outcome *outcome, int answer)
{
	item->status = (uint16_t)outcome->status;
	item->flags = answer == ANSWER_GIVEN_BACK              ? LANE_GIVEN_BACK
	    : answer == ANSWER_ENDED && outcome->status >= 400 ? LANE_ENDED
							       : 0;
	free(item->reason); /* of an earlier try, which was rolled back */
	item->reason = outcome->status >= 300 ? strdup(outcome->reason) : NULL;
}

/* Handles items until the batch is full or must end. Returns 0, or -EIO if the store failed. */
static int
handle_batch(struct consumer *consumer, struct attachment *attachment, struct batch *batch)
{
	uint64_t start_ns = clock_monotonic_ns(), clock_ns = start_ns;

	/* The router kills a worker that exceeds visibility_timeout on one message. Without a
	 * router, this alarm does. */
	alarm((unsigned)(attachment->policy.visibility_ns / 1000000000) + ALARM_S);
	while (batch->end < consumer->count && clock_ns - start_ns < CONSUMER_BATCH_NS &&
	    !((consumer->one_by_one || consumer->service->acts) && batch->end > consumer->next)) {
		struct item *item = &consumer->items[batch->end];
		int rc;

		attachment_start(attachment, item->sequence, clock_ns);
		batch->state = attachment_state(attachment);
		batch->gate_closed = !may_start(consumer, attachment, item, batch->state);
		if (batch->gate_closed)
			break; /* transact() calls attachment_end() */
		rc =
		    handle_item(consumer, attachment, item, batch->state, &clock_ns, &batch->error);
		if (rc < 0)
			return rc;
		batch->server_error = rc == ANSWER_STOP;
		if (batch->server_error)
			break;
		keep_outcome(item, &batch->error, rc);
		batch->end++;
		CRASH_POINT("message.handled");
	}
	return 0;
}

/* Writes a completion, and waits for space in the ring while the router lives and *stop is not set.
 * Returns 0, -EPIPE or -EPROTO. A completion that is lost here is repeated from the store when the
 * message is delivered again. */
static int
complete(const struct consumer *consumer, struct attachment *attachment, const struct item *item,
    uint64_t state, int status, uint32_t flags, const char *reason)
{
	int rc;

	while ((rc = attachment_complete(
		    attachment, item->lane, item->sequence, state, status, flags, reason)) == 0) {
		struct pollfd poller = { .fd = attachment->socket, .events = POLLRDHUP };

		attachment_publish(attachment);
		if (*consumer->stop || poll(&poller, 1, 1) > 0)
			return -EPIPE;
	}
	return rc < 0 ? rc : 0;
}

static int
complete_batch(struct consumer *consumer, struct attachment *attachment, const struct batch *batch)
{
	int rc = 0;

	for (; rc == 0 && consumer->next < batch->end; consumer->next++) {
		struct item *item = &consumer->items[consumer->next];

		rc = complete(consumer, attachment, item, batch->state, item->status, item->flags,
		    item->reason ? item->reason : "");
		if (item->sequence > consumer->highest)
			consumer->highest = item->sequence;
		consumer->handled++;
		CRASH_POINT("message.completed");
	}
	if (rc == 0 && batch->server_error)
		rc = complete(consumer, attachment, &consumer->items[batch->end], batch->state,
		    batch->error.status, 0, batch->error.reason);
	attachment_publish(attachment);
	CRASH_POINT("completions.published");
	return rc;
}

/* Handles an error of the store: either nothing of the batch was applied, or, if the commit
 * reported the error, perhaps all. The batch is repeated one message at a time, so that only the
 * message that cannot be stored answers 500. */
static void
fail_batch(struct consumer *consumer, const struct attachment *attachment, struct batch *batch)
{
	bool alone = consumer->one_by_one;

	store_rollback(consumer->store);
	for (size_t i = consumer->next; i < batch->end; i++) {
		struct item *item = &consumer->items[i];

		/* The commit may have applied the message: the next try looks it up first. */
		if (item->sequence > consumer->highest)
			consumer->highest = item->sequence;
		if (item->blocked_group != 0)
			blocked_groups_remove(&consumer->blocked, item->blocked_group);
		item->blocked_group = 0;
	}
	consumer->one_by_one = true;
	batch->end = consumer->next;
	batch->gate_closed = false;
	batch->server_error = alone;
	if (!alone)
		return;
	service_answer(&batch->error, 500, store_error(consumer->store));
	if (policy_blocks(&attachment->policy, 500) &&
	    block_group(consumer, attachment, &consumer->items[batch->end])) {
		keep_outcome(&consumer->items[batch->end++], &batch->error, ANSWER_RETRY);
		batch->server_error = false;
	}
}

/* Handles and commits a batch. Returns 0, or -EIO if the store failed. */
static int
transact(struct consumer *consumer, struct attachment *attachment, struct batch *batch)
{
	int rc = 0;

	if (consumer->store != NULL)
		rc = store_begin(consumer->store);
	if (rc == 0)
		rc = handle_batch(consumer, attachment, batch);
	attachment_end(attachment);
	alarm(0);
	CRASH_POINT("batch.handled");
	if (rc == 0 && consumer->store != NULL)
		rc = store_commit(consumer->store);
	CRASH_POINT("batch.committed");
	return rc;
}

/* Runs one transaction and completes its messages. Returns 0, -EPIPE, -EPROTO, or -EAGAIN: attach
 * again. */
static int
run_batch(struct consumer *consumer, struct attachment *attachment, struct batch *batch)
{
	int rc;

	*batch = (struct batch){ .end = consumer->next, .state = attachment_state(attachment) };
	/* The gate is checked before the transaction as well: an error of store_begin() must not
	 * count against a message that may not be started. */
	batch->gate_closed =
	    !may_start(consumer, attachment, &consumer->items[batch->end], batch->state);
	if (batch->gate_closed)
		return 0;
	consumer->context.batch++;
	service_time(consumer->context.now);
	if (transact(consumer, attachment, batch) != 0)
		fail_batch(consumer, attachment, batch);
	event(EVENT_DEBUG, "batch.committed", "s:queue", consumer->service->queue, "u:messages",
	    (uint64_t)(batch->end - consumer->next), NULL);
	if (batch->server_error)
		event(EVENT_WARN, "message.server_error", "s:queue", consumer->service->queue,
		    "u:sequence", consumer->items[batch->end].sequence, "d:status",
		    batch->error.status, "s:error", batch->error.reason, NULL);
	rc = complete_batch(consumer, attachment, batch);
	/* The router blocks the group after this error, so the gate stays open. This worker could
	 * not record the group as blocked, so must attach again to get the messages in order. */
	if (rc == 0 && batch->server_error &&
	    policy_blocks(&attachment->policy, batch->error.status))
		rc = -EAGAIN;
	return rc;
}

/*
 * Waiting.
 */

/* Updates the heartbeat. False once the router is gone. */
static bool
keep_alive(struct consumer *consumer, struct attachment *attachment)
{
	uint64_t now_ns = clock_monotonic_ns();

	event_tick();
	attachment_heartbeat(attachment, attachment_state(attachment), consumer->handled, now_ns);
	if (now_ns - consumer->alive_ns < ALIVE_NS)
		return true;
	consumer->alive_ns = now_ns;
	return attachment_alive(attachment);
}

/* True if messages can be handled in this state. */
static bool
is_open(struct consumer *consumer, struct attachment *attachment, uint64_t state)
{
	if (control_word_state(state) == CONTROL_RUNNING ||
	    control_word_state(state) == CONTROL_PROBING)
		return true;
	return is_draining(consumer, attachment, state) &&
	    (consumer->next < consumer->count || attachment_has_delivery(attachment));
}

/* Waits until the state word (1) differs from `closed` and (2) lets messages through, then reports
 * the word as seen. Returns false when the router is gone or *stop is set. */
static bool
wait_for_gate(
    struct consumer *consumer, struct attachment *attachment, uint64_t closed, uint64_t *state)
{
	while ((*state = attachment_state(attachment)) == closed ||
	    !is_open(consumer, attachment, *state)) {
		if (*consumer->stop || !keep_alive(consumer, attachment))
			return false;
		attachment_wait(attachment, *state, false, WAIT_NS);
	}
	/* Reported before the next handlers start, so that nobody who waits for state_seen waits
	 * for them. */
	attachment_heartbeat(attachment, *state, consumer->handled, clock_monotonic_ns());
	return true;
}

/* Reads the store's highest sequence of the log. A store without any row, although messages were
 * done, has lost its rows or is another store: a warning. */
static int
look_at_store(struct consumer *consumer, struct attachment *attachment)
{
	uint64_t done = attachment_done(attachment);
	int rc = store_highest(consumer->store, attachment->log_id, &consumer->highest);

	if (rc != 0 || consumer->highest > 0 || done == 0)
		return rc;
	attachment_flag(attachment, CONTROL_STORE_EMPTY);
	event(EVENT_WARN, "store.empty", "s:queue", consumer->service->queue, "u:done", done, NULL);
	return 0;
}

int
consumer_run(struct consumer *consumer, struct attachment *attachment)
{
	uint64_t closed = 0; /* state word under which no message may start; 0: none */
	uint64_t state;      /* state word reported as seen */
	struct batch batch;  /* set by run_batch() */
	int rc = 0;

	forget_items(consumer);
	consumer->blocked.count = 0;
	if (consumer->store != NULL)
		rc = look_at_store(consumer, attachment);
	while (rc == 0 && !*consumer->stop && keep_alive(consumer, attachment)) {
		if (!wait_for_gate(consumer, attachment, closed, &state))
			break;
		if (consumer->next == consumer->count)
			rc = take_items(consumer, attachment);
		if (rc != 0)
			break;
		if (consumer->count == 0) {
			attachment_wait(attachment, state, true, WAIT_NS);
			continue;
		}
		rc = run_batch(consumer, attachment, &batch);
		closed = batch.server_error || batch.gate_closed ? batch.state : 0;
	}
	return rc == -EPIPE ? 0 : rc;
}
