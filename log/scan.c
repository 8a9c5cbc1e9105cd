#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "log/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log/settled.h"
#include "message/envelope.h"

enum { NAME_DIGITS = 16 };

void
log_segment_path(char path[LOG_PATH_BYTES], const char *dir, uint64_t number)
{
	snprintf(path, LOG_PATH_BYTES, "%.4096s/%016" PRIx64 ".log", dir, number);
}

/* Number in a segment's file name, or 0 for any other name. */
static uint64_t
segment_number(const char *name)
{
	if (strlen(name) != NAME_DIGITS + 4 || strcmp(name + NAME_DIGITS, ".log") != 0 ||
	    strspn(name, "0123456789abcdef") != NAME_DIGITS)
		return 0;
	return strtoull(name, NULL, 16);
}

static int
read_whole(int fd, void *buffer, size_t length, uint64_t offset)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = pread(fd, (char *)buffer + done, length - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		done += (size_t)n;
	}
	return 0;
}

static int
read_header(const char *path, struct log_segment_header *header, uint64_t *file_bytes)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc;

	*file_bytes = 0;
	if (fd < 0)
		return -errno;
	rc = fstat(fd, &st) != 0 ? -errno : read_whole(fd, header, sizeof(*header), 0);
	close(fd);
	if (rc == 0)
		*file_bytes = (uint64_t)st.st_size;
	return rc == 0 ? log_segment_header_check(header) : rc;
}

static int
complain(char *error, size_t error_bytes, int rc, const char *path, const char *what)
{
	snprintf(error, error_bytes, "%s: %s", path, what);
	return rc;
}

static int
header_complaint(char *error, size_t error_bytes, int rc, const char *path)
{
	switch (rc) {
	case -EBADMSG:
	case -ENODATA:
		return complain(error, error_bytes, -EBADMSG, path, "offset 0: damaged segment header");
	case -ESTALE:
		return complain(error, error_bytes, rc, path, "written by another version of Headgate");
	default:
		return complain(error, error_bytes, rc, path, strerror(-rc));
	}
}

static int
compare_numbers(const void *a, const void *b)
{
	uint64_t x = ((const struct log_segment *)a)->number;
	uint64_t y = ((const struct log_segment *)b)->number;

	return x < y ? -1 : x > y;
}

/* Fills list->segments with the numbers that the directory has, sorted. */
static int
list_numbers(struct log_list *list)
{
	DIR *dir = opendir(list->dir);
	size_t capacity = 0;
	int rc = 0;

	if (dir == NULL)
		return -errno;
	for (struct dirent *entry; rc == 0 && (entry = readdir(dir)) != NULL;) {
		uint64_t number = segment_number(entry->d_name);

		if (number == 0)
			continue;
		if (list->count == capacity) {
			size_t more = capacity ? 2 * capacity : 16;
			void *bigger = realloc(list->segments, more * sizeof(*list->segments));

			if (bigger == NULL) {
				rc = -ENOMEM;
				break;
			}
			list->segments = bigger;
			capacity = more;
		}
		list->segments[list->count++] = (struct log_segment){ .number = number };
	}
	closedir(dir);
	if (rc == 0 && list->count > 0)
		qsort(list->segments, list->count, sizeof(*list->segments), compare_numbers);
	return rc;
}

