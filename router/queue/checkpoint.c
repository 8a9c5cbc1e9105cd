#include "router/queue/checkpoint.h"

#include <stdio.h>
#include <string.h>

#include "base/container_of.h"
#include "router/journal/writer.h"
#include "router/queue/counters.h"
#include "router/queue/expiry.h"
#include "router/queue/receives.h"
#include "router/queue/subscription.h"
#include "telemetry/crash.h"

enum { PIECE_MAX = 512 };
/* A chunk is the longest entry. */
_Static_assert(sizeof(struct settled_chunk) >= sizeof(struct log_segment_entry) &&
	sizeof(struct settled_chunk) >= sizeof(struct log_received),
    "PIECE_BYTES holds any");
#define PIECE_BYTES (CHECKPOINT_PIECE * sizeof(struct settled_chunk))

bool
checkpoint_tells(const struct queue *queue, uint64_t sequence)
{
	return queue->checkpoint.open && sequence <= queue->checkpoint.highest &&
	    sequence / SETTLED_CHUNK_BITS * SETTLED_CHUNK_BITS >= queue->checkpoint.base;
}

static void
append_head(struct queue *queue)
{
	const struct control_counters *counters = &queue->control->counters;
	struct log_checkpoint head = {
		.next_sequence = queue->next_sequence,
		.reserved = queue->reservation.end,
		.clock_ns = router_clock_ns(queue->router),
		.published = counters_read(&counters->published),
		.duplicates = counters_read(&counters->duplicates),
		.low_watermark = queue->settled.low_watermark,
		.highest = queue->settled.highest,
	};
	struct log_frame *frame =
	    writer_begin(&queue->writer, LOG_CHECKPOINT, (uint32_t)sizeof(head));

	memcpy(frame + 1, &head, sizeof(head));
	writer_finish(&queue->writer, frame);
	/* These are settled, though some may wait to be logged. What is settled while the checkpoint is open is
	 * added, where a chunk says so. */
	queue->checkpoint.totals = (struct log_totals){
		.done = counters_read(&counters->done),
		.failed = counters_read(&counters->failed),
		.dead_lettered = counters_read(&counters->dead_lettered),
		.expired = counters_read(&counters->expired),
	};
}

/* Of the old segments from first on, as many as fit in a frame. Returns the index behind. */
static size_t
append_entries(struct queue *queue, size_t first, size_t end)
{
	struct log_segment_entry entries[PIECE_MAX];
	struct log_frame *frame;
	uint32_t n = 0, length;

	while (n < CHECKPOINT_PIECE && first < end) {
		const struct log_segment *segment = &queue->writer.old[first++];

		entries[n++] = (struct log_segment_entry){
			.number = segment->number,
			.last_number = segment->last_number,
			.first_sequence = segment->first_sequence,
			.end_sequence = segment->end_sequence,
			.messages = segment->messages,
			.end_clock_ns = segment->end_clock_ns,
			.data_bytes = segment->data_bytes,
		};
	}
	length = n * (uint32_t)sizeof(*entries);
	frame = writer_begin(&queue->writer, LOG_SEGMENTS, length);
	memcpy(frame + 1, entries, length);
	writer_finish(&queue->writer, frame);
	return first;
}

_Static_assert(4 * sizeof(struct log_frame) + sizeof(struct log_checkpoint) +
	    sizeof(struct log_segment_entry) + sizeof(struct log_state) +
	    (RETENTION_MARKS + 1) * sizeof(struct log_clock) <=
	WRITER_BEGUN_BYTES,
    "what checkpoint_begin() appends");

