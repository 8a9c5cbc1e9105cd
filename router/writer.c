#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "router/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/lane.h"

enum {
	ZERO_PIECE_BYTES = 256 << 10,
	NEXT_RETRY_NS = 200000000,
};

static _Alignas(LOG_BLOCK_BYTES) const uint8_t zeros[ZERO_PIECE_BYTES];

static uint64_t
align_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) & ~(unit - 1);
}

static uint64_t
segment_end(const struct log_segment *segment)
{
	return segment->position + segment->size;
}

static uint8_t *
tail_at(const struct writer *writer, uint64_t position)
{
	return writer->tail + (position & (WRITER_TAIL_BYTES - 1));
}

const uint8_t *
writer_tail(const struct writer *writer, uint64_t position)
{
	return position >= writer->tail_floor && position < writer->end &&
		position + WRITER_TAIL_BYTES >= writer->end + WRITER_RESERVE_BYTES
	    ? tail_at(writer, position)
	    : NULL;
}

/*
 * The next segment: allocated, zeroed piece by piece, then its header, then its name.
 */

static void
next_path(const struct writer *writer, char path[LOG_PATH_BYTES], bool final)
{
	log_segment_path(path, writer->dir, writer->next.segment.number);
	if (!final)
		strncat(path, ".new", LOG_PATH_BYTES - strlen(path) - 1);
}

static void
next_failed(struct writer *writer, int rc)
{
	char path[LOG_PATH_BYTES];

	next_path(writer, path, false);
	if (writer->next.fd >= 0)
		io_close(writer->next.fd);
	io_unlink(path);
	writer->next.fd = -1;
	writer->next_state = WRITER_NEXT_FAILED;
	writer->next_error = rc;
	writer->next_retry_ns = io_monotonic_ns() + NEXT_RETRY_NS;
	writer->next_done(writer);
}

static int
name_next(struct writer *writer)
{
	char from[LOG_PATH_BYTES], to[LOG_PATH_BYTES];
	int rc;

	next_path(writer, from, false);
	next_path(writer, to, true);
	rc = io_rename(from, to);
	return rc == 0 ? io_sync_dir(writer->dir) : rc;
}

static void next_step(struct writer *);

static void
next_written(struct io_request *request, int64_t result)
{
	struct writer *writer =
	    (void *)((char *)request - offsetof(struct writer, next_request));
	int rc;

	if (result <= 0) {
		next_failed(writer, result < 0 ? (int)result : -EIO);
		return;
	}
	if (writer->next_state == WRITER_NEXT_ZEROING) {
		writer->next_written += (uint64_t)result;
		next_step(writer);
		return;
	}
	rc = result == LOG_HEADER_BYTES ? name_next(writer) : -EIO;
	if (rc != 0) {
		next_failed(writer, rc);
		return;
	}
	writer->next_state = WRITER_NEXT_READY;
	writer->next_done(writer);
}

static void
next_step(struct writer *writer)
{
	uint64_t left = writer->next.segment.size - writer->next_written;

	if (left > 0) {
		writer->io->operations->write(writer->io, writer->next.fd, zeros,
		    left < ZERO_PIECE_BYTES ? left : ZERO_PIECE_BYTES,
		    (int64_t)writer->next_written, &writer->next_request);
		return;
	}
	writer->next_state = WRITER_NEXT_HEADER;
	writer->io->operations->write(writer->io, writer->next.fd, writer->header_block,
	    LOG_HEADER_BYTES, 0, &writer->next_request);
}

/* Segments double from the smallest to the largest. */
static uint64_t
next_size(uint64_t number)
{
	uint64_t size = LOG_SEGMENT_BYTES_MIN;

	while (--number > 0 && size < LOG_SEGMENT_BYTES_MAX)
		size *= 2;
	return size;
}

static void
fill_header(struct writer *writer)
{
	struct log_segment_header header = {
		.log_id = writer->log_id,
		.number = writer->next.segment.number,
		.salt = writer->next.segment.salt,
		.position = writer->next.segment.position,
		.size = writer->next.segment.size,
		.created_ns = io_wall_ns(),
	};

	memcpy(header.queue, writer->queue, sizeof(header.queue));
	log_segment_header_seal(&header);
	memset(writer->header_block, 0, LOG_HEADER_BYTES);
	memcpy(writer->header_block, &header, sizeof(header));
}