/* Reads segment i's header and checks that it follows the one before. */
static int
check_segment(struct log_list *list, size_t i, char *error, size_t error_bytes)
{
	struct log_segment *segment = &list->segments[i];
	struct log_segment_header header;
	char path[LOG_PATH_BYTES];
	uint64_t file_bytes;
	int rc;

	log_segment_path(path, list->dir, segment->number);
	rc = read_header(path, &header, &file_bytes);
	if (rc != 0)
		return header_complaint(error, error_bytes, rc, path);
	if (header.number != segment->number)
		return complain(error, error_bytes, -EBADMSG, path, "offset 0: renamed segment");
	if (file_bytes < header.size)
		return complain(error, error_bytes, -EBADMSG, path, "shorter than its header says");
	if (i == 0) {
		list->log_id = header.log_id;
		memcpy(list->queue, header.queue, sizeof(list->queue));
	} else if (header.log_id != list->log_id) {
		return complain(error, error_bytes, -EBADMSG, path, "belongs to another log");
	} else if (header.number != segment[-1].number + 1 ||
	    header.position != segment[-1].position + segment[-1].size) {
		return complain(error, error_bytes, -EBADMSG, path, "a segment before it is missing");
	}
	segment->position = header.position;
	segment->size = header.size;
	segment->salt = header.salt;
	return 0;
}

int
log_list_open(struct log_list *list, const char *dir, char *error, size_t error_bytes)
{
	int rc;

	*list = (struct log_list){ 0 };
	if (snprintf(list->dir, sizeof(list->dir), "%s", dir) >= (int)sizeof(list->dir) - 32)
		return complain(error, error_bytes, -ENAMETOOLONG, dir, strerror(ENAMETOOLONG));
	rc = list_numbers(list);
	if (rc != 0)
		complain(error, error_bytes, rc, dir, strerror(-rc));
	else if (list->count == 0)
		rc = complain(error, error_bytes, -ENOENT, dir, "no log");
	for (size_t i = 0; rc == 0 && i < list->count; i++)
		rc = check_segment(list, i, error, error_bytes);
	if (rc != 0)
		log_list_close(list);
	return rc;
}

void
log_list_close(struct log_list *list)
{
	free(list->segments);
	list->segments = NULL;
	list->count = 0;
}

const struct log_segment *
log_list_find(const struct log_list *list, uint64_t position)
{
	for (size_t i = list->count; i-- > 0;)
		if (position >= list->segments[i].position)
			return position < list->segments[i].position + list->segments[i].size
			    ? &list->segments[i]
			    : NULL;
	return NULL;
}

/* A scan in progress: one segment at a time in memory. A batch may begin in one segment and end in a
 * later one; its frames are reported when its end was seen, so its earlier segments are kept. */
struct scan {
	const struct log_list *list;
	const struct log_visitor *visitor;
	struct log_tail *tail;
	uint64_t last_batch;
	uint8_t **images; /* one for each segment of the list; NULL when not in memory */
	size_t batch_segment; /* where the open batch starts */
	uint64_t batch_start; /* position; 0 when none is open */
	uint64_t batch;       /* its number */
	char *error;
	size_t error_bytes;
};

static int
load(struct scan *scan, size_t i)
{
	const struct log_segment *segment = &scan->list->segments[i];
	char path[LOG_PATH_BYTES];
	int fd, rc;

	if (scan->images[i] != NULL)
		return 0;
	log_segment_path(path, scan->list->dir, segment->number);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return complain(scan->error, scan->error_bytes, -errno, path, strerror(errno));
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	scan->images[i] = malloc(segment->size);
	rc = scan->images[i] == NULL ? -ENOMEM
				     : read_whole(fd, scan->images[i], segment->size, 0);
	close(fd);
	return rc == 0 ? 0 : complain(scan->error, scan->error_bytes, rc, path, strerror(-rc));
}

static void
unload_before(struct scan *scan, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		free(scan->images[k]);
		scan->images[k] = NULL;
	}
}

/* The frame at offset of segment i if its header is whole, else NULL. */
static const struct log_frame *
frame_at(const struct scan *scan, size_t i, uint64_t offset)
{
	const struct log_segment *segment = &scan->list->segments[i];
	const void *data = scan->images[i] + offset;

	return log_frame_header_valid(data, segment->size - offset, segment->salt) ? data : NULL;
}

