#include "router/session/admin.h"

#include <errno.h>
#include <msgpack.h>
#include <string.h>

#include "log/format.h"
#include "message/blocked.h"
#include "router/delivery/blocking.h"
#include "router/delivery/requests.h"
#include "router/delivery/worker.h"
#include "router/queue/subscription.h"
#include "telemetry/event.h"

_Static_assert((int)BLOCKED_ERROR_BYTES == (int)GROUP_ERROR_BYTES, "a group's error fits");
_Static_assert((int)BLOCKED_QUEUE_BYTES == (int)CONFIG_NAME_BYTES, "a queue's name fits");

/* Index of the queue with this name; router->queue_count: there is none. */
static unsigned
find_queue(const struct router *router, const char *name)
{
	unsigned i = 0;

	while (i < router->queue_count && strcmp(router->queues[i].config->name, name) != 0)
		i++;
	return i;
}

bool
admin_may_answer(const struct connection *connection)
{
	return connection->out.length == 0 && connection->sending.length == 0;
}

/*
 * Who is blocked.
 */

/* Without a worker it is not known what waits; but what failed last is not ended, mostly. */
static uint64_t
head_sequence(const struct queue *queue, const struct group *group)
{
	const struct parked *head = group_head(group);

	if (head != NULL)
		return head->sequence;
	return settled_has(&queue->settled, group->sequence) ? 0 : group->sequence;
}

static void
describe(struct blocked_group *to, const struct queue *queue, const struct group *group)
{
	uint64_t now_ns = io_monotonic_ns();
	uint64_t messages = group->parked + group->in_flight;

	*to = (struct blocked_group){
		.hash = group->hash,
		.sequence = head_sequence(queue, group),
		.since_ns = group->since_ns,
		.behind = messages > 0 ? messages - 1 : 0,
		.tries = group->tries,
		.status = group->status,
		.state = BLOCKED_WAITING,
	};
	if (group->releasing)
		to->state = BLOCKED_RELEASING;
	else if (group->in_flight > 0)
		to->state = BLOCKED_TRYING;
	else if (group->due_ns > now_ns)
		to->due_in_ns = group->due_ns - now_ns;
	strlcpy(to->error, group->error, sizeof(to->error));
}

static void
send_page(struct connection *connection, const struct blocked_page *page)
{
	msgpack_sbuffer buffer;

	msgpack_sbuffer_init(&buffer);
	blocked_pack_page(&buffer, page);
	connection_frame(connection, WIRE_GROUP_LIST, buffer.data, buffer.size);
	msgpack_sbuffer_destroy(&buffer);
	connection_flush_now(connection);
}

static void
list_groups(struct blocked_page *page, const struct queue *queue, uint64_t from)
{
	struct group *group = groups_find_from(&queue->groups, from);

	page->total = queue->groups.count;
	for (; group != NULL && page->count < BLOCKED_PAGE; group = groups_next(group))
		describe(&page->groups[page->count++], queue, group);
	page->more = group != NULL;
}

int
admin_groups(struct connection *connection, const void *payload, size_t length)
{
	const struct router *router = connection->router;
	static struct blocked_page page;
	struct blocked_ask ask;
	unsigned queue;

	if (!blocked_read_ask(&ask, payload, length))
		return -EPROTO;
	queue = find_queue(router, ask.queue);
	page.known = queue < router->queue_count;
	page.total = 0;
	page.count = 0;
	page.more = false;
	if (page.known)
		list_groups(&page, &router->queues[queue], ask.from);
	send_page(connection, &page);
	return 0;
}

/*
 * Requests.
 */

static enum blocked_outcome
refuse(struct blocked_tried *tried, const char *why)
{
	blocked_copy(tried->text, sizeof(tried->text), why, strlen(why));
	return BLOCKED_REFUSED;
}

static bool
has_worker(const struct queue *queue, const struct group *group)
{
	const struct worker *worker;

	TAILQ_FOREACH (worker, &queue->attached.workers, link)
		if (group_in_lanes(group, worker->lanes, queue->config->lanes))
			return true;
	return false;
}

/* May it be done, to the message at the group's head? Returns BLOCKED_ENDED for yes. */
static enum blocked_outcome
may_request(struct blocked_tried *tried, struct queue *queue, const struct group *group,
    const struct blocked_try *try)
{
	enum control_state state = control_word_state(subscription_word(queue));
	const struct parked *head;

	if (!has_worker(queue, group))
		return refuse(tried, "no worker is attached to the queue");
	if (state != CONTROL_RUNNING)
		return refuse(tried, "the queue is not RUNNING: start it first");
	if (group->releasing)
		return BLOCKED_GOES_ON;
	head = group_head(group);
	if (head == NULL)
		return refuse(tried, "a worker was attached just now: ask again");
	tried->sequence = head->sequence;
	if (!blocking_message_id(queue, *head, tried->message_id))
		return refuse(tried, "the message at its head cannot be read now");
	if (try->message_id[0] != '\0' && strcmp(try->message_id, tried->message_id) != 0)
		return BLOCKED_OTHER_HEAD;
	if (try->skip && group->sequence != head->sequence)
		return refuse(tried, "the message at its head has not failed: it is tried now");
	return BLOCKED_ENDED;
}

static void
log_request(const struct connection *connection, const struct blocked_try *try,
    const struct blocked_tried *tried)
{
	event(EVENT_INFO, try->skip ? "group.skip" : "group.try", "s:queue", try->queue,
	    "u:sequence", tried->sequence, "s:message_id", tried->message_id, "s:reason",
	    try->reason, "u:uid", (uint64_t)connection->peer_uid, "u:pid",
	    (uint64_t)connection->peer_pid, "s:program", connection->program, NULL);
}

int
admin_try(struct connection *connection, const void *payload, size_t length)
{
	struct router *router = connection->router;
	struct blocked_tried tried = { .outcome = BLOCKED_NO_QUEUE };
	struct blocked_try try;
	struct group *group = NULL;
	struct queue *queue = NULL;
	unsigned index;

	if (!blocked_read_try(&try, payload, length))
		return -EPROTO;
	index = find_queue(router, try.queue);
	if (index < router->queue_count) {
		queue = &router->queues[index];
		group =
		    groups_find(&queue->groups, log_group_hash_whole(try.group, strlen(try.group)));
		tried.outcome =
		    group != NULL ? may_request(&tried, queue, group, &try) : BLOCKED_NOT_BLOCKED;
	}
	if (tried.outcome != BLOCKED_ENDED) {
		requests_answer(connection, &tried);
		return 0;
	}
	log_request(connection, &try, &tried);
	blocking_request(queue, group, try.skip ? tried.sequence : 0);
	requests_begin(connection, queue, group->hash, &tried, try.skip);
	return 0;
}
