#include "router/delivery/requests.h"

#include <msgpack.h>
#include <string.h>

#include "router/queue/queue.h"

_Static_assert((int)BLOCKED_ID_BYTES == ENVELOPE_ID_BYTES + 1, "a message id fits");

void
requests_answer(struct connection *connection, const struct blocked_tried *tried)
{
	msgpack_sbuffer buffer;

	msgpack_sbuffer_init(&buffer);
	blocked_pack_tried(&buffer, tried);
	connection_frame(connection, WIRE_TRIED, buffer.data, buffer.size);
	msgpack_sbuffer_destroy(&buffer);
	/* Of what was ended nobody is told before it is on disk. */
	if (tried->outcome == BLOCKED_ENDED || tried->outcome == BLOCKED_DEAD_LETTER)
		connection->router->batch.dirty = true;
	else
		connection_flush_now(connection);
}

void
requests_begin(struct connection *connection, struct queue *queue, uint64_t hash,
    const struct blocked_tried *tried, bool skip)
{
	connection->request.queue = queue;
	connection->request.hash = hash;
	connection->request.sequence = tried->sequence;
	connection->request.skip = skip;
	memcpy(connection->request.message_id, tried->message_id, sizeof(tried->message_id));
	connection->router->requests++;
}

void
requests_forget(struct connection *connection)
{
	if (connection->request.queue == NULL)
		return;
	connection->request.queue = NULL;
	connection->router->requests--;
}

/* Tells those who wait for this message, or, when it is 0, for anything of this group. */
static void
tell(struct queue *queue, uint64_t hash, struct blocked_tried *tried)
{
	struct connection *connection;

	TAILQ_FOREACH (connection, &queue->router->connections, link) {
		if (connection->request.queue != queue ||
		    (tried->sequence != 0 ? connection->request.sequence != tried->sequence
					  : connection->request.hash != hash))
			continue;
		/* That it failed once more is not yet what was requested. */
		if (tried->outcome == BLOCKED_FAILED_AGAIN && connection->request.skip)
			continue;
		memcpy(
		    tried->message_id, connection->request.message_id, sizeof(tried->message_id));
		requests_forget(connection);
		requests_answer(connection, tried);
	}
}

static void
tell_of_message(struct queue *queue, enum blocked_outcome outcome, uint64_t sequence,
    uint16_t status, const char *reason)
{
	struct blocked_tried tried; /* long, and for nearly every message not needed */

	if (queue->router->requests == 0)
		return;
	tried = (struct blocked_tried){
		.outcome = outcome,
		.sequence = sequence,
		.status = status,
	};
	blocked_copy(tried.text, sizeof(tried.text), reason, strlen(reason));
	tell(queue, 0, &tried);
}

void
requests_failed(struct queue *queue, uint64_t sequence, uint16_t status, const char *reason)
{
	tell_of_message(queue, BLOCKED_FAILED_AGAIN, sequence, status, reason);
}

void
requests_ended(
    struct queue *queue, uint64_t sequence, uint16_t status, const char *reason, bool dead_lettered)
{
	tell_of_message(
	    queue, dead_lettered ? BLOCKED_DEAD_LETTER : BLOCKED_ENDED, sequence, status, reason);
}

void
requests_opened(struct queue *queue, uint64_t hash)
{
	struct blocked_tried tried = { .outcome = BLOCKED_GOES_ON };

	if (queue->router->requests > 0)
		tell(queue, hash, &tried);
}
