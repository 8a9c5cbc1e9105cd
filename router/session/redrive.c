#include "router/session/redrive.h"

#include <errno.h>
#include <msgpack.h>
#include <string.h>

#include "router/queue/lookup.h"
#include "router/queue/queue.h"
#include "router/queue/transfer.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

struct request {
	struct queue *from, *to; /* to NULL: purge */
	const msgpack_object *places;
	uint32_t count;
};

struct redrive_answer {
	uint64_t moved, gone;
	int status;
	const char *text;
};

static struct queue *
find_queue(struct router *router, const msgpack_object *name)
{
	for (unsigned i = 0; i < router->queue_count; i++) {
		const char *known = router->queues[i].config->name;

		if (strlen(known) == name->via.str.size &&
		    memcmp(known, name->via.str.ptr, name->via.str.size) == 0)
			return &router->queues[i];
	}
	return NULL;
}

static bool
is_place(const msgpack_object *place)
{
	return place->type == MSGPACK_OBJECT_ARRAY && place->via.array.size == 2 &&
	    place->via.array.ptr[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
	    place->via.array.ptr[1].type == MSGPACK_OBJECT_POSITIVE_INTEGER;
}

/* [queue, target, [[sequence, position] ...]] */
static bool
request_valid(const msgpack_object *object)
{
	const msgpack_object *field;

	if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size != 3)
		return false;
	field = object->via.array.ptr;
	if (field[0].type != MSGPACK_OBJECT_STR || field[1].type != MSGPACK_OBJECT_STR ||
	    field[2].type != MSGPACK_OBJECT_ARRAY || field[2].via.array.size > WIRE_MOVE_MAX)
		return false;
	for (uint32_t i = 0; i < field[2].via.array.size; i++)
		if (!is_place(&field[2].via.array.ptr[i]))
			return false;
	return true;
}

static struct redrive_answer
refusal(int status, const char *text)
{
	return (struct redrive_answer){ .status = status, .text = text };
}

static struct redrive_answer
find_queues(struct request *request, struct router *router, const msgpack_object *field)
{
	bool purge = field[1].via.str.size == 0;

	request->from = find_queue(router, &field[0]);
	request->to = purge ? NULL : find_queue(router, &field[1]);
	request->places = field[2].via.array.ptr;
	request->count = field[2].via.array.size;
	if (request->from == NULL || (!purge && request->to == NULL))
		return refusal(404, "no queue of this name in the configuration");
	if (!request->from->config->dead_letters)
		return refusal(409, "not a dead-letter queue");
	if (request->to == request->from)
		return refusal(409, "to the queue that it is in");
	if (!TAILQ_EMPTY(&request->from->attached.workers))
		return refusal(409, "a worker is attached to the queue");
	if (request->to != NULL && request->to->room.over_max_bytes)
		return refusal(503, "the queue holds max_bytes of messages");
	return refusal(200, "");
}

/* One message. Returns 1 when it was moved, 0 when it was settled before; else answer says why not. */
static int
move_one(const struct request *request, const msgpack_object *place, struct redrive_answer *answer)
{
	uint64_t sequence = place->via.array.ptr[0].via.u64;
	uint64_t position = place->via.array.ptr[1].via.u64;
	struct queue *from = request->from;
	struct log_content content = { 0 };
	const struct log_frame *frame;
	int rc = transfer_room_to_settle(from), found;

	if (settled_has(&from->settled, sequence))
		return 0;
	found = lookup_frame(from, position, sequence, &frame);
	if (found < 0) {
		*answer = refusal(503, "the log cannot be read now");
		return -1;
	}
	if (found == 1)
		content = log_content(frame);
	if (content.origin == NULL) {
		*answer = refusal(409, "the message is not at this place: look again");
		return -1;
	}
	if (rc == 1 && request->to != NULL)
		rc = transfer_copy(request->to, frame, &content);
	if (rc != 1) {
		*answer = refusal(503, rc == 0 ? "no room now" : strerror(-rc));
		return -1;
	}
	rc = queue_settle_now(
	    from, sequence, request->to != NULL ? 200 : 410, LOG_SETTLED_TRANSFERRED);
	CRASH_POINT("redrive.settled");
	if (rc != 0)
		from->router->failed = rc;
	return 1;
}

static void
move_all(const struct request *request, struct redrive_answer *answer)
{
	uint64_t moved = 0, gone = 0;

	for (uint32_t i = 0; i < request->count && answer->status == 200; i++) {
		int rc = move_one(request, &request->places[i], answer);

		moved += rc == 1;
		gone += rc == 0;
	}
	answer->moved = moved;
	answer->gone = gone;
	if (moved > 0)
		event(EVENT_INFO, "dead_letters.moved", "s:queue", request->from->config->name,
		    "s:to", request->to ? request->to->config->name : "", "u:messages", moved,
		    NULL);
}

static void
send_answer(struct connection *connection, const struct redrive_answer *answer)
{
	msgpack_sbuffer buffer;
	msgpack_packer packer;
	size_t length = strlen(answer->text);

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 4);
	msgpack_pack_uint64(&packer, answer->moved);
	msgpack_pack_uint64(&packer, answer->gone);
	msgpack_pack_int(&packer, answer->status);
	msgpack_pack_str(&packer, length);
	msgpack_pack_str_body(&packer, answer->text, length);
	connection_frame(connection, WIRE_MOVED, buffer.data, buffer.size);
	msgpack_sbuffer_destroy(&buffer);
	/* It goes out with the batch that is being gathered, when that is on disk. */
	connection->router->batch.dirty = true;
}

int
redrive_handle(struct connection *connection, const void *payload, size_t length)
{
	struct request request;
	struct redrive_answer answer;
	msgpack_unpacked unpacked;
	bool good;

	if (!wire_check(payload, length, 4))
		return -EPROTO;
	msgpack_unpacked_init(&unpacked);
	good = msgpack_unpack_next(&unpacked, payload, length, NULL) == MSGPACK_UNPACK_SUCCESS &&
	    request_valid(&unpacked.data);
	if (good) {
		answer = find_queues(&request, connection->router, unpacked.data.via.array.ptr);
		if (answer.status == 200)
			move_all(&request, &answer);
		send_answer(connection, &answer);
	}
	msgpack_unpacked_destroy(&unpacked);
	return good ? 0 : -EPROTO;
}
