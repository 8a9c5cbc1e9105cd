/*
 * Model publishers: each keeps its unanswered messages, in order, and sends all of them again on a
 * new connection.
 */
#include <errno.h>
#include <inttypes.h>
#include <msgpack.h>
#include <stdio.h>
#include <string.h>

#include "message/envelope.h"
#include "message/wire.h"
#include "tests/sim/net.h"
#include "tests/sim/party.h"

enum { WINDOW = 512, TRY_AGAIN_NS = 30000000, PID = 1000, LONGEST_BYTES = 8192, BURST_MAX = 40 };

static struct publisher {
	struct net_socket *socket;
	bool welcomed, receipts;
	unsigned process;            /* a number for each life */
	unsigned unanswered[WINDOW]; /* in order */
	unsigned count, sent;        /* sent: on this connection */
	uint64_t next_number;        /* of the next message, on the wire */
	uint64_t not_before_ns;
} publishers[PUBLISHERS];
static unsigned lives;
static unsigned burst; /* factor of the largest number of messages per frame */
static uint32_t topic_id;

void
publishers_begin(const struct config *config)
{
	topic_id = envelope_topic_id(config->topics[0].name);
	lives = 0;
	burst = world_chance(70000) ? 1 : 1 + (unsigned)world_below(BURST_MAX);
	for (unsigned i = 0; i < PUBLISHERS; i++)
		publishers[i] = (struct publisher){ .process = lives++ };
}

void
publishers_hurry(void)
{
	burst = BURST_MAX;
}

static void
send_frame(struct net_socket *socket, enum wire_type type, const void *payload, size_t length)
{
	struct wire_header header = { .length = (uint32_t)length, .type = (uint8_t)type };

	net_send(socket, &header, sizeof(header));
	net_send(socket, payload, length);
}

void
party_hello(struct net_socket *socket, enum wire_role role, const char *name, bool receipts)
{
	msgpack_sbuffer buffer;
	msgpack_packer packer;

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 6);
	msgpack_pack_int(&packer, WIRE_VERSION);
	msgpack_pack_int(&packer, (int)role);
	msgpack_pack_str(&packer, 5);
	msgpack_pack_str_body(&packer, "model", 5);
	msgpack_pack_str(&packer, strlen(name));
	msgpack_pack_str_body(&packer, name, strlen(name));
	if (receipts)
		msgpack_pack_true(&packer);
	else
		msgpack_pack_false(&packer);
	msgpack_pack_uint64(&packer, UINT64_MAX);
	send_frame(socket, WIRE_HELLO, buffer.data, buffer.size);
	msgpack_sbuffer_destroy(&buffer);
}

static void
disconnect(struct publisher *publisher, bool refused)
{
	if (publisher->socket == NULL)
		return;
	for (unsigned i = 0; i < publisher->sent; i++)
		model_not_answered(publisher->unanswered[i], refused);
	net_hang_up(publisher->socket);
	publisher->socket = NULL;
	publisher->sent = 0;
	publisher->not_before_ns = world.now_ns + world_below(TRY_AGAIN_NS);
}

static void
connect_to_router(struct publisher *publisher)
{
	if (world.now_ns < publisher->not_before_ns)
		return;
	publisher->socket = net_connect(PID + publisher->process);
	if (publisher->socket == NULL)
		return;
	publisher->welcomed = false;
	publisher->receipts = world_chance(50000);
	publisher->next_number = 1;
	party_hello(publisher->socket, WIRE_PUBLISHER, "", publisher->receipts);
}

/*
 * Sending.
 */

static struct span
text(const char *words)
{
	return (struct span){ .data = words, .length = strlen(words) };
}

static size_t
pack(uint8_t *buffer, size_t capacity, unsigned i)
{
	const struct message *message = model_message(i);
	char group[16], dedup_id[16], message_id[16], body[4096];
	struct envelope_attribute_source kind = {
		.name = text("k"),
		.text = text(message->queues > 1 ? "b" : "o"),
		.type = JSON_STRING,
	};
	struct envelope_source source = { .attributes = &kind, .count = 1 };
	long length;

	snprintf(group, sizeof(group), "g%u", message->group);
	snprintf(dedup_id, sizeof(dedup_id), "d%u", message->first);
	snprintf(message_id, sizeof(message_id), "m%u", i);
	snprintf(body, sizeof(body), "{}");
	if (message->length > 0)
		snprintf(
		    body, sizeof(body), "{\"n\":%u,\"text\":\"%0*u\"}", i, (int)message->length, i);
	source.head = (struct envelope){
		.topic = topic_id,
		.group = text(group),
		.dedup_id = text(dedup_id),
		.message_id = text(message_id),
		.published_ns = world.now_ns + (uint64_t)world.wall_ns,
		.body = text(body),
	};
	length = envelope_pack(buffer, capacity, &source);
	if (length < 0)
		world_violation("an envelope is too long");
	return (size_t)length;
}

