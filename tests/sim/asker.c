/*
 * Model clients that list blocked groups, and request that a message be retried or given up. They
 * behave as ctl/groups.c does, but may hang up at any time, and may send a request before the last
 * answer.
 */
#include <inttypes.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/format.h"
#include "message/blocked.h"
#include "tests/sim/net.h"
#include "tests/sim/party.h"

enum { PID = 500, HANGS_UP = 2000 /* of 100000 */ };

static struct asker {
	struct net_socket *socket;
	bool welcomed;
	unsigned waits; /* answers outstanding */
	bool tries;     /* the last outstanding answer is to a TRY */
	unsigned queue;
	uint64_t from, asked; /* lowest hash of the next and of the last GROUPS */
	uint64_t sequence;    /* of a blocked group's head, from the last list; 0: none */
	unsigned group;       /* the group of this head */
} askers[ASKERS];
static const struct config *config;
static bool were_told;

bool
askers_were_told(void)
{
	bool told = were_told;

	were_told = false;
	return told;
}

void
askers_begin(const struct config *its_config)
{
	config = its_config;
	were_told = false;
	memset(askers, 0, sizeof(askers));
}

void
asker_die(unsigned which)
{
	struct asker *asker = &askers[which];

	if (asker->socket != NULL)
		net_hang_up(asker->socket);
	*asker = (struct asker){ .socket = NULL };
}

static unsigned
group_of(uint64_t hash)
{
	char name[16];

	for (unsigned group = 0; group < MODEL_GROUPS; group++) {
		int length = snprintf(name, sizeof(name), "g%u", group);

		if (log_group_hash_whole(name, (size_t)length) == hash)
			return group;
	}
	world_violation("P8: a group is said to be blocked that nobody published to");
}

static void
send_frame(struct asker *asker, enum wire_type type, const msgpack_sbuffer *buffer)
{
	struct wire_header header = { .length = (uint32_t)buffer->size, .type = (uint8_t)type };

	net_send(asker->socket, &header, sizeof(header));
	net_send(asker->socket, buffer->data, buffer->size);
	asker->waits++;
	asker->tries = type == WIRE_TRY;
}

static void
ask(struct asker *asker)
{
	struct blocked_ask ask = { .from = asker->from };
	msgpack_sbuffer buffer;

	strcpy(ask.queue, config->queues[asker->queue].name);
	msgpack_sbuffer_init(&buffer);
	blocked_pack_ask(&buffer, &ask);
	asker->asked = ask.from;
	send_frame(asker, WIRE_GROUPS, &buffer);
	msgpack_sbuffer_destroy(&buffer);
}

/* Sends a TRY for the group of asker->sequence, or for any group. */
static void
send_try(struct asker *asker)
{
	struct blocked_try try = { .skip = world_chance(40000) };
	unsigned i,
	    group = asker->sequence != 0 ? asker->group : (unsigned)world_below(MODEL_GROUPS);
	msgpack_sbuffer buffer;

	strcpy(try.queue, config->queues[asker->queue].name);
	snprintf(try.group, sizeof(try.group), "g%u", group);
	if (asker->sequence != 0 && world_chance(80000) &&
	    model_at(asker->queue, asker->sequence, &i))
		snprintf(try.message_id, sizeof(try.message_id), "m%u", i);
	if (try.skip)
		model_skip(asker->queue, try.message_id[0] != '\0' ? asker->sequence : 0, group);
	world_trace("a person wants %s %s of queue %u, group %u %s", try.message_id,
	    asker->sequence != 0 ? "at the head" : "", asker->queue, group,
	    try.skip ? "given up" : "tried");
	msgpack_sbuffer_init(&buffer);
	blocked_pack_try(&buffer, &try);
	send_frame(asker, WIRE_TRY, &buffer);
	msgpack_sbuffer_destroy(&buffer);
}

/*
 * Answers.
 */

