#include "router/delivery/delivery.h"

#include <errno.h>
#include <string.h>

#include "router/delivery/blocking.h"
#include "router/delivery/cursor.h"
#include "router/delivery/rings.h"
#include "router/journal/segments.h"
#include "router/queue/subscription.h"
#include "telemetry/crash.h"

/* May this message be delivered now? One that has cost a worker's life before runs alone, so that its
 * neighbours lose nothing when it does so again. */
static bool
may_deliver(struct worker *worker, uint64_t sequence)
{
	const struct queue *queue = worker->queue;

	if (worker->alone != 0 && !settled_has(&queue->settled, worker->alone))
		return false;
	worker->alone = 0;
	if (received_count(&queue->receives.died, sequence) == 0)
		return true;
	if (worker->in_flight > 0)
		return false;
	worker->alone = sequence;
	return true;
}

static bool
is_open(uint64_t word)
{
	return control_word_state(word) == CONTROL_RUNNING ||
	    control_word_state(word) == CONTROL_PROBING;
}

/* Delivers the message at the cursor, for the first time to this worker. Returns as rings_put(); 1 also
 * for one that is not for it, or is parked. */
static int
deliver(struct worker *worker, const struct log_frame *frame)
{
	struct queue *queue = worker->queue;
	struct lane_delivery delivery = {
		.sequence = frame->sequence,
		.receive_count = received_count(&queue->receives.died, frame->sequence),
	};
	int rc = 0;

	if (worker->lane_index[frame->group_hash % queue->config->lanes] < 0 ||
	    frame->sequence <= worker->delivered || settled_has(&queue->settled, frame->sequence))
		return 1;
	if (subscription_holds_back(queue, frame->sequence))
		return 0;
	if (queue->groups.count > 0)
		rc = blocking_park(worker, frame);
	if (rc == 0 && (queue->receives.died.count > 0 || worker->alone != 0) &&
	    !may_deliver(worker, frame->sequence))
		return 0;
	if (rc == 0 && !flights_reserve(&worker->flights))
		rc = -ENOMEM;
	if (rc == -ENOMEM) {
		queue->router->failed = rc;
		return 0;
	}
	if (rc == 0) {
		rc = rings_put(worker, frame, &delivery, "");
		if (rc != 1)
			return rc;
		flights_add(&worker->flights, frame->sequence, worker->cursor.position);
	}
	worker->delivered = frame->sequence;
	return 1;
}

/* What waited for its group. Returns as rings_put(). */
static int
deliver_again(struct worker *worker)
{
	int rc = blocking_deliver(worker);

	if (rc == -ENOMEM)
		worker->queue->router->failed = rc;
	if (rc == -EBADMSG)
		subscription_stop_unreadable(
		    worker->queue, worker->queue->settled.low_watermark + 1);
	/* A full lane does not keep the cursor from the others. */
	return rc == -ENOMEM || rc == -EBADMSG || rc == 0 ? 1 : rc;
}

void
delivery_pump(struct worker *worker)
{
	struct queue *queue = worker->queue;
	uint64_t before = worker->in_flight;
	int rc = 1;

	worker->full.lane = -1;
	if (!is_open(subscription_word(queue)))
		return;
	if (!TAILQ_EMPTY(&queue->groups.ready))
		rc = deliver_again(worker);
	while (rc == 1 && worker->state != WORKER_DETACHED &&
	    (worker->cursor.position = segments_position(&queue->writer, worker->cursor.position)) <
		queue->writer.durable) {
		const struct log_frame *frame = cursor_frame(worker);

		if (frame == NULL)
			break;
		if (log_is_message(frame))
			rc = deliver(worker, frame);
		if (rc != 1)
			break;
		worker->cursor.position += log_frame_bytes(frame->length);
	}
	if (rc < 0) {
		worker->reason = WORKER_BROKEN;
		worker_drop(worker, "a ring position that cannot be");
		return;
	}
	if (worker->state == WORKER_DETACHED || worker->in_flight == before)
		return;
	CRASH_POINT("delivery.reserved");
	for (unsigned i = 0; i < worker->lane_count; i++)
		ring_publish(&worker->delivery[i]);
	CRASH_POINT("delivery.published");
	worker_ring(worker);
}

void
delivery_tick(struct worker *worker, uint64_t now_ns)
{
	worker_check_time(worker, now_ns);
	if (worker->state != WORKER_DETACHED)
		blocking_tick(worker, now_ns);
}
