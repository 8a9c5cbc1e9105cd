#include "router/journal/space.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/container_of.h"
#include "router/journal/zeros.h"
#include "telemetry/crash.h"

enum {
	NEXT_RETRY_NS = 200000000,
	NEXT_LEAVES = 16 /* with less, a segment is used up */
};

/* Of the disk, to others, where less will do. */
#define DISK_LEAVE_BYTES (8 * LOG_SEGMENT_BYTES_MIN)

static void
next_path(const struct writer *writer, char path[LOG_PATH_BYTES], bool final)
{
	log_segment_path(path, writer->dir, writer->preallocated.segment.number);
	if (!final)
		strncat(path, ".new", LOG_PATH_BYTES - strlen(path) - 1);
}

static void
next_failed(struct writer *writer, int rc)
{
	char path[LOG_PATH_BYTES];

	next_path(writer, path, false);
	if (writer->preallocated.fd >= 0)
		io_close(writer->preallocated.fd);
	io_unlink(path);
	writer->preallocated.fd = -1;
	writer->preallocated.state = PREALLOCATION_FAILED;
	writer->preallocated.retry_ns = io_monotonic_ns() + NEXT_RETRY_NS;
	if (writer->preallocated.error == rc)
		return; /* it was told */
	writer->preallocated.error = rc;
	writer->events->next_done(writer);
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
	io_close(writer->preallocated.fd);
	writer->preallocated.fd = io_open_cached(path);
	return writer->preallocated.fd < 0 ? writer->preallocated.fd : 0;
}

static void next_step(struct writer *);

static void
next_written(struct io_request *request, int64_t result)
{
	struct writer *writer = CONTAINER_OF(request, struct writer, preallocated.request);
	int rc;

	result = journal_whole_blocks(result);
	if (result < 0) {
		next_failed(writer, (int)result);
		return;
	}
	if (writer->preallocated.state == PREALLOCATION_ZEROING) {
		writer->preallocated.written += (uint64_t)result;
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
	writer->preallocated.state = PREALLOCATION_READY;
	writer->preallocated.error = 0;
	writer->preallocated.refused_bytes = 0;
	writer->events->next_done(writer);
}

static void
next_step(struct writer *writer)
{
	uint64_t left = writer->preallocated.segment.size - writer->preallocated.written;

	if (left > 0) {
		writer->io->operations->write(writer->io, writer->preallocated.fd, zeros,
		    left < ZEROS_BYTES ? left : ZEROS_BYTES, (int64_t)writer->preallocated.written,
		    &writer->preallocated.request);
		return;
	}
	CRASH_POINT("next.zeroed");
	writer->preallocated.state = PREALLOCATION_HEADER;
	writer->io->operations->write(writer->io, writer->preallocated.fd,
	    writer->preallocated.header_block, LOG_HEADER_BYTES, 0, &writer->preallocated.request);
}

uint64_t
space_next_size(uint64_t number)
{
	uint64_t size = LOG_SEGMENT_BYTES_MIN;

	while (--number > 0 && size < LOG_SEGMENT_BYTES_MAX)
		size *= 2;
	return size;
}

static void
fill_header(struct writer *writer)
{
	struct log_segment_header header;

	log_segment_make_header(
	    &writer->preallocated.segment, writer->log_id, writer->queue, &header);
	memset(writer->preallocated.header_block, 0, LOG_HEADER_BYTES);
	memcpy(writer->preallocated.header_block, &header, sizeof(header));
}

int
space_reserve_old(struct writer *writer)
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

void
space_spare_path(const struct writer *writer, uint64_t number, char path[LOG_PATH_BYTES])
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

	if (writer->preallocated.spare == 0 ||
	    writer->preallocated.spare_bytes != writer->preallocated.segment.size)
		return false;
	space_spare_path(writer, writer->preallocated.spare, from);
	writer->preallocated.spare = 0;
	good = io_rename(from, path) == 0;
	CRASH_POINT("next.recycled");
	if (good)
		writer->preallocated.fd = io_open_log(path, false, writer->direct);
	/* What segments_punch() gave back is missing. */
	return good && writer->preallocated.fd >= 0 &&
	    io_allocate(writer->preallocated.fd, writer->preallocated.segment.size) == 0;
}

static int
make_file(struct writer *writer, const char *path)
{
	writer->preallocated.fd = io_open_log(path, true, writer->direct);
	CRASH_POINT("next.created");
	return writer->preallocated.fd < 0
	    ? writer->preallocated.fd
	    : io_allocate(writer->preallocated.fd, writer->preallocated.segment.size);
}

/* The file for the next segment: the spare one, or a new one. */
static int
find_file(struct writer *writer, const char *path)
{
	bool reused;

	if (writer->preallocated.fd >= 0) /* it had no room */
		io_close(writer->preallocated.fd);
	writer->preallocated.fd = -1;
	reused = reuse_spare(writer, path);
	writer->preallocated.written = reused ? writer->preallocated.segment.size : 0;
	if (!reused && writer->preallocated.fd >= 0)
		io_close(writer->preallocated.fd);
	return reused ? 0 : make_file(writer, path);
}

