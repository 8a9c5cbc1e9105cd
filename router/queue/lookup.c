#include "router/queue/lookup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "router/journal/segments.h"
#include "router/journal/writer.h"
#include "router/queue/index.h"
#include "telemetry/event.h"

enum {
	SHORT_READ_BYTES = 4096,    /* most messages are no longer */
	WALK_READ_BYTES = 256 << 10 /* where what comes behind is looked at, too */
};

/* Walks the log's memory from the first index entry on. Returns the frame of the first message that is not
 * settled and has at least this sequence, or NULL; *position is how far it came. */
static const struct log_frame *
find_in_tail(const struct queue *queue, uint64_t sequence, uint64_t *position)
{
	while ((*position = segments_position(&queue->writer, *position)) < queue->writer.durable) {
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

/* What was read of a segment. data: LOOKUP_FRAME_BYTES. */
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
	const void *data;

	if (position < piece->position || from >= piece->length)
		return NULL;
	data = piece->data + from;
	return log_frame_at(data, piece->length - from, segment->salt) == LOG_FRAME_WHOLE ? data
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
	fd = file_open(path, O_RDONLY, 0);
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
	const struct log_segment *segment = segments_find(&queue->writer, position, &end);
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
		rc = read_piece(queue, segment, position, piece, LOOKUP_FRAME_BYTES);
		*frame = frame_in_piece(piece, segment, position);
	}
	return *frame != NULL ? 0 : rc != 0 ? rc : -EBADMSG;
}

static bool
tail_frame_valid(const struct queue *queue, const struct log_frame *frame, uint64_t position)
{
	uint64_t end;
	const struct log_segment *segment = segments_find(&queue->writer, position, &end);

	return segment != NULL && position < end &&
	    log_frame_at(frame, end - position, segment->salt) == LOG_FRAME_WHOLE &&
	    frame->type != LOG_PAD;
}

int
lookup_note(struct queue *queue, int rc)
{
	bool failed = rc != 0 && rc != -EBADMSG;

	if (failed && rc != queue->lookup.error)
		event(EVENT_ERROR, "log.not_read", "s:queue", queue->config->name, "s:error",
		    strerror(-rc), NULL);
	if (rc == -ENOENT) /* somebody removed it: status says so */
		queue->writer.files_gone = true;
	queue->lookup.error = failed ? rc : 0;
	return failed ? -EAGAIN : rc;
}

int
lookup_frame(
    struct queue *queue, uint64_t position, uint64_t sequence, const struct log_frame **found)
{
	struct piece piece = { .data = queue->router->scratch };
	int rc = 0;

	if (position % 8 != 0 || position >= queue->writer.durable)
		return 0;
	/* Is this a place at which a frame begins? Someone else says so: its checksums must. */
	*found = (const void *)writer_tail(&queue->writer, position);
	if (*found == NULL)
		rc = lookup_note(
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
find_from(
    struct queue *queue, uint64_t sequence, uint64_t *position, const struct log_frame **found)
{
	struct piece piece = { .data = queue->router->scratch };

	*found = find_in_tail(queue, sequence, position);
	while (*found == NULL &&
	    (*position = segments_position(&queue->writer, *position)) < queue->writer.durable) {
		int rc = lookup_note(
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
lookup_find(struct queue *queue, uint64_t sequence, const struct log_frame **found)
{
	uint64_t position = queue->index.count == 0
	    ? queue->writer.durable
	    : queue->index.entries[index_find(queue, sequence)].position;
	int rc = find_from(queue, sequence, &position, found);

	return rc == 0 ? -EBADMSG : rc;
}

int
lookup_message(
    struct queue *queue, uint64_t position, uint64_t sequence, const struct log_frame **found)
{
	int rc = lookup_frame(queue, position, sequence, found);

	return rc == 0 ? lookup_find(queue, sequence, found) : rc;
}

uint64_t
lookup_oldest_ns(struct queue *queue, uint64_t head, bool *again)
{
	struct index_entry *entry = &queue->index.entries[index_first(queue)];
	uint64_t position = entry->position;
	const struct log_frame *frame;
	struct envelope envelope;
	int rc = find_from(queue, head, &position, &frame);

	*again = rc != 1 && rc != -EBADMSG;
	if (rc == 1 && open_frame(frame, &envelope) == 0)
		*entry = (struct index_entry){
			.position = position,
			.sequence = head,
			.time_ns = envelope.published_ns,
		};
	return rc == 0 ? 0 : entry->time_ns;
}

void
lookup_message_id(
    struct queue *queue, uint64_t position, uint64_t sequence, char id[CONTROL_ID_BYTES])
{
	const struct log_frame *frame;
	struct envelope envelope;

	id[0] = '\0';
	if (lookup_message(queue, position, sequence, &frame) != 1 ||
	    open_frame(frame, &envelope) != 0)
		return;
	memcpy(id, envelope.message_id.data, envelope.message_id.length);
	id[envelope.message_id.length] = '\0';
}
