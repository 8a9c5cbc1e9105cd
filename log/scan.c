#include "log/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 8 << 20 };

void
log_scan_init(struct log_scan *scan, struct log_list *list, char *error, size_t error_bytes)
{
	*scan = (struct log_scan){
		.list = list,
		.last_batch = UINT64_MAX,
		.error = error,
		.error_bytes = error_bytes,
	};
}

void
log_scan_free(struct log_scan *scan)
{
	free(scan->image);
	scan->image = NULL;
	scan->image_bytes = 0;
	scan->image_valid = false;
}

void
log_tail_free(struct log_tail *tail)
{
	free(tail->last_logs);
	tail->last_logs = NULL;
}

/*
 * A segment in memory.
 */

static int
complain(struct log_scan *scan, size_t i, int rc, const char *what)
{
	char path[LOG_PATH_BYTES];

	log_segment_path(path, scan->list->dir, scan->list->segments[i].number);
	snprintf(scan->error, scan->error_bytes, "%s: %s", path, what);
	return rc;
}

static int
damaged(struct log_scan *scan, size_t i, uint64_t offset, const char *what)
{
	char path[LOG_PATH_BYTES];

	log_segment_path(path, scan->list->dir, scan->list->segments[i].number);
	snprintf(scan->error, scan->error_bytes, "%s: offset %" PRIu64 ": %s", path, offset, what);
	return -EBADMSG;
}

static int
read_pieces(struct log_scan *scan, int fd, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		size_t piece = bytes - done < READ_BYTES ? bytes - done : READ_BYTES;
		ssize_t n = pread(fd, scan->image + done, piece, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		done += (size_t)n;
		if (scan->progress != NULL)
			scan->progress(scan->progress_context, (uint64_t)n);
	}
	return 0;
}

static int
load(struct log_scan *scan, size_t i)
{
	const struct log_segment *segment = &scan->list->segments[i];
	/* What lies behind the data of a segment that takes no more is of no interest. */
	size_t bytes = segment->data_bytes != 0 ? segment->data_bytes : segment->size;
	char path[LOG_PATH_BYTES];
	int fd, rc;

	if (scan->image_valid && scan->image_segment == i)
		return 0;
	scan->image_valid = false;
	if (scan->image_bytes < segment->size) {
		free(scan->image);
		scan->image = malloc(segment->size);
		scan->image_bytes = scan->image != NULL ? segment->size : 0;
		if (scan->image == NULL)
			return complain(scan, i, -ENOMEM, strerror(ENOMEM));
	}
	log_segment_path(path, scan->list->dir, segment->number);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return complain(scan, i, -errno, strerror(errno));
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	rc = read_pieces(scan, fd, bytes);
	close(fd);
	if (rc != 0)
		return complain(scan, i, rc, rc == -ENODATA ? "too short" : strerror(-rc));
	scan->image_valid = true;
	scan->image_segment = i;
	return 0;
}

/*
 * Batches.
 */

/* A walk over the frames of one segment. */
struct walk {
	struct log_scan *scan;
	const struct log_segment *segment;
	size_t index;
	uint64_t limit;       /* offset behind what may hold frames */
	uint64_t offset;      /* of the next frame */
	uint64_t batch_start; /* offset of the batch that is open; 0: none */
	uint64_t batch;       /* its number */
	uint64_t last_batch;  /* of the last one that ended */
	uint64_t end;         /* offset behind that */
};

static int
begin_walk(struct walk *walk, struct log_scan *scan, size_t i)
{
	const struct log_segment *segment = &scan->list->segments[i];

	*walk = (struct walk){
		.scan = scan,
		.segment = segment,
		.index = i,
		.limit = segment->data_bytes != 0 ? segment->data_bytes : segment->size,
		.offset = LOG_HEADER_BYTES,
		.end = LOG_HEADER_BYTES,
	};
	return load(scan, i);
}

static const struct log_frame *
frame_at(const struct walk *walk, uint64_t offset)
{
	const void *data = walk->scan->image + offset;

	return log_frame_header_valid(data, walk->limit - offset, walk->segment->salt) ? data
										       : NULL;
}

