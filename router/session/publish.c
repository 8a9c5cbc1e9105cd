#include "router/session/publish.h"

#include <errno.h>
#include <msgpack.h>
#include <string.h>

#include "message/envelope.h"
#include "router/journal/space.h"
#include "router/journal/writer.h"
#include "router/queue/queue.h"

enum {
	RESULT_BYTES = 128, /* most that a run of results without text or receipts takes */
	RECEIPT_BYTES = 12, /* ... and each queue of a receipt */
	REASON_BYTES = 256
};

/* A packer that writes into a fixed buffer. */
struct fixed {
	char *data;
	size_t length, capacity;
};

static int
write_fixed(void *context, const char *bytes, size_t length)
{
	struct fixed *fixed = context;

	if (length > fixed->capacity - fixed->length)
		return -1;
	memcpy(fixed->data + fixed->length, bytes, length);
	fixed->length += length;
	return 0;
}

/* [[first, count, status, duplicate, and the caller packs the last element */
static void
pack_result(msgpack_packer *packer, uint64_t first, uint32_t count, int status, bool duplicate)
{
	msgpack_pack_array(packer, 1);
	msgpack_pack_array(packer, 5);
	msgpack_pack_uint64(packer, first);
	msgpack_pack_uint32(packer, count);
	msgpack_pack_int(packer, status);
	if (duplicate)
		msgpack_pack_true(packer);
	else
		msgpack_pack_false(packer);
}

void
publish_flush_run(struct connection *connection)
{
	char bytes[RESULT_BYTES];
	struct fixed fixed = { .data = bytes, .capacity = sizeof(bytes) };
	msgpack_packer packer;

	if (connection->publisher.run.count == 0)
		return;
	msgpack_packer_init(&packer, &fixed, write_fixed);
	pack_result(&packer, connection->publisher.run.first, connection->publisher.run.count,
	    connection->publisher.run.status, connection->publisher.run.duplicate);
	msgpack_pack_array(&packer, 0);
	connection->publisher.run.count = 0;
	connection_frame(connection, WIRE_RESULT, fixed.data, fixed.length);
}

/* Adds one more good message to the run. */
static void
answer_run(struct connection *connection, bool duplicate)
{
	if (connection->publisher.run.count > 0 && connection->publisher.run.duplicate != duplicate)
		publish_flush_run(connection);
	if (connection->publisher.run.count++ == 0) {
		connection->publisher.run.first = connection->publisher.next_number;
		connection->publisher.run.status = 200;
		connection->publisher.run.duplicate = duplicate;
	}
}

static void
answer_receipt(struct connection *connection, bool duplicate, const unsigned queues[],
    const uint64_t sequences[], unsigned count)
{
	char bytes[RESULT_BYTES + CONNECTION_QUEUES * RECEIPT_BYTES];
	struct fixed fixed = { .data = bytes, .capacity = sizeof(bytes) };
	msgpack_packer packer;

	msgpack_packer_init(&packer, &fixed, write_fixed);
	pack_result(&packer, connection->publisher.next_number, 1, 200, duplicate);
	msgpack_pack_array(&packer, count);
	for (unsigned i = 0; i < count; i++) {
		msgpack_pack_array(&packer, 2);
		msgpack_pack_uint32(&packer, queues[i]);
		msgpack_pack_uint64(&packer, sequences[i]);
	}
	connection_frame(connection, WIRE_RESULT, fixed.data, fixed.length);
}

