/*
 * list - the segments of a log, read from the headers of the files.
 */
#ifndef HEADGATE_LOG_LIST_H
#define HEADGATE_LOG_LIST_H

#include <dirent.h>

#include "log/format.h"

enum { LOG_PATH_BYTES = 4352, LOG_ERROR_BYTES = 4800 };

/* Damage reported for the segment behind a missing file. */
#define LOG_FILE_MISSING "a file in front of it is missing"

struct log_segment {
	uint64_t number, last_number;        /* last_number > number: compacted, replaces these */
	uint64_t position, span, size, salt; /* as in struct log_segment_header */
	uint64_t created_ns; /* CLOCK_REALTIME: no message was published much before */
	/* Sealed segments only, as in struct log_segment_entry; 0: unknown. */
	uint64_t first_sequence, end_sequence, messages, end_clock_ns;
	uint64_t data_bytes;
	uint64_t live_mean_bytes; /* mean bytes of a live message when last compacted; 0: unknown */
	bool damaged;             /* bad header or short file, see log_list_survey() */
};

/* Position behind the last batch of a sealed segment with known data_bytes. */
static inline uint64_t
log_segment_data_end(const struct log_segment *segment)
{
	return segment->position + segment->data_bytes;
}

/* True for a compacted segment. */
static inline bool
log_segment_is_compacted(const struct log_segment *segment)
{
	return segment->messages != 0 && segment->span != segment->size;
}

/* Makes the header of a segment, checksum included. */
void log_segment_make_header(const struct log_segment *, uint64_t log_id,
    const char queue[LOG_QUEUE_NAME_BYTES], struct log_segment_header *);

struct log_list {
	char dir[LOG_PATH_BYTES];
	char queue[LOG_QUEUE_NAME_BYTES];
	uint64_t log_id;
	struct log_segment *segments; /* in order of position */
	size_t count;
	uint64_t *leftovers; /* numbers of files replaced by a compacted segment */
	size_t leftover_count;
};

/* Path of a segment of `dir`. */
void log_segment_path(char path[LOG_PATH_BYTES], const char *dir, uint64_t number);

/* Lists the segments of a directory and checks that all belong to one log. Returns 0; -ENOENT: no
 * log; -EBADMSG, -ESTALE: error names the file; or another -errno. */
int log_list_open(struct log_list *, const char *dir, char *error, size_t error_bytes);
void log_list_close(struct log_list *);

/*
 * Lists a damaged log. Calls bad() for everything that log_list_open() would refuse: [offset, end)
 * of the file with this number is bad. Lists the rest:
 *	1. A segment with a damaged header is listed if its first frame tells the salt. The position
 *	   is a guess.
 *	2. If no header is whole, log_id is 0 and queue is empty.
 *	3. count may be 0.
 * Returns as log_list_open(), or the non-zero value of bad().
 */
typedef int log_list_bad(
    void *context, uint64_t number, uint64_t offset, uint64_t end, const char *what);
int log_list_survey(struct log_list *, const char *dir, log_list_bad *, void *context, char *error,
    size_t error_bytes);

/* Makes creations, renames and removals in a directory durable. Returns 0 or -errno. */
int log_sync_dir(const char *path);
/* Reads the next entry of a directory. Returns 1; 0: no more; -errno: the listing is incomplete. */
int log_next_entry(DIR *, struct dirent **entry);

/* True if no number is missing between segment i - 1 and segment i, and segment i is not compacted.
 * i > 0. */
bool log_list_follows(const struct log_list *, size_t i);

/* Segment that holds a position, or NULL. */
const struct log_segment *log_list_find(const struct log_list *, uint64_t position);

/* Copies a checkpoint's description into the segment. False: no such segment in the list, or the
 * description contradicts the segment's header. */
bool log_list_describe(struct log_list *, const struct log_segment_entry *);

#endif
