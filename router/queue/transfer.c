#include "router/queue/transfer.h"

#include <errno.h>
#include <string.h>

#include "router/journal/writer.h"
#include "router/queue/lookup.h"
#include "router/queue/queue.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

int
transfer_room_to_settle(struct queue *from)
{
	return writer_room(&from->writer, sizeof(struct log_settled));
}

int
transfer_copy(struct queue *to, const struct log_frame *frame, const struct log_content *content)
{
	int rc;

	if (to->writer.files_gone) /* who copies them may have done so already */
		return -ESTALE;
	rc = writer_room(
	    &to->writer, log_origin_bytes(content->origin->reason_length) + content->length);
	if (rc == 1) {
		queue_append_moved(to, content, frame->group_hash);
		CRASH_POINT("transfer.copied");
	}
	return rc;
}

/*
 * To the dead letters.
 */

/* Where the message comes from, and what was the matter with it this time. */
static struct log_origin
describe(const struct queue *queue, const struct failure *failure, const struct log_origin *before)
{
	struct log_origin origin = {
		.log_id = queue->writer.log_id,
		.sequence = failure->sequence,
		.first_ns = io_wall_ns(),
	};

	strlcpy(origin.queue, queue->config->name, sizeof(origin.queue));
	if (before != NULL)
		origin = *before;
	origin.last_ns = io_wall_ns();
	origin.receives += failure->receives;
	origin.status = failure->status;
	origin.reason_length = (uint16_t)strnlen(failure->reason, LOG_REASON_BYTES);
	return origin;
}

bool
transfer_takes(const struct queue *queue, uint16_t status)
{
	return !queue->config->dead_letters &&
	    (status >= 500 ||
		(status >= 400 && queue->config->client_error != CONFIG_CLIENT_RECORD));
}

int
transfer_to_dead_letters(struct queue *queue, const struct failure *failure)
{
	struct router *router = queue->router;
	const struct log_frame *frame;
	struct log_content content;
	struct log_origin origin;
	int rc = transfer_room_to_settle(queue);

	if (rc != 1)
		return 0;
	rc = lookup_message(queue, failure->position, failure->sequence, &frame);
	if (rc != 1)
		return rc;
	content = log_content(frame);
	origin = describe(queue, failure, content.origin);
	content.origin = &origin;
	content.reason = failure->reason;
	rc = transfer_copy(&router->queues[queue->config->dead_letter_queue], frame, &content);
	if (rc != 1)
		return 0;
	rc = queue_settle_now(
	    queue, failure->sequence, failure->status, failure->flags | LOG_SETTLED_DEAD);
	CRASH_POINT("transfer.settled");
	return rc < 0 ? rc : 1;
}
