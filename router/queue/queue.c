#include "router/queue/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log/ids.h"
#include "router/journal/space.h"
#include "router/journal/writer.h"
#include "router/queue/checkpoint.h"
#include "router/queue/counters.h"
#include "router/queue/index.h"
#include "telemetry/crash.h"

enum { LOOK_FOR_ROOM_NS = 1000000000 };
/* So that several frames of settlements fit in a batch. */
#define SETTLED_PER_FRAME (WRITER_GATHER_BYTES / 32 / sizeof(struct log_settled))

/* Gives the next sequence to a frame that holds a message and is filled. */
static uint64_t
finish_message(struct queue *queue, struct log_frame *frame, uint16_t group_hash)
{
	frame->sequence = queue->next_sequence++;
	frame->group_hash = group_hash;
	writer_finish(&queue->writer, frame);
	if (queue->index.batch_first == 0)
		queue->index.batch_first = frame->sequence;
	queue->checkpoint.messages++;
	queue->writer.active.ids_bytes += sizeof(struct log_id);
	counters_add(&queue->control->counters.published, 1);
	return frame->sequence;
}

uint64_t
queue_append(struct queue *queue, const void *envelope, size_t length, uint16_t group_hash)
{
	struct log_frame *frame = writer_begin(&queue->writer, LOG_MESSAGE, (uint32_t)length);

	memcpy(frame + 1, envelope, length);
	return finish_message(queue, frame, group_hash);
}

uint64_t
queue_append_moved(struct queue *queue, const struct log_content *content, uint16_t group_hash)
{
	uint32_t front = log_origin_bytes(content->origin->reason_length);
	struct log_frame *frame =
	    writer_begin(&queue->writer, LOG_TRANSFERRED, front + content->length);
	struct log_origin *origin = (void *)(frame + 1);

	memset(origin, 0, front);
	*origin = *content->origin;
	memcpy(origin + 1, content->reason, origin->reason_length);
	memcpy((char *)origin + front, content->envelope, content->length);
	return finish_message(queue, frame, group_hash);
}

/* Adds to the settlements that wait for the log; a run becomes one range. */
static int
add_pending(struct queue *queue, uint64_t sequence, uint16_t status)
{
	if (queue->pending.count > 0) {
		struct log_settled *last = &queue->pending.ranges[queue->pending.count - 1];

		if (last->first + last->count == sequence && last->status == status &&
		    last->count < UINT32_MAX) {
			last->count++;
			return 0;
		}
	}
	if (queue->pending.count == queue->pending.capacity) {
		size_t more = queue->pending.capacity ? 2 * queue->pending.capacity : 256;
		void *bigger =
		    realloc(queue->pending.ranges, more * sizeof(*queue->pending.ranges));

		if (bigger == NULL)
			return -ENOMEM;
		queue->pending.ranges = bigger;
		queue->pending.capacity = more;
	}
	queue->pending.ranges[queue->pending.count++] =
	    (struct log_settled){ .first = sequence, .count = 1, .status = status };
	return 0;
}

static void
count_outcome(struct queue *queue, uint64_t sequence, uint16_t status, uint16_t flags)
{
	struct control_counters *counters = &queue->control->counters;
	struct log_settled range = { .first = sequence, .status = status, .flags = flags };

	counters_add(status < 300 ? &counters->done : &counters->failed, 1);
	if (flags & LOG_SETTLED_DEAD)
		counters_add(&counters->dead_lettered, 1);
	if (flags & LOG_SETTLED_EXPIRED)
		counters_add(&counters->expired, 1);
	if (checkpoint_tells(queue, sequence))
		log_count(&queue->checkpoint.totals, &range, 1);
}

/* Counts a message as settled. Returns 1, 0 when it was before, or -ENOMEM. */
static int
settle(struct queue *queue, uint64_t sequence, uint16_t status, uint16_t flags)
{
	int rc = settled_add(&queue->settled, sequence);

	if (rc <= 0)
		return rc;
	if (sequence == queue->probe.sequence)
		queue->probe.status = status;
	if (queue->receives.died.count > 0)
		received_remove(&queue->receives.died, sequence);
	if (queue->receives.answered.count > 0)
		received_remove(&queue->receives.answered, sequence);
	queue->logged.settled_count++;
	count_outcome(queue, sequence, status, flags);
	return 1;
}

int
queue_settle(struct queue *queue, uint64_t sequence, uint16_t status)
{
	int rc = settle(queue, sequence, status, 0);

	if (rc <= 0)
		return rc;
	rc = add_pending(queue, sequence, status);
	return rc < 0 ? rc : 1;
}