/* Makes room to remember one more old segment, so that switch_segment() cannot fail. */
static int
reserve_old(struct writer *writer)
{
	size_t more = writer->old_capacity ? 2 * writer->old_capacity : 16;
	void *bigger;

	if (writer->old_count < writer->old_capacity)
		return 0;
	bigger = realloc(writer->old, more * sizeof(*writer->old));
	if (bigger == NULL)
		return -ENOMEM;
	writer->old = bigger;
	writer->old_capacity = more;
	return 0;
}

/* Starts to make the segment behind position, with this number. */
static void
make_next(struct writer *writer, uint64_t number, uint64_t position)
{
	char path[LOG_PATH_BYTES];
	int rc;

	writer->next.segment = (struct log_segment){
		.number = number,
		.position = position,
		.size = next_size(number),
	};
	io_random(&writer->next.segment.salt, sizeof(writer->next.segment.salt));
	writer->next_written = 0;
	writer->next_request.done = next_written;
	next_path(writer, path, false);
	writer->next.fd = io_open_log(path, true, writer->direct);
	if (writer->next.fd < 0) {
		next_failed(writer, writer->next.fd);
		return;
	}
	rc = reserve_old(writer);
	if (rc == 0)
		rc = io_allocate(writer->next.fd, writer->next.segment.size);
	if (rc != 0) {
		next_failed(writer, rc);
		return;
	}
	fill_header(writer);
	writer->next_state = WRITER_NEXT_ZEROING;
	next_step(writer);
}

/* Starts the next segment once a quarter of this one is used. */
static void
prepare_next(struct writer *writer)
{
	const struct log_segment *active = &writer->active.segment;

	if (writer->next_state == WRITER_NEXT_FAILED &&
	    io_monotonic_ns() < writer->next_retry_ns)
		return;
	if (writer->next_state != WRITER_NEXT_NONE && writer->next_state != WRITER_NEXT_FAILED)
		return;
	if (writer->end - active->position < active->size / 4)
		return;
	make_next(writer, active->number + 1, segment_end(active));
}

/*
 * Appending.
 */

static bool
fits_segment(const struct log_segment *segment, uint64_t position, uint64_t bytes)
{
	return position + bytes + WRITER_RESERVE_BYTES <= segment_end(segment);
}

int
writer_room(struct writer *writer, uint64_t payload_length)
{
	uint64_t bytes = log_frame_bytes(payload_length);
	uint64_t end = writer->end;

	prepare_next(writer);
	if (!fits_segment(&writer->active.segment, end, bytes)) {
		if (writer->next_state == WRITER_NEXT_FAILED)
			return writer->next_error;
		if (writer->next_state != WRITER_NEXT_READY)
			return 0;
		if (writer->gathering_count == WRITER_PIECES - 1)
			return 0;
		end = writer->next.segment.position + LOG_HEADER_BYTES;
	}
	if (writer->batch_start != 0 && end + bytes - writer->sealed > WRITER_GATHER_BYTES)
		return 0;
	return end + bytes + WRITER_RESERVE_BYTES - writer->durable <= WRITER_TAIL_BYTES;
}

/* A frame at end, which is known to fit in the active segment. */
static struct log_frame *
place_frame(struct writer *writer, enum log_type type, uint32_t length, bool first)
{
	struct log_frame *frame = (void *)tail_at(writer, writer->end);

	*frame = (struct log_frame){
		.length = length,
		.type = (uint8_t)type,
		.flags = first ? LOG_FLAG_FIRST : 0,
		.batch = writer->batch,
		.salt = writer->active.segment.salt,
	};
	return frame;
}

/* A frame that covers what is left up to position; only its header is written. */
static void
place_pad(struct writer *writer, uint64_t position, bool first)
{
	uint64_t left = position - writer->end;
	uint64_t written;

	if (left == 0)
		return;
	log_frame_seal(place_frame(
	    writer, LOG_PAD, (uint32_t)(left - sizeof(struct log_frame)), first));
	written = align_up(writer->end + sizeof(struct log_frame), writer->block);
	memset(tail_at(writer, writer->end) + sizeof(struct log_frame), 0,
	    (written < position ? written : position) - writer->end - sizeof(struct log_frame));
}

