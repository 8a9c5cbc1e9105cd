#include "router/delivery/rings.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "message/envelope.h"
#include "router/queue/subscription.h"

/* An older configuration allowed more. */
static void
stop_for_size(struct worker *worker, uint64_t sequence)
{
	struct control_detail detail = { .sequence = sequence };

	subscription_by_router(worker->queue, &detail);
	snprintf(detail.reason, sizeof(detail.reason),
	    "message %" PRIu64 " is longer than max_message_size: set it as high as it was, and "
	    "restart the router",
	    sequence);
	subscription_gate(worker->queue, subscription_word(worker->queue), GATE_DAMAGE, &detail);
}

int
rings_put(struct worker *worker, const struct log_frame *frame,
    const struct lane_delivery *delivery, const char *reason)
{
	struct queue *queue = worker->queue;
	struct log_content content = log_content(frame);
	struct lane_delivery expired = *delivery;
	uint32_t front;
	int lane = worker->lane_index[frame->group_hash % queue->config->lanes];
	char *payload;
	void *room;
	int rc;

	if (retention_expired(&queue->retention, frame->sequence)) {
		expired.flags |= LANE_GIVE_UP;
		expired.status = RETENTION_STATUS;
		expired.reason_length = (uint16_t)strlen(RETENTION_REASON);
		delivery = &expired;
		reason = RETENTION_REASON;
	}
	front = (uint32_t)sizeof(*delivery) + delivery->reason_length;
	if (content.length > worker->lane[lane].max_message_bytes + ENVELOPE_OVERHEAD_BYTES) {
		stop_for_size(worker, frame->sequence);
		return 0;
	}
	rc =
	    ring_reserve(&worker->delivery[lane], LANE_TAG_DELIVERY, front + content.length, &room);
	if (rc == 0) {
		worker->full.lane = lane;
		worker->full.bytes = front + content.length + 2 * RING_ALIGNMENT;
	}
	if (rc != 1)
		return rc;
	payload = room;
	memcpy(payload, delivery, sizeof(*delivery));
	if (delivery->reason_length > 0)
		memcpy(payload + sizeof(*delivery), reason, delivery->reason_length);
	memcpy(payload + front, content.envelope, content.length);
	worker->in_flight++;
	worker->unanswered++;
	return 1;
}
