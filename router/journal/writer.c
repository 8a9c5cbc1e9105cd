#include "router/journal/writer.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "shm/lane.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

enum {
	ZERO_PIECE_BYTES = 256 << 10,
	NEXT_RETRY_NS = 200000000,
	/* Parts of a segment that are left when there is none behind it: by messages, for states and
	 * settlements; by states, for settlements. One takes 16 bytes at most, a message's frame hardly less
	 * than 150. */
	MESSAGES_LEAVE = 4,
	STATES_LEAVE = 8,
	NEXT_LEAVES = 16 /* with less, a segment is used up */
};

/* Of the disk, to others, where less will do. */
#define DISK_LEAVE_BYTES (8 * LOG_SEGMENT_BYTES_MIN)

static _Alignas(LOG_HEADER_BYTES) const uint8_t zeros[ZERO_PIECE_BYTES];

static uint64_t
align_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) & ~(unit - 1);
}

/* What a write came to, in whole blocks: a short one goes on behind them, aligned. One that ended within its first block
 * has met a limit of the file's size; tried again it would end there for ever. Returns bytes or -errno. */
static int64_t
whole_blocks(int64_t result)
{
	int64_t bytes = result - result % LOG_BLOCK_BYTES;

	if (result <= 0)
		return result < 0 ? result : -EIO;
	return bytes > 0 ? bytes : -EFBIG;
}

/* Positions behind a segment. */
static uint64_t
segment_end(const struct log_segment *segment)
{
	return segment->position + segment->span;
}

/* Do so many bytes fit in the active segment? */
static bool
fits(const struct writer *writer, uint64_t bytes)
{
	return writer->end + bytes + writer->ids_bytes + WRITER_RESERVE_BYTES <=
	    segment_end(&writer->active.segment);
}

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

	if (writer->flying_start != 0)
		unwritten = writer->flying_start;
	else if (writer->batch_start != 0)
		unwritten = writer->batch_start;
	return position + bytes - unwritten <= (uint64_t)WRITER_TAIL_BYTES;
}

