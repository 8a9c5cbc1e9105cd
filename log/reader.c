#include "log/reader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "log/registry.h"
#include "log/scan.h"

enum {
	PAUSE_MS = 5,   /* before a restart */
	BELIEVE = 3,    /* the same error so many times in a row is damage */
	RESTARTS = 1000 /* limit of restarts in a row without a shown message */
};

/* The log at one moment. */
struct picture {
	struct log_reader *reader;
	struct log_list list;
	struct log_scan scan;
	struct settled settled;
	size_t last;            /* index of the active segment */
	uint64_t next_sequence; /* lowest sequence of a later message */
	bool stopped;           /* message() ended the reading */
};

static int
note(void *context, const struct log_frame *frame, uint64_t position)
{
	const struct log_settled *range = (const void *)(frame + 1);
	const struct log_reserved *reserved = (const void *)(frame + 1);
	struct picture *picture = context;
	int64_t added = 0;

	(void)position;
	if (log_is_message(frame))
		picture->next_sequence = frame->sequence + 1;
	if (frame->type == LOG_RESERVED)
		added = settled_add_range(
		    &picture->settled, reserved->skipped, reserved->from - reserved->skipped);
	if (frame->type != LOG_SETTLED)
		return added < 0 ? (int)added : 0;
	for (size_t n = frame->length / sizeof(*range); n > 0 && added >= 0; n--, range++)
		added = settled_add_range(&picture->settled, range->first, range->count);
	return added < 0 ? (int)added : 0;
}

/* Collects the settlements of a segment, and describes the segment as a later checkpoint will. The
 * description has the end of the data, so the second reading, for messages, notices any change. */
static int
note_segment(struct picture *picture, size_t i)
{
	struct log_visitor visitor = { .frame = note, .context = picture };
	struct log_segment *segment = &picture->list.segments[i];
	uint64_t end;
	int rc;

	segment->first_sequence = picture->next_sequence;
	rc = log_scan_segment(&picture->scan, i, &visitor, &end);
	segment->data_bytes = end - segment->position;
	segment->end_sequence = picture->next_sequence;
	return rc;
}

/* Collects the settled sequences: the newest checkpoint, and the frames behind. */
static int
read_settled(struct picture *picture)
{
	const char *dir = picture->list.dir;
	struct log_reader *reader = picture->reader;
	struct log_registry_end registered;
	struct log_tail tail;
	struct log_base base;
	int rc = log_registry_read_end_of(
	    &picture->list, &registered, reader->error, sizeof(reader->error));

	if (rc == 0)
		rc = log_scan_tail(&picture->scan, NULL, &tail);
	if (rc != 0)
		return rc;
	picture->last = tail.segment;
	log_tail_free(&tail);
	rc = log_registry_check(
	    dir, &registered, tail.last_batch, reader->error, sizeof(reader->error));
	if (rc != 0)
		return rc;
	rc = log_scan_base(&picture->scan, picture->last, &base);
	if (rc != 0)
		return rc;
	picture->settled = base.settled;
	picture->next_sequence = base.head.next_sequence;
	for (size_t i = base.segment; rc == 0 && i <= picture->last; i++)
		rc = note_segment(picture, i);
	/* A gap: a file is missing, or was removed since the list was made. */
	return rc == 0 ? log_scan_gaps(&picture->scan, &base, &picture->settled) : rc;
}

static int
show(void *context, const struct log_frame *frame, uint64_t position)
{
	struct picture *picture = context;
	struct log_reader *reader = picture->reader;
	int rc;

	if (!log_is_message(frame) || frame->sequence <= reader->after ||
	    settled_has(&picture->settled, frame->sequence))
		return 0;
	rc = reader->message(reader->context, frame, position);
	if (rc == 0)
		reader->after = frame->sequence;
	else
		picture->stopped = true;
	return rc;
}

/* True if the segment has no message to show. */
static bool
is_done(const struct picture *picture, const struct log_segment *segment)
{
	uint64_t first = segment->first_sequence, end = segment->end_sequence;

	if (first <= picture->reader->after)
		first = picture->reader->after + 1;
	return first >= end || settled_count_live(&picture->settled, first, end) == 0;
}

static int
read_picture(struct picture *picture)
{
	struct log_visitor visitor = { .frame = show, .context = picture };
	int rc = read_settled(picture);

	for (size_t i = 0; rc == 0 && i <= picture->last; i++)
		if (!is_done(picture, &picture->list.segments[i]))
			rc = log_scan_segment(&picture->scan, i, &visitor, NULL);
	return rc;
}

static int
read_once(struct log_reader *reader, const char *dir, bool *stopped)
{
	struct picture picture = { .reader = reader };
	int rc;

	reader->error[0] = '\0';
	rc = log_list_open(&picture.list, dir, reader->error, sizeof(reader->error));
	if (rc != 0)
		return rc;
	settled_init(&picture.settled, 0);
	log_scan_init(&picture.scan, &picture.list, reader->error, sizeof(reader->error));
	rc = read_picture(&picture);
	*stopped = picture.stopped;
	settled_free(&picture.settled);
	log_scan_free(&picture.scan);
	log_list_close(&picture.list);
	return rc;
}

/* True for errors that a change by a running router may have caused. */
static bool
may_pass(int rc)
{
	return rc == -EBADMSG || rc == -ENOENT || rc == -ENODATA;
}

int
log_reader_run(struct log_reader *reader, const char *dir)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
	char error[LOG_ERROR_BYTES] = "";
	unsigned same = 0, vain = 0;

	reader->restarts = 0;
	while (true) {
		uint64_t after = reader->after;
		bool stopped = false;
		int rc = read_once(reader, dir, &stopped);

		if (stopped || !may_pass(rc))
			return rc;
		same = strcmp(error, reader->error) == 0 ? same + 1 : 1;
		vain = reader->after == after ? vain + 1 : 0;
		if (same >= BELIEVE || vain >= RESTARTS)
			return rc == -ENODATA ? -EBADMSG : rc;
		memcpy(error, reader->error, sizeof(error));
		reader->restarts++;
		nanosleep(&pause, NULL);
	}
}
