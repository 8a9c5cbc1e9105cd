#include "router/journal/segments.h"

#include <string.h>

#include "router/journal/space.h"
#include "telemetry/crash.h"

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
segments_position(const struct writer *writer, uint64_t position)
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
segments_find(const struct writer *writer, uint64_t position, uint64_t *end)
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
segments_bytes(const struct writer *writer)
{
	uint64_t bytes = writer->active.segment.size;

	for (size_t i = 0; i < writer->old_count; i++)
		bytes += writer->old[i].size;
	if (writer->preallocated.state == PREALLOCATION_READY)
		bytes += writer->preallocated.segment.size;
	return writer->preallocated.spare != 0 ? bytes + writer->preallocated.spare_bytes : bytes;
}

/* A file that nobody needs: kept as the spare, or removed. */
static int
discard(struct writer *writer, const struct log_segment *segment)
{
	char path[LOG_PATH_BYTES], to[LOG_PATH_BYTES];

	CRASH_POINT("segment.unneeded");
	log_segment_path(path, writer->dir, segment->number);
	if (writer->preallocated.spare != 0 || writer->preallocated.disk_short ||
	    segment->size != space_next_size(writer->active.segment.number + 1))
		return io_unlink(path);
	space_spare_path(writer, segment->number, to);
	writer->preallocated.spare = segment->number;
	writer->preallocated.spare_bytes = segment->size;
	return io_rename(path, to);
}

int
segments_punch(const struct writer *writer, size_t index)
{
	const struct log_segment *segment = &writer->old[index];
	uint64_t from = journal_align(segment->data_bytes, LOG_BLOCK_BYTES);
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
segments_free(
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
		if (writer->tail_floor < journal_segment_end(replacement))
			writer->tail_floor = journal_segment_end(replacement);
	}
	memmove(first + keep, first + count, (writer->old_count - index - count) * sizeof(*first));
	writer->old_count -= count - keep;
	return result;
}