static bool
fits_batch(const struct walk *walk, const struct log_frame *frame)
{
	if (!log_frame_payload_valid(frame))
		return false;
	if (walk->batch_start == 0)
		return frame->flags & LOG_FLAG_FIRST;
	return frame->batch == walk->batch && !(frame->flags & LOG_FLAG_FIRST);
}

/* Walks on to the end of the next batch, its pad included. Returns its end frame's payload, or NULL at
 * a place where no frame of a batch in order stands. */
static const struct log_commit *
next_batch(struct walk *walk)
{
	const struct log_commit *end = NULL;

	while (walk->offset + sizeof(struct log_frame) <= walk->limit) {
		const struct log_frame *frame = frame_at(walk, walk->offset);

		if (frame == NULL || !fits_batch(walk, frame))
			return NULL;
		if (frame->flags & LOG_FLAG_FIRST) {
			walk->batch_start = walk->offset;
			walk->batch = frame->batch;
		}
		walk->offset += log_frame_bytes(frame->length);
		if (frame->type == LOG_COMMIT)
			end = (const void *)(frame + 1);
		if (end != NULL && walk->offset % LOG_BLOCK_BYTES == 0)
			return end;
	}
	return NULL;
}

static void
end_batch(struct walk *walk)
{
	walk->last_batch = walk->batch;
	walk->end = walk->offset;
	walk->batch_start = 0;
}

/* Shows the frames of [batch_start, offset), which are whole. */
static int
show_frames(const struct walk *walk, const struct log_visitor *visitor)
{
	uint64_t offset = walk->batch_start;
	int rc = 0;

	while (rc == 0 && visitor->frame != NULL && offset < walk->offset) {
		const struct log_frame *frame = (const void *)(walk->scan->image + offset);

		rc = visitor->frame(visitor->context, frame, walk->segment->position + offset);
		offset += log_frame_bytes(frame->length);
	}
	return rc;
}

static int
show_batch(const struct walk *walk, const struct log_visitor *visitor, const struct log_commit *end)
{
	int rc = visitor->batch != NULL ? visitor->batch(visitor->context, end) : 0;

	return rc == 0 ? show_frames(walk, visitor) : rc;
}

/*
 * Bad places, when the scan does not end at them.
 */

static const struct log_frame *
whole_frame(const struct walk *walk, uint64_t offset)
{
	const struct log_frame *frame =
	    offset + sizeof(*frame) <= walk->limit ? frame_at(walk, offset) : NULL;

	return frame != NULL && log_frame_payload_valid(frame) ? frame : NULL;
}

/* Does a batch seem to begin here? Its frame need not be whole. */
static bool
begins_batch(const struct walk *walk, uint64_t offset)
{
	const struct log_frame *frame =
	    offset + sizeof(*frame) <= walk->limit ? frame_at(walk, offset) : NULL;

	return frame != NULL && (frame->flags & LOG_FLAG_FIRST);
}

/* Where the next one does behind a bad place; the walk's limit: nowhere. */
static uint64_t
find_first(const struct walk *walk)
{
	uint64_t at = walk->batch_start != 0 ? walk->offset : walk->offset + 8;

	while (at < walk->limit && !begins_batch(walk, at))
		at += 8;
	return at < walk->limit ? at : walk->limit;
}

/* Does a batch begin here before which all was durable? */
static bool
is_proof(const struct walk *walk, uint64_t offset)
{
	const struct log_frame *frame =
	    offset + sizeof(*frame) <= walk->limit ? frame_at(walk, offset) : NULL;

	return frame != NULL && log_follows_durable(frame);
}

/* Does anything behind a bad place say that it was durable? Then it is damaged; else it may be torn. */
static bool
is_damage(const struct walk *walk)
{
	uint64_t at = walk->batch_start != 0 ? walk->offset : walk->offset + 8;

	while (at < walk->limit && !is_proof(walk, at))
		at += 8;
	return at < walk->limit;
}

/* Where the next frame stands that is whole or begins a batch. */
static uint64_t
find_frame(const struct walk *walk)
{
	uint64_t at = walk->batch_start != 0 ? walk->offset : walk->offset + 8;

	while (at < walk->limit && !begins_batch(walk, at) && whole_frame(walk, at) == NULL)
		at += 8;
	return at < walk->limit ? at : walk->limit;
}