/* Calls the visitor for the frames from the open batch's start up to its end at (last, stop). */
static int
report_batch(struct scan *scan, size_t last, uint64_t stop)
{
	uint64_t offset = scan->batch_start - scan->list->segments[scan->batch_segment].position;

	if (scan->visitor == NULL || scan->visitor->frame == NULL)
		return 0;
	for (size_t i = scan->batch_segment; i <= last; i++, offset = LOG_HEADER_BYTES) {
		const struct log_segment *segment = &scan->list->segments[i];
		uint64_t limit = i == last ? stop : segment->size;

		while (offset + sizeof(struct log_frame) <= limit) {
			const struct log_frame *frame = (const void *)(scan->images[i] + offset);
			int rc = scan->visitor->frame(
			    scan->visitor->context, frame, segment->position + offset);

			if (rc != 0)
				return rc;
			offset += log_frame_bytes(frame->length);
		}
	}
	return 0;
}

static int
remember_logs(struct log_tail *tail, const struct log_batch_end *end)
{
	uint64_t *logs = malloc(end->logs * sizeof(*logs));

	if (logs == NULL)
		return -ENOMEM;
	memcpy(logs, end + 1, end->logs * sizeof(*logs));
	free(tail->last_logs);
	tail->last_logs = logs;
	tail->last_log_count = end->logs;
	return 0;
}

/* A whole batch ends with this frame; next is the offset behind it. */
static int
close_batch(struct scan *scan, size_t i, const struct log_frame *frame, uint64_t next)
{
	const struct log_batch_end *end = (const void *)(frame + 1);
	struct log_tail *tail = scan->tail;
	int rc;

	if (end->batch > scan->last_batch) {
		scan->batch_start = 0;
		return 0;
	}
	rc = remember_logs(tail, end);
	if (rc == 0 && scan->visitor != NULL && scan->visitor->batch != NULL)
		rc = scan->visitor->batch(scan->visitor->context, end);
	if (rc == 0)
		rc = report_batch(scan, i, next);
	tail->before_end = tail->end;
	tail->before_batch = tail->last_batch;
	tail->last_start = scan->batch_start;
	tail->last_batch = end->batch;
	tail->end = scan->list->segments[i].position + next;
	scan->batch_start = 0;
	return rc;
}

static bool
frame_fits_batch(const struct scan *scan, const struct log_frame *frame)
{
	if (!log_frame_payload_valid(frame))
		return false;
	if (scan->batch_start == 0)
		return frame->type == LOG_PAD || (frame->flags & LOG_FLAG_FIRST);
	return frame->batch == scan->batch && !(frame->flags & LOG_FLAG_FIRST);
}

/* Walks segment i from *offset over whole frames. Returns 1 when the segment ended, 0 with *offset
 * where something is that is no frame of a batch in order, or an error. */
static int
walk_segment(struct scan *scan, size_t i, uint64_t *offset)
{
	const struct log_segment *segment = &scan->list->segments[i];
	int rc;

	while (*offset + sizeof(struct log_frame) <= segment->size) {
		const struct log_frame *frame = frame_at(scan, i, *offset);
		uint64_t next;

		if (frame == NULL || !frame_fits_batch(scan, frame))
			return 0;
		next = *offset + log_frame_bytes(frame->length);
		if (frame->flags & LOG_FLAG_FIRST) {
			scan->batch_segment = i;
			scan->batch_start = segment->position + *offset;
			scan->batch = frame->batch;
		}
		if (frame->type == LOG_BATCH_END) {
			rc = close_batch(scan, i, frame, next);
			if (rc != 0)
				return rc;
		} else if (frame->type == LOG_PAD && scan->batch_start == 0 &&
		    scan->tail->last_batch == frame->batch) {
			scan->tail->end = segment->position + next;
		}
		*offset = next;
	}
	return 1;
}

/*
 * Behind a bad place: was it torn, or is it damage? A batch begins with a FIRST frame and only one is
 * in flight at a time. So if a FIRST frame stands anywhere behind, the bad place lies before the
 * start of a later batch and belongs to one that was acknowledged: damage. Otherwise it belongs to
 * the batch that was being written.
 */
