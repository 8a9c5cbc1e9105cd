#include "router/queue/receives.h"

#include <stdio.h>
#include <string.h>

#include "router/journal/writer.h"
#include "router/queue/lookup.h"
#include "router/queue/subscription.h"
#include "telemetry/event.h"

void
receives_append(struct queue *queue, const struct log_received *counts, size_t n)
{
	uint32_t length = (uint32_t)(n * sizeof(*counts));
	struct log_frame *frame = writer_begin(&queue->writer, LOG_RECEIVED, length);

	memcpy(frame + 1, counts, length);
	writer_finish(&queue->writer, frame);
}

static void
trip_for_receives(struct queue *queue, uint64_t position, uint64_t sequence, uint32_t count_now)
{
	struct control_detail detail = { .sequence = sequence, .status = 500 };

	subscription_by_router(queue, &detail);
	snprintf(detail.error, sizeof(detail.error),
	    "the worker died, or took too long, %u times while it handled this message", count_now);
	strlcpy(detail.reason, "max_receive_count", sizeof(detail.reason));
	lookup_message_id(queue, position, sequence, detail.message_id);
	subscription_gate(queue, subscription_word(queue), GATE_FAILED, &detail);
}

int
receives_count(struct queue *queue, uint64_t position, uint64_t sequence)
{
	struct log_received received = {
		.sequence = sequence,
		.count = received_count(&queue->receives.died, sequence) + 1,
	};
	int rc = received_set(&queue->receives.died, sequence, received.count);

	if (rc != 0)
		return rc;
	event(EVENT_WARN, "message.not_survived", "s:queue", queue->config->name, "u:sequence",
	    sequence, "u:receives", (uint64_t)received.count, NULL);
	if (writer_room_for_state(&queue->writer, sizeof(received)) == 1) {
		receives_append(queue, &received, 1);
		queue->router->batch.dirty = true;
	}
	/* Of others the worker is told to give it up. Dead letters have nowhere to go. */
	if (queue->config->dead_letters && received.count >= queue->config->max_receive_count)
		trip_for_receives(queue, position, sequence, received.count);
	return 0;
}