void
checkpoint_begin(struct writer *writer)
{
	struct queue *queue = CONTAINER_OF(writer, struct queue, writer);
	struct log_segment *last =
	    writer->old_count > 0 ? &writer->old[writer->old_count - 1] : NULL;

	if (last != NULL && last->end_sequence == 0) {
		last->end_sequence = queue->next_sequence;
		last->messages = queue->checkpoint.messages;
		last->end_clock_ns = router_clock_ns(queue->router);
	}
	writer->active.segment.first_sequence = queue->next_sequence;
	queue->checkpoint.messages = 0;
	writer->active.ids_bytes = 0;
	/* The segment is new: these always fit. */
	append_head(queue);
	/* The rest of the checkpoint may come batches later: until then this says where the one before ends. */
	if (last != NULL)
		append_entries(queue, writer->old_count - 1, writer->old_count);
	subscription_append(queue);
	expiry_append(queue, true);
	queue->checkpoint.open = true;
	queue->checkpoint.entry = 0;
	queue->checkpoint.received = 0;
	queue->checkpoint.base = 0;
	queue->checkpoint.highest = queue->settled.highest;
	queue->router->batch.dirty = queue->router->batch.synced = true;
	CRASH_POINT("checkpoint.begun");
}

/* Receive counts from checkpoint_received on, as many as fit in a frame. Counts change while the checkpoint is
 * open: what changes is logged by itself, behind. Returns false when all are told. */
static bool
append_counts(struct queue *queue)
{
	const struct received *received = &queue->receives.died;
	size_t first = received_find(received, queue->checkpoint.received);
	size_t n = received->count - first;

	if (n > CHECKPOINT_PIECE)
		n = CHECKPOINT_PIECE;
	if (n == 0)
		return false;
	receives_append(queue, received->counts + first, n);
	queue->checkpoint.received = received->counts[first + n - 1].sequence + 1;
	return true;
}

/* Chunks from checkpoint_base on, as many as fit in a frame. Returns false when all are told. */
static bool
append_chunks(struct queue *queue)
{
	struct settled_chunk chunks[PIECE_MAX];
	struct log_frame *frame;
	uint32_t length;
	size_t n =
	    settled_copy_chunks(&queue->settled, queue->checkpoint.base, chunks, CHECKPOINT_PIECE);

	while (n > 0 && chunks[n - 1].base > queue->checkpoint.highest)
		n--; /* newer than the checkpoint */
	if (n == 0)
		return false;
	length = (uint32_t)(n * sizeof(*chunks));
	frame = writer_begin(&queue->writer, LOG_UNSETTLED, length);
	memcpy(frame + 1, chunks, length);
	writer_finish(&queue->writer, frame);
	queue->checkpoint.base = chunks[n - 1].base + SETTLED_CHUNK_BITS;
	CRASH_POINT("checkpoint.appended");
	return true;
}

/* The checkpoint is whole. */
static void
append_totals(struct queue *queue)
{
	struct log_frame *frame =
	    writer_begin(&queue->writer, LOG_TOTALS, sizeof(queue->checkpoint.totals));

	memcpy(frame + 1, &queue->checkpoint.totals, sizeof(queue->checkpoint.totals));
	writer_finish(&queue->writer, frame);
	queue->checkpoint.open = false;
	queue->logged.gathered.checkpoint = queue->writer.active.segment.number;
	CRASH_POINT("checkpoint.whole");
}

uint64_t
checkpoint_bytes(const struct writer *writer)
{
	const struct queue *queue = queue_of(writer);

	return PIECE_BYTES + writer->old_count * sizeof(struct log_segment_entry) +
	    queue->receives.died.count * sizeof(struct log_received) +
	    queue->settled.count * sizeof(struct settled_chunk);
}

void
checkpoint_log(struct queue *queue)
{
	/* writer_room() may begin a segment and with it a new checkpoint. */
	while (queue->checkpoint.open && writer_room(&queue->writer, PIECE_BYTES) == 1) {
		if (queue->checkpoint.entry + 1 < queue->writer.old_count)
			queue->checkpoint.entry = append_entries(
			    queue, queue->checkpoint.entry, queue->writer.old_count - 1);
		else if (!append_counts(queue) && !append_chunks(queue))
			append_totals(queue);
	}
}

bool
checkpoint_due(struct queue *queue)
{
	return queue->checkpoint.open && writer_room(&queue->writer, PIECE_BYTES) == 1;
}
