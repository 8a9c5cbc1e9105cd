#include "log/list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum { NAME_DIGITS = 16 };

static const char too_large[] = "larger than a segment may be";

int
log_sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = fsync(fd) == 0 ? 0 : -errno;
	close(fd);
	return rc;
}

int
log_next_entry(DIR *dir, struct dirent **entry)
{
	errno = 0;
	*entry = readdir(dir);
	return *entry != NULL ? 1 : -errno;
}

void
log_segment_path(char path[LOG_PATH_BYTES], const char *dir, uint64_t number)
{
	snprintf(path, LOG_PATH_BYTES, "%.4096s/%016" PRIx64 ".log", dir, number);
}

void
log_segment_make_header(const struct log_segment *segment, uint64_t log_id,
    const char queue[LOG_QUEUE_NAME_BYTES], struct log_segment_header *header)
{
	*header = (struct log_segment_header){
		.log_id = log_id,
		.number = segment->number,
		.last_number = segment->last_number,
		.salt = segment->salt,
		.position = segment->position,
		.size = segment->size,
		.span = segment->span,
		.created_ns = segment->created_ns,
		.first_sequence = segment->first_sequence,
		.end_sequence = segment->end_sequence,
		.messages = segment->messages,
		.end_clock_ns = segment->end_clock_ns,
		.data_bytes = segment->data_bytes,
	};
	memcpy(header->queue, queue, sizeof(header->queue));
	log_segment_header_set_checksum(header);
}

/* Number in a segment's file name; 0: any other name. */
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
	int fd = file_open(path, O_RDONLY, 0);
	int rc;

	*file_bytes = 0;
	if (fd < 0)
		return -errno;
	rc = fstat(fd, &st) != 0 ? -errno : 0;
	if (rc == 0) {
		*file_bytes = (uint64_t)st.st_size;
		rc = read_whole(fd, header, sizeof(*header), 0);
	}
	close(fd);
	return rc == 0 ? log_segment_header_check(header) : rc;
}

static int
complain(char *error, size_t error_bytes, int rc, const char *path, const char *what)
{
	snprintf(error, error_bytes, "%s: %s", path, what);
	return rc;
}

static const char *
header_text(int rc)
{
	switch (rc) {
	case -EBADMSG:
	case -ENODATA:
		return "offset 0: damaged segment header";
	case -EFBIG:
		return too_large;
	case -ESTALE:
		return "written by another version of Headgate";
	default:
		return strerror(-rc);
	}
}

static int
compare_numbers(const void *a, const void *b)
{
	uint64_t x = ((const struct log_segment *)a)->number;
	uint64_t y = ((const struct log_segment *)b)->number;

	return x < y ? -1 : x > y;
}