/* Ends the piece of the gathered batch that lies in the active segment, up to position. */
static void
add_piece(struct writer *writer, uint64_t from, uint64_t to, bool last_of_segment)
{
	struct writer_piece *piece = &writer->gathering[writer->gathering_count++];

	*piece = (struct writer_piece){
		.writer = writer,
		.data = tail_at(writer, from),
		.length = to - from,
		.offset = (int64_t)(from - writer->active.segment.position),
		.fd = writer->active.fd,
		.close_after = last_of_segment,
	};
}

/* Where the piece being gathered starts: at the batch's start, or behind this segment's header. */
static uint64_t
piece_start(const struct writer *writer)
{
	uint64_t first = writer->active.segment.position + LOG_HEADER_BYTES;

	return writer->sealed > first ? writer->sealed : first;
}

static void
switch_segment(struct writer *writer)
{
	uint64_t from = piece_start(writer);
	uint64_t limit = segment_end(&writer->active.segment);
	uint64_t written = align_up(writer->end + sizeof(struct log_frame), writer->block);

	place_pad(writer, limit, writer->batch_start == 0);
	if (writer->batch_start == 0)
		writer->batch_start = writer->end;
	add_piece(writer, from, written < limit ? written : limit, true);
	writer->old[writer->old_count++] = writer->active.segment; /* reserve_old() made room */
	writer->active = writer->next;
	writer->next.fd = -1;
	writer->next_state = WRITER_NEXT_NONE;
	writer->end = writer->active.segment.position + LOG_HEADER_BYTES;
}

struct log_frame *
writer_begin(struct writer *writer, enum log_type type, uint32_t length)
{
	uint64_t bytes = log_frame_bytes(length);
	struct log_frame *frame;

	if (type != LOG_BATCH_END &&
	    !fits_segment(&writer->active.segment, writer->end, bytes))
		switch_segment(writer);
	frame = place_frame(writer, type, length, writer->batch_start == 0);
	if (writer->batch_start == 0)
		writer->batch_start = writer->end;
	return frame;
}

void
writer_finish(struct writer *writer, struct log_frame *frame)
{
	uint64_t bytes = log_frame_bytes(frame->length);
	uint64_t used = sizeof(*frame) + frame->length;

	memset((uint8_t *)frame + used, 0, bytes - used);
	log_frame_seal(frame);
	writer->end += bytes;
}

/*
 * Writing.
 */

static void piece_written(struct io_request *request, int64_t result);

static void
write_piece(struct writer_piece *piece)
{
	struct io *io = piece->writer->io;

	piece->request.done = piece_written;
	io->operations->write(
	    io, piece->fd, piece->data, piece->length, piece->offset, &piece->request);
}

static void
piece_written(struct io_request *request, int64_t result)
{
	struct writer_piece *piece =
	    (void *)((char *)request - offsetof(struct writer_piece, request));
	struct writer *writer = piece->writer;

	if (result == -EINTR || result == -EAGAIN) {
		write_piece(piece);
		return;
	}
	if (result <= 0 || (uint64_t)result % writer->block != 0) {
		writer->durable_done(writer, result < 0 ? (int)result : -EIO);
		return;
	}
	piece->data += result;
	piece->length -= (size_t)result;
	piece->offset += result;
	if (piece->length > 0) {
		write_piece(piece);
		return;
	}
	if (piece->close_after)
		io_close(piece->fd);
	if (--writer->outstanding > 0)
		return;
	writer->durable = writer->sealed; /* one batch is in flight at a time */
	writer->durable_done(writer, 0);
}

void
writer_commit(struct writer *writer, uint64_t time_ns, const uint64_t *log_ids, uint32_t logs)
{
	struct log_batch_end *end;
	struct log_frame *frame;
	uint64_t start = writer->batch_start;
	uint64_t aligned;

	frame = writer_begin(
	    writer, LOG_BATCH_END, (uint32_t)(sizeof(*end) + logs * sizeof(*log_ids)));
	end = (void *)(frame + 1);
	*end = (struct log_batch_end){
		.batch = writer->batch,
		.time_ns = time_ns,
		.start = start,
		.logs = logs,
	};
	memcpy(end + 1, log_ids, logs * sizeof(*log_ids));
	writer_finish(writer, frame);

	aligned = align_up(writer->end, writer->block);
	if (aligned != writer->end && aligned - writer->end < sizeof(struct log_frame))
		aligned += writer->block;
	place_pad(writer, aligned, false);
	add_piece(writer, piece_start(writer), aligned, false);
	writer->end = writer->sealed = aligned;
	writer->batch_start = 0;

	memcpy(writer->flying, writer->gathering, sizeof(writer->flying));
	writer->flying_count = writer->outstanding = writer->gathering_count;
	writer->gathering_count = 0;
	for (unsigned i = 0; i < writer->flying_count; i++)
		write_piece(&writer->flying[i]);
}

