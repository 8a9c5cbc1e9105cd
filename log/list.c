#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
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
		return complain(
		    error, error_bytes, -EBADMSG, path, "offset 0: damaged segment header");
	case -ESTALE:
		return complain(
		    error, error_bytes, rc, path, "written by another version of Headgate");
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
	}
	*segment = (struct log_segment){
		.number = header.number,
		.last_number = header.last_number,
		.position = header.position,
		.span = header.span,
		.size = header.size,
		.salt = header.salt,
		.first_sequence = header.first_sequence,
		.end_sequence = header.end_sequence,
		.messages = header.messages,
		.end_clock_ns = header.end_clock_ns,
		.data_bytes = header.data_bytes,
	};
	return 0;
}

/* Takes out what lies within another segment's numbers, and checks that the rest does not overlap. */
static int
drop_leftovers(struct log_list *list, char *error, size_t error_bytes)
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
		if (segment->position < before->position + before->span) {
			log_segment_path(path, list->dir, segment->number);
			return complain(error, error_bytes, -EBADMSG, path,
			    "offset 0: overlaps the segment before it");
		}
		list->segments[kept++] = *segment;
	}
	list->count = kept;
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
	if (rc == 0)
		rc = drop_leftovers(list, error, error_bytes);
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

		if (entry->number < segment->number || entry->last_number > segment->last_number)
			continue;
		if (log_segment_replaces(segment))
			return true; /* and its header knows better */
		if (entry->last_number != segment->last_number || entry->data_bytes > segment->size)
			return false;
		segment->first_sequence = entry->first_sequence;
		segment->end_sequence = entry->end_sequence;
		segment->messages = entry->messages;
		segment->end_clock_ns = entry->end_clock_ns;
		segment->data_bytes = entry->data_bytes;
		return true;
	}
	return false;
}
