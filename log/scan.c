#include "log/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

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
	/* A sealed segment has no batch behind its data. */
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
	fd = file_open(path, O_RDONLY, 0);
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

/* A walk over the frames of one segment. Offsets are bytes from the segment's first byte. */
struct walk {
	struct log_scan *scan;
	const struct log_segment *segment;
	size_t index;
	uint64_t limit;       /* end of the bytes that may hold frames */
	uint64_t offset;      /* next frame */
	uint64_t batch_start; /* first frame of the open batch; 0: no batch is open */
	uint64_t batch;       /* number of the open batch */
	uint64_t last_batch;  /* number of the last whole batch */
	uint64_t end;         /* behind the last whole batch */
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

/* The frame at an offset if its header is valid, or NULL. The payload may be damaged. */
static const struct log_frame *
header_at(const struct walk *walk, uint64_t offset)
{
	const void *data = walk->scan->image + offset;

	return log_frame_header_valid(data, walk->limit - offset, walk->segment->salt) ? data
										       : NULL;
}

/* The frame at an offset if the whole frame is valid, or NULL. */
static const struct log_frame *
frame_at(const struct walk *walk, uint64_t offset)
{
	const void *data = walk->scan->image + offset;

	return log_frame_at(data, walk->limit - offset, walk->segment->salt) == LOG_FRAME_WHOLE
	    ? data
	    : NULL;
}

/* True if the frame begins a batch while none is open, or continues the open batch. */
static bool
fits_batch(const struct walk *walk, const struct log_frame *frame)
{
	if (walk->batch_start == 0)
		return frame->flags & LOG_FLAG_FIRST;
	return frame->batch == walk->batch && !(frame->flags & LOG_FLAG_FIRST);
}

/* Walks to the end of the next batch, pad included. Returns the commit record, or NULL if no valid
 * frame in order stands at walk->offset; the batch then stays open. */
static const struct log_commit *
next_batch(struct walk *walk)
{
	const struct log_commit *commit = NULL;
	const struct log_frame *frame;

	while ((frame = frame_at(walk, walk->offset)) != NULL && fits_batch(walk, frame)) {
		if (frame->flags & LOG_FLAG_FIRST) {
			walk->batch_start = walk->offset;
			walk->batch = frame->batch;
		}
		walk->offset += log_frame_bytes(frame->length);
		if (frame->type == LOG_COMMIT)
			commit = (const void *)(frame + 1);
		/* A commit record that ends a block has no pad (log_pad_bytes()). */
		if (commit != NULL && walk->offset % LOG_BLOCK_BYTES == 0)
			return commit;
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

/* Shows the valid frames of [batch_start, offset). */
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
show_batch(
    const struct walk *walk, const struct log_visitor *visitor, const struct log_commit *commit)
{
	int rc = visitor->batch != NULL ? visitor->batch(visitor->context, commit) : 0;

	return rc == 0 ? show_frames(walk, visitor) : rc;
}

/*
 * Bad places.
 *
 * Frames begin at multiples of 8, so a search behind a bad place tries each multiple of 8. The salt
 * keeps frames of an earlier use of the file out of the search.
 */

/* First offset of a search: at a bad place with an open batch, the place itself may hold a frame of
 * another batch; without an open batch, the frame at the place is the bad one. */
static uint64_t
search_start(const struct walk *walk)
{
	return walk->batch_start != 0 ? walk->offset : walk->offset + 8;
}

/* True if a frame that begins a batch has a valid header here. Its payload may be damaged. */
static bool
begins_batch(const struct walk *walk, uint64_t offset)
{
	const struct log_frame *frame = header_at(walk, offset);

	return frame != NULL && (frame->flags & LOG_FLAG_FIRST);
}

/* Offset of the first batch behind a bad place; walk->limit: no batch begins there. */
static uint64_t
find_first(const struct walk *walk)
{
	uint64_t at = search_start(walk);

	while (at < walk->limit && !begins_batch(walk, at))
		at += 8;
	return at < walk->limit ? at : walk->limit;
}

/* Offset of the next valid frame or the next batch with a valid first header; else the limit. */
static uint64_t
find_frame(const struct walk *walk)
{
	uint64_t at = search_start(walk);

	while (at < walk->limit && !begins_batch(walk, at) && frame_at(walk, at) == NULL)
		at += 8;
	return at < walk->limit ? at : walk->limit;
}

/* True if a batch behind a bad place proves that the place was durable before. */
static bool
is_damage(const struct walk *walk)
{
	for (uint64_t at = search_start(walk); at < walk->limit; at += 8) {
		const struct log_frame *frame = header_at(walk, at);

		if (frame != NULL && log_follows_durable(frame))
			return true;
	}
	return false;
}

/* True if no frame has a valid header from walk->offset on. */
static bool
is_empty(const struct walk *walk)
{
	for (uint64_t at = walk->offset; at < walk->limit; at += 8)
		if (header_at(walk, at) != NULL)
			return false;
	return true;
}

/*
 * The end rule, for every reader of a log: does the segment end at walk->offset, where next_batch()
 * found no whole batch? The rest behind is then empty or torn. Otherwise the place is damage.
 *
 *	1. A sealed segment with known data_bytes ends exactly behind its data.
 *	2. Any other segment before the active segment (torn_from) ends where nothing but zeros or
 *	   an older use of the file follows. Nothing in it can be torn: the router begins a segment
 *	   only after everything in the segment before is durable.
 *	3. The active segment ends at a bad place unless a batch behind begins with "everything
 *	   before is durable" (log_follows_durable()).
 *
 * Rule 3 holds because one batch is under way at a time, and the first frame of a batch tells
 * whether everything before was durable by then. If so, a bad place before that frame was durable
 * once: damage. Without such a frame, the bad place belongs to the batch under way, or to unsynced
 * batches: torn.
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

/* Walks over valid frames up to the next batch or bad place. True if the frames end as a batch:
 * with a commit record or pad, at the end of a block. */
static bool
pass_frames(struct walk *walk)
{
	const struct log_frame *frame;
	bool ended = false;

	walk->batch_start = walk->offset;
	while ((frame = frame_at(walk, walk->offset)) != NULL && !(frame->flags & LOG_FLAG_FIRST)) {
		ended = frame->type == LOG_COMMIT || frame->type == LOG_PAD;
		walk->offset += log_frame_bytes(frame->length);
	}
	return ended && walk->offset % LOG_BLOCK_BYTES == 0;
}

/*
 * Walks from a bad place to the next batch, or to the limit. Reports each bad range, and shows the
 * valid frames around: first the valid frames of the open batch, then valid frames without a
 * readable begin. A bad range ends the walk over the damaged batch when
 *	1. the frames behind end as a batch does,
 *	2. a batch begins, or
 *	3. the limit is reached.
 */
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
		const struct log_commit *commit = next_batch(&walk);

		/* Batches above the recovery point do not count, and no later batch does. */
		if (commit != NULL ? commit->batch > scan->last_batch : is_end(&walk))
			break;
		if (commit != NULL) {
			rc = show_batch(&walk, visitor, commit);
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
remember_batch(struct log_tail *tail, const struct walk *walk, const struct log_commit *commit)
{
	uint64_t *logs = malloc(commit->logs * sizeof(*logs));

	if (logs == NULL)
		return -ENOMEM;
	memcpy(logs, commit + 1, commit->logs * sizeof(*logs));
	free(tail->last_logs);
	/* The router writes this batch after the batch before has ended. So if the batch before is
	 * a barrier, everything up to there is proven durable. */
	if (tail->last_batch == 0 || tail->last_synced)
		tail->unproven = walk->segment->position + walk->batch_start;
	tail->last_logs = logs;
	tail->last_log_count = commit->logs;
	tail->last_batch = commit->batch;
	tail->last_synced = commit->synced != 0;
	tail->last_start = walk->segment->position + walk->batch_start;
	tail->clock_ns = commit->clock_ns;
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

/* Notes the frames of the torn batch, or of several unsynced batches, with valid headers. The last
 * frame wins: its batch is the highest, and its end is the end of the range to clear. */
static void
see_all_torn(const struct walk *walk, struct log_tail *tail)
{
	if (walk->batch_start != 0) {
		see_torn(walk, tail, walk->batch_start);
		tail->torn_end = walk->segment->position + walk->offset;
	}
	for (uint64_t at = walk->offset; at < walk->limit; at += 8)
		if (header_at(walk, at) != NULL)
			see_torn(walk, tail, at);
}

/* Reads the batches of a segment up to its end. */
static int
read_batches(struct walk *walk, const struct log_visitor *visitor, struct log_tail *tail)
{
	struct log_scan *scan = walk->scan;
	int rc = 0;

	while (rc == 0) {
		const struct log_commit *commit = next_batch(walk);

		if (commit == NULL && is_end(walk))
			break;
		if (commit == NULL && scan->bad == NULL)
			return damaged(scan, walk->index, walk->offset, "damaged");
		if (commit == NULL) {
			/* log_scan_segment() reports the place. */
			walk->offset = find_first(walk);
			walk->batch_start = 0;
			continue;
		}
		rc = remember_batch(tail, walk, commit);
		if (rc == 0 && visitor != NULL)
			rc = visitor->batch(visitor->context, commit);
		end_batch(walk);
	}
	return rc;
}

/* Reads segment i for its last batch. The newest segment with any frame is the active segment, and
 * the log ends there. If the active segment holds a torn batch only, the last batch is in an older
 * segment: the caller goes on, and `end` stays. */
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
	/* The newest segment may be preallocated and empty, or hold a torn batch only. */
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
	bool begun; /* a CHECKPOINT frame was read, and no bad place since */
	bool whole; /* all frames were read, TOTALS included */
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

/* A bad place may have held frames of the checkpoint: a begun checkpoint does not become whole. */
static int
spoil_checkpoint(void *context, size_t i, uint64_t offset, uint64_t end)
{
	struct checkpoint_reader *reader = context;

	(void)i, (void)offset, (void)end;
	reader->begun = false;
	return 0;
}

/* Reads the checkpoint of segment i. reader->whole tells the result, also behind damage. */
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

/* Checks the files behind the newest whole checkpoint. None of these was freed or compacted yet, so
 * no number may be missing. The audit, which reads on behind damage, checks this itself. */
static int
check_files_follow(struct log_scan *scan, size_t first, size_t last)
{
	for (size_t i = first + 1; scan->bad == NULL && i <= last; i++)
		if (!log_list_follows(scan->list, i))
			return damaged(scan, i, 0, LOG_FILE_MISSING);
	return 0;
}

/* Makes the base of a log without any whole checkpoint. Only the first segment of a log may lack a
 * checkpoint: the log's first batch was torn. */
static int
begin_without(struct log_scan *scan, size_t segment, struct log_base *base)
{
	const struct log_segment *first = &scan->list->segments[0];

	if (first->number != 1 || first->last_number != 1)
		return damaged(
		    scan, segment, LOG_HEADER_BYTES, "no checkpoint, and none before it");
	*base = (struct log_base){ .head.next_sequence = 1 };
	settled_init(&base->settled, 0);
	return check_files_follow(scan, 0, segment);
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
			rc = check_files_follow(scan, i, segment);
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
