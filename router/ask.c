#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "router/ask.h"

#include <errno.h>
#include <msgpack.h>
#include <string.h>

#include "message/blocked.h"
#include "router/queue.h"

_Static_assert((int)BLOCKED_ERROR_BYTES == (int)GROUP_ERROR_BYTES, "a group's error fits");
_Static_assert((int)BLOCKED_QUEUE_BYTES == (int)CONFIG_NAME_BYTES, "a queue's name fits");

static struct queue *
find_queue(struct router *router, const char *name)
{
	for (unsigned i = 0; i < router->queue_count; i++)
		if (strcmp(router->queues[i].config->name, name) == 0)
			return &router->queues[i];
	return NULL;
}

bool
ask_may_answer(const struct connection *connection)
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
	uint64_t messages = group->parked + group->flying;

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
	else if (group->flying > 0)
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

int
ask_groups(struct connection *connection, const void *payload, size_t length)
{
	static struct blocked_page page;
	const struct queue *queue;
	struct blocked_ask ask;
	struct group *group;

	if (!blocked_read_ask(&ask, payload, length))
		return -EPROTO;
	queue = find_queue(connection->router, ask.queue);
	page.known = queue != NULL;
	page.total = queue != NULL ? queue->groups.count : 0;
	page.count = 0;
	group = queue != NULL ? groups_find_from(&queue->groups, ask.from) : NULL;
	for (; group != NULL && page.count < BLOCKED_PAGE; group = groups_next(group))
		describe(&page.groups[page.count++], queue, group);
	page.more = group != NULL;
	send_page(connection, &page);
	return 0;
}