/* Fills list->segments with the numbers of the directory's segments, sorted. */
static int
list_numbers(struct log_list *list)
{
	DIR *dir = opendir(list->dir);
	size_t capacity = 0;
	struct dirent *entry;
	int rc;

	if (dir == NULL)
		return -errno;
	while ((rc = log_next_entry(dir, &entry)) == 1) {
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

/* Compares a valid header with the file's name, the log and the file's size. *what says what is
 * wrong, or is NULL. Returns 0 or -EBADMSG. */
static int
check_header(const struct log_list *list, uint64_t number, const struct log_segment_header *header,
    uint64_t file_bytes, const char **what)
{
	*what = NULL;
	if (header->number != number)
		*what = "offset 0: renamed segment";
	else if (list->log_id != 0 && header->log_id != list->log_id)
		*what = "offset 0: belongs to another log";
	else if (file_bytes < header->size)
		*what = "shorter than its header says";
	return *what != NULL ? -EBADMSG : 0;
}

static void
take_header(struct log_list *list, size_t i, const struct log_segment_header *header)
{
	if (list->log_id == 0) {
		list->log_id = header->log_id;
		memcpy(list->queue, header->queue, sizeof(list->queue));
	}
	list->segments[i] = (struct log_segment){
		.number = header->number,
		.last_number = header->last_number,
		.position = header->position,
		.span = header->span,
		.size = header->size,
		.salt = header->salt,
		.created_ns = header->created_ns,
		.first_sequence = header->first_sequence,
		.end_sequence = header->end_sequence,
		.messages = header->messages,
		.end_clock_ns = header->end_clock_ns,
		.data_bytes = header->data_bytes,
	};
}

/* Reads the header of segment i, checks it and copies it into the list. */
static int
check_segment(struct log_list *list, size_t i, char *error, size_t error_bytes)
{
	struct log_segment_header header;
	char path[LOG_PATH_BYTES];
	uint64_t file_bytes;
	const char *what;
	int rc;

	log_segment_path(path, list->dir, list->segments[i].number);
	rc = read_header(path, &header, &file_bytes);
	if (rc != 0)
		return complain(error, error_bytes, rc == -ENODATA || rc == -EFBIG ? -EBADMSG : rc,
		    path, header_text(rc));
	rc = check_header(list, list->segments[i].number, &header, file_bytes, &what);
	if (rc != 0)
		return complain(error, error_bytes, rc, path, what);
	take_header(list, i, &header);
	return 0;
}

/* Moves leftovers, files with a number inside a compacted segment's numbers, out of the segments.
 * strict: checks that the positions of the others do not overlap. */
static int
drop_leftovers(struct log_list *list, bool strict, char *error, size_t error_bytes)
{
	char path[LOG_PATH_BYTES];
	size_t kept = 1;

	list->leftovers = calloc(list->count, sizeof(*list->leftovers));
	if (list->leftovers == NULL)
		return complain(error, error_bytes, -ENOMEM, list->dir, strerror(ENOMEM));
	for (size_t i = 1; i < list->count; i++) {
		const struct log_segment *segment = &list->segments[i];
		const struct log_segment *before = &list->segments[kept - 1];

		if (segment->number <= before->last_number) {
			list->leftovers[list->leftover_count++] = segment->number;
			continue;
		}
		if (strict && segment->position < before->position + before->span) {
			log_segment_path(path, list->dir, segment->number);
			return complain(error, error_bytes, -EBADMSG, path,
			    "offset 0: overlaps the segment before it");
		}
		list->segments[kept++] = *segment;
	}
	list->count = kept;
	return 0;
}

/* Lists the segments' numbers, before any header is read. */
static int
begin_list(struct log_list *list, const char *dir, char *error, size_t error_bytes)
{
	int rc;

	*list = (struct log_list){ 0 };
	if (snprintf(list->dir, sizeof(list->dir), "%s", dir) >= (int)sizeof(list->dir) - 32)
		return complain(error, error_bytes, -ENAMETOOLONG, dir, strerror(ENAMETOOLONG));
	rc = list_numbers(list);
	if (rc != 0)
		return complain(error, error_bytes, rc, dir, strerror(-rc));
	return list->count == 0 ? complain(error, error_bytes, -ENOENT, dir, "no log") : 0;
}

int
log_list_open(struct log_list *list, const char *dir, char *error, size_t error_bytes)
{
	int rc = begin_list(list, dir, error, error_bytes);

	for (size_t i = 0; rc == 0 && i < list->count; i++)
		rc = check_segment(list, i, error, error_bytes);
	if (rc == 0)
		rc = drop_leftovers(list, true, error, error_bytes);
	if (rc != 0)
		log_list_close(list);
	return rc;
}

/*
 * The list of a damaged log.
 */

/* Reads the header of the first frame in a segment's file. Returns 1; 0: no valid header; or
 * -errno. */
static int
read_first_frame(const struct log_list *list, uint64_t number, struct log_frame *frame)
{
	char path[LOG_PATH_BYTES];
	int fd, rc;

	log_segment_path(path, list->dir, number);
	fd = file_open(path, O_RDONLY, 0);
	if (fd < 0)
		return -errno;
	rc = read_whole(fd, frame, sizeof(*frame), LOG_HEADER_BYTES);
	close(fd);
	if (rc != 0)
		return rc == -ENODATA ? 0 : rc;
	return log_frame_header_valid(frame, LOG_SEGMENT_BYTES_LIMIT, frame->salt);
}

/* True if the first frame of segment i, of this batch, is from an earlier use of the file. Batch
 * numbers go up with the segments: an earlier use has a lower batch than the nearest older segment
 * with a valid first frame. Returns 1, 0 or -errno. */
static int
is_stale(const struct log_list *list, size_t i, uint64_t batch)
{
	while (i-- > 0) {
		const struct log_segment *segment = &list->segments[i];
		struct log_frame frame;
		int rc;

		if (segment->salt == 0 || log_segment_is_compacted(segment))
			continue;
		rc = read_first_frame(list, segment->number, &frame);
		if (rc < 0)
			return rc;
		if (rc == 1 && frame.salt == segment->salt)
			return batch < frame.batch;
	}
	return 0;
}

/* Guesses the fields of segment i without its header. Numbers and sizes follow from the file, the
 * position from the segment before, the salt from the first frame. salt 0: the file is unreadable.
 * Returns 0 or -errno. */
static int
guess_segment(struct log_list *list, size_t i, uint64_t file_bytes)
{
	uint64_t number = list->segments[i].number, blocks = file_bytes / LOG_BLOCK_BYTES;
	struct log_segment guess = { .number = number, .last_number = number, .damaged = true };
	struct log_frame frame;
	int rc = 0, stale = 0;

	guess.size = guess.span = blocks * LOG_BLOCK_BYTES;
	if (i > 0)
		guess.position = list->segments[i - 1].position + list->segments[i - 1].span;
	else
		guess.position = LOG_BLOCK_BYTES;
	if (guess.size > LOG_HEADER_BYTES && guess.size <= LOG_SEGMENT_BYTES_LIMIT)
		rc = read_first_frame(list, number, &frame);
	if (rc == 1)
		stale = is_stale(list, i, frame.batch);
	if (rc == 1 && stale == 0)
		guess.salt = frame.salt;
	list->segments[i] = guess;
	return rc < 0 ? rc : stale < 0 ? stale : 0;
}

/* True if only the fields that tell the version (magic, endian, header_bytes) are damaged: with the
 * right values the checksum is right. */
static bool
is_of_this_version(const struct log_segment_header *header)
{
	struct log_segment_header mended = *header;

	log_segment_header_set_checksum(&mended);
	return mended.checksum == header->checksum;
}

/* Lists the readable part of segment i, and reports the rest. Returns 0; the non-zero value of
 * bad(); or -errno, except for damage. */
static int
survey_segment(struct log_list *list, size_t i, log_list_bad *bad, void *context)
{
	uint64_t number = list->segments[i].number, file_bytes;
	struct log_segment_header header;
	char path[LOG_PATH_BYTES];
	const char *what;
	int rc;

	log_segment_path(path, list->dir, number);
	rc = read_header(path, &header, &file_bytes);
	if (rc == -EFBIG) /* refused by routers, but readable */
		rc = bad(context, number, LOG_SEGMENT_BYTES_LIMIT, header.size, too_large);
	if (rc != 0 && rc != -EBADMSG && rc != -ENODATA &&
	    (rc != -ESTALE || !is_of_this_version(&header)))
		return rc;
	if (rc != 0) {
		rc = guess_segment(list, i, file_bytes);
		if (rc != 0)
			return rc;
		return bad(context, number, 0,
		    list->segments[i].salt != 0 ? LOG_HEADER_BYTES : file_bytes,
		    "damaged segment header");
	}
	rc = check_header(list, number, &header, file_bytes, &what);
	if (rc != 0 && file_bytes >= header.size) /* another segment's file */
		return bad(context, number, 0, file_bytes, what + strlen("offset 0: "));
	if (rc != 0)
		rc = bad(context, number, file_bytes, header.size, what);
	if (file_bytes < LOG_HEADER_BYTES + LOG_BLOCK_BYTES)
		return rc;
	take_header(list, i, &header);
	if (file_bytes < header.size)
		list->segments[i].size = file_bytes / LOG_BLOCK_BYTES * LOG_BLOCK_BYTES;
	list->segments[i].damaged = file_bytes < header.size;
	if (list->segments[i].damaged)
		list->segments[i].data_bytes = 0;
	return rc;
}

/* Drops unreadable files from the list. */
static void
drop_unknown(struct log_list *list)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++)
		if (list->segments[i].salt != 0)
			list->segments[kept++] = list->segments[i];
	list->count = kept;
}