int
queue_settle_now(struct queue *queue, uint64_t sequence, uint16_t status, uint16_t flags)
{
	struct log_settled range = {
		.first = sequence,
		.count = 1,
		.status = status,
		.flags = flags,
	};
	struct log_frame *frame;
	int rc = settle(queue, sequence, status, flags);

	if (rc < 0)
		return rc;
	frame = writer_begin(&queue->writer, LOG_SETTLED, sizeof(range));
	memcpy(frame + 1, &range, sizeof(range));
	writer_finish(&queue->writer, frame);
	queue->router->batch.dirty = true;
	return 0;
}

bool
queue_settlements_due(const struct queue *queue)
{
	return queue->pending.count > 0 &&
	    (!space_is_short(&queue->writer) || queue->router->stopping ||
		queue->logged.gathered.settled < queue->logged.wanted_settled);
}

void
queue_log_settled(struct queue *queue)
{
	size_t done = 0;

	/* What queue_settle_now() settled is in this batch already. */
	if (queue->pending.count == 0)
		queue->logged.gathered.settled = queue->logged.settled_count;
	if (!queue_settlements_due(queue))
		return;
	while (done < queue->pending.count) {
		size_t n = queue->pending.count - done;
		struct log_frame *frame;
		uint32_t length;

		if (n > SETTLED_PER_FRAME)
			n = SETTLED_PER_FRAME;
		length = (uint32_t)(n * sizeof(*queue->pending.ranges));
		if (writer_room(&queue->writer, length) != 1)
			break;
		frame = writer_begin(&queue->writer, LOG_SETTLED, length);
		memcpy(frame + 1, queue->pending.ranges + done, length);
		writer_finish(&queue->writer, frame);
		CRASH_POINT("settled.appended");
		done += n;
	}
	queue->pending.count -= done;
	if (queue->pending.count == 0)
		queue->logged.gathered.settled = queue->logged.settled_count;
	else
		memmove(queue->pending.ranges, queue->pending.ranges + done,
		    queue->pending.count * sizeof(*queue->pending.ranges));
}

uint64_t
queue_settlement_bytes(const struct writer *writer)
{
	return counters_read(&queue_of(writer)->control->counters.depth) *
	    sizeof(struct log_settled);
}

void
queue_disk_full(struct writer *writer)
{
	struct router *router = queue_of(writer)->router;

	for (unsigned i = 0; i < router->queue_count; i++) {
		struct queue *queue = &router->queues[i];

		space_drop_spare(&queue->writer);
		if (&queue->writer != writer && queue->pending.count == 0 &&
		    queue->settled.low_watermark + 1 == queue->next_sequence)
			space_drop_next(&queue->writer);
	}
}

int
queue_add_ids(struct queue *queue, uint64_t number, uint64_t newest_clock_s)
{
	if (queue->ids.count == queue->ids.capacity) {
		size_t more = queue->ids.capacity ? 2 * queue->ids.capacity : 16;
		void *bigger = realloc(queue->ids.files, more * sizeof(*queue->ids.files));

		if (bigger == NULL)
			return -ENOMEM;
		queue->ids.files = bigger;
		queue->ids.capacity = more;
	}
	queue->ids.files[queue->ids.count++] =
	    (struct ids_file){ .number = number, .newest_clock_s = newest_clock_s };
	return 0;
}

void
queue_batch_closed(struct queue *queue, uint64_t time_ns)
{
	uint64_t sequence =
	    queue->index.batch_first ? queue->index.batch_first : queue->next_sequence;

	/* Without memory for an index entry a cursor starts earlier: slower, not wrong. But there must be a
	 * first one, and that is made when the log is opened. */
	index_add(queue, queue->writer.batch_start, sequence, time_ns);
	queue->index.batch_first = 0;
	queue->state.in_flight = queue->state.gathered;
	queue->state.gathered = 0;
	queue->logged.in_flight = queue->logged.gathered;
}

void
queue_batch_durable(struct queue *queue)
{
	if (!queue->writer.unsynced)
		queue->logged.durable = queue->logged.in_flight;
	if (queue->state.in_flight == 0)
		return;
	/* Pairs with the acquire load of headgatectl, which then tells its user that it is logged. */
	atomic_store_explicit(
	    &queue->control->logged, queue->state.in_flight, memory_order_release);
	queue->state.in_flight = 0;
}

void
queue_look_for_room(struct queue *queue, uint64_t now_ns)
{
	if (queue->router->stopping || now_ns - queue->room.looked_ns < LOOK_FOR_ROOM_NS ||
	    space_shortage(&queue->writer) == 0)
		return;
	queue->room.looked_ns = now_ns;
	space_see_room(&queue->writer);
}