static void
answer_error(struct connection *connection, int status, const char *reason)
{
	char bytes[RESULT_BYTES + REASON_BYTES];
	struct fixed fixed = { .data = bytes, .capacity = sizeof(bytes) };
	size_t length = strnlen(reason, REASON_BYTES);
	msgpack_packer packer;

	publish_flush_run(connection);
	msgpack_packer_init(&packer, &fixed, write_fixed);
	pack_result(&packer, connection->publisher.next_number, 1, status, false);
	msgpack_pack_str(&packer, length);
	msgpack_pack_str_body(&packer, reason, length);
	connection_frame(connection, WIRE_RESULT, fixed.data, fixed.length);
	if (status == 422)
		atomic_fetch_add_explicit(
		    &connection->publisher.topic->control->unroutable, 1, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(
		    &connection->publisher.topic->control->refused, 1, memory_order_relaxed);
}

/* The queues of the connection's topic that take this message. */
static unsigned
route(struct connection *connection, const struct envelope *envelope,
    unsigned queues[CONNECTION_QUEUES])
{
	struct router *router = connection->router;
	unsigned count = 0;

	for (unsigned i = 0; i < router->queue_count; i++) {
		struct queue *queue = &router->queues[i];

		if (&router->topics[queue->topic] == connection->publisher.topic &&
		    !queue->config->dead_letters && filter_match(queue->filter, envelope))
			queues[count++] = i;
	}
	return count;
}

/* Room for a message, and for what may become of it? As writer_room_for_message(), or -EDQUOT. */
static int
room_in(struct router *router, struct queue *queue, size_t length)
{
	struct writer *dead = &router->queues[queue->config->dead_letter_queue].writer;

	if (queue->room.over_max_bytes)
		return -EDQUOT;
	/* As long as it has none nothing may be written there: so here it is looked whether it has some again. */
	if (space_is_short(dead))
		space_look(dead);
	if (space_is_short(dead))
		return dead->preallocated.error;
	if (dead->files_gone)
		return -ESTALE;
	return writer_room_for_message(&queue->writer, length);
}

/* Room in all of these logs? As room_in(); *short_of is a queue that has none. */
static int
room_in_all(struct router *router, const unsigned queues[], unsigned count, size_t length,
    const struct queue **short_of)
{
	for (unsigned i = 0; i < count; i++) {
		struct queue *queue = &router->queues[queues[i]];
		int rc = room_in(router, queue, length);

		if (rc != 1) {
			*short_of = queue;
			return rc;
		}
	}
	return 1;
}

static void
refuse_for_now(struct connection *connection, const struct queue *queue, const char *why)
{
	char reason[REASON_BYTES];

	snprintf(reason, sizeof(reason), "queue %s: %s: try again", queue->config->name, why);
	connection->publisher.refusing = true;
	answer_error(connection, 503, reason);
}

static const char *
room_text(int rc)
{
	switch (rc) {
	case -EDQUOT:
		return control_refusal_text(CONTROL_MAX_BYTES);
	case -ESTALE:
		return control_refusal_text(CONTROL_FILES_GONE);
	default:
		return strerror(-rc);
	}
}

static enum dedup_result
deduplicate(struct connection *connection, const struct envelope *envelope)
{
	struct dedup *dedup = connection->publisher.topic->dedup;
	uint32_t now = router_seconds(connection->router);
	struct dedup_hash hash;

	if (envelope->dedup_id.data == NULL || dedup == NULL)
		return DEDUP_NEW;
	hash = dedup_hash(
	    dedup, envelope->dedup_is_hash, envelope->dedup_id.data, envelope->dedup_id.length);
	return dedup_see(dedup, &hash, now);
}

static void
store(struct connection *connection, const struct envelope *envelope, const void *bytes,
    size_t length, const unsigned queues[], unsigned count)
{
	uint16_t group_hash = log_group_hash(envelope->group.data, envelope->group.length);
	uint64_t sequences[CONNECTION_QUEUES];

	for (unsigned i = 0; i < count; i++)
		sequences[i] =
		    queue_append(&connection->router->queues[queues[i]], bytes, length, group_hash);
	atomic_fetch_add_explicit(
	    &connection->publisher.topic->control->published, 1, memory_order_relaxed);
	if (connection->publisher.wants_receipts)
		answer_receipt(connection, false, queues, sequences, count);
	else
		answer_run(connection, false);
}

static void
count_duplicate(struct connection *connection, const unsigned queues[], unsigned count)
{
	atomic_fetch_add_explicit(
	    &connection->publisher.topic->control->duplicates, 1, memory_order_relaxed);
	for (unsigned i = 0; i < count; i++)
		atomic_fetch_add_explicit(
		    &connection->router->queues[queues[i]].control->counters.duplicates, 1,
		    memory_order_relaxed);
	if (connection->publisher.wants_receipts)
		answer_receipt(connection, true, NULL, NULL, 0);
	else
		answer_run(connection, true);
}

/* One message. Returns false when it must wait for room in a log. */
static bool
take_message(struct connection *connection, const void *bytes, size_t length)
{
	struct router *router = connection->router;
	unsigned queues[CONNECTION_QUEUES];
	const struct queue *short_of = NULL;
	struct envelope envelope;
	const char *why;
	unsigned count;
	int room;

	router->batch.dirty = true; /* at least an answer waits */
	if (connection->publisher.refusing) {
		answer_error(connection, 503, "behind a message that was asked to try again");
		return true;
	}
	if (envelope_open(&envelope, bytes, length, router->config->max_message_bytes, &why) != 0) {
		answer_error(connection, 400, why);
		return true;
	}
	if (envelope.topic != connection->publisher.topic->id) {
		answer_error(connection, 400, "a topic that is not this connection's");
		return true;
	}
	count = route(connection, &envelope, queues);
	if (count == 0) {
		answer_error(connection, 422, "no queue takes this message");
		return true;
	}
	room = room_in_all(router, queues, count, length, &short_of);
	if (room == 0)
		return false;
	if (room < 0) {
		refuse_for_now(connection, short_of, room_text(room));
		return true;
	}
	switch (deduplicate(connection, &envelope)) {
	case DEDUP_NEW:
		store(connection, &envelope, bytes, length, queues, count);
		break;
	case DEDUP_SEEN:
		count_duplicate(connection, queues, count);
		break;
	case DEDUP_NO_MEMORY:
		refuse_for_now(connection, &router->queues[queues[0]], strerror(ENOMEM));
		break;
	case DEDUP_FULL:
		refuse_for_now(connection, &router->queues[queues[0]],
		    "as many ids as dedup_max allows are remembered");
		break;
	}
	return true;
}

/* Reads the head of a PUBLISH frame. 1: needs more bytes; 0: read. */
static int
begin_frame(struct connection *connection)
{
	const uint8_t *at = connection->in.data + connection->in.start;
	size_t have = connection->in.end - connection->in.start;
	struct wire_header header;
	struct wire_publish publish;

	if (have < sizeof(header) + sizeof(publish))
		return 1;
	memcpy(&header, at, sizeof(header));
	memcpy(&publish, at + sizeof(header), sizeof(publish));
	if (!wire_header_valid(&header) || header.type != WIRE_PUBLISH ||
	    header.length < sizeof(publish) || publish.count == 0)
		return -EPROTO;
	if (connection->publisher.next_number != 0 &&
	    publish.first != connection->publisher.next_number)
		return -EPROTO;
	publish_flush_run(connection);
	connection->publisher.next_number = publish.first;
	connection->publisher.left = publish.count;
	connection->publisher.bytes = header.length - (uint32_t)sizeof(publish);
	connection->in.start += sizeof(header) + sizeof(publish);
	return 0;
}

int
publish_consume(struct connection *connection)
{
	while (!connection->closed) {
		const uint8_t *at;
		size_t have;
		uint32_t length;
		int rc;

		if (connection->publisher.left == 0) {
			if (connection->publisher.bytes != 0)
				return -EPROTO;
			rc = begin_frame(connection);
			if (rc != 0)
				return rc;
		}
		at = connection->in.data + connection->in.start;
		have = connection->in.end - connection->in.start;
		if (have < sizeof(length))
			return 1;
		memcpy(&length, at, sizeof(length));
		if (length > ENVELOPE_BODY_BYTES_MAX + ENVELOPE_OVERHEAD_BYTES ||
		    sizeof(length) + length > connection->publisher.bytes)
			return -EPROTO;
		if (have < sizeof(length) + length)
			return 1;
		if (!take_message(connection, at + sizeof(length), length))
			return 0;
		connection->publisher.next_number++;
		connection->publisher.left--;
		connection->publisher.bytes -= (uint32_t)sizeof(length) + length;
		connection->in.start += sizeof(length) + length;
	}
	return 1;
}

static void
pack_text(msgpack_packer *packer, const char *text)
{
	size_t length = strlen(text);

	msgpack_pack_str(packer, length);
	msgpack_pack_str_body(packer, text, length);
}

void
publish_welcome(struct connection *connection)
{
	const struct router *router = connection->router;
	const struct config_topic *topic = connection->publisher.topic->config;
	msgpack_sbuffer buffer;
	msgpack_packer packer;

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 7);
	msgpack_pack_uint32(&packer, connection->publisher.topic->id);
	pack_text(&packer, topic->name);
	msgpack_pack_uint64(&packer, router->config->max_message_bytes);
	msgpack_pack_array(&packer, topic->group_by_count);
	for (size_t i = 0; i < topic->group_by_count; i++)
		pack_text(&packer, topic->group_by[i]);
	msgpack_pack_array(&packer, topic->dedup_by_count);
	for (size_t i = 0; i < topic->dedup_by_count; i++)
		pack_text(&packer, topic->dedup_by[i]);
	if (topic->control)
		msgpack_pack_true(&packer);
	else
		msgpack_pack_false(&packer);
	msgpack_pack_array(&packer, router->queue_count);
	for (unsigned i = 0; i < router->queue_count; i++)
		pack_text(&packer, router->queues[i].config->name);
	connection_frame(connection, WIRE_WELCOME, buffer.data, buffer.size);
	msgpack_sbuffer_destroy(&buffer);
	connection_flush_now(connection);
}