/* Does no frame stand at the walk's place, nor behind it? */
static bool
is_empty(const struct walk *walk)
{
	uint64_t at = walk->offset;

	while (at + sizeof(struct log_frame) <= walk->limit && frame_at(walk, at) == NULL)
		at += 8;
	return at + sizeof(struct log_frame) > walk->limit;
}

/*
 * Is what stands at the walk's place no damage, but the end of what was written, or torn? This alone says so,
 * to all who read a log. A batch begins with a FIRST frame, only one is in flight at a time, and the frame says
 * whether what stands before it was durable by then. So if one that says so stands anywhere behind, the bad place
 * belongs to a batch that was durable: damage. Otherwise it belongs to the batch that was being written, or to
 * those that were not synced yet. And a segment is written to when all of the one before is durable: nothing is
 * torn in that one.
 */
static bool
is_end(const struct walk *walk)
{
	if (walk->segment->data_bytes != 0)
		return walk->end >= walk->limit;
	if (walk->index < walk->scan->torn_from)
		return walk->batch_start == 0 && is_empty(walk);
	return !is_damage(walk);
}

/* Walks over whole frames that begin no batch. True when they end as a batch does. */
static bool
pass_frames(struct walk *walk)
{
	const struct log_frame *frame;
	bool ended = false;

	walk->batch_start = walk->offset;
	while (
	    (frame = whole_frame(walk, walk->offset)) != NULL && !(frame->flags & LOG_FLAG_FIRST)) {
		ended = frame->type == LOG_COMMIT || frame->type == LOG_PAD;
		walk->offset += log_frame_bytes(frame->length);
	}
	return ended && walk->offset % LOG_BLOCK_BYTES == 0;
}

/* From a bad place on to where the next batch begins, or to the end; shows what is whole. */
static int
pass_damage(struct walk *walk, const struct log_visitor *visitor)
{
	struct log_scan *scan = walk->scan;
	int rc = walk->batch_start != 0 ? show_frames(walk, visitor) : 0;
	bool ended = false;

	while (rc == 0 && !ended) {
		uint64_t next = find_frame(walk);

		rc = scan->bad(scan->bad_context, walk->index, walk->offset, next);
		walk->offset = next;
		ended = pass_frames(walk);
		if (rc == 0)
			rc = show_frames(walk, visitor);
		walk->batch_start = 0;
		ended |= begins_batch(walk, walk->offset) || walk->offset >= walk->limit;
	}
	walk->end = walk->offset;
	return rc;
}

int
log_scan_segment(struct log_scan *scan, size_t i, const struct log_visitor *visitor, uint64_t *end)
{
	struct walk walk;
	int rc = begin_walk(&walk, scan, i);

	while (rc == 0) {
		const struct log_commit *batch_end = next_batch(&walk);

		if (batch_end != NULL ? batch_end->batch > scan->last_batch : is_end(&walk))
			break;
		if (batch_end != NULL) {
			rc = show_batch(&walk, visitor, batch_end);
			end_batch(&walk);
		} else if (scan->bad != NULL) {
			rc = pass_damage(&walk, visitor);
		} else {
			rc = damaged(scan, i, walk.offset, "damaged");
		}
	}
	if (end != NULL)
		*end = walk.segment->position + walk.end;
	return rc;
}

/*
 * The end of a log.
 */

static int
remember_batch(struct log_tail *tail, const struct walk *walk, const struct log_commit *end)
{
	uint64_t *logs = malloc(end->logs * sizeof(*logs));

	if (logs == NULL)
		return -ENOMEM;
	memcpy(logs, end + 1, end->logs * sizeof(*logs));
	free(tail->last_logs);
	/* A batch is written when the one before has ended: a barrier by then is one. */
	if (tail->last_batch == 0 || tail->last_synced)
		tail->unproven = walk->segment->position + walk->batch_start;
	tail->last_logs = logs;
	tail->last_log_count = end->logs;
	tail->last_batch = end->batch;
	tail->last_synced = end->synced != 0;
	tail->last_start = walk->segment->position + walk->batch_start;
	tail->clock_ns = end->clock_ns;
	return 0;
}

