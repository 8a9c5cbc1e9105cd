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
#include "workers/held.h"

enum {
	WAIT_NS =
	    100000000, /* how long a sleep lasts at most: the socket is looked at in between */
	ALIVE_NS = 100000000,
	ALARM_S = 2
};

_Static_assert(CONSUMER_ARENA_BYTES >=
	ENVELOPE_BODY_BYTES_MAX + ENVELOPE_OVERHEAD_BYTES + LANE_REASON_BYTES + JSON_PADDING,
    "an empty arena takes any message");

/* A message in the arena. */
struct item {
	uint64_t sequence;
	size_t offset, length; /* of its envelope */
	unsigned lane;
	uint32_t receives;     /* handlers that were started on it before and died */
	uint16_t order;        /* as what it is to be recorded as failed; 0: it is to be handled */
	uint16_t order_length; /* of the reason, which stands in front of the envelope */
	bool again;            /* its group was held, and is not any more */
	uint64_t held_group;   /* that was held because of it; 0: none */
	uint16_t status;       /* once it is answered */
	uint16_t flags;        /* ... enum lane_completion_flag */
	char *reason;          /* of a failure, else NULL */
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
	size_t count, next;    /* items in the arena; the first that is not completed */
	uint64_t highest;      /* sequence up to which the store may have rows of the log */
	bool one_by_one;       /* the store failed: to find out with which message */
	struct held held;      /* groups */
	uint64_t detail_state; /* a state word, and what it is about */
	struct control_detail detail;
	uint64_t handled, alive_ns;
};

struct consumer *
consumer_new(const struct service *service, const struct config_queue *config, struct store *store,
    size_t max_message_bytes, const volatile sig_atomic_t *stop)
{
	struct consumer *consumer;

	if (service->table != NULL && store == NULL)
		return NULL; /* or messages were settled whose effects are nowhere */
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
	held_free(&consumer->held);
	json_reader_free(consumer->context.reader);
	free(consumer->context.row);
	free(consumer->arena);
	free(consumer->items);
	free(consumer);
}

/*
 * Taking.
 */

/* Can the router have said this? What it wants otherwise than is understood is not guessed at. */
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

/* Copies a delivery out of the ring: from here on nobody else can change it. Returns 1, 0 when there is no room for it,
 * or -EPROTO. */
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
	/* Readers of JSON look at what follows, without consequence: not at what happens to stand there. */
	memset(consumer->arena + consumer->used + length, 0, JSON_PADDING);
	*item = (struct item){
		.sequence = delivery.sequence,
		.offset = consumer->used,
		.length = length,
		.lane = lane,
		.receives = delivery.receive_count,
		.again = delivery.flags & LANE_AGAIN,
	};
	if (delivery.flags & LANE_GIVE_UP) {
		item->order = delivery.status;
		item->order_length = delivery.reason_length;
		item->offset += delivery.reason_length;
		item->length -= delivery.reason_length;
	}
	consumer->used += (length + JSON_PADDING + 7) & ~(size_t)7;
	consumer->count++;
	return 1;
}

/* Fills the empty arena with what is in the lanes. */
static int
take(struct consumer *consumer, struct attachment *attachment)
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
	service_answer(outcome, 500, why); /* the router checked it: something is badly wrong */
	return -EBADMSG;
}

/* Why the state is as it is. False when it is another one by now. */
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

/* A person stopped the queue and wants what was handed out to be handled. */
static bool
is_draining(struct consumer *consumer, const struct attachment *attachment, uint64_t state)
{
	return control_word_state(state) == CONTROL_STOPPED &&
	    read_detail(consumer, attachment, state) && consumer->detail.flags & CONTROL_DRAIN;
}

/* May this message be started in this state? While it is PROBING, what stands behind the message that is
 * let through may not. */
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

