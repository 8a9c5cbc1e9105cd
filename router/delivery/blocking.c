#include "router/delivery/blocking.h"

#include <errno.h>
#include <string.h>

#include "message/blocked.h"
#include "router/delivery/requests.h"
#include "router/delivery/rings.h"
#include "router/queue/counters.h"
#include "router/queue/lookup.h"
#include "router/queue/subscription.h"
#include "telemetry/event.h"

#define DELAY_MAX_NS UINT64_C(600000000000)

enum {
	FLYING_MAX = 64, /* messages of one group that are delivered again at once */
	TURN_MAX = 64 /* in one turn of the loop, of all groups: some must be read from the disk */
};

static bool
is_limited(const struct config_queue *config, uint16_t status)
{
	return status >= 500 ? config->server_error == CONFIG_SERVER_RETRY
			     : config->client_error == CONFIG_CLIENT_RETRY;
}

int
blocking_hash(const struct log_frame *frame, uint64_t *hash)
{
	struct log_content content = log_content(frame);
	struct envelope envelope;

	if (envelope_open(
		&envelope, content.envelope, content.length, ENVELOPE_BODY_BYTES_MAX, NULL) != 0)
		return -EBADMSG;
	*hash = log_group_hash_whole(envelope.group.data, envelope.group.length);
	return 0;
}

int
blocking_park(struct worker *worker, const struct log_frame *frame)
{
	struct groups *groups = &worker->queue->groups;
	struct parked parked = { .sequence = frame->sequence, .position = worker->cursor.position };
	struct group *group;
	uint64_t hash;

	if (!groups_may_hold(groups, frame->group_hash) || blocking_hash(frame, &hash) != 0)
		return 0;
	group = groups_find(groups, hash);
	if (group == NULL)
		return 0;
	return group_park(groups, group, parked) ? 1 : -ENOMEM;
}

/*
 * Answers.
 */

static uint64_t
delay_ns(const struct config_queue *config, uint32_t tries)
{
	uint64_t delay = config->retry_base_ns;

	while (--tries > 0 && delay < DELAY_MAX_NS)
		delay *= config->retry_factor;
	return delay < DELAY_MAX_NS ? delay : DELAY_MAX_NS;
}

/* Was it tried often enough, or does a person say so? */
static bool
is_given_up(const struct config_queue *config, const struct group *group, uint64_t sequence)
{
	if (group->releasing || group->sequence != sequence)
		return false;
	return group->skip == sequence ||
	    (is_limited(config, group->status) && group->tries >= config->retry_max);
}

static void
block_group(struct queue *queue, struct group *group, uint64_t sequence, uint16_t status,
    const char *reason)
{
	const struct config_queue *config = queue->config;
	uint64_t now_ns = io_monotonic_ns();

	if (group->since_ns == 0)
		group->since_ns = io_wall_ns();
	group->tries = group->sequence == sequence ? group->tries + 1 : 1;
	group->sequence = sequence;
	group->status = status;
	blocked_copy(group->error, sizeof(group->error), reason, strlen(reason));
	group->releasing = false;
	groups_clear_ready(&queue->groups, group);
	/* One that is given up is given up at once. */
	group->due_ns =
	    is_given_up(config, group, sequence) ? now_ns : now_ns + delay_ns(config, group->tries);
	if (group->due_ns == now_ns)
		groups_set_ready(&queue->groups, group);
	counters_publish_groups(queue);
	event(EVENT_WARN, "group.blocked", "s:queue", config->name, "u:sequence", sequence,
	    "d:status", (int)status, "s:error", reason, "u:tries", (uint64_t)group->tries, NULL);
}

int
blocking_group(struct queue *queue, struct parked parked, bool block, struct group **group)
{
	const struct log_frame *frame;
	uint64_t hash;
	int rc = lookup_message(queue, parked.position, parked.sequence, &frame);

	if (rc < 0)
		return rc;
	rc = blocking_hash(frame, &hash);
	if (rc != 0)
		return rc;
	*group = block ? groups_block(&queue->groups, hash) : groups_find(&queue->groups, hash);
	if (*group == NULL)
		return block ? -ENOMEM : -EPROTO;
	return 0;
}

int
blocking_failed(struct worker *worker, struct group *group, struct parked parked, uint16_t status,
    const char *reason)
{
	struct queue *queue = worker->queue;

	if (!group_give_back(&queue->groups, group, parked))
		return -ENOMEM;
	block_group(queue, group, parked.sequence, status, reason);
	return 0;
}

int
blocking_given_back(struct worker *worker, struct group *group, struct parked parked)
{
	return group_give_back(&worker->queue->groups, group, parked) ? 0 : -ENOMEM;
}