static void
see_torn(const struct walk *walk, struct log_tail *tail, uint64_t offset)
{
	const struct log_frame *frame = (const void *)(walk->scan->image + offset);

	tail->torn_batch = frame->batch;
	tail->torn_os = frame->flags & LOG_FLAG_OS;
	tail->torn_end = walk->segment->position + offset + log_frame_bytes(frame->length);
}

/* What can be made out of the batch that was being written, or of several that were not synced. */
static void
see_all_torn(const struct walk *walk, struct log_tail *tail)
{
	if (walk->batch_start != 0) {
		see_torn(walk, tail, walk->batch_start);
		tail->torn_end = walk->segment->position + walk->offset;
	}
	for (uint64_t at = walk->offset; at + sizeof(struct log_frame) <= walk->limit; at += 8)
		if (frame_at(walk, at) != NULL)
			see_torn(walk, tail, at);
}

/* Reads segment i's batches, up to where it ends. */
static int
read_batches(struct walk *walk, const struct log_visitor *visitor, struct log_tail *tail)
{
	struct log_scan *scan = walk->scan;
	int rc = 0;

	while (rc == 0) {
		const struct log_commit *end = next_batch(walk);

		if (end == NULL && is_end(walk))
			break;
		if (end == NULL && scan->bad == NULL)
			return damaged(scan, walk->index, walk->offset, "damaged");
		if (end == NULL) {
			/* Whoever is interested will be told of this place. */
			walk->offset = find_first(walk);
			walk->batch_start = 0;
			continue;
		}
		rc = remember_batch(tail, walk, end);
		if (rc == 0 && visitor != NULL)
			rc = visitor->batch(visitor->context, end);
		end_batch(walk);
	}
	return rc;
}

/* Reads segment i for its last batch. The log ends in the newest one in which there is anything; when that is
 * torn, the last batch is in one before. */
static int
read_tail(struct log_scan *scan, size_t i, const struct log_visitor *visitor, struct log_tail *tail)
{
	struct walk walk;
	int rc = begin_walk(&walk, scan, i);

	if (rc == 0)
		rc = read_batches(&walk, visitor, tail);
	if (rc != 0 || tail->end != 0)
		return rc;
	see_all_torn(&walk, tail);
	if (walk.last_batch != 0 || tail->torn_batch != 0 || i == 0) {
		tail->segment = scan->torn_from = i;
		tail->end = walk.segment->position + walk.end;
	}
	return 0;
}

int
log_scan_tail(struct log_scan *scan, const struct log_visitor *visitor, struct log_tail *tail)
{
	int rc = 0;

	*tail = (struct log_tail){ 0 };
	scan->torn_from = 0;
	/* The newest may be made ahead and not used yet, or hold nothing but a torn batch. */
	for (size_t i = scan->list->count; rc == 0 && i-- > 0 && tail->last_batch == 0;)
		rc = read_tail(scan, i, visitor, tail);
	if (rc != 0)
		log_tail_free(tail);
	return rc;
}

/*
 * The checkpoint.
 */

struct checkpoint_reader {
	struct log_base *base;
	struct log_list *list;
	bool begun, whole;
};

static int
read_chunks(struct checkpoint_reader *reader, const struct log_frame *frame)
{
	const struct settled_chunk *chunk = (const void *)(frame + 1);
	int rc = 0;

	for (size_t n = frame->length / sizeof(*chunk); rc == 0 && n > 0; n--, chunk++)
		rc = settled_restore_chunk(&reader->base->settled, chunk);
	return rc == -EINVAL ? -EBADMSG : rc;
}