/* Is it to be given up instead of handled? Fills the outcome then. */
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
	if (item->order != 0) {
		snprintf(reason, sizeof(reason), "%.*s", (int)item->order_length,
		    (const char *)consumer->arena + item->offset - item->order_length);
		service_answer(outcome, item->order, reason);
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

/* Does it come behind one of its group that failed? */
static bool
is_held(struct consumer *consumer, const struct item *item, const struct message *message)
{
	if (consumer->held.count == 0)
		return false;
	if (item->again)
		held_remove(&consumer->held, group_of(message));
	return held_has(&consumer->held, group_of(message));
}

/* Holds the group of a message that failed. False when that cannot be. */
static bool
hold(struct consumer *consumer, const struct attachment *attachment, struct item *item)
{
	struct message message;
	struct outcome outcome;

	if (open_message(consumer, attachment, item, &message, &outcome) != 0)
		return false;
	item->held_group = group_of(&message);
	return held_add(&consumer->held, item->held_group);
}

/* What becomes of a message. */
enum answer { ANSWER_STOP, ANSWER_ENDED, ANSWER_AGAIN, ANSWER_GIVEN_BACK };

/* It failed, and is to be tried again: it blocks its group, or the queue. */
static int
postpone(struct consumer *consumer, const struct attachment *attachment, struct item *item,
    const struct outcome *outcome)
{
	return policy_blocks(&attachment->policy, outcome->status) &&
		hold(consumer, attachment, item)
	    ? ANSWER_AGAIN
	    : ANSWER_STOP;
}

/* The store has another message's row in its place. So it cannot be applied; given up it gets no row. */
static int
refuse(struct consumer *consumer, const struct attachment *attachment, struct item *item,
    uint64_t state, struct outcome *outcome)
{
	if (give_up(consumer, attachment, item, state, outcome))
		return ANSWER_ENDED;
	service_answer(outcome, 503, store_error(consumer->store));
	return postpone(consumer, attachment, item, outcome);
}

/* Handles a message that the store does not know. */
static int
decide(struct consumer *consumer, const struct attachment *attachment, struct item *item,
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

/* Decides on one message and writes its effect into the open transaction. Returns an enum answer, or -EIO. */
static int
handle(struct consumer *consumer, const struct attachment *attachment, struct item *item,
    uint64_t state, uint64_t *clock_ns, struct outcome *outcome)
{
	struct message message;
	int rc = 0;

	if (open_message(consumer, attachment, item, &message, outcome) != 0)
		return ANSWER_STOP;
	if (is_held(consumer, item, &message)) {
		service_answer(outcome, 503, "");
		return ANSWER_GIVEN_BACK;
	}
	/* What was handed out before is in here, and so is every sequence that a log which lost its end may give
	 * again: as the store knows it, it is not above highest. */
	if (consumer->store != NULL && item->sequence <= consumer->highest)
		rc = store_find(consumer->store, &message, outcome);
	if (rc == -EEXIST)
		return refuse(consumer, attachment, item, state, outcome);
	if (rc != 0)
		return rc < 0 ? rc : ANSWER_ENDED;
	return decide(consumer, attachment, item, &message, state, clock_ns, outcome);
}

/* How a batch ended. run_batch() sets all of it before anything can fail. */
struct batch {
	size_t end;           /* first item that is not handled */
	bool held;            /* the state does not let item end be started */
	bool server_error;    /* item end answered 5xx */
	struct outcome error; /* the answer of item end */
	uint64_t state;       /* state word under which the last item was started */
};

static void
keep_outcome(struct item *item, const struct outcome *outcome, int answer)
{
	item->status = (uint16_t)outcome->status;
	item->flags = answer == ANSWER_GIVEN_BACK              ? LANE_GIVEN_BACK
	    : answer == ANSWER_ENDED && outcome->status >= 400 ? LANE_ENDED
							       : 0;
	free(item->reason); /* of a try that was rolled back */
	item->reason = outcome->status >= 300 ? strdup(outcome->reason) : NULL;
}

/* Handles items until the batch is full or must end. Returns 0, or -EIO for the store. */
static int
handle_batch(struct consumer *consumer, struct attachment *attachment, struct batch *batch)
{
	uint64_t start_ns = clock_monotonic_ns(), clock_ns = start_ns;

	/* The router ends a worker that takes too long for one message. If it cannot, this does. */
	alarm((unsigned)(attachment->policy.visibility_ns / 1000000000) + ALARM_S);
	while (batch->end < consumer->count && clock_ns - start_ns < CONSUMER_BATCH_NS &&
	    !((consumer->one_by_one || consumer->service->acts) && batch->end > consumer->next)) {
		struct item *item = &consumer->items[batch->end];
		int rc;

		attachment_start(attachment, item->sequence, clock_ns);
		batch->state = attachment_state(attachment);
		batch->held = !may_start(consumer, attachment, item, batch->state);
		if (batch->held)
			break; /* transact() says that it ended */
		rc = handle(consumer, attachment, item, batch->state, &clock_ns, &batch->error);
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

/* Puts a completion into its ring; waits for room as long as the router lives and nobody says stop. What
 * is not told then is told when the message comes again. */
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

/* The store failed: nothing of the batch was applied, or all of it when the commit failed. Each message is tried by
 * itself then, so that the one that cannot be stored answers for it. */
static void
fail_batch(struct consumer *consumer, const struct attachment *attachment, struct batch *batch)
{
	bool alone = consumer->one_by_one;

	store_rollback(consumer->store);
	for (size_t i = consumer->next; i < batch->end; i++) {
		struct item *item = &consumer->items[i];

		/* Look for it in the store before it is applied again. */
		if (item->sequence > consumer->highest)
			consumer->highest = item->sequence;
		if (item->held_group != 0)
			held_remove(&consumer->held, item->held_group);
		item->held_group = 0;
	}
	consumer->one_by_one = true;
	batch->end = consumer->next;
	batch->held = false;
	batch->server_error = alone;
	if (!alone)
		return;
	service_answer(&batch->error, 500, store_error(consumer->store));
	if (policy_blocks(&attachment->policy, 500) &&
	    hold(consumer, attachment, &consumer->items[batch->end])) {
		keep_outcome(&consumer->items[batch->end++], &batch->error, ANSWER_AGAIN);
		batch->server_error = false;
	}
}

/* Handles and commits. Returns 0, or -EIO for the store. */
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

/* One transaction. Returns 0, -EPIPE, -EPROTO, or -EAGAIN: attach again. */
static int
run_batch(struct consumer *consumer, struct attachment *attachment, struct batch *batch)
{
	int rc;

	*batch = (struct batch){ .end = consumer->next, .state = attachment_state(attachment) };
	/* Here, too: a message that may not be started does not answer for a transaction that cannot begin. */
	batch->held = !may_start(consumer, attachment, &consumer->items[batch->end], batch->state);
	if (batch->held)
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
	/* The router blocks the group, and no change of the state word will come: this worker, which cannot hold the
	 * group, begins again. */
	if (rc == 0 && batch->server_error &&
	    policy_blocks(&attachment->policy, batch->error.status))
		rc = -EAGAIN;
	return rc;
}

/*
 * Waiting.
 */

/* Tells the router that we live, and finds out whether it does. */
static bool
keep_alive(struct consumer *consumer, struct attachment *attachment)
{
	uint64_t now_ns = clock_monotonic_ns();

	attachment_heartbeat(attachment, attachment_state(attachment), consumer->handled, now_ns);
	if (now_ns - consumer->alive_ns < ALIVE_NS)
		return true;
	consumer->alive_ns = now_ns;
	return attachment_alive(attachment);
}

/* Can there be anything to do in this state? */
static bool
is_open(struct consumer *consumer, struct attachment *attachment, uint64_t state)
{
	if (control_word_state(state) == CONTROL_RUNNING ||
	    control_word_state(state) == CONTROL_PROBING)
		return true;
	return is_draining(consumer, attachment, state) &&
	    (consumer->next < consumer->count || attachment_has_delivery(attachment));
}

/* Waits until the state is another one than blocked, and lets something through, and says that we have seen
 * it. Returns false when the router is gone or we are to stop. */
static bool
wait_for_gate(
    struct consumer *consumer, struct attachment *attachment, uint64_t blocked, uint64_t *state)
{
	while ((*state = attachment_state(attachment)) == blocked ||
	    !is_open(consumer, attachment, *state)) {
		if (*consumer->stop || !keep_alive(consumer, attachment))
			return false;
		attachment_wait(attachment, *state, false, WAIT_NS);
	}
	/* Whoever waits for that does not wait for the handlers that are started now. */
	attachment_heartbeat(attachment, *state, consumer->handled, clock_monotonic_ns());
	return true;
}

/* Looks how far the store knows the log. One that knows nothing of it, although messages were done, has lost them or is not
 * the one that was. */
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
	uint64_t blocked = 0; /* a state under which there is no more to do */
	uint64_t state;       /* that we have said to have seen */
	struct batch batch;   /* run_batch() fills it */
	int rc = 0;

	forget_items(consumer);
	consumer->held.count = 0;
	if (consumer->store != NULL)
		rc = look_at_store(consumer, attachment);
	while (rc == 0 && !*consumer->stop && keep_alive(consumer, attachment)) {
		if (!wait_for_gate(consumer, attachment, blocked, &state))
			break;
		if (consumer->next == consumer->count)
			rc = take(consumer, attachment);
		if (rc != 0)
			break;
		if (consumer->count == 0) {
			attachment_wait(attachment, state, true, WAIT_NS);
			continue;
		}
		rc = run_batch(consumer, attachment, &batch);
		blocked = batch.server_error || batch.held ? batch.state : 0;
	}
	return rc == -EPIPE ? 0 : rc;
}
