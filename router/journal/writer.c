#include "router/journal/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/container_of.h"
#include "base/file.h"
#include "router/journal/space.h"
#include "router/journal/zeros.h"
#include "shm/lane.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

static uint8_t *
tail_at(const struct writer *writer, uint64_t position)
{
	return writer->tail + (position & (WRITER_TAIL_BYTES - 1));
}

/* May bytes be placed there? Not over what is still to be written: of the batch that is on its way to the disk, or of
 * the one that is gathered. */
static bool
tail_takes(const struct writer *writer, uint64_t position, uint64_t bytes)
{
	uint64_t unwritten = position;

	if (writer->in_flight.start != 0)
		unwritten = writer->in_flight.start;
	else if (writer->batch_start != 0)
		unwritten = writer->batch_start;
	return position + bytes - unwritten <= (uint64_t)WRITER_TAIL_BYTES;
}

/* Acknowledged messages would be destroyed: a router that was killed loses none. */
static _Noreturn void
give_up(const struct writer *writer, const char *what, uint64_t position)
{
	event(EVENT_ERROR, what, "s:queue", writer->queue, "u:position", position, "u:unwritten",
	    writer->in_flight.start, "u:batch", writer->batch, "u:segment",
	    writer->active.segment.number, NULL);
	_exit(EX_SOFTWARE);
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
 * Appending.
 */

static void
take_next(struct writer *writer)
{
	writer->active = (struct writer_segment){
		.segment = writer->preallocated.segment,
		.fd = writer->preallocated.fd,
	};
	writer->preallocated.fd = -1;
	writer->preallocated.state = PREALLOCATION_NONE;
}

/* The next segment becomes the active one. Nothing is gathered. */
static void
switch_segment(struct writer *writer)
{
	struct log_segment *last =
	    &writer->old[writer->old_count++]; /* space_reserve_old() made room */

	*last = writer->active.segment;
	last->data_bytes = writer->sealed - last->position;
	if (writer->in_flight.request.pending)
		writer->in_flight.closes = true;
	else
		io_close(writer->active.fd);
	take_next(writer);
	writer->end = writer->sealed = writer->active.segment.position + LOG_HEADER_BYTES;
	writer->events->switched(writer);
	CRASH_POINT("segment.switched");
}

/* spare: bytes that are to be left in the segment when there is no other. */
static int
room(struct writer *writer, uint64_t bytes, uint64_t spare)
{
	space_prepare(writer, bytes, spare);
	if (writer->preallocated.state == PREALLOCATION_READY)
		spare = 0;
	if (!journal_fits(writer, bytes + spare)) {
		if (writer->preallocated.state == PREALLOCATION_FAILED)
			return writer->preallocated.error;
		writer->wants_barrier =
		    writer->unsynced || (writer->cached && writer->batch_start != 0);
		if (writer->preallocated.state != PREALLOCATION_READY || writer->batch_start != 0 ||
		    writer->unsynced ||
		    !tail_takes(writer, writer->preallocated.segment.position,
			LOG_HEADER_BYTES + WRITER_BEGUN_BYTES + WRITER_RESERVE_BYTES))
			return 0;
		switch_segment(writer);
		if (!journal_fits(writer, bytes))
			return room(writer, bytes, spare); /* the next is as large as needed */
	}
	if (writer->batch_start != 0 && writer->end + bytes - writer->sealed > WRITER_GATHER_BYTES)
		return 0;
	return tail_takes(writer, writer->end, bytes + WRITER_RESERVE_BYTES);
}

int
writer_room(struct writer *writer, uint64_t payload_length)
{
	return room(writer, log_frame_bytes(payload_length), 0);
}

int
writer_room_for_message(struct writer *writer, uint64_t payload_length)
{
	uint64_t bytes = log_frame_bytes(payload_length);
	int rc;

	if (writer->files_gone)
		return -ESTALE;
	rc = room(writer, bytes, writer->active.segment.size / JOURNAL_MESSAGES_LEAVE);
	if (rc < 0)
		writer->preallocated.refused_bytes = bytes;
	return rc;
}

int
writer_room_for_state(struct writer *writer, uint64_t payload_length)
{
	return room(writer, log_frame_bytes(payload_length),
	    writer->active.segment.size / JOURNAL_STATES_LEAVE);
}

/* Has another file its name, or none? Where that cannot be said, no: the next start would not begin without it. */
static bool
is_gone(const struct writer *writer, int fd, const struct log_segment *segment)
{
	char path[LOG_PATH_BYTES];

	if (fd < 0)
		return false;
	log_segment_path(path, writer->dir, segment->number);
	return file_is_at(fd, path) == 0;
}

bool
writer_lost_files(struct writer *writer)
{
	bool before = writer->files_gone;

	writer->files_gone |= is_gone(writer, writer->active.fd, &writer->active.segment) ||
	    (writer->preallocated.state == PREALLOCATION_READY &&
		is_gone(writer, writer->preallocated.fd, &writer->preallocated.segment));
	return writer->files_gone && !before;
}

/* A frame at end. That it has room there is known; if it had none, this is where nothing is overwritten. */
static struct log_frame *
place_frame(struct writer *writer, enum log_type type, uint32_t length, bool first)
{
	struct log_frame *frame = (void *)tail_at(writer, writer->end);
	uint64_t bytes = log_frame_bytes(length);

	if (writer->end + bytes > journal_segment_end(&writer->active.segment) ||
	    !tail_takes(writer, writer->end, bytes))
		give_up(writer, "log.would_overwrite", writer->end);
	*frame = (struct log_frame){
		.length = length,
		.type = (uint8_t)type,
		.flags = (uint8_t)((first ? LOG_FLAG_FIRST : 0) |
		    (writer->cached ? LOG_FLAG_OS : 0) |
		    (first && writer->cached && !writer->unsynced ? LOG_FLAG_AFTER_BARRIER : 0)),
		.batch = writer->batch,
		.salt = writer->active.segment.salt,
	};
	return frame;
}

/* A frame that fills up to the end of a block. */
static void
place_pad(struct writer *writer)
{
	uint64_t bytes = log_pad_bytes(writer->end);
	struct log_frame *frame;

	if (bytes == 0)
		return;
	frame = place_frame(writer, LOG_PAD, (uint32_t)(bytes - sizeof(*frame)), false);
	memset(frame + 1, 0, frame->length);
	log_frame_set_checksums(frame);
	writer->end += bytes;
}

struct log_frame *
writer_begin(struct writer *writer, enum log_type type, uint32_t length)
{
	struct log_frame *frame = place_frame(writer, type, length, writer->batch_start == 0);

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
	log_frame_set_checksums(frame);
	writer->end += bytes;
}

void
writer_touch(struct writer *writer)
{
	writer_finish(writer, writer_begin(writer, LOG_PAD, 0));
}

/*
 * Writing.
 */

static void
write_flight(struct writer *writer)
{
	writer->io->operations->write(writer->io, writer->in_flight.fd, writer->in_flight.data,
	    writer->in_flight.length, writer->in_flight.offset, &writer->in_flight.request);
}

/* Is what was written still what was sealed? The disk may have taken it at any moment up to now. */
static void
look_again(const struct writer *writer)
{
	uint64_t position = writer->in_flight.start;

	while (position < writer->in_flight.end) {
		const struct log_frame *frame = (const void *)tail_at(writer, position);

		if (log_frame_at(frame, writer->in_flight.end - position, writer->in_flight.salt) !=
			LOG_FRAME_WHOLE ||
		    frame->batch != writer->last_batch)
			give_up(writer, "log.overwritten", position);
		position += log_frame_bytes(frame->length);
	}
}

static void
flight_ended(struct writer *writer)
{
	if (writer->in_flight.closes)
		io_close(writer->in_flight.fd);
	writer->in_flight.closes = false;
	if (writer->paranoid)
		look_again(writer);
	writer->in_flight.start = 0;
	writer->events->durable_done(writer, 0);
}

static void
flight_synced(struct io_request *request, int64_t result)
{
	struct writer *writer = CONTAINER_OF(request, struct writer, in_flight.request);

	if (result == -EINTR || result == -EAGAIN) {
		writer->io->operations->sync(writer->io, writer->in_flight.fd, request);
		return;
	}
	if (result != 0) {
		writer->events->durable_done(writer, result < 0 ? (int)result : -EIO);
		return;
	}
	CRASH_POINT("log.synced");
	flight_ended(writer);
}

static void
flight_written(struct io_request *request, int64_t result)
{
	struct writer *writer = CONTAINER_OF(request, struct writer, in_flight.request);

	if (result == -EINTR || result == -EAGAIN) {
		write_flight(writer);
		return;
	}
	result = journal_whole_blocks(result);
	if (result < 0) {
		writer->events->durable_done(writer, (int)result);
		return;
	}
	writer->in_flight.data += result;
	writer->in_flight.length -= (size_t)result;
	writer->in_flight.offset += result;
	if (writer->in_flight.length > 0) {
		write_flight(writer);
		return;
	}
	CRASH_POINT("log.written");
	if (writer->in_flight.synced) {
		writer->in_flight.request.done = flight_synced;
		writer->io->operations->sync(writer->io, writer->in_flight.fd, request);
		return;
	}
	flight_ended(writer);
}

void
writer_commit(struct writer *writer, const struct log_commit *end, const uint64_t *log_ids)
{
	uint32_t length = log_commit_bytes(end->logs, end->previous_logs);
	struct log_frame *frame = writer_begin(writer, LOG_COMMIT, length);
	struct log_commit *payload = (void *)(frame + 1);

	*payload = *end;
	payload->batch = writer->batch;
	payload->start = writer->batch_start;
	memcpy(payload + 1, log_ids, length - sizeof(*end));
	writer_finish(writer, frame);

	place_pad(writer);
	writer->in_flight.request.done = flight_written;
	writer->in_flight.start = writer->sealed;
	writer->in_flight.salt = writer->active.segment.salt;
	writer->in_flight.data = tail_at(writer, writer->sealed);
	writer->in_flight.length = writer->end - writer->sealed;
	writer->in_flight.offset = (int64_t)(writer->sealed - writer->active.segment.position);
	writer->in_flight.fd = writer->active.fd;
	writer->in_flight.end = writer->sealed = writer->end;
	writer->last_batch = writer->batch;
	writer->in_flight.synced = writer->cached && end->synced;
	writer->unsynced = writer->cached && !end->synced;
	writer->wants_barrier = false;
	writer->batch_start = 0;
	write_flight(writer);
}

/*
 * Opening and closing.
 */

/* Does this file system let us write past the page cache? */
static int
probe_file(struct writer *writer, const char *path, bool make, uint64_t offset)
{
	int rc = -EIO;

	for (int direct = 1; rc != 0 && direct >= 0; direct--) {
		int fd = io_open_log(path, make, direct != 0);

		if (fd < 0) {
			rc = fd;
			continue;
		}
		rc = io_write_all(fd, zeros, LOG_BLOCK_BYTES, offset);
		io_close(fd);
		writer->direct = direct != 0;
	}
	return rc;
}

/* Behind the log's end there are zeros: there it is tried, so that a log also opens when the disk is full.
 * A new log, and one whose segment is used up, makes a file for it. */
static int
probe(struct writer *writer, const struct log_segment *segment, uint64_t end)
{
	char path[LOG_PATH_BYTES];
	uint64_t offset =
	    segment != NULL ? journal_align(end - segment->position, LOG_BLOCK_BYTES) : 0;
	int rc;

	if (segment != NULL && offset + LOG_BLOCK_BYTES <= segment->size) {
		log_segment_path(path, writer->dir, segment->number);
		return probe_file(writer, path, false, offset);
	}
	snprintf(path, sizeof(path), "%.4096s/probe.new", writer->dir);
	rc = probe_file(writer, path, true, 0);
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
	rc = ftruncate(fd, WRITER_TAIL_BYTES) == 0 ? lane_map_twice(fd, 0, WRITER_TAIL_BYTES, &data)
						   : -errno;
	close(fd);
	if (rc == 0)
		writer->tail = data;
	return rc;
}

/* Waits for the segment that space_make_next() began, and makes it the active one. */
static int
adopt_next(struct writer *writer)
{
	while (writer->preallocated.state == PREALLOCATION_ZEROING ||
	    writer->preallocated.state == PREALLOCATION_HEADER) {
		int rc = writer->io->operations->run(writer->io, 1000000000);

		if (rc != 0)
			return rc;
	}
	if (writer->preallocated.state != PREALLOCATION_READY)
		return writer->preallocated.error;
	take_next(writer);
	writer->end = writer->active.segment.position + LOG_HEADER_BYTES;
	return 0;
}

static int
open_new(struct writer *writer)
{
	int rc;

	io_random(&writer->log_id, sizeof(writer->log_id));
	writer->log_id = (writer->log_id >> 1) | 1;
	space_make_next(writer, 1, LOG_BLOCK_BYTES, 0); /* position 0 stays free to mean "none" */
	rc = adopt_next(writer);
	writer->end = writer->active.segment.position + LOG_HEADER_BYTES;
	return rc;
}

static int
open_segment(const struct writer *writer, const struct log_segment *segment, int *fd)
{
	char path[LOG_PATH_BYTES];

	log_segment_path(path, writer->dir, segment->number);
	*fd = writer->cached ? io_open_cached(path) : io_open_log(path, false, writer->direct);
	return *fd < 0 ? *fd : 0;
}

static int
open_listed(struct writer *writer, const struct log_list *list, size_t active, uint64_t end)
{
	int rc = 0;

	writer->log_id = list->log_id;
	for (size_t i = 0; rc == 0 && i < active; i++) {
		rc = space_reserve_old(writer);
		if (rc == 0)
			writer->old[writer->old_count++] = list->segments[i];
	}
	if (rc == 0)
		rc = open_segment(writer, &list->segments[active], &writer->active.fd);
	writer->active.segment = list->segments[active];
	writer->end = end;
	if (rc == 0 && active + 1 < list->count) {
		/* Made ahead and not used yet. */
		rc = open_segment(writer, &list->segments[active + 1], &writer->preallocated.fd);
		writer->preallocated.segment = list->segments[active + 1];
		writer->preallocated.state = PREALLOCATION_READY;
	}
	return rc == 0 ? space_reserve_old(writer) : rc;
}

int
writer_open(struct writer *writer, struct io *io, const char *dir, const char *queue,
    const struct log_list *list, size_t active, uint64_t end)
{
	int rc;

	writer->io = io;
#ifdef HEADGATE_CRASH_POINTS
	writer->paranoid = true;
#endif
	writer->active.fd = writer->preallocated.fd = -1;
	snprintf(writer->dir, sizeof(writer->dir), "%s", dir);
	snprintf(writer->queue, sizeof(writer->queue), "%s", queue);
	writer->preallocated.header_block = aligned_alloc(LOG_BLOCK_BYTES, LOG_HEADER_BYTES);
	if (writer->preallocated.header_block == NULL)
		return -ENOMEM;
	rc = probe(writer, list != NULL ? &list->segments[active] : NULL, end);
	if (rc == 0)
		rc = map_tail(writer);
	if (rc == 0)
		rc = list != NULL ? open_listed(writer, list, active, end) : open_new(writer);
	writer->tail_floor = writer->sealed = writer->durable = writer->end;
	return rc;
}

void
writer_close(struct writer *writer)
{
	if (writer->active.fd >= 0)
		io_close(writer->active.fd);
	if (writer->preallocated.fd >= 0)
		io_close(writer->preallocated.fd);
	if (writer->tail != NULL)
		munmap(writer->tail, 2 * (size_t)WRITER_TAIL_BYTES);
	free(writer->preallocated.header_block);
	free(writer->old);
}