static void
take_page(struct asker *asker, const void *payload, size_t length)
{
	static struct blocked_page page;

	if (!blocked_read_page(&page, 0, payload, length) || !page.known)
		world_violation("P8: a list of blocked groups that cannot be");
	/* All groups fit into one page. */
	if (page.count > MODEL_GROUPS || page.more ||
	    (asker->waits == 0 && asker->asked == 0 && page.count != page.total))
		world_violation("P8: %u groups of %" PRIu64 " are told", page.count, page.total);
	asker->sequence = 0;
	for (uint32_t i = 0; i < page.count; i++) {
		unsigned group = group_of(page.groups[i].hash);

		model_told_blocked(asker->queue, page.groups[i].sequence, group);
		if (asker->sequence != 0 && world_chance(50000))
			continue;
		asker->group = group;
		asker->sequence = page.groups[i].sequence;
	}
	asker->from = page.count > 0 && world_chance(30000) ? page.groups[0].hash : 0;
	world_trace("%u groups of queue %u are said to be blocked", page.count, asker->queue);
}

static void
take_tried(struct asker *asker, const void *payload, size_t length)
{
	struct blocked_tried tried;

	if (!blocked_read_tried(&tried, payload, length) || tried.outcome == BLOCKED_NO_QUEUE)
		world_violation("P8: an outcome that cannot be");
	world_trace("a person is told of %" PRIu64 ": outcome %d, status %u", tried.sequence,
	    (int)tried.outcome, tried.status);
	if (tried.outcome == BLOCKED_ENDED || tried.outcome == BLOCKED_DEAD_LETTER)
		model_told_ended(asker->queue, tried.sequence, tried.status,
		    tried.outcome == BLOCKED_DEAD_LETTER);
	were_told |= tried.outcome == BLOCKED_DEAD_LETTER;
	asker->sequence = 0;
}

/* Takes one frame. Returns false if no whole frame has arrived. */
static bool
take_frame(struct asker *asker)
{
	struct net_socket *socket = asker->socket;
	struct wire_header header;
	const uint8_t *payload;

	if (socket->to_client.length < sizeof(header))
		return false;
	memcpy(&header, socket->to_client.data, sizeof(header));
	if (socket->to_client.length < sizeof(header) + header.length)
		return false;
	payload = socket->to_client.data + sizeof(header);
	if (header.type == WIRE_WELCOME)
		asker->welcomed = true;
	else if (header.type == WIRE_ERROR) /* the router is stopping */
		asker->waits = 0;
	else if (asker->waits-- == 0)
		world_violation("P8: an answer that nobody asked for");
	else if (header.type == WIRE_GROUP_LIST)
		take_page(asker, payload, header.length);
	else if (header.type == WIRE_TRIED)
		take_tried(asker, payload, header.length);
	else
		world_violation("P8: frame %u for a client that asks", header.type);
	net_consume(socket, sizeof(header) + header.length);
	return true;
}

void
asker_step(unsigned which)
{
	struct asker *asker = &askers[which];

	if (asker->socket == NULL) {
		asker->socket = net_connect(PID + which);
		asker->queue = (unsigned)world_below(MODEL_QUEUES);
		if (asker->socket != NULL)
			party_hello(asker->socket, WIRE_CONTROL, "", false);
		return;
	}
	while (take_frame(asker))
		;
	if (asker->socket->ended || world_chance(HANGS_UP)) {
		asker_die(which);
		return;
	}
	/* The protocol forbids frames between TRY and TRIED. */
	if (!asker->welcomed || (asker->waits > 0 && (asker->tries || asker->waits > 2)))
		return;
	/* Prefers a queue with a blocked group, where a TRY has an effect. */
	if (asker->waits == 0)
		asker->queue = (unsigned)world_below(MODEL_QUEUES);
	if (asker->waits == 0)
		asker->sequence = model_failing(asker->queue, &asker->group);
	if (world_chance(asker->sequence != 0 ? 60000 : 2000))
		send_try(asker);
	else
		ask(asker);
}