/*
 * Opening and closing.
 */

/* Finds out how this file system lets us write: the smallest aligned unit, directly or not. */
static int
probe(struct writer *writer)
{
	static const struct {
		bool direct;
		unsigned block;
	} ways[] = { { true, 512 }, { true, 4096 }, { false, 512 } };
	char path[LOG_PATH_BYTES];
	int rc = -EIO;

	snprintf(path, sizeof(path), "%.4096s/probe.new", writer->dir);
	for (size_t i = 0; rc != 0 && i < sizeof(ways) / sizeof(ways[0]); i++) {
		int fd = io_open_log(path, true, ways[i].direct);

		if (fd < 0) {
			rc = fd;
			continue;
		}
		rc = pwrite(fd, zeros, ways[i].block, 0) == (ssize_t)ways[i].block ? 0 : -errno;
		io_close(fd);
		writer->direct = ways[i].direct;
		writer->block = ways[i].block;
	}
	io_unlink(path);
	return rc;
}

static int
map_tail(struct writer *writer)
{
	int fd = memfd_create("headgate-tail", MFD_CLOEXEC);
	void *data;
	int rc;

	if (fd < 0)
		return -errno;
	rc = ftruncate(fd, WRITER_TAIL_BYTES) == 0
	    ? lane_map_twice(fd, 0, WRITER_TAIL_BYTES, &data)
	    : -errno;
	close(fd);
	if (rc == 0)
		writer->tail = data;
	return rc;
}

/* Waits for the segment that make_next() began, and makes it the active one. */
static int
adopt_next(struct writer *writer)
{
	while (writer->next_state == WRITER_NEXT_ZEROING ||
	    writer->next_state == WRITER_NEXT_HEADER) {
		int rc = writer->io->operations->run(writer->io, 1000000000);

		if (rc != 0)
			return rc;
	}
	if (writer->next_state != WRITER_NEXT_READY)
		return writer->next_error;
	writer->active = writer->next;
	writer->next.fd = -1;
	writer->next_state = WRITER_NEXT_NONE;
	writer->end = writer->active.segment.position + LOG_HEADER_BYTES;
	return 0;
}

static int
open_new(struct writer *writer)
{
	io_random(&writer->log_id, sizeof(writer->log_id));
	writer->log_id = (writer->log_id >> 1) | 1;
	make_next(writer, 1, LOG_BLOCK_BYTES); /* position 0 stays free to mean "none" */
	return adopt_next(writer);
}

static int
open_listed(struct writer *writer, const struct log_list *list, uint64_t end)
{
	char path[LOG_PATH_BYTES];

	writer->log_id = list->log_id;
	for (size_t i = 0; i < list->count; i++) {
		writer->active.segment = list->segments[i];
		if (end <= segment_end(&list->segments[i]))
			break;
		if (reserve_old(writer) != 0)
			return -ENOMEM;
		writer->old[writer->old_count++] = list->segments[i];
	}
	log_segment_path(path, writer->dir, writer->active.segment.number);
	writer->active.fd = io_open_log(path, false, writer->direct);
	if (writer->active.fd < 0)
		return writer->active.fd;
	writer->end = end;
	if (writer->active.segment.number < list->segments[list->count - 1].number) {
		/* Made ahead and not used yet; writer_repair() left no more than one. */
		writer->next.segment = list->segments[list->count - 1];
		log_segment_path(path, writer->dir, writer->next.segment.number);
		writer->next.fd = io_open_log(path, false, writer->direct);
		if (writer->next.fd < 0)
			return writer->next.fd;
		writer->next_state = WRITER_NEXT_READY;
	}
	return reserve_old(writer);
}