static int
judge_bad_place(struct scan *scan, size_t i, uint64_t bad)
{
	const struct log_list *list = scan->list;
	/* Whole frames of a batch without an end stand in front of the bad place. */
	uint64_t last_written = scan->batch_start != 0 ? list->segments[i].position + bad : 0;
	char path[LOG_PATH_BYTES];
	int rc;

	for (size_t k = i; k < list->count; k++) {
		uint64_t offset = k == i ? bad : LOG_HEADER_BYTES;

		rc = load(scan, k);
		if (rc != 0)
			return rc;
		for (; offset + sizeof(struct log_frame) <= list->segments[k].size; offset += 8) {
			const struct log_frame *frame;
			uint64_t word;

			memcpy(&word, scan->images[k] + offset, sizeof(word));
			if (word == 0)
				continue;
			last_written = list->segments[k].position + offset + 8;
			frame = frame_at(scan, k, offset);
			if (frame == NULL || (k == i && offset == bad && scan->batch_start == 0))
				continue;
			scan->tail->torn_batch = frame->batch;
			if (!(frame->flags & LOG_FLAG_FIRST))
				continue;
			log_segment_path(path, list->dir, list->segments[i].number);
			snprintf(scan->error, scan->error_bytes,
			    "%s: offset %" PRIu64 ": damaged, and whole batches follow", path, bad);
			return -EBADMSG;
		}
		if (k > i)
			unload_before(scan, k);
	}
	if (scan->batch_start != 0)
		scan->tail->torn_batch = scan->batch;
	if (last_written > scan->tail->end)
		scan->tail->torn_bytes = last_written - scan->tail->end;
	return 0;
}

static int
scan_segments(struct scan *scan)
{
	const struct log_list *list = scan->list;

	scan->tail->end = list->segments[0].position + LOG_HEADER_BYTES;
	for (size_t i = 0; i < list->count; i++) {
		uint64_t offset = LOG_HEADER_BYTES;
		int rc = load(scan, i);

		if (rc == 0)
			rc = walk_segment(scan, i, &offset);
		if (rc < 0 || rc > 1)
			return rc;
		if (rc == 0)
			return judge_bad_place(scan, i, offset);
		unload_before(scan, scan->batch_start != 0 ? scan->batch_segment : i);
	}
	if (scan->batch_start != 0)
		scan->tail->torn_batch = scan->batch;
	return 0;
}

int
log_scan(const struct log_list *list, uint64_t last_batch, const struct log_visitor *visitor,
    struct log_tail *tail, char *error, size_t error_bytes)
{
	struct scan scan = {
		.list = list,
		.visitor = visitor,
		.tail = tail,
		.last_batch = last_batch,
		.error = error,
		.error_bytes = error_bytes,
	};
	int rc;

	*tail = (struct log_tail){ 0 };
	scan.images = calloc(list->count, sizeof(*scan.images));
	if (scan.images == NULL)
		return complain(error, error_bytes, -ENOMEM, list->dir, strerror(ENOMEM));
	rc = scan_segments(&scan);
	unload_before(&scan, list->count);
	free(scan.images);
	return rc;
}

void
log_tail_free(struct log_tail *tail)
{
	free(tail->last_logs);
	tail->last_logs = NULL;
}

void
log_state_to_detail(const struct log_state *state, struct control_detail *detail)
{
	*detail = (struct control_detail){
		.generation = state->generation,
		.since_ns = state->since_ns,
		.sequence = state->sequence,
		.uid = state->uid,
		.pid = state->pid,
		.status = state->status,
	};
	memcpy(detail->user, state->user, sizeof(detail->user));
	memcpy(detail->program, state->program, sizeof(detail->program));
	memcpy(detail->message_id, state->message_id, sizeof(detail->message_id));
	memcpy(detail->error, state->error, sizeof(detail->error));
	memcpy(detail->reason, state->reason, sizeof(detail->reason));
}