int
log_list_survey(struct log_list *list, const char *dir, log_list_bad *bad, void *context,
    char *error, size_t error_bytes)
{
	char path[LOG_PATH_BYTES];
	int rc = begin_list(list, dir, error, error_bytes);

	for (size_t i = 0; rc == 0 && i < list->count; i++) {
		uint64_t number = list->segments[i].number;

		rc = survey_segment(list, i, bad, context);
		log_segment_path(path, dir, number);
		if (rc != 0)
			complain(error, error_bytes, rc, path, header_text(rc));
	}
	drop_unknown(list);
	if (rc == 0 && list->count > 0)
		rc = drop_leftovers(list, false, error, error_bytes);
	if (rc != 0)
		log_list_close(list);
	return rc;
}

void
log_list_close(struct log_list *list)
{
	free(list->segments);
	free(list->leftovers);
	list->segments = NULL;
	list->leftovers = NULL;
	list->count = list->leftover_count = 0;
}

bool
log_list_follows(const struct log_list *list, size_t i)
{
	const struct log_segment *segment = &list->segments[i];

	return segment->number == list->segments[i - 1].last_number + 1 &&
	    !log_segment_is_compacted(segment);
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

bool
log_list_describe(struct log_list *list, const struct log_segment_entry *entry)
{
	for (size_t i = 0; i < list->count; i++) {
		struct log_segment *segment = &list->segments[i];

		if (entry->number < segment->number ||
		    (entry->last_number > segment->last_number &&
			(!segment->damaged || entry->number > segment->number)))
			continue;
		if (log_segment_is_compacted(segment))
			return true; /* the header has the fields, newer than the entry */
		if (!segment->damaged &&
		    (entry->last_number != segment->last_number ||
			entry->data_bytes > segment->size))
			return false;
		segment->first_sequence = entry->first_sequence;
		segment->end_sequence = entry->end_sequence;
		segment->messages = entry->messages;
		segment->end_clock_ns = entry->end_clock_ns;
		if (!segment->damaged)
			segment->data_bytes = entry->data_bytes;
		return true;
	}
	return false;
}