int
writer_open(struct writer *writer, struct io *io, const char *dir, const char *queue,
    const struct log_list *list, uint64_t end)
{
	int rc;

	writer->io = io;
	writer->active.fd = writer->next.fd = -1;
	snprintf(writer->dir, sizeof(writer->dir), "%s", dir);
	snprintf(writer->queue, sizeof(writer->queue), "%s", queue);
	writer->header_block = aligned_alloc(LOG_BLOCK_BYTES, LOG_HEADER_BYTES);
	if (writer->header_block == NULL)
		return -ENOMEM;
	rc = probe(writer);
	if (end % LOG_BLOCK_BYTES % (rc == 0 ? writer->block : 1) != 0) {
		/* Copied here from a disk with smaller sectors. Through the page cache all goes. */
		writer->direct = false;
		writer->block = 512;
	}
	if (rc == 0)
		rc = map_tail(writer);
	if (rc == 0)
		rc = list != NULL ? open_listed(writer, list, end) : open_new(writer);
	writer->tail_floor = writer->sealed = writer->durable = writer->end;
	return rc;
}

void
writer_close(struct writer *writer)
{
	if (writer->active.fd >= 0)
		io_close(writer->active.fd);
	if (writer->next.fd >= 0)
		io_close(writer->next.fd);
	if (writer->tail != NULL)
		munmap(writer->tail, 2 * (size_t)WRITER_TAIL_BYTES);
	free(writer->header_block);
	free(writer->old);
}

const struct log_segment *
writer_find(const struct writer *writer, uint64_t position)
{
	if (position >= writer->active.segment.position)
		return &writer->active.segment;
	for (size_t i = writer->old_count; i-- > 0;)
		if (position >= writer->old[i].position)
			return position < segment_end(&writer->old[i]) ? &writer->old[i] : NULL;
	return NULL;
}

uint64_t
writer_bytes(const struct writer *writer)
{
	uint64_t bytes = writer->active.segment.size;

	for (size_t i = 0; i < writer->old_count; i++)
		bytes += writer->old[i].size;
	if (writer->next_state == WRITER_NEXT_READY)
		bytes += writer->next.segment.size;
	return bytes;
}

/*
 * Repair, before a log is opened.
 */

/* Applies change to [from, to) of the log, piece by piece and each piece inside one segment. */
static int
rewrite(const struct log_list *list, uint64_t from, uint64_t to, bool zero)
{
	uint8_t *buffer = malloc(ZERO_PIECE_BYTES);
	int rc = buffer == NULL ? -ENOMEM : 0;

	while (rc == 0 && from < to) {
		const struct log_segment *segment = log_list_find(list, from);
		char path[LOG_PATH_BYTES];
		uint64_t length = to - from;
		ssize_t n;
		int fd;

		if (segment == NULL)
			break;
		if (length > segment_end(segment) - from)
			length = segment_end(segment) - from;
		if (length > ZERO_PIECE_BYTES)
			length = ZERO_PIECE_BYTES;
		log_segment_path(path, list->dir, segment->number);
		fd = io_open_log(path, false, false);
		if (fd < 0) {
			rc = fd;
			break;
		}
		n = (ssize_t)length;
		if (zero && from < segment->position + LOG_HEADER_BYTES)
			length = segment->position + LOG_HEADER_BYTES - from;
		else if (zero)
			n = pwrite(fd, zeros, length, (off_t)(from - segment->position));
		else if (pread(fd, buffer, length, (off_t)(from - segment->position)) == n)
			n = pwrite(fd, buffer, length, (off_t)(from - segment->position));
		else
			n = -1;
		if (n <= 0)
			rc = errno ? -errno : -EIO;
		else
			from += length;
		io_close(fd);
	}
	free(buffer);
	return rc;
}

int
writer_repair(struct log_list *list, uint64_t last_start, uint64_t from, uint64_t to)
{
	int rc = 0;

	if (last_start != 0)
		rc = rewrite(list, last_start, from, false);
	if (rc == 0 && from < to)
		rc = rewrite(list, from, to, true);
	while (rc == 0 && list->count > 2 &&
	    list->segments[list->count - 2].position >= from) {
		char path[LOG_PATH_BYTES];

		log_segment_path(path, list->dir, list->segments[--list->count].number);
		rc = io_unlink(path);
	}
	return rc == 0 ? io_sync_dir(list->dir) : rc;
}