void
log_state_from_detail(struct log_state *state, enum control_state value, uint64_t generation,
    const struct control_detail *detail)
{
	*state = (struct log_state){
		.generation = generation,
		.since_ns = detail->since_ns,
		.sequence = detail->sequence,
		.state = value,
		.uid = detail->uid,
		.pid = detail->pid,
		.status = detail->status,
	};
	memcpy(state->user, detail->user, sizeof(state->user));
	memcpy(state->program, detail->program, sizeof(state->program));
	memcpy(state->message_id, detail->message_id, sizeof(state->message_id));
	memcpy(state->error, detail->error, sizeof(state->error));
	memcpy(state->reason, detail->reason, sizeof(state->reason));
}

/* For the summary: settlements first, then the age of the oldest message that is left. */
struct summary_scan {
	struct log_summary *summary;
	struct settled settled;
};

static int
summarize_settled(struct summary_scan *scan, const struct log_frame *frame)
{
	const struct log_settled *range = (const void *)(frame + 1);
	size_t count = frame->length / sizeof(*range);

	for (size_t i = 0; i < count; i++) {
		int64_t added = settled_add_range(&scan->settled, range[i].first, range[i].count);

		if (added < 0)
			return (int)added;
		if (range[i].status < 300)
			scan->summary->done += (uint64_t)added;
		else
			scan->summary->failed += (uint64_t)added;
	}
	return 0;
}

static int
summarize_frame(void *context, const struct log_frame *frame, uint64_t position)
{
	struct summary_scan *scan = context;
	const struct log_state *state = (const void *)(frame + 1);

	(void)position;
	switch (frame->type) {
	case LOG_MESSAGE:
		if (scan->summary->published++ == 0)
			return settled_skip(&scan->settled, frame->sequence - 1);
		return 0;
	case LOG_SETTLED:
		return summarize_settled(scan, frame);
	case LOG_STATE:
		scan->summary->state_word =
		    control_word((enum control_state)state->state, 0, state->generation);
		log_state_to_detail(state, &scan->summary->detail);
		return 0;
	default:
		return 0;
	}
}

static int
find_oldest(void *context, const struct log_frame *frame, uint64_t position)
{
	struct summary_scan *scan = context;
	struct envelope envelope;

	(void)position;
	if (frame->type != LOG_MESSAGE || settled_has(&scan->settled, frame->sequence))
		return 0;
	if (envelope_open(&envelope, frame + 1, frame->length, ENVELOPE_BODY_BYTES_MAX, NULL) == 0)
		scan->summary->oldest_ns = envelope.published_ns;
	return 1;
}

int
log_summarize(const char *queue_dir, struct log_summary *summary, char *error, size_t error_bytes)
{
	struct summary_scan scan = { .summary = summary };
	struct log_visitor visitor = { .frame = summarize_frame, .context = &scan };
	struct log_tail tail;
	struct log_list list;
	int rc;

	*summary = (struct log_summary){ .state_word = control_word(CONTROL_RUNNING, 0, 0) };
	settled_init(&scan.settled, 0);
	rc = log_list_open(&list, queue_dir, error, error_bytes);
	if (rc != 0)
		return rc;
	summary->log_id = list.log_id;
	for (size_t i = 0; i < list.count; i++)
		summary->bytes += list.segments[i].size;
	rc = log_scan(&list, UINT64_MAX, &visitor, &tail, error, error_bytes);
	log_tail_free(&tail);
	summary->depth = summary->published - summary->done - summary->failed;
	if (rc == 0 && summary->depth > 0) {
		visitor.frame = find_oldest;
		rc = log_scan(&list, UINT64_MAX, &visitor, &tail, error, error_bytes);
		log_tail_free(&tail);
		rc = rc == 1 ? 0 : rc;
	}
	settled_free(&scan.settled);
	log_list_close(&list);
	return rc;
}
