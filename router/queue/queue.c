#include "router/queue/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log/ids.h"
#include "log/state.h"
#include "router/queue/notify.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

enum {
	LOOK_FOR_ROOM_NS = 1000000000,
	MARK_BYTES = 256 << 10, /* a mark for at least this much of the log */
	PIECE_MAX = 512,
	SHORT_READ_BYTES = 4096,    /* most messages are no longer */
	WALK_READ_BYTES = 256 << 10 /* where what comes behind is looked at, too */
};
/* A chunk is the longest entry. */
_Static_assert(sizeof(struct settled_chunk) >= sizeof(struct log_segment_entry) &&
	sizeof(struct settled_chunk) >= sizeof(struct log_received),
    "PIECE_BYTES holds any");
#define PIECE_BYTES (QUEUE_PIECE * sizeof(struct settled_chunk))
/* So that several frames of settlements fit in a batch. */
#define SETTLED_PER_FRAME (WRITER_GATHER_BYTES / 32 / sizeof(struct log_settled))

static void
count(_Atomic uint64_t *counter, uint64_t n)
{
	/* The router is the only writer; readers want no order. */
	atomic_store_explicit(
	    counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* Gives the next sequence to a frame that holds a message and is filled. */
static uint64_t
finish_message(struct queue *queue, struct log_frame *frame, uint16_t group_hash)
{
	frame->sequence = queue->next_sequence++;
	frame->group_hash = group_hash;
	writer_finish(&queue->writer, frame);
	if (queue->batch_first_sequence == 0)
		queue->batch_first_sequence = frame->sequence;
	queue->segment_messages++;
	queue->writer.ids_bytes += sizeof(struct log_id);
	count(&queue->control->counters.published, 1);
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
	if (queue->pending_count > 0) {
		struct log_settled *last = &queue->pending[queue->pending_count - 1];

		if (last->first + last->count == sequence && last->status == status &&
		    last->count < UINT32_MAX) {
			last->count++;
			return 0;
		}
	}
	if (queue->pending_count == queue->pending_capacity) {
		size_t more = queue->pending_capacity ? 2 * queue->pending_capacity : 256;
		void *bigger = realloc(queue->pending, more * sizeof(*queue->pending));

		if (bigger == NULL)
			return -ENOMEM;
		queue->pending = bigger;
		queue->pending_capacity = more;
	}
	queue->pending[queue->pending_count++] =
	    (struct log_settled){ .first = sequence, .count = 1, .status = status };
	return 0;
}

/* Does the open checkpoint say of this message that it is settled, which it is only now? Its chunk comes yet. */
static bool
is_in_checkpoint(const struct queue *queue, uint64_t sequence)
{
	return queue->checkpoint_open && sequence <= queue->checkpoint_highest &&
	    sequence / SETTLED_CHUNK_BITS * SETTLED_CHUNK_BITS >= queue->checkpoint_base;
}

static void
count_outcome(struct queue *queue, uint64_t sequence, uint16_t status, uint16_t flags)
{
	struct control_counters *counters = &queue->control->counters;
	struct log_settled range = { .first = sequence, .status = status, .flags = flags };

	count(status < 300 ? &counters->done : &counters->failed, 1);
	if (flags & LOG_SETTLED_DEAD)
		count(&counters->dead_lettered, 1);
	if (flags & LOG_SETTLED_EXPIRED)
		count(&counters->expired, 1);
	if (is_in_checkpoint(queue, sequence))
		log_count(&queue->checkpoint_totals, &range, 1);
}

/* Counts a message as settled. Returns 1, 0 when it was before, or -ENOMEM. */
static int
settle(struct queue *queue, uint64_t sequence, uint16_t status, uint16_t flags)
{
	int rc = settled_add(&queue->settled, sequence);

	if (rc <= 0)
		return rc;
	if (sequence == queue->probe_sequence)
		queue->probe_status = status;
	if (queue->received.count > 0)
		received_remove(&queue->received, sequence);
	if (queue->answered.count > 0)
		received_remove(&queue->answered, sequence);
	queue->settled_count++;
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
	queue->router->batch_dirty = true;
	return 0;
}

bool
queue_settlements_due(const struct queue *queue)
{
	return queue->pending_count > 0 &&
	    (!writer_is_short(&queue->writer) || queue->router->stopping ||
		queue->gathered.settled < queue->wanted_settled);
}

void
queue_log_settled(struct queue *queue)
{
	size_t done = 0;

	/* What queue_settle_now() settled is in this batch already. */
	if (queue->pending_count == 0)
		queue->gathered.settled = queue->settled_count;
	if (!queue_settlements_due(queue))
		return;
	while (done < queue->pending_count) {
		size_t n = queue->pending_count - done;
		struct log_frame *frame;
		uint32_t length;

		if (n > SETTLED_PER_FRAME)
			n = SETTLED_PER_FRAME;
		length = (uint32_t)(n * sizeof(*queue->pending));
		if (writer_room(&queue->writer, length) != 1)
			break;
		frame = writer_begin(&queue->writer, LOG_SETTLED, length);
		memcpy(frame + 1, queue->pending + done, length);
		writer_finish(&queue->writer, frame);
		CRASH_POINT("settled.appended");
		done += n;
	}
	queue->pending_count -= done;
	if (queue->pending_count == 0)
		queue->gathered.settled = queue->settled_count;
	else
		memmove(queue->pending, queue->pending + done,
		    queue->pending_count * sizeof(*queue->pending));
}

/*
 * The checkpoint that each segment begins with.
 */

static uint64_t
read_counter(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void append_state(struct queue *);
static void append_clock(struct queue *, bool all);

static void
append_head(struct queue *queue)
{
	const struct control_counters *counters = &queue->control->counters;
	struct log_checkpoint head = {
		.next_sequence = queue->next_sequence,
		.reserved = queue->reserved_end,
		.clock_ns = router_clock_ns(queue->router),
		.published = read_counter(&counters->published),
		.duplicates = read_counter(&counters->duplicates),
		.low_watermark = queue->settled.low_watermark,
		.highest = queue->settled.highest,
	};
	struct log_frame *frame =
	    writer_begin(&queue->writer, LOG_CHECKPOINT, (uint32_t)sizeof(head));

	memcpy(frame + 1, &head, sizeof(head));
	writer_finish(&queue->writer, frame);
	/* These are settled, though some may wait to be logged. What is settled while the checkpoint is open is
	 * added, where a chunk says so. */
	queue->checkpoint_totals = (struct log_totals){
		.done = read_counter(&counters->done),
		.failed = read_counter(&counters->failed),
		.dead_lettered = read_counter(&counters->dead_lettered),
		.expired = read_counter(&counters->expired),
	};
}

/* Of the old segments from first on, as many as fit in a frame. Returns the index behind. */
static size_t
append_entries(struct queue *queue, size_t first, size_t end)
{
	struct log_segment_entry entries[PIECE_MAX];
	struct log_frame *frame;
	uint32_t n = 0, length;

	while (n < QUEUE_PIECE && first < end) {
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
    "what queue_segment_begun() appends");
/* What closes a batch: a promise of sequences, a frame of nothing, the end, and a pad of up to two blocks. */
_Static_assert(4 * sizeof(struct log_frame) + sizeof(struct log_reserved) +
	    sizeof(struct log_commit) + LOG_LOGS_MAX * sizeof(uint64_t) + 2 * LOG_HEADER_BYTES <=
	WRITER_RESERVE_BYTES,
    "what writer_commit() and queue_reserve() append");

void
queue_segment_begun(struct writer *writer)
{
	struct queue *queue = (void *)((char *)writer - offsetof(struct queue, writer));
	struct log_segment *last =
	    writer->old_count > 0 ? &writer->old[writer->old_count - 1] : NULL;

	if (last != NULL && last->end_sequence == 0) {
		last->end_sequence = queue->next_sequence;
		last->messages = queue->segment_messages;
		last->end_clock_ns = router_clock_ns(queue->router);
	}
	writer->active.segment.first_sequence = queue->next_sequence;
	queue->segment_messages = 0;
	writer->ids_bytes = 0;
	/* The segment is new: these always fit. */
	append_head(queue);
	/* The rest of the checkpoint may come batches later: until then this says where the one before ends. */
	if (last != NULL)
		append_entries(queue, writer->old_count - 1, writer->old_count);
	append_state(queue);
	append_clock(queue, true);
	queue->checkpoint_open = true;
	queue->checkpoint_entry = 0;
	queue->checkpoint_received = 0;
	queue->checkpoint_base = 0;
	queue->checkpoint_highest = queue->settled.highest;
	queue->router->batch_dirty = queue->router->batch_synced = true;
	CRASH_POINT("checkpoint.begun");
}

static void
append_received(struct queue *queue, const struct log_received *counts, size_t n)
{
	uint32_t length = (uint32_t)(n * sizeof(*counts));
	struct log_frame *frame = writer_begin(&queue->writer, LOG_RECEIVED, length);

	memcpy(frame + 1, counts, length);
	writer_finish(&queue->writer, frame);
}

/* Receive counts from checkpoint_received on, as many as fit in a frame. Counts change while the checkpoint is
 * open: what changes is logged by itself, behind. Returns false when all are told. */
static bool
append_counts(struct queue *queue)
{
	const struct received *received = &queue->received;
	size_t first = received_find(received, queue->checkpoint_received);
	size_t n = received->count - first;

	if (n > QUEUE_PIECE)
		n = QUEUE_PIECE;
	if (n == 0)
		return false;
	append_received(queue, received->counts + first, n);
	queue->checkpoint_received = received->counts[first + n - 1].sequence + 1;
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
	    settled_copy_chunks(&queue->settled, queue->checkpoint_base, chunks, QUEUE_PIECE);

	while (n > 0 && chunks[n - 1].base > queue->checkpoint_highest)
		n--; /* newer than the checkpoint */
	if (n == 0)
		return false;
	length = (uint32_t)(n * sizeof(*chunks));
	frame = writer_begin(&queue->writer, LOG_UNSETTLED, length);
	memcpy(frame + 1, chunks, length);
	writer_finish(&queue->writer, frame);
	queue->checkpoint_base = chunks[n - 1].base + SETTLED_CHUNK_BITS;
	CRASH_POINT("checkpoint.appended");
	return true;
}

/* The checkpoint is whole. */
static void
append_totals(struct queue *queue)
{
	struct log_frame *frame =
	    writer_begin(&queue->writer, LOG_TOTALS, sizeof(queue->checkpoint_totals));

	memcpy(frame + 1, &queue->checkpoint_totals, sizeof(queue->checkpoint_totals));
	writer_finish(&queue->writer, frame);
	queue->checkpoint_open = false;
	queue->gathered.checkpoint = queue->writer.active.segment.number;
	CRASH_POINT("checkpoint.whole");
}

static const struct queue *
queue_of(const struct writer *writer)
{
	return (const void *)((const char *)writer - offsetof(struct queue, writer));
}

uint64_t
queue_checkpoint_bytes(const struct writer *writer)
{
	const struct queue *queue = queue_of(writer);

	return PIECE_BYTES + writer->old_count * sizeof(struct log_segment_entry) +
	    queue->received.count * sizeof(struct log_received) +
	    queue->settled.count * sizeof(struct settled_chunk);
}

uint64_t
queue_settlement_bytes(const struct writer *writer)
{
	return read_counter(&queue_of(writer)->control->counters.depth) *
	    sizeof(struct log_settled);
}

void
queue_disk_full(struct writer *writer)
{
	struct router *router = queue_of(writer)->router;

	for (unsigned i = 0; i < router->queue_count; i++) {
		struct queue *queue = &router->queues[i];

		writer_drop_spare(&queue->writer);
		if (&queue->writer != writer && queue->pending_count == 0 &&
		    queue->settled.low_watermark + 1 == queue->next_sequence)
			writer_drop_next(&queue->writer);
	}
}

void
queue_log_checkpoint(struct queue *queue)
{
	/* writer_room() may begin a segment and with it a new checkpoint. */
	while (queue->checkpoint_open && writer_room(&queue->writer, PIECE_BYTES) == 1) {
		if (queue->checkpoint_entry + 1 < queue->writer.old_count)
			queue->checkpoint_entry = append_entries(
			    queue, queue->checkpoint_entry, queue->writer.old_count - 1);
		else if (!append_counts(queue) && !append_chunks(queue))
			append_totals(queue);
	}
}

bool
queue_checkpoint_due(struct queue *queue)
{
	return queue->checkpoint_open && writer_room(&queue->writer, PIECE_BYTES) == 1;
}

void
queue_detail_by_router(const struct queue *queue, struct control_detail *detail)
{
	detail->since_ns = io_wall_ns();
	detail->uid = geteuid();
	detail->pid = (uint32_t)getpid();
	strlcpy(detail->program, "headgate-router", sizeof(detail->program));
	strlcpy(detail->user, queue->router->user, sizeof(detail->user));
}

/*
 * The gate.
 */

/* Nothing closes what is STOPPED, and who stopped it, and why, stays; but which message failed is known, and
 * nothing behind it is handled any more. Its handler was started in this state, or in the one before. */
static void
note_failure(struct queue *queue, uint64_t seen, const struct control_detail *detail)
{
	struct control_detail stopped;
	uint64_t word, now;

	control_read_state(&queue->router->control, queue->index, &word, &stopped);
	if (control_word_state(word) != CONTROL_STOPPED ||
	    control_word_generation(word) - control_word_generation(seen) > 1 ||
	    stopped.sequence != 0)
		return;
	stopped.sequence = detail->sequence;
	stopped.status = detail->status;
	memcpy(stopped.message_id, detail->message_id, sizeof(stopped.message_id));
	stopped.tripped_s = detail->tripped_s;
	memcpy(stopped.error, detail->error, sizeof(stopped.error));
	stopped.flags &= ~(uint32_t)CONTROL_DRAIN;
	if (control_change_state(&queue->router->control, queue->index, 0, word, CONTROL_STOPPED,
		&stopped, &now) == 0)
		event(EVENT_WARN, "subscription.head", "s:queue", queue->config->name, "u:sequence",
		    detail->sequence, "s:message_id", detail->message_id, "s:error", detail->error,
		    NULL);
}

/* A message that failed before, and was let through to see, has failed since then. */
static uint32_t
tripped_s(const struct queue *queue, const struct control_detail *detail)
{
	struct control_detail before;
	uint64_t word;

	control_read_state(&queue->router->control, queue->index, &word, &before);
	if (before.sequence == detail->sequence && before.tripped_s != 0)
		return before.tripped_s;
	return (uint32_t)(detail->since_ns / 1000000000);
}

void
queue_gate(
    struct queue *queue, uint64_t expected, enum gate_event what, struct control_detail *detail)
{
	enum control_state to = gate_next(control_word_state(expected), what);
	uint64_t now;

	if (what == GATE_FAILED)
		detail->tripped_s = tripped_s(queue, detail);
	if (to == 0 || to == control_word_state(expected) ||
	    control_change_state(
		&queue->router->control, queue->index, 0, expected, to, detail, &now) != 0) {
		if (what == GATE_FAILED)
			note_failure(queue, expected, detail);
		return;
	}
	event(EVENT_WARN, "subscription.changed", "s:queue", queue->config->name, "s:state",
	    control_state_name(to), "u:sequence", detail->sequence, "s:message_id",
	    detail->message_id, "s:error", detail->error, "s:reason", detail->reason, NULL);
	notify_changed(queue, to, detail);
}

void
queue_lower_head(struct queue *queue, uint64_t seen, const struct control_detail *detail)
{
	struct control_detail tripped;
	uint64_t word, now;

	control_read_state(&queue->router->control, queue->index, &word, &tripped);
	if (control_word_state(word) == CONTROL_TRIPPED &&
	    control_word_generation(word) > control_word_generation(seen) &&
	    detail->sequence < tripped.sequence &&
	    control_change_state(
		&queue->router->control, queue->index, 0, word, CONTROL_TRIPPED, detail, &now) == 0)
		event(EVENT_WARN, "subscription.head", "s:queue", queue->config->name, "u:sequence",
		    detail->sequence, "s:message_id", detail->message_id, "s:error", detail->error,
		    NULL);
}

void
queue_stop_unreadable(struct queue *queue, uint64_t sequence)
{
	struct control_detail detail = { .sequence = sequence };

	queue_detail_by_router(queue, &detail);
	snprintf(detail.reason, sizeof(detail.reason),
	    "log damaged: message %" PRIu64 " cannot be read again", sequence);
	queue_gate(queue, queue_state_word(queue), GATE_DAMAGE, &detail);
}

bool
queue_holds_back(const struct queue *queue, uint64_t sequence)
{
	return control_word_state(queue_state_word(queue)) == CONTROL_PROBING &&
	    sequence > queue->probe_sequence;
}

static void
append_state(struct queue *queue)
{
	struct control_detail detail;
	struct log_state state;
	struct log_frame *frame;
	uint64_t word;

	control_read_state(&queue->router->control, queue->index, &word, &detail);
	log_state_from_detail(
	    &state, control_word_state(word), control_word_generation(word), &detail);
	frame = writer_begin(&queue->writer, LOG_STATE, sizeof(state));
	memcpy(frame + 1, &state, sizeof(state));
	writer_finish(&queue->writer, frame);
	queue->state_appended = queue->state_gathered = state.generation;
	queue->router->batch_dirty = queue->router->batch_synced = true;
}

void
queue_log_state(struct queue *queue)
{
	if (control_word_generation(queue_state_word(queue)) != queue->state_appended &&
	    writer_room_for_state(&queue->writer, sizeof(struct log_state)) == 1 &&
	    control_word_generation(queue_state_word(queue)) != queue->state_appended)
		append_state(queue);
}

static bool
tick_retention(struct queue *queue)
{
	return retention_tick(&queue->retention, router_clock_ns(queue->router),
	    control_word_state(queue_state_word(queue)) == CONTROL_RUNNING,
	    read_counter(&queue->control->counters.depth));
}

/* A mark of now; behind all others, in a checkpoint. */
static void
append_clock(struct queue *queue, bool all)
{
	struct log_clock marks[RETENTION_MARKS + 1];
	struct log_frame *frame;
	size_t n;

	tick_retention(queue); /* no message that is there is younger than this */
	n = all ? queue->retention.count : 0;
	memcpy(marks, queue->retention.marks, n * sizeof(*marks));
	marks[n] = (struct log_clock){
		.clock_ns = queue->retention.clock_ns,
		.end_sequence = queue->next_sequence,
	};
	retention_mark(&queue->retention, &marks[n++]);
	frame = writer_begin(&queue->writer, LOG_CLOCK, (uint32_t)(n * sizeof(*marks)));
	memcpy(frame + 1, marks, n * sizeof(*marks));
	writer_finish(&queue->writer, frame);
	queue->router->batch_dirty = true;
}

void
queue_tick_retention(struct queue *queue)
{
	if (tick_retention(queue) &&
	    writer_room_for_state(&queue->writer, sizeof(struct log_clock)) == 1)
		append_clock(queue, false);
}

static void
trip_for_receives(struct queue *queue, uint64_t position, uint64_t sequence, uint32_t count_now)
{
	struct control_detail detail = { .sequence = sequence, .status = 500 };

	queue_detail_by_router(queue, &detail);
	snprintf(detail.error, sizeof(detail.error),
	    "the worker died, or took too long, %u times while it handled this message", count_now);
	strlcpy(detail.reason, "max_receive_count", sizeof(detail.reason));
	queue_message_id(queue, position, sequence, detail.message_id);
	queue_gate(queue, queue_state_word(queue), GATE_FAILED, &detail);
}

int
queue_count_receive(struct queue *queue, uint64_t position, uint64_t sequence)
{
	struct log_received received = {
		.sequence = sequence,
		.count = received_count(&queue->received, sequence) + 1,
	};
	int rc = received_set(&queue->received, sequence, received.count);

	if (rc != 0)
		return rc;
	event(EVENT_WARN, "message.not_survived", "s:queue", queue->config->name, "u:sequence",
	    sequence, "u:receives", (uint64_t)received.count, NULL);
	if (writer_room_for_state(&queue->writer, sizeof(received)) == 1) {
		append_received(queue, &received, 1);
		queue->router->batch_dirty = true;
	}
	/* Of others the worker is told to give it up. Dead letters have nowhere to go. */
	if (queue->config->dead_letters && received.count >= queue->config->max_receive_count)
		trip_for_receives(queue, position, sequence, received.count);
	return 0;
}

int
queue_add_ids(struct queue *queue, uint64_t number, uint64_t newest_clock_s)
{
	if (queue->ids_count == queue->ids_capacity) {
		size_t more = queue->ids_capacity ? 2 * queue->ids_capacity : 16;
		void *bigger = realloc(queue->ids, more * sizeof(*queue->ids));

		if (bigger == NULL)
			return -ENOMEM;
		queue->ids = bigger;
		queue->ids_capacity = more;
	}
	queue->ids[queue->ids_count++] =
	    (struct ids_file){ .number = number, .newest_clock_s = newest_clock_s };
	return 0;
}

int
queue_add_mark(struct queue *queue, uint64_t position, uint64_t sequence, uint64_t time_ns)
{
	if (queue->mark_count > 0 &&
	    position - queue->marks[queue->mark_count - 1].position < MARK_BYTES)
		return 0;
	if (queue->mark_count == queue->mark_capacity) {
		size_t more = queue->mark_capacity ? 2 * queue->mark_capacity : 64;
		void *bigger = realloc(queue->marks, more * sizeof(*queue->marks));

		if (bigger == NULL)
			return -ENOMEM;
		queue->marks = bigger;
		queue->mark_capacity = more;
	}
	queue->marks[queue->mark_count++] =
	    (struct mark){ .position = position, .sequence = sequence, .time_ns = time_ns };
	return 0;
}

/* Index of the newest mark at or before the message with this sequence. */
static size_t
find_mark(const struct queue *queue, uint64_t sequence)
{
	size_t low = 0, high = queue->mark_count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (queue->marks[middle].sequence <= sequence)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Index of the newest mark at or before the oldest unsettled message. */
static size_t
first_mark(const struct queue *queue)
{
	return find_mark(queue, queue->settled.low_watermark + 1);
}

uint64_t
queue_first_position(const struct queue *queue)
{
	return queue->mark_count == 0 ? queue->writer.durable
				      : queue->marks[first_mark(queue)].position;
}

/* Forgets marks that lie before everything unsettled, when they are most of what there is. */
static void
drop_marks(struct queue *queue)
{
	size_t drop = queue->mark_count ? first_mark(queue) : 0;

	if (drop < 64 || drop < queue->mark_count / 2)
		return;
	queue->mark_count -= drop;
	memmove(queue->marks, queue->marks + drop, queue->mark_count * sizeof(*queue->marks));
}

/*
 * Sequences that are promised.
 */

int
queue_skip_reserved(struct queue *queue)
{
	uint64_t first = queue->next_sequence, end = queue->reserved_end;
	int64_t added;

	if (end <= first)
		return 0;
	added = settled_add_range(&queue->settled, first, end - first);
	if (added < 0)
		return (int)added;
	event(EVENT_INFO, "log.sequences_skipped", "s:queue", queue->config->name, "u:first", first,
	    "u:count", end - first, NULL);
	queue->skipped = first;
	queue->next_sequence = queue->skipped_end = end;
	return 0;
}

/* A router that ends by itself takes its promise back: the next one need not skip anything. And it writes what it
 * skipped itself, or those would be sequences that are missing. */
bool
queue_reservation_ends(const struct queue *queue)
{
	return queue->router->stopping &&
	    (queue->reserved_end > queue->next_sequence || queue->skipped != 0);
}

void
queue_reserve(struct queue *queue)
{
	bool more = queue->writer.cached && queue->next_sequence > queue->reserved_end;
	struct log_reserved reserved;
	struct log_frame *frame;

	if (!queue_reservation_ends(queue) &&
	    !(writer_touched(&queue->writer) && (more || queue->skipped != 0)))
		return;
	reserved.from = queue->skipped != 0 ? queue->skipped_end : queue->next_sequence;
	reserved.skipped = queue->skipped != 0 ? queue->skipped : reserved.from;
	reserved.end = queue->next_sequence;
	if (queue->writer.cached && !queue->router->stopping)
		reserved.end += QUEUE_RESERVE;
	frame = writer_begin(&queue->writer, LOG_RESERVED, sizeof(reserved));
	memcpy(frame + 1, &reserved, sizeof(reserved));
	writer_finish(&queue->writer, frame);
	CRASH_POINT("reserved.appended");
	queue->reserved_end = reserved.end;
	queue->skipped = 0;
	queue->router->batch_synced = true;
}

void
queue_batch_closed(struct queue *queue, uint64_t time_ns)
{
	uint64_t sequence =
	    queue->batch_first_sequence ? queue->batch_first_sequence : queue->next_sequence;

	/* Without memory for a mark a cursor starts earlier: slower, not wrong. But there must be a
	 * first one, and that is made when the log is opened. */
	queue_add_mark(queue, queue->writer.batch_start, sequence, time_ns);
	queue->batch_first_sequence = 0;
	queue->state_flying = queue->state_gathered;
	queue->state_gathered = 0;
	queue->flying = queue->gathered;
}

void
queue_batch_durable(struct queue *queue)
{
	if (!queue->writer.unsynced)
		queue->durable = queue->flying;
	if (queue->state_flying == 0)
		return;
	/* Pairs with the acquire load of headgatectl, which then tells its user that it is logged. */
	atomic_store_explicit(&queue->control->logged, queue->state_flying, memory_order_release);
	queue->state_flying = 0;
}

void
queue_move_marks(struct queue *queue, uint64_t from, uint64_t to, uint64_t sequence)
{
	struct mark first = { .position = from + LOG_HEADER_BYTES, .sequence = sequence };
	size_t kept = 0;
	bool placed = false;

	for (size_t i = 0; i < queue->mark_count; i++) {
		const struct mark mark = queue->marks[i];

		if (mark.position < from || mark.position >= to) {
			queue->marks[kept++] = mark;
		} else if (!placed) {
			first.time_ns = mark.time_ns;
			queue->marks[kept++] = first;
			placed = true;
		}
	}
	queue->mark_count = kept;
}

/* Walks the log's memory from the first mark on. Returns the frame of the first message that is not
 * settled and has at least this sequence, or NULL; *position is how far it came. */
static const struct log_frame *
find_in_tail(const struct queue *queue, uint64_t sequence, uint64_t *position)
{
	while ((*position = writer_position(&queue->writer, *position)) < queue->writer.durable) {
		const struct log_frame *frame =
		    (const void *)writer_tail(&queue->writer, *position);

		if (frame == NULL)
			return NULL;
		if (log_is_message(frame) && frame->sequence >= sequence &&
		    !settled_has(&queue->settled, frame->sequence))
			return frame;
		*position += log_frame_bytes(frame->length);
	}
	return NULL;
}

static int
open_frame(const struct log_frame *frame, struct envelope *envelope)
{
	struct log_content content = log_content(frame);

	return envelope_open(
	    envelope, content.envelope, content.length, ENVELOPE_BODY_BYTES_MAX, NULL);
}

/* What was read of a segment. data: QUEUE_FRAME_BYTES. */
struct piece {
	uint8_t *data;
	uint64_t position;
	size_t length;
};

/* The frame at a position, whole and checked, or NULL. */
static const struct log_frame *
frame_in_piece(const struct piece *piece, const struct log_segment *segment, uint64_t position)
{
	uint64_t from = position - piece->position;
	const struct log_frame *frame = (const void *)(piece->data + from);

	if (position < piece->position || from + sizeof(*frame) > piece->length ||
	    !log_frame_header_valid(frame, UINT64_MAX, segment->salt))
		return NULL;
	if (frame->type == LOG_PAD)
		return frame;
	return log_frame_bytes(frame->length) <= piece->length - from &&
		log_frame_payload_valid(frame)
	    ? frame
	    : NULL;
}

/* Up to bytes, or the file's end. Returns 0 or -errno. */
static int
read_piece(const struct queue *queue, const struct log_segment *segment, uint64_t position,
    struct piece *piece, size_t bytes)
{
	off_t offset = (off_t)(position - segment->position);
	char path[LOG_PATH_BYTES];
	ssize_t n = 1;
	int fd, rc = 0;

	piece->position = position;
	piece->length = 0;
	log_segment_path(path, queue->writer.dir, segment->number);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (n != 0 && piece->length < bytes) {
		n = pread(fd, piece->data + piece->length, bytes - piece->length,
		    offset + (off_t)piece->length);
		if (n < 0 && errno != EINTR) {
			rc = -errno;
			break;
		}
		piece->length += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	return rc;
}

/* The frame at a position, from the piece, or from disk: then so many bytes are read, or more for a frame that is
 * longer. Returns 0; -EBADMSG when no whole frame stands there; or another -errno: it could not be read. */
static int
read_frame(const struct queue *queue, uint64_t position, struct piece *piece, size_t bytes,
    const struct log_frame **frame)
{
	uint64_t end;
	const struct log_segment *segment = writer_find(&queue->writer, position, &end);
	int rc = 0;

	*frame = NULL;
	if (segment == NULL)
		return -EBADMSG;
	*frame = frame_in_piece(piece, segment, position);
	if (*frame == NULL) {
		rc = read_piece(queue, segment, position, piece, bytes);
		*frame = frame_in_piece(piece, segment, position);
	}
	if (*frame == NULL && rc == 0) {
		rc = read_piece(queue, segment, position, piece, QUEUE_FRAME_BYTES);
		*frame = frame_in_piece(piece, segment, position);
	}
	return *frame != NULL ? 0 : rc != 0 ? rc : -EBADMSG;
}

static bool
tail_frame_valid(const struct queue *queue, const struct log_frame *frame, uint64_t position)
{
	uint64_t end;
	const struct log_segment *segment = writer_find(&queue->writer, position, &end);

	return segment != NULL && position < end &&
	    log_frame_header_valid(frame, end - position, segment->salt) &&
	    frame->type != LOG_PAD && log_frame_payload_valid(frame);
}

int
queue_note_read(struct queue *queue, int rc)
{
	bool failed = rc != 0 && rc != -EBADMSG;

	if (failed && rc != queue->read_error)
		event(EVENT_ERROR, "log.not_read", "s:queue", queue->config->name, "s:error",
		    strerror(-rc), NULL);
	if (rc == -ENOENT) /* somebody removed it: status says so */
		queue->writer.files_gone = true;
	queue->read_error = failed ? rc : 0;
	return failed ? -EAGAIN : rc;
}

int
queue_frame(
    struct queue *queue, uint64_t position, uint64_t sequence, const struct log_frame **found)
{
	struct piece piece = { .data = queue->router->scratch };
	int rc = 0;

	if (position % 8 != 0 || position >= queue->writer.durable)
		return 0;
	/* Is this a place at which a frame begins? Someone else says so: its checksums must. */
	*found = (const void *)writer_tail(&queue->writer, position);
	if (*found == NULL)
		rc = queue_note_read(
		    queue, read_frame(queue, position, &piece, SHORT_READ_BYTES, found));
	else if (!tail_frame_valid(queue, *found, position))
		return 0;
	if (rc != 0)
		return rc == -EBADMSG ? 0 : rc;
	return log_is_message(*found) && (*found)->sequence == sequence;
}

/* The message with this sequence, which is not settled, looked for from *position on. Returns 1: that is where it
 * stands; 0: it is not durable yet; -EBADMSG: it is not there; -EAGAIN: it could not be read. */
static int
find(struct queue *queue, uint64_t sequence, uint64_t *position, const struct log_frame **found)
{
	struct piece piece = { .data = queue->router->scratch };

	*found = find_in_tail(queue, sequence, position);
	while (*found == NULL &&
	    (*position = writer_position(&queue->writer, *position)) < queue->writer.durable) {
		int rc = queue_note_read(
		    queue, read_frame(queue, *position, &piece, WALK_READ_BYTES, found));

		if (rc != 0)
			return rc;
		if (log_is_message(*found) && (*found)->sequence >= sequence)
			break;
		*position += log_frame_bytes((*found)->length);
		*found = NULL;
	}
	if (*found == NULL)
		return 0;
	return (*found)->sequence == sequence ? 1 : -EBADMSG;
}

int
queue_find(struct queue *queue, uint64_t sequence, const struct log_frame **found)
{
	uint64_t position = queue->mark_count == 0
	    ? queue->writer.durable
	    : queue->marks[find_mark(queue, sequence)].position;
	int rc = find(queue, sequence, &position, found);

	return rc == 0 ? -EBADMSG : rc;
}

int
queue_message(
    struct queue *queue, uint64_t position, uint64_t sequence, const struct log_frame **found)
{
	int rc = queue_frame(queue, position, sequence, found);

	return rc == 0 ? queue_find(queue, sequence, found) : rc;
}

/* Publish time of the head, the oldest message that is not settled; when it cannot be read that of its mark, and
 * 0 while it is not durable. The mark is moved there: what is before it is not walked through again. *again: it
 * is to be looked for once more. */
static uint64_t
oldest_ns(struct queue *queue, uint64_t head, bool *again)
{
	struct mark *mark = &queue->marks[first_mark(queue)];
	uint64_t position = mark->position;
	const struct log_frame *frame;
	struct envelope envelope;
	int rc = find(queue, head, &position, &frame);

	*again = rc != 1 && rc != -EBADMSG;
	if (rc == 1 && open_frame(frame, &envelope) == 0)
		*mark = (struct mark){
			.position = position,
			.sequence = head,
			.time_ns = envelope.published_ns,
		};
	return rc == 0 ? 0 : mark->time_ns;
}

void
queue_message_id(
    struct queue *queue, uint64_t position, uint64_t sequence, char id[CONTROL_ID_BYTES])
{
	const struct log_frame *frame;
	struct envelope envelope;

	id[0] = '\0';
	if (queue_message(queue, position, sequence, &frame) != 1 ||
	    open_frame(frame, &envelope) != 0)
		return;
	memcpy(id, envelope.message_id.data, envelope.message_id.length);
	id[envelope.message_id.length] = '\0';
}

static uint64_t
share(uint64_t bytes, uint64_t left, uint64_t messages)
{
	return messages == 0 ? 0 : (uint64_t)((__uint128_t)bytes * left / messages);
}

uint64_t
queue_unsettled_bytes(const struct queue *queue)
{
	const struct writer *writer = &queue->writer;
	uint64_t bytes = 0, left;

	for (size_t i = 0; i < writer->old_count; i++) {
		const struct log_segment *segment = &writer->old[i];

		left = settled_count_live(
		    &queue->settled, segment->first_sequence, segment->end_sequence);
		bytes += share(segment->data_bytes, left, segment->messages);
	}
	left = settled_count_live(
	    &queue->settled, writer->active.segment.first_sequence, queue->next_sequence);
	return bytes +
	    share(writer->end - writer->active.segment.position, left, queue->segment_messages);
}

static enum control_refusal
refusal(const struct queue *queue)
{
	const struct queue *dead = &queue->router->queues[queue->config->dead_letter_queue];
	int rc = writer_shortage(&queue->writer);

	if (queue->over_max_bytes)
		return CONTROL_MAX_BYTES;
	if (rc == -ESTALE)
		return CONTROL_FILES_GONE;
	if (rc != 0)
		return io_is_full(rc) ? CONTROL_DISK_FULL : CONTROL_LOG_FAILS;
	return dead != queue && writer_shortage(&dead->writer) != 0 ? CONTROL_DEAD_LETTERS_FULL
								    : CONTROL_TAKES;
}

void
queue_look_for_room(struct queue *queue, uint64_t now_ns)
{
	if (queue->router->stopping || now_ns - queue->looked_ns < LOOK_FOR_ROOM_NS ||
	    writer_shortage(&queue->writer) == 0)
		return;
	queue->looked_ns = now_ns;
	writer_see_room(&queue->writer);
}

void
queue_publish_groups(struct queue *queue)
{
	struct control_counters *counters = &queue->control->counters;

	atomic_store_explicit(&counters->blocked_groups, queue->groups.count, memory_order_relaxed);
	atomic_store_explicit(&counters->parked, queue->groups.parked, memory_order_relaxed);
}

void
queue_publish_figures(struct queue *queue)
{
	struct control_counters *counters = &queue->control->counters;
	uint64_t published = atomic_load_explicit(&counters->published, memory_order_relaxed);
	uint64_t ended = atomic_load_explicit(&counters->done, memory_order_relaxed) +
	    atomic_load_explicit(&counters->failed, memory_order_relaxed);
	uint64_t head = queue->settled.low_watermark + 1, oldest;
	bool again;

	atomic_store_explicit(&counters->depth, published - ended, memory_order_relaxed);
	atomic_store_explicit(
	    &counters->log_bytes, writer_bytes(&queue->writer), memory_order_relaxed);
	queue_publish_groups(queue);
	queue->over_max_bytes = queue->config->max_bytes > 0 &&
	    queue_unsettled_bytes(queue) >= queue->config->max_bytes;
	atomic_store_explicit(&queue->control->refuses, refusal(queue), memory_order_relaxed);
	drop_marks(queue);
	if (published == ended || queue->mark_count == 0) {
		atomic_store_explicit(&counters->oldest_ns, 0, memory_order_relaxed);
		queue->head_sequence = 0;
	} else if (head != queue->head_sequence) {
		oldest = oldest_ns(queue, head, &again);
		atomic_store_explicit(&counters->oldest_ns, oldest, memory_order_relaxed);
		queue->head_sequence = again ? 0 : head;
	}
}
