#include "router/journal/repair.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router/journal/types.h"
#include "router/journal/zeros.h"
#include "telemetry/crash.h"

/* Writes zeros over [from, to) of a segment, whole blocks. */
static int
write_zeros(int fd, uint64_t from, uint64_t to)
{
	int rc = 0;

	for (size_t length; rc == 0 && from < to; from += length) {
		length = to - from < ZEROS_BYTES ? to - from : ZEROS_BYTES;
		rc = io_write_all(fd, zeros, length, from);
	}
	return rc;
}

/* A segment's file that is read for repair, and what is needed to see what of it is on the disk. */
struct repair {
	int fd, direct;       /* through the page cache, durably; past it, or -errno */
	uint8_t *seen, *disk; /* ZEROS_BYTES each */
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
		.seen = aligned_alloc(LOG_BLOCK_BYTES, ZEROS_BYTES),
		.disk = aligned_alloc(LOG_BLOCK_BYTES, ZEROS_BYTES),
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
		length = to - from < ZEROS_BYTES ? to - from : ZEROS_BYTES;
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
	to = end < journal_segment_end(segment) ? end - segment->position : segment->size;
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
	    fd, end - segment->position, journal_align(to, LOG_BLOCK_BYTES) - segment->position);
	if (rc == 0) /* what is before may have been written without that */
		rc = io_sync(fd);
	io_close(fd);
	return rc;
}

int
repair_log(const struct log_list *list, uint64_t unproven, uint64_t end, uint64_t written)
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