/* Sends some of the unsent messages as one PUBLISH frame. */
static void
send_more(struct publisher *publisher)
{
	static uint8_t frame[64 << 10];
	struct wire_publish publish = { .first = publisher->next_number };
	size_t used = sizeof(publish);
	unsigned most = 1 + (unsigned)world_below(12 * burst);

	while (publisher->sent < publisher->count && publish.count < most &&
	    sizeof(frame) - used > LONGEST_BYTES) {
		unsigned i = publisher->unanswered[publisher->sent++];
		uint32_t length = (uint32_t)pack(
		    frame + used + sizeof(length), sizeof(frame) - used - sizeof(length), i);

		memcpy(frame + used, &length, sizeof(length));
		used += sizeof(length) + length;
		publish.count++;
		model_sent(i);
	}
	if (publish.count == 0)
		return;
	memcpy(frame, &publish, sizeof(publish));
	publisher->next_number += publish.count;
	send_frame(publisher->socket, WIRE_PUBLISH, frame, used);
	world_trace("publisher %u sends %u from %u", publisher->process, publish.count,
	    publisher->unanswered[publisher->sent - publish.count]);
}

/*
 * Answers.
 */

static void
take_receipt(unsigned i, const msgpack_object_array *places)
{
	for (uint32_t k = 0; k < places->size; k++) {
		const msgpack_object *field = places->ptr[k].via.array.ptr;

		model_located(i, (unsigned)field[0].via.u64, field[1].via.u64);
	}
}

/* Returns false for a 503, the router's request to try again. */
static bool
take_result(struct publisher *publisher, const msgpack_object *field)
{
	uint64_t answered =
	    publisher->next_number - publisher->sent; /* number of the first unanswered */
	unsigned count = (unsigned)field[1].via.u64;

	if (field[0].via.u64 != answered || count > publisher->sent)
		world_violation("P4: %u results from number %" PRIu64 ", not from %" PRIu64, count,
		    field[0].via.u64, answered);
	if (field[2].via.u64 == 503)
		return false;
	if (field[2].via.u64 != 200)
		world_violation("P4: message %u is refused with status %" PRIu64,
		    publisher->unanswered[0], field[2].via.u64);
	for (unsigned k = 0; k < count; k++) {
		model_answered(publisher->unanswered[k], field[3].via.boolean);
		if (publisher->receipts)
			take_receipt(publisher->unanswered[k], &field[4].via.array);
	}
	publisher->count -= count;
	publisher->sent -= count;
	memmove(publisher->unanswered, publisher->unanswered + count,
	    publisher->count * sizeof(publisher->unanswered[0]));
	return true;
}

static bool
take_results(struct publisher *publisher, const void *payload, size_t length)
{
	msgpack_unpacked unpacked;
	bool good = true;

	msgpack_unpacked_init(&unpacked);
	if (!wire_check(payload, length, 8) ||
	    msgpack_unpack_next(&unpacked, payload, length, NULL) != MSGPACK_UNPACK_SUCCESS)
		world_violation("P4: results that are none");
	for (uint32_t i = 0; good && i < unpacked.data.via.array.size; i++)
		good = take_result(publisher, unpacked.data.via.array.ptr[i].via.array.ptr);
	msgpack_unpacked_destroy(&unpacked);
	return good;
}

/* Takes one frame. Returns false if no whole frame has arrived. */
static bool
take_frame(struct publisher *publisher)
{
	struct net_socket *socket = publisher->socket;
	struct wire_header header;
	bool again;

	if (socket->to_client.length < sizeof(header))
		return false;
	memcpy(&header, socket->to_client.data, sizeof(header));
	if (socket->to_client.length < sizeof(header) + header.length)
		return false;
	again = header.type == WIRE_ERROR ||
	    (header.type == WIRE_RESULT &&
		!take_results(publisher, socket->to_client.data + sizeof(header), header.length));
	if (again) {
		world_trace("publisher %u is told to try again", publisher->process);
		disconnect(publisher, header.type == WIRE_RESULT);
		return false;
	}
	publisher->welcomed = true;
	net_consume(socket, sizeof(header) + header.length);
	return true;
}

void
publisher_step(unsigned which, bool more)
{
	struct publisher *publisher = &publishers[which];

	if (publisher->socket == NULL) {
		connect_to_router(publisher);
		return;
	}
	while (publisher->socket != NULL && take_frame(publisher))
		;
	if (publisher->socket == NULL)
		return;
	if (publisher->socket->ended) {
		disconnect(publisher, false);
		return;
	}
	if (!publisher->welcomed)
		return;
	for (uint64_t n = world_below(8 * burst); more && n > 0 && publisher->count < WINDOW; n--)
		publisher->unanswered[publisher->count++] = model_make(publisher->process);
	send_more(publisher);
}

/* The next life of the publisher sends unanswered messages again, or has forgotten them. */
void
publisher_die(unsigned which)
{
	struct publisher *publisher = &publishers[which];

	world_trace("publisher %u dies", publisher->process);
	disconnect(publisher, false);
	if (world_chance(50000))
		return;
	publisher->count = 0;
	publisher->process = lives++;
}

void
publisher_rest(unsigned which)
{
	disconnect(&publishers[which], false);
}

bool
publisher_is_done(unsigned which)
{
	return publishers[which].count == 0;
}
