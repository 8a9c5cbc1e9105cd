#include "router/delivery/cursor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "router/journal/segments.h"
#include "router/journal/writer.h"
#include "router/queue/lookup.h"
#include "router/queue/subscription.h"

enum {
	WINDOW_BYTES = 2 << 20, /* holds the longest frame and more */
	WINDOW_READ_BYTES = 512 << 10,
	WINDOW_RETRY_NS = 100000000
};

int
cursor_begin(struct worker *worker)
{
	worker->cursor.window = malloc(WINDOW_BYTES);
	return worker->cursor.window != NULL ? 0 : -ENOMEM;
}

/* Something was wanting, or the disk did not answer: that is no damage, and tried again. */
static void
window_failed(struct worker *worker, int rc)
{
	lookup_note(worker->queue, rc);
	worker->cursor.window_retry_ns = io_monotonic_ns() + WINDOW_RETRY_NS;
}

static void
window_read(struct io_request *request, int64_t result)
{
	struct worker *worker =
	    (void *)((char *)request - offsetof(struct worker, cursor.window_request));

	if (worker->state == WORKER_DETACHED)
		return;
	worker->cursor.window_short = result == 0;
	if (result > 0)
		worker->cursor.window_length += (size_t)result;
	if (result >= 0)
		lookup_note(worker->queue, 0);
	else if (result != -EINTR && result != -EAGAIN)
		window_failed(worker, (int)result);
}

static int
open_window(struct worker *worker, const struct log_segment *segment)
{
	char path[LOG_PATH_BYTES];

	if (worker->cursor.window_fd >= 0 && worker->cursor.window_segment == segment->number)
		return 0;
	if (worker->cursor.window_fd >= 0)
		close(worker->cursor.window_fd);
	log_segment_path(path, worker->queue->writer.dir, segment->number);
	worker->cursor.window_fd = file_open(path, O_RDONLY, 0);
	worker->cursor.window_segment = segment->number;
	worker->cursor.window_length = 0;
	worker->cursor.window_short = false;
	return worker->cursor.window_fd < 0 ? -errno : 0;
}

/* Asks for more of the log behind what the window holds from the cursor on. */
static void
read_window(struct worker *worker, const struct log_segment *segment, uint64_t limit)
{
	struct io *io = worker->queue->router->io;
	size_t length = WINDOW_READ_BYTES;
	size_t keep = 0;
	int rc;

	if (worker->cursor.window_retry_ns != 0 &&
	    io_monotonic_ns() < worker->cursor.window_retry_ns)
		return;
	worker->cursor.window_retry_ns = 0;
	rc = open_window(worker, segment);
	if (rc != 0) {
		window_failed(worker, rc);
		return;
	}
	if (worker->cursor.position >= worker->cursor.window_position &&
	    worker->cursor.position <
		worker->cursor.window_position + worker->cursor.window_length) {
		keep = worker->cursor.window_position + worker->cursor.window_length -
		    worker->cursor.position;
		memmove(worker->cursor.window,
		    worker->cursor.window +
			(worker->cursor.position - worker->cursor.window_position),
		    keep);
	}
	worker->cursor.window_position = worker->cursor.position;
	worker->cursor.window_length = keep;
	if (length > limit - worker->cursor.position - keep)
		length = limit - worker->cursor.position - keep;
	if (length > WINDOW_BYTES - keep)
		length = WINDOW_BYTES - keep;
	worker->cursor.window_request.done = window_read;
	io->operations->read(io, worker->cursor.window_fd, worker->cursor.window + keep, length,
	    (int64_t)(worker->cursor.position + keep - segment->position),
	    &worker->cursor.window_request);
}

/* Looks at the frame at the cursor in the window. MORE: the window holds none of it, or a part. */
static enum log_frame_view
frame_in_window(
    const struct worker *worker, const struct log_segment *segment, const struct log_frame **frame)
{
	uint64_t from = worker->cursor.position - worker->cursor.window_position;

	if (worker->cursor.window_segment != segment->number ||
	    worker->cursor.position < worker->cursor.window_position ||
	    from >= worker->cursor.window_length)
		return LOG_FRAME_MORE;
	*frame = (const void *)(worker->cursor.window + from);
	return log_frame_at(*frame, worker->cursor.window_length - from, segment->salt);
}

/* A frame that was whole when it was written is not any more: nothing behind it may go first. */
static void
stop_for_damage(struct worker *worker, const struct log_segment *segment)
{
	struct queue *queue = worker->queue;
	struct control_detail detail = { 0 };

	subscription_by_router(queue, &detail);
	snprintf(detail.reason, sizeof(detail.reason),
	    "log damaged: segment %016" PRIx64 ".log, offset %" PRIu64, segment->number,
	    worker->cursor.position - segment->position);
	subscription_gate(queue, subscription_word(queue), GATE_DAMAGE, &detail);
}

const struct log_frame *
cursor_frame(struct worker *worker)
{
	struct queue *queue = worker->queue;
	const struct log_frame *frame =
	    (const void *)writer_tail(&queue->writer, worker->cursor.position);
	const struct log_segment *segment;
	enum log_frame_view view;
	uint64_t end;

	if (frame != NULL)
		return frame;
	if (worker->cursor.window_request.pending)
		return NULL;
	segment = segments_find(&queue->writer, worker->cursor.position, &end);
	if (segment == NULL) {
		worker_log_unread(worker, "cursor outside the log");
		return NULL;
	}
	view = frame_in_window(worker, segment, &frame);
	if (view == LOG_FRAME_WHOLE)
		return frame;
	if (view == LOG_FRAME_DAMAGED ||
	    worker->cursor.window_short) { /* short: the file was cut */
		stop_for_damage(worker, segment);
		worker->cursor.window_segment =
		    0; /* whoever opens the gate again may have mended it */
	} else {
		read_window(worker, segment, end);
	}
	return NULL;
}

static void
rewind_one(struct worker *worker, const struct log_segment *segment)
{
	if (worker->cursor.window_segment >= segment->number &&
	    worker->cursor.window_segment <= segment->last_number)
		worker->cursor.window_segment = 0; /* it is of a file that is gone */
	/* What was delivered is behind worker->delivered, and not delivered again. */
	if (worker->cursor.position >= segment->position &&
	    worker->cursor.position < segment->position + segment->span)
		worker->cursor.position = segment->position + LOG_HEADER_BYTES;
}

void
cursor_rewind(struct queue *queue, const struct log_segment *segment)
{
	struct worker *worker;

	TAILQ_FOREACH (worker, &queue->attached.workers, link)
		rewind_one(worker, segment);
}