/* Acknowledged messages would be destroyed: a router that was killed loses none. */
static _Noreturn void
give_up(const struct writer *writer, const char *what, uint64_t position)
{
	event(EVENT_ERROR, what, "s:queue", writer->queue, "u:position", position, "u:unwritten",
	    writer->flying_start, "u:batch", writer->batch, "u:segment",
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
	writer->next_retry_ns = io_monotonic_ns() + NEXT_RETRY_NS;
	if (writer->next_error == rc)
		return; /* it was told */
	writer->next_error = rc;
	writer->next_done(writer);
}

static int
name_next(struct writer *writer)
{
	char from[LOG_PATH_BYTES], to[LOG_PATH_BYTES];
	int rc;

	next_path(writer, from, false);
	next_path(writer, to, true);
	CRASH_POINT("next.written");
	rc = io_rename(from, to);
	CRASH_POINT("next.renamed");
	return rc == 0 ? log_sync_dir(writer->dir) : rc;
}

/* It was made with writes that are durable. Batches may have another way. */
static int
open_for_batches(struct writer *writer)
{
	char path[LOG_PATH_BYTES];

	if (!writer->cached)
		return 0;
	next_path(writer, path, true);
	io_close(writer->next.fd);
	writer->next.fd = io_open_cached(path);
	return writer->next.fd < 0 ? writer->next.fd : 0;
}

static void next_step(struct writer *);

static void
next_written(struct io_request *request, int64_t result)
{
	struct writer *writer = (void *)((char *)request - offsetof(struct writer, next_request));
	int rc;

	result = whole_blocks(result);
	if (result < 0) {
		next_failed(writer, (int)result);
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
	rc = open_for_batches(writer);
	if (rc != 0) {
		next_failed(writer, rc);
		return;
	}
	CRASH_POINT("next.ready");
	writer->next_state = WRITER_NEXT_READY;
	writer->next_error = 0;
	writer->refused_bytes = 0;
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
	CRASH_POINT("next.zeroed");
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
		.last_number = writer->next.segment.number,
		.salt = writer->next.segment.salt,
		.position = writer->next.segment.position,
		.size = writer->next.segment.size,
		.span = writer->next.segment.size,
		.created_ns = writer->next.segment.created_ns,
	};

	memcpy(header.queue, writer->queue, sizeof(header.queue));
	log_segment_header_set_checksum(&header);
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

static void
spare_path(const struct writer *writer, uint64_t number, char path[LOG_PATH_BYTES])
{
	snprintf(path, LOG_PATH_BYTES, "%.4096s/%016" PRIx64 ".free", writer->dir, number);
}

/* Takes the spare file for the next segment. Its blocks are written already: no zeros are needed, the
 * salt tells what is new. */
static bool
reuse_spare(struct writer *writer, const char *path)
{
	char from[LOG_PATH_BYTES];
	bool good;

	if (writer->spare == 0 || writer->spare_bytes != writer->next.segment.size)
		return false;
	spare_path(writer, writer->spare, from);
	writer->spare = 0;
	good = io_rename(from, path) == 0;
	CRASH_POINT("next.recycled");
	if (good)
		writer->next.fd = io_open_log(path, false, writer->direct);
	/* What writer_punch() gave back is missing. */
	return good && writer->next.fd >= 0 &&
	    io_allocate(writer->next.fd, writer->next.segment.size) == 0;
}

static int
make_file(struct writer *writer, const char *path)
{
	writer->next.fd = io_open_log(path, true, writer->direct);
	CRASH_POINT("next.created");
	return writer->next.fd < 0 ? writer->next.fd
				   : io_allocate(writer->next.fd, writer->next.segment.size);
}

/* The file for the next segment: the spare one, or a new one. */
static int
find_file(struct writer *writer, const char *path)
{
	bool reused;

	if (writer->next.fd >= 0) /* it had no room */
		io_close(writer->next.fd);
	writer->next.fd = -1;
	reused = reuse_spare(writer, path);
	writer->next_written = reused ? writer->next.segment.size : 0;
	if (!reused && writer->next.fd >= 0)
		io_close(writer->next.fd);
	return reused ? 0 : make_file(writer, path);
}

/* The smallest segment that helps: the checkpoint fits, a frame of so many bytes, and what messages leave in it
 * to settlements is enough for all that is left. When the active one is used up, these need any. */
static uint64_t
least_size(const struct writer *writer, uint64_t bytes)
{
	uint64_t needed =
	    LOG_HEADER_BYTES + writer->checkpoint_bytes(writer) + WRITER_RESERVE_BYTES;
	uint64_t size = LOG_SEGMENT_BYTES_MIN;

	if (fits(writer, writer->active.segment.size / NEXT_LEAVES))
		needed += bytes + MESSAGES_LEAVE * writer->settlement_bytes(writer);
	while (size < 2 * needed && size < LOG_SEGMENT_BYTES_MAX)
		size *= 2;
	return size;
}

/* How much of a size, halved down to the least, the disk can give and have something left: what takes all of it
 * before it fails would make a store's write fail that comes just then. */
static uint64_t
fitting_size(const struct writer *writer, uint64_t size, uint64_t least)
{
	uint64_t bytes;

	if (writer->spare != 0 && writer->spare_bytes == size)
		return size;
	if (io_free_bytes(writer->dir, &bytes) != 0)
		return size;
	while (size / 2 >= least && size + DISK_LEAVE_BYTES > bytes)
		size /= 2;
	return size;
}

/* Starts to make the segment behind position, with this number: smaller than others when the disk has no
 * room for more. bytes: of the frame that it is wanted for. */
static void
make_next(struct writer *writer, uint64_t number, uint64_t position, uint64_t bytes)
{
	uint64_t wanted = next_size(number), least = least_size(writer, bytes);
	uint64_t size = fitting_size(writer, wanted, least);
	char path[LOG_PATH_BYTES];
	int rc = reserve_old(writer);

	if (size < wanted) {
		writer->disk_full(writer);
		size = fitting_size(writer, wanted, least);
	}

	writer->next.segment = (struct log_segment){
		.number = number,
		.last_number = number,
		.position = position,
		.size = size,
		.span = size,
		.created_ns = io_wall_ns(),
	};
	io_random(&writer->next.segment.salt, sizeof(writer->next.segment.salt));
	writer->next_request.done = next_written;
	next_path(writer, path, false);
	if (rc == 0)
		rc = find_file(writer, path);
	writer->disk_short = io_is_full(rc) || size < wanted;
	if (io_is_full(rc)) {
		writer->disk_full(writer);
		rc = find_file(writer, path);
	}
	while (io_is_full(rc) && size / 2 >= least) {
		writer->next.segment.size = writer->next.segment.span = size /= 2;
		rc = find_file(writer, path);
	}
	if (rc != 0) {
		next_failed(writer, rc);
		return;
	}
	fill_header(writer);
	writer->next_state = WRITER_NEXT_ZEROING;
	next_step(writer);
}

/* Starts the next segment once a quarter of this one is used, or too little is left of it. */
static void
prepare_next(struct writer *writer, uint64_t bytes, uint64_t spare)
{
	const struct log_segment *active = &writer->active.segment;

	if (writer->next_state == WRITER_NEXT_FAILED && io_monotonic_ns() < writer->next_retry_ns)
		return;
	if (writer->next_state != WRITER_NEXT_NONE && writer->next_state != WRITER_NEXT_FAILED)
		return;
	if (writer->end - active->position < active->size / 4 && fits(writer, bytes + spare))
		return;
	make_next(writer, active->number + 1, segment_end(active), bytes);
}

/*
 * Appending.
 */

/* The next segment becomes the active one. Nothing is gathered. */
static void
switch_segment(struct writer *writer)
{
	struct log_segment *last = &writer->old[writer->old_count++]; /* reserve_old() made room */

	*last = writer->active.segment;
	last->data_bytes = writer->sealed - last->position;
	if (writer->flying.pending)
		writer->flying_closes = true;
	else
		io_close(writer->active.fd);
	writer->active = writer->next;
	writer->next.fd = -1;
	writer->next_state = WRITER_NEXT_NONE;
	writer->end = writer->sealed = writer->active.segment.position + LOG_HEADER_BYTES;
	writer->switched(writer);
	CRASH_POINT("segment.switched");
}

/* spare: bytes that are to be left in the segment when there is no other. */
static int
room(struct writer *writer, uint64_t bytes, uint64_t spare)
{
	prepare_next(writer, bytes, spare);
	if (writer->next_state == WRITER_NEXT_READY)
		spare = 0;
	if (!fits(writer, bytes + spare)) {
		if (writer->next_state == WRITER_NEXT_FAILED)
			return writer->next_error;
		writer->wants_barrier =
		    writer->unsynced || (writer->cached && writer->batch_start != 0);
		if (writer->next_state != WRITER_NEXT_READY || writer->batch_start != 0 ||
		    writer->unsynced ||
		    !tail_takes(writer, writer->next.segment.position,
			LOG_HEADER_BYTES + WRITER_BEGUN_BYTES + WRITER_RESERVE_BYTES))
			return 0;
		switch_segment(writer);
		if (!fits(writer, bytes))
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
	rc = room(writer, bytes, writer->active.segment.size / MESSAGES_LEAVE);
	if (rc < 0)
		writer->refused_bytes = bytes;
	return rc;
}

int
writer_room_for_state(struct writer *writer, uint64_t payload_length)
{
	return room(
	    writer, log_frame_bytes(payload_length), writer->active.segment.size / STATES_LEAVE);
}

static bool
fits_message(const struct writer *writer, uint64_t bytes)
{
	return fits(writer, bytes + writer->active.segment.size / MESSAGES_LEAVE);
}

bool
writer_is_short(const struct writer *writer)
{
	return writer->next_state == WRITER_NEXT_FAILED && !fits_message(writer, 0);
}

void
writer_look_for_room(struct writer *writer)
{
	prepare_next(writer, 0, writer->active.segment.size / MESSAGES_LEAVE);
}

static bool
has_no_name(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 0;
}

bool
writer_lost_files(struct writer *writer)
{
	bool before = writer->files_gone;

	writer->files_gone |= has_no_name(writer->active.fd) ||
	    (writer->next_state == WRITER_NEXT_READY && has_no_name(writer->next.fd));
	return writer->files_gone && !before;
}

void
writer_see_room(struct writer *writer)
{
	uint64_t least = least_size(writer, writer->refused_bytes), bytes;

	if (writer->next_state != WRITER_NEXT_FAILED || io_free_bytes(writer->dir, &bytes) != 0 ||
	    bytes < 2 * least)
		return;
	writer->next_state = WRITER_NEXT_NONE;
	writer->next_error = 0;
}

int
writer_shortage(const struct writer *writer)
{
	if (writer->files_gone)
		return -ESTALE;
	return fits_message(writer, writer->refused_bytes) ? 0 : writer->next_error;
}

/* A frame at end. That it has room there is known; if it had none, this is where nothing is overwritten. */
static struct log_frame *
place_frame(struct writer *writer, enum log_type type, uint32_t length, bool first)
{
	struct log_frame *frame = (void *)tail_at(writer, writer->end);
	uint64_t bytes = log_frame_bytes(length);

	if (writer->end + bytes > segment_end(&writer->active.segment) ||
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

/* A frame that fills up to position. */
static void
place_pad(struct writer *writer, uint64_t position)
{
	uint64_t left = position - writer->end;

	if (left == 0)
		return;
	log_frame_set_checksums(
	    place_frame(writer, LOG_PAD, (uint32_t)(left - sizeof(struct log_frame)), false));
	memset(tail_at(writer, writer->end) + sizeof(struct log_frame), 0,
	    left - sizeof(struct log_frame));
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
write_flying(struct writer *writer)
{
	writer->io->operations->write(writer->io, writer->flying_fd, writer->flying_data,
	    writer->flying_length, writer->flying_offset, &writer->flying);
}

/* Is what was written still what was sealed? The disk may have taken it at any moment up to now. */
static void
look_again(const struct writer *writer)
{
	uint64_t position = writer->flying_start;

	while (position < writer->flying_end) {
		const struct log_frame *frame = (const void *)tail_at(writer, position);

		if (!log_frame_header_valid(
			frame, writer->flying_end - position, writer->flying_salt) ||
		    !log_frame_payload_valid(frame) || frame->batch != writer->last_batch)
			give_up(writer, "log.overwritten", position);
		position += log_frame_bytes(frame->length);
	}
}

static void
flying_ended(struct writer *writer)
{
	if (writer->flying_closes)
		io_close(writer->flying_fd);
	writer->flying_closes = false;
	if (writer->paranoid)
		look_again(writer);
	writer->flying_start = 0;
	writer->durable_done(writer, 0);
}

static void
flying_synced(struct io_request *request, int64_t result)
{
	struct writer *writer = (void *)((char *)request - offsetof(struct writer, flying));

	if (result == -EINTR || result == -EAGAIN) {
		writer->io->operations->sync(writer->io, writer->flying_fd, request);
		return;
	}
	if (result != 0) {
		writer->durable_done(writer, result < 0 ? (int)result : -EIO);
		return;
	}
	CRASH_POINT("log.synced");
	flying_ended(writer);
}

static void
flying_written(struct io_request *request, int64_t result)
{
	struct writer *writer = (void *)((char *)request - offsetof(struct writer, flying));

	if (result == -EINTR || result == -EAGAIN) {
		write_flying(writer);
		return;
	}
	result = whole_blocks(result);
	if (result < 0) {
		writer->durable_done(writer, (int)result);
		return;
	}
	writer->flying_data += result;
	writer->flying_length -= (size_t)result;
	writer->flying_offset += result;
	if (writer->flying_length > 0) {
		write_flying(writer);
		return;
	}
	CRASH_POINT("log.written");
	if (writer->flying_synced) {
		writer->flying.done = flying_synced;
		writer->io->operations->sync(writer->io, writer->flying_fd, request);
		return;
	}
	flying_ended(writer);
}

void
writer_commit(struct writer *writer, const struct log_commit *end, const uint64_t *log_ids)
{
	uint32_t length = log_commit_bytes(end->logs, end->previous_logs);
	struct log_frame *frame = writer_begin(writer, LOG_COMMIT, length);
	struct log_commit *payload = (void *)(frame + 1);
	uint64_t aligned;

	*payload = *end;
	payload->batch = writer->batch;
	payload->start = writer->batch_start;
	memcpy(payload + 1, log_ids, length - sizeof(*end));
	writer_finish(writer, frame);

	aligned = align_up(writer->end, LOG_BLOCK_BYTES);
	if (aligned != writer->end && aligned - writer->end < sizeof(struct log_frame))
		aligned += LOG_BLOCK_BYTES;
	place_pad(writer, aligned);
	writer->flying.done = flying_written;
	writer->flying_start = writer->sealed;
	writer->flying_salt = writer->active.segment.salt;
	writer->flying_data = tail_at(writer, writer->sealed);
	writer->flying_length = aligned - writer->sealed;
	writer->flying_offset = (int64_t)(writer->sealed - writer->active.segment.position);
	writer->flying_fd = writer->active.fd;
	writer->flying_end = writer->end = writer->sealed = aligned;
	writer->last_batch = writer->batch;
	writer->flying_synced = writer->cached && end->synced;
	writer->unsynced = writer->cached && !end->synced;
	writer->wants_barrier = false;
	writer->batch_start = 0;
	write_flying(writer);
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
	uint64_t offset = segment != NULL ? align_up(end - segment->position, LOG_BLOCK_BYTES) : 0;
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

/* Waits for the segment that make_next() began, and makes it the active one. */
static int
adopt_next(struct writer *writer)
{
	while (
	    writer->next_state == WRITER_NEXT_ZEROING || writer->next_state == WRITER_NEXT_HEADER) {
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
	int rc;

	io_random(&writer->log_id, sizeof(writer->log_id));
	writer->log_id = (writer->log_id >> 1) | 1;
	make_next(writer, 1, LOG_BLOCK_BYTES, 0); /* position 0 stays free to mean "none" */
	rc = adopt_next(writer);
	writer->end = writer->active.segment.position + LOG_HEADER_BYTES;
	return rc;
}

static int
open_segment(struct writer *writer, struct writer_segment *to, const struct log_segment *segment)
{
	char path[LOG_PATH_BYTES];

	to->segment = *segment;
	log_segment_path(path, writer->dir, segment->number);
	to->fd = writer->cached ? io_open_cached(path) : io_open_log(path, false, writer->direct);
	return to->fd < 0 ? to->fd : 0;
}

static int
open_listed(struct writer *writer, const struct log_list *list, size_t active, uint64_t end)
{
	int rc = 0;

	writer->log_id = list->log_id;
	for (size_t i = 0; rc == 0 && i < active; i++) {
		rc = reserve_old(writer);
		if (rc == 0)
			writer->old[writer->old_count++] = list->segments[i];
	}
	if (rc == 0)
		rc = open_segment(writer, &writer->active, &list->segments[active]);
	writer->end = end;
	if (rc == 0 && active + 1 < list->count) {
		/* Made ahead and not used yet. */
		rc = open_segment(writer, &writer->next, &list->segments[active + 1]);
		writer->next_state = WRITER_NEXT_READY;
	}
	return rc == 0 ? reserve_old(writer) : rc;
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
	writer->active.fd = writer->next.fd = -1;
	snprintf(writer->dir, sizeof(writer->dir), "%s", dir);
	snprintf(writer->queue, sizeof(writer->queue), "%s", queue);
	writer->header_block = aligned_alloc(LOG_BLOCK_BYTES, LOG_HEADER_BYTES);
	if (writer->header_block == NULL)
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
	if (writer->next.fd >= 0)
		io_close(writer->next.fd);
	if (writer->tail != NULL)
		munmap(writer->tail, 2 * (size_t)WRITER_TAIL_BYTES);
	free(writer->header_block);
	free(writer->old);
}

/* Index of the last old segment that begins at or before position; old_count when there is none. */
static size_t
find_old(const struct writer *writer, uint64_t position)
{
	size_t low = 0, high = writer->old_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (writer->old[middle].position <= position)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? low - 1 : writer->old_count;
}

uint64_t
writer_position(const struct writer *writer, uint64_t position)
{
	const struct log_segment *next = &writer->active.segment;
	size_t i;

	if (position >= next->position)
		return position;
	i = find_old(writer, position);
	if (i == writer->old_count) /* before all that is left */
		next = i > 0 ? &writer->old[0] : next;
	else if (position < log_segment_data_end(&writer->old[i]))
		return position;
	else if (i + 1 < writer->old_count)
		next = &writer->old[i + 1];
	return next->position + LOG_HEADER_BYTES;
}

const struct log_segment *
writer_find(const struct writer *writer, uint64_t position, uint64_t *end)
{
	size_t i;

	if (position >= writer->active.segment.position) {
		*end = writer->durable;
		return position < writer->durable ? &writer->active.segment : NULL;
	}
	i = find_old(writer, position);
	if (i == writer->old_count)
		return NULL;
	/* Its last batch may be on its way while the next segment is the active one already. */
	*end = log_segment_data_end(&writer->old[i]);
	if (*end > writer->durable)
		*end = writer->durable;
	return position < *end ? &writer->old[i] : NULL;
}

uint64_t
writer_bytes(const struct writer *writer)
{
	uint64_t bytes = writer->active.segment.size;

	for (size_t i = 0; i < writer->old_count; i++)
		bytes += writer->old[i].size;
	if (writer->next_state == WRITER_NEXT_READY)
		bytes += writer->next.segment.size;
	return writer->spare != 0 ? bytes + writer->spare_bytes : bytes;
}

/*
 * Giving back.
 */

/* A file that nobody needs: kept as the spare, or removed. */
static int
discard(struct writer *writer, const struct log_segment *segment)
{
	char path[LOG_PATH_BYTES], to[LOG_PATH_BYTES];

	CRASH_POINT("segment.unneeded");
	log_segment_path(path, writer->dir, segment->number);
	if (writer->spare != 0 || writer->disk_short ||
	    segment->size != next_size(writer->active.segment.number + 1))
		return io_unlink(path);
	spare_path(writer, segment->number, to);
	writer->spare = segment->number;
	writer->spare_bytes = segment->size;
	return io_rename(path, to);
}

void
writer_drop_spare(struct writer *writer)
{
	char path[LOG_PATH_BYTES];

	writer->disk_short = true;
	if (writer->spare == 0)
		return;
	spare_path(writer, writer->spare, path);
	if (io_unlink(path) == 0)
		writer->spare = 0;
}

void
writer_drop_next(struct writer *writer)
{
	char path[LOG_PATH_BYTES];

	if (writer->next_state != WRITER_NEXT_READY ||
	    !fits(writer, writer->active.segment.size / MESSAGES_LEAVE))
		return;
	next_path(writer, path, true);
	if (io_unlink(path) != 0)
		return;
	CRASH_POINT("next.dropped");
	io_close(writer->next.fd);
	writer->next.fd = -1;
	writer->next_state = WRITER_NEXT_NONE;
}

int
writer_punch(const struct writer *writer, size_t index)
{
	const struct log_segment *segment = &writer->old[index];
	uint64_t from = align_up(segment->data_bytes, LOG_BLOCK_BYTES);
	char path[LOG_PATH_BYTES];
	int fd, rc;

	if (from >= segment->size)
		return 0;
	log_segment_path(path, writer->dir, segment->number);
	fd = io_open_log(path, false, false);
	if (fd < 0)
		return fd;
	rc = io_punch(fd, from, segment->size - from);
	io_close(fd);
	CRASH_POINT("segment.punched");
	return rc;
}

int
writer_free(
    struct writer *writer, size_t index, size_t count, const struct log_segment *replacement)
{
	size_t keep = replacement != NULL ? 1 : 0;
	struct log_segment *first = &writer->old[index];
	int result = 0, rc;

	for (size_t i = keep; i < count; i++) {
		rc = discard(writer, &first[i]);
		result = result != 0 ? result : rc;
		CRASH_POINT("segment.freed");
	}
	if (replacement != NULL) {
		*first = *replacement;
		/* The tail has these positions as they were before. */
		if (writer->tail_floor < segment_end(replacement))
			writer->tail_floor = segment_end(replacement);
	}
	memmove(first + keep, first + count, (writer->old_count - index - count) * sizeof(*first));
	writer->old_count -= count - keep;
	return result;
}

/*
 * Repair, before a log is opened.
 */

/* Writes zeros over [from, to) of a segment, whole blocks. */
static int
write_zeros(int fd, uint64_t from, uint64_t to)
{
	int rc = 0;

	for (size_t length; rc == 0 && from < to; from += length) {
		length = to - from < ZERO_PIECE_BYTES ? to - from : ZERO_PIECE_BYTES;
		rc = io_write_all(fd, zeros, length, from);
	}
	return rc;
}

/* A segment's file that is read for repair, and what is needed to see what of it is on the disk. */
struct repair {
	int fd, direct;       /* through the page cache, durably; past it, or -errno */
	uint8_t *seen, *disk; /* ZERO_PIECE_BYTES each */
};

static void
end_repair(struct repair *repair)
{
	if (repair->direct >= 0)
		io_close(repair->direct);
	if (repair->fd >= 0)
		io_close(repair->fd);
	free(repair->seen);
	free(repair->disk);
}

static int
begin_repair(struct repair *repair, const char *path)
{
	*repair = (struct repair){
		.fd = io_open_log(path, false, false),
		.direct = io_open_log(path, false, true),
		.seen = aligned_alloc(LOG_BLOCK_BYTES, ZERO_PIECE_BYTES),
		.disk = aligned_alloc(LOG_BLOCK_BYTES, ZERO_PIECE_BYTES),
	};
	if (repair->fd < 0)
		return repair->fd;
	return repair->seen != NULL && repair->disk != NULL ? 0 : -ENOMEM;
}

/* What the disk has. Where the page cache cannot be passed by, it is told to forget what is clean. */
static int
read_disk(const struct repair *repair, size_t length, uint64_t offset)
{
	int rc = -EINVAL;

	if (repair->direct >= 0)
		rc = io_read_all(repair->direct, repair->disk, length, offset);
	if (rc != -EINVAL)
		return rc;
	io_forget(repair->fd, offset, length);
	return io_read_all(repair->fd, repair->disk, length, offset);
}

/*
 * Makes durable what was read of [from, to), whole blocks. What is dirty is written by a sync. But a sync that
 * failed leaves pages as clean of which the disk has nothing: these blocks, and no others, are written again. A
 * block that the disk has may have been acknowledged, and if the power goes while it is written it may be lost.
 */
static int
write_missing(const struct repair *repair, uint64_t from, uint64_t to)
{
	int rc = io_sync(repair->fd);

	for (size_t length; rc == 0 && from < to; from += length) {
		length = to - from < ZERO_PIECE_BYTES ? to - from : ZERO_PIECE_BYTES;
		rc = io_read_all(repair->fd, repair->seen, length, from);
		if (rc == 0)
			rc = read_disk(repair, length, from);
		for (size_t at = 0; rc == 0 && at < length; at += LOG_BLOCK_BYTES)
			if (memcmp(repair->seen + at, repair->disk + at, LOG_BLOCK_BYTES) != 0)
				rc = io_write_all(
				    repair->fd, repair->seen + at, LOG_BLOCK_BYTES, from + at);
	}
	return rc;
}

/* Does the name say that a file is left over from making or giving back a segment? */
static bool
is_rest(const char *name)
{
	size_t length = strlen(name);

	return (length > 4 && strcmp(name + length - 4, ".new") == 0) ||
	    (length > 5 && strcmp(name + length - 5, ".free") == 0);
}

static int
remove_rests(const struct log_list *list)
{
	char path[LOG_PATH_BYTES];
	DIR *dir = opendir(list->dir);
	struct dirent *entry;
	int rc = 0;

	if (dir == NULL)
		return -errno;
	for (size_t i = 0; rc == 0 && i < list->leftover_count; i++) {
		log_segment_path(path, list->dir, list->leftovers[i]);
		rc = io_unlink(path);
	}
	while (rc == 0 && (rc = log_next_entry(dir, &entry)) == 1) {
		rc = 0;
		if (!is_rest(entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%.4000s/%.255s", list->dir, entry->d_name);
		rc = io_unlink(path);
	}
	closedir(dir);
	return rc;
}

/* Makes durable what was read of the last whole batches. */
static int
prove(const struct log_list *list, uint64_t unproven, uint64_t end)
{
	const struct log_segment *segment = log_list_find(list, unproven);
	char path[LOG_PATH_BYTES];
	struct repair repair;
	uint64_t to;
	int rc;

	if (segment == NULL)
		return 0;
	to = end < segment_end(segment) ? end - segment->position : segment->size;
	log_segment_path(path, list->dir, segment->number);
	rc = begin_repair(&repair, path);
	if (rc == 0)
		rc = write_missing(&repair, unproven - segment->position, to);
	end_repair(&repair);
	return rc;
}

/* Zeroes what may be behind the end of a batch that was under way, up to written or more. */
static int
clear(const struct log_list *list, uint64_t end, uint64_t written)
{
	uint64_t to = end + WRITER_GATHER_BYTES + WRITER_RESERVE_BYTES;
	const struct log_segment *segment = log_list_find(list, end);
	char path[LOG_PATH_BYTES];
	int fd, rc;

	if (segment == NULL)
		return 0;
	if (to < written)
		to = written;
	if (to > segment->position + segment->size)
		to = segment->position + segment->size;
	log_segment_path(path, list->dir, segment->number);
	fd = io_open_log(path, false, false);
	if (fd < 0)
		return fd;
	rc = write_zeros(
	    fd, end - segment->position, align_up(to, LOG_BLOCK_BYTES) - segment->position);
	if (rc == 0) /* what is before may have been written without that */
		rc = io_sync(fd);
	io_close(fd);
	return rc;
}

int
writer_repair(const struct log_list *list, uint64_t unproven, uint64_t end, uint64_t written)
{
	int rc = unproven != 0 ? prove(list, unproven, end) : 0;

	CRASH_POINT("recovery.rewritten");
	if (rc == 0)
		rc = clear(list, end, written);
	CRASH_POINT("recovery.cleared");
	if (rc == 0)
		rc = remove_rests(list);
	CRASH_POINT("recovery.tidied");
	return rc == 0 ? log_sync_dir(list->dir) : rc;
}