/* Nothing of the group is parked or in flight: it is as all others. */
static void
open_if_empty(struct queue *queue, struct group *group)
{
	uint64_t hash = group->hash;

	if (group->in_flight > 0 || group_next(group) != NULL)
		return;
	event(EVENT_INFO, "group.opened", "s:queue", queue->config->name, "u:sequence",
	    group->sequence, NULL);
	groups_open(&queue->groups, group);
	counters_publish_groups(queue);
	requests_opened(queue, hash);
}

void
blocking_ended(struct worker *worker, struct group *group)
{
	struct queue *queue = worker->queue;

	group->releasing = true;
	group->skip = 0;
	if (group_next(group) != NULL)
		groups_set_ready(&queue->groups, group);
	else
		open_if_empty(queue, group);
}

/*
 * What a person wants.
 */

void
blocking_request(struct queue *queue, struct group *group, uint64_t skip)
{
	if (skip != 0)
		group->skip = skip;
	group->due_ns = io_monotonic_ns();
	if (group->in_flight == 0)
		groups_set_ready(&queue->groups, group);
}

bool
blocking_message_id(struct queue *queue, struct parked parked, char id[ENVELOPE_ID_BYTES + 1])
{
	const struct log_frame *frame;
	struct log_content content;
	struct envelope envelope;

	if (lookup_message(queue, parked.position, parked.sequence, &frame) != 1)
		return false;
	content = log_content(frame);
	if (envelope_open(
		&envelope, content.envelope, content.length, ENVELOPE_BODY_BYTES_MAX, NULL) != 0)
		return false;
	memcpy(id, envelope.message_id.data, envelope.message_id.length);
	id[envelope.message_id.length] = '\0';
	return true;
}

/*
 * Trying again.
 */

/* The next message of a group. Returns as rings_put(); 0 also when it could not be read for now. */
static int
deliver_next(struct worker *worker, struct group *group)
{
	struct queue *queue = worker->queue;
	const struct parked next = *group_next(group);
	const struct log_frame *frame;
	struct lane_delivery delivery = {
		.sequence = next.sequence,
		.receive_count = received_count(&queue->receives.died, next.sequence),
		.flags = group->releasing ? 0 : LANE_AGAIN,
	};
	int rc = lookup_message(queue, next.position, next.sequence, &frame);

	if (rc != 1)
		return rc == -EBADMSG ? rc : 0; /* it stays ready: the next turn tries again */
	if (is_given_up(queue->config, group, next.sequence)) {
		delivery.flags |= LANE_GIVE_UP;
		delivery.status = group->status;
		delivery.reason_length = (uint16_t)strlen(group->error);
	}
	rc = rings_put(worker, frame, &delivery, group->error);
	if (rc == 1 && !groups_fly(&queue->groups, group))
		return -ENOMEM;
	return rc;
}

/* Does it wait for what is probed, and not only for its time? */
static bool
is_held_back(const struct queue *queue, const struct group *group)
{
	const struct parked *next = group_next(group);

	return next != NULL && subscription_holds_back(queue, next->sequence);
}

/* Returns 1 when the group has nothing more to deliver now. */
static int
deliver_group(struct worker *worker, struct group *group, unsigned *left)
{
	uint32_t most = group->releasing ? FLYING_MAX : 1;
	int rc = 1;

	while (rc == 1 && *left > 0 && group->in_flight < most && group_next(group) != NULL &&
	    !is_held_back(worker->queue, group)) {
		rc = deliver_next(worker, group);
		(*left)--;
	}
	return *left == 0 && rc == 1 ? 0 : rc;
}

int
blocking_deliver(struct worker *worker)
{
	struct groups *groups = &worker->queue->groups;
	struct group *group, *next;
	unsigned left = TURN_MAX;
	int rc = 1;

	TAILQ_FOREACH_SAFE (group, &groups->ready, ready_link, next) {
		if (!group_in_lanes(group, worker->lanes, worker->queue->config->lanes))
			continue;
		rc = deliver_group(worker, group, &left);
		if (rc != 1)
			break;
		if (!is_held_back(worker->queue, group))
			groups_clear_ready(groups, group);
	}
	return rc;
}

void
blocking_tick(struct worker *worker, uint64_t now_ns)
{
	struct queue *queue = worker->queue;
	struct groups *groups = &queue->groups;
	struct group *group, *next;

	if (groups->count == 0)
		return;
	groups_wake(groups, now_ns);
	/* A group whose messages were all ended before the worker attached. */
	if (worker->cursor.position >= queue->writer.durable)
		TAILQ_FOREACH_SAFE (group, &groups->ready, ready_link, next)
			if (group_in_lanes(group, worker->lanes, queue->config->lanes))
				open_if_empty(queue, group);
}
