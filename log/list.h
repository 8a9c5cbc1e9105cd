/*
 * list - the segments of a log, as their files' headers tell.
 */
#ifndef HEADGATE_LOG_LIST_H
#define HEADGATE_LOG_LIST_H

#include <dirent.h>

#include "log/format.h"

enum { LOG_PATH_BYTES = 4352, LOG_ERROR_BYTES = 4800 };

/* What is said of the segment behind it. */
#define LOG_FILE_MISSING "a file in front of it is missing"

struct log_segment {
	uint64_t number, last_number; /* last_number > number: it replaces these */
	uint64_t position, span, size, salt;
	uint64_t
	    created_ns; /* CLOCK_REALTIME, as its header says: no message in it was published much before */
	/* Of one that takes no more, as far as it is known: see struct log_segment_entry. */
	uint64_t first_sequence, end_sequence, messages, end_clock_ns;
	uint64_t data_bytes; /* 0: not known */
	uint64_t
	    live_mean_bytes; /* mean length of its messages that were left when it was last read for
			      * that; 0: not known */
	bool damaged;        /* its header, or the file is short: see log_list_survey() */
};

/* Position behind the last batch of a segment that takes no more. */
static inline uint64_t
log_segment_data_end(const struct log_segment *segment)
{
	return segment->position + segment->data_bytes;
}

/* Does it hold what was left over of others? */
static inline bool
log_segment_is_compacted(const struct log_segment *segment)
{
	return segment->messages != 0 && segment->span != segment->size;
}

/* In order of their positions. */
struct log_list {
	char dir[LOG_PATH_BYTES];
	char queue[LOG_QUEUE_NAME_BYTES];
	uint64_t log_id;
	struct log_segment *segments;
	size_t count;
	uint64_t *leftovers; /* numbers of files that another segment has replaced */
	size_t leftover_count;
};

/* Path of a segment of dir. */
void log_segment_path(char path[LOG_PATH_BYTES], const char *dir, uint64_t number);

/* Lists the segments of a directory and checks that they are of one log. Returns 0; -ENOENT when there
 * is no log; -EBADMSG or -ESTALE with error naming the file; or -errno. */
int log_list_open(struct log_list *, const char *dir, char *error, size_t error_bytes);
void log_list_close(struct log_list *);

/* The same of a log that is damaged: bad() is told what log_list_open() would refuse, and the rest is listed.
 * number: of the file, in which [offset, end) is bad. A segment whose header is damaged is listed if its
 * first frame tells its salt: its position is a guess then. log_id is 0 and
 * queue empty when no header is whole; count may be 0. Returns as log_list_open(), or what bad() does. */
typedef int log_list_bad(
    void *context, uint64_t number, uint64_t offset, uint64_t end, const char *what);
int log_list_survey(struct log_list *, const char *dir, log_list_bad *, void *context, char *error,
    size_t error_bytes);

/* Makes durable what was made, renamed or removed in a directory. Returns 0 or -errno. */
int log_sync_dir(const char *path);
/* The next entry of a directory. Returns 1, 0 behind the last, or -errno: what was read is not all. */
int log_next_entry(DIR *, struct dirent **entry);

/* Does segment i, which is not the first, follow the one before, and is not put together of others? */
bool log_list_follows(const struct log_list *, size_t i);

/* Segment that holds a position, or NULL. */
const struct log_segment *log_list_find(const struct log_list *, uint64_t position);

/* Takes over what a checkpoint says of a segment. False when the segment is not in the list. */
bool log_list_describe(struct log_list *, const struct log_segment_entry *);

#endif