static int
read_checkpoint_frame(void *context, const struct log_frame *frame, uint64_t position)
{
	struct checkpoint_reader *reader = context;
	const struct log_segment_entry *entry = (const void *)(frame + 1);
	struct log_base *base = reader->base;
	int rc = 0;

	(void)position;
	if (frame->type == LOG_CHECKPOINT) {
		reader->begun = true;
		memcpy(&base->head, frame + 1, sizeof(base->head));
		rc = settled_restore(&base->settled, base->head.low_watermark, base->head.highest);
		if (rc != 0)
			return rc == -EINVAL ? -EBADMSG : rc;
	} else if (frame->type == LOG_SEGMENTS) {
		for (size_t i = 0; i < frame->length / sizeof(*entry); i++)
			log_list_describe(reader->list, &entry[i]);
	} else if (frame->type == LOG_UNSETTLED && reader->begun) {
		rc = read_chunks(reader, frame);
	} else if (frame->type == LOG_TOTALS && reader->begun) {
		memcpy(&base->totals, frame + 1, sizeof(base->totals));
		settled_restore_end(&base->settled);
		reader->whole = true;
	}
	return rc;
}

/* What is missing may have been of the checkpoint. */
static int
spoil_checkpoint(void *context, size_t i, uint64_t offset, uint64_t end)
{
	struct checkpoint_reader *reader = context;

	(void)i, (void)offset, (void)end;
	reader->begun = false;
	return 0;
}

/* Reads the checkpoint of segment i, or what of it there is. */
static int
read_checkpoint(struct log_scan *scan, size_t i, struct checkpoint_reader *reader)
{
	struct log_visitor visitor = { .frame = read_checkpoint_frame, .context = reader };
	struct log_scan asked = *scan;
	int rc;

	if (scan->bad == NULL)
		return log_scan_segment(scan, i, &visitor, NULL);
	scan->bad = spoil_checkpoint;
	scan->bad_context = reader;
	rc = log_scan_segment(scan, i, &visitor, NULL);
	scan->bad = asked.bad;
	scan->bad_context = asked.bad_context;
	return rc == -EBADMSG ? 0 : rc;
}

/* From the newest whole checkpoint on nothing was given back or put together yet: each file follows the one
 * before. Whoever reads on behind damage says this by himself. */
static int
check_row(struct log_scan *scan, size_t first, size_t last)
{
	for (size_t i = first + 1; scan->bad == NULL && i <= last; i++)
		if (!log_list_follows(scan->list, i))
			return damaged(scan, i, 0, LOG_FILE_MISSING);
	return 0;
}

/* Of a log that has no checkpoint yet. */
static int
begin_without(struct log_scan *scan, size_t segment, struct log_base *base)
{
	const struct log_segment *first = &scan->list->segments[0];

	if (first->number != 1 || first->last_number != 1)
		return damaged(
		    scan, segment, LOG_HEADER_BYTES, "no checkpoint, and none before it");
	*base = (struct log_base){ .head.next_sequence = 1 };
	settled_init(&base->settled, 0);
	return check_row(scan, 0, segment);
}

int
log_scan_base(struct log_scan *scan, size_t segment, struct log_base *base)
{
	*base = (struct log_base){ 0 };
	for (size_t i = segment + 1; i-- > 0;) {
		struct checkpoint_reader reader = { .base = base, .list = scan->list };
		int rc;

		if (log_segment_is_compacted(&scan->list->segments[i]))
			break;
		rc = read_checkpoint(scan, i, &reader);
		if (rc == -EBADMSG && scan->error[0] == '\0')
			rc = damaged(scan, i, LOG_HEADER_BYTES, "a checkpoint that cannot be");
		if (rc == 0 && reader.whole)
			rc = check_row(scan, i, segment);
		base->segment = i;
		if (rc == 0 && reader.whole)
			return 0;
		settled_free(&base->settled);
		if (rc != 0)
			return rc;
	}
	return begin_without(scan, segment, base);
}

int
log_scan_gaps(struct log_scan *scan, const struct log_base *base, const struct settled *settled)
{
	uint64_t next = 1;

	for (size_t i = 0; i <= base->segment; i++) {
		const struct log_segment *segment = &scan->list->segments[i];
		uint64_t first =
		    i < base->segment ? segment->first_sequence : base->head.next_sequence;

		if (i < base->segment && segment->end_sequence == 0)
			continue;
		if (settled_count_live(settled, next, first) > 0)
			return damaged(scan, i, 0, LOG_FILE_MISSING);
		next = segment->end_sequence;
	}
	return 0;
}