/* The smallest segment that helps: the checkpoint fits, a frame of so many bytes, and what messages leave in it
 * to settlements is enough for all that is left. When the active one is used up, these need any. */
static uint64_t
least_size(const struct writer *writer, uint64_t bytes)
{
	uint64_t needed =
	    LOG_HEADER_BYTES + writer->events->checkpoint_bytes(writer) + WRITER_RESERVE_BYTES;
	uint64_t size = LOG_SEGMENT_BYTES_MIN;

	if (journal_fits(writer, writer->active.segment.size / NEXT_LEAVES))
		needed += bytes + JOURNAL_MESSAGES_LEAVE * writer->events->settlement_bytes(writer);
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

	if (writer->preallocated.spare != 0 && writer->preallocated.spare_bytes == size)
		return size;
	if (io_free_bytes(writer->dir, &bytes) != 0)
		return size;
	while (size / 2 >= least && size + DISK_LEAVE_BYTES > bytes)
		size /= 2;
	return size;
}

void
space_make_next(struct writer *writer, uint64_t number, uint64_t position, uint64_t bytes)
{
	uint64_t wanted = space_next_size(number), least = least_size(writer, bytes);
	uint64_t size = fitting_size(writer, wanted, least);
	char path[LOG_PATH_BYTES];
	int rc = space_reserve_old(writer);

	if (size < wanted) {
		writer->events->disk_full(writer);
		size = fitting_size(writer, wanted, least);
	}

	writer->preallocated.segment = (struct log_segment){
		.number = number,
		.last_number = number,
		.position = position,
		.size = size,
		.span = size,
		.created_ns = io_wall_ns(),
	};
	io_random(&writer->preallocated.segment.salt, sizeof(writer->preallocated.segment.salt));
	writer->preallocated.request.done = next_written;
	next_path(writer, path, false);
	if (rc == 0)
		rc = find_file(writer, path);
	writer->preallocated.disk_short = io_is_full(rc) || size < wanted;
	if (io_is_full(rc)) {
		writer->events->disk_full(writer);
		rc = find_file(writer, path);
	}
	while (io_is_full(rc) && size / 2 >= least) {
		writer->preallocated.segment.size = writer->preallocated.segment.span = size /= 2;
		rc = find_file(writer, path);
	}
	if (rc != 0) {
		next_failed(writer, rc);
		return;
	}
	fill_header(writer);
	writer->preallocated.state = PREALLOCATION_ZEROING;
	next_step(writer);
}

void
space_prepare(struct writer *writer, uint64_t bytes, uint64_t spare)
{
	const struct log_segment *active = &writer->active.segment;

	if (writer->preallocated.state == PREALLOCATION_FAILED &&
	    io_monotonic_ns() < writer->preallocated.retry_ns)
		return;
	if (writer->preallocated.state != PREALLOCATION_NONE &&
	    writer->preallocated.state != PREALLOCATION_FAILED)
		return;
	if (writer->end - active->position < active->size / 4 &&
	    journal_fits(writer, bytes + spare))
		return;
	space_make_next(writer, active->number + 1, journal_segment_end(active), bytes);
}

/*
 * Where there is no room.
 */

static bool
fits_message(const struct writer *writer, uint64_t bytes)
{
	return journal_fits(writer, bytes + writer->active.segment.size / JOURNAL_MESSAGES_LEAVE);
}

bool
space_is_short(const struct writer *writer)
{
	return writer->preallocated.state == PREALLOCATION_FAILED && !fits_message(writer, 0);
}

void
space_look(struct writer *writer)
{
	space_prepare(writer, 0, writer->active.segment.size / JOURNAL_MESSAGES_LEAVE);
}

void
space_see_room(struct writer *writer)
{
	uint64_t least = least_size(writer, writer->preallocated.refused_bytes), bytes;

	if (writer->preallocated.state != PREALLOCATION_FAILED ||
	    io_free_bytes(writer->dir, &bytes) != 0 || bytes < 2 * least)
		return;
	writer->preallocated.state = PREALLOCATION_NONE;
	writer->preallocated.error = 0;
}

int
space_shortage(const struct writer *writer)
{
	if (writer->files_gone)
		return -ESTALE;
	return fits_message(writer, writer->preallocated.refused_bytes)
	    ? 0
	    : writer->preallocated.error;
}

void
space_drop_spare(struct writer *writer)
{
	char path[LOG_PATH_BYTES];

	writer->preallocated.disk_short = true;
	if (writer->preallocated.spare == 0)
		return;
	space_spare_path(writer, writer->preallocated.spare, path);
	if (io_unlink(path) == 0)
		writer->preallocated.spare = 0;
}

void
space_drop_next(struct writer *writer)
{
	char path[LOG_PATH_BYTES];

	if (writer->preallocated.state != PREALLOCATION_READY ||
	    !journal_fits(writer, writer->active.segment.size / JOURNAL_MESSAGES_LEAVE))
		return;
	next_path(writer, path, true);
	if (io_unlink(path) != 0)
		return;
	CRASH_POINT("next.dropped");
	io_close(writer->preallocated.fd);
	writer->preallocated.fd = -1;
	writer->preallocated.state = PREALLOCATION_NONE;
}
