/*
 * scan - reads a queue's log from its files: for the router's recovery, and for headgatectl while the
 * router runs or not. Never writes.
 */
#ifndef HEADGATE_LOG_SCAN_H
#define HEADGATE_LOG_SCAN_H

#include "log/format.h"
#include "shm/control.h"

enum { LOG_PATH_BYTES = 4352, LOG_ERROR_BYTES = 4800 };

struct log_segment {
	uint64_t number, position, size, salt;
};

/* The segments of a log, in order. */
struct log_list {
	char dir[LOG_PATH_BYTES];
	char queue[LOG_QUEUE_NAME_BYTES];
	uint64_t log_id;
	struct log_segment *segments;
	size_t count;
};

/* Path of a segment of dir. */
void log_segment_path(char path[LOG_PATH_BYTES], const char *dir, uint64_t number);

/* Lists the segments of a directory and checks that they follow each other. A last segment whose
 * header was never written is left out. Returns 0; -ENOENT when there is no log; -EBADMSG or -ESTALE
 * with error naming the file; or -errno. */
int log_list_open(struct log_list *, const char *dir, char *error, size_t error_bytes);
void log_list_close(struct log_list *);

/* What a scan tells its user. Each may be NULL. A callback that returns non-zero ends the scan with
 * that value. */
struct log_visitor {
	/* For each batch that is whole in this log: its end frame's payload, then all its frames in
	 * order. */
	int (*batch)(void *context, const struct log_batch_end *);
	int (*frame)(void *context, const struct log_frame *, uint64_t position);
	void *context;
};

/* How a log ends. */
struct log_tail {
	uint64_t end;         /* position behind the last whole batch, aligned as it was written */
	uint64_t last_start;  /* where the last whole batch starts; 0 when there is none */
	uint64_t last_batch;  /* its number, 0 when there is none */
	uint64_t before_end;  /* the same of the batch before it */
	uint64_t before_batch;
	uint64_t torn_bytes;  /* written behind end by a batch that was cut, 0 for none */
	uint64_t torn_batch;  /* its number, where a frame of it can be read, else 0 */
	uint64_t *last_logs;  /* the logs that the last whole batch names; free(3) */
	size_t last_log_count;
};

/* Reads the whole log, checks every byte of it up to its end and calls visitor for all batches up
 * to number last_batch (UINT64_MAX: all). Returns 0 with *tail filled; -EBADMSG with error naming file
 * and offset when something is damaged in front of a whole batch; the visitor's value; or -errno. */
int log_scan(const struct log_list *, uint64_t last_batch, const struct log_visitor *,
    struct log_tail *tail, char *error, size_t error_bytes);
void log_tail_free(struct log_tail *);

/* Segment that holds a position, or NULL. */
const struct log_segment *log_list_find(const struct log_list *, uint64_t position);

/* A control_detail from a logged state, and back. */
void log_state_to_detail(const struct log_state *, struct control_detail *);
void log_state_from_detail(
    struct log_state *, enum control_state, uint64_t generation, const struct control_detail *);

/* What headgatectl says of a queue when no router runs. */
struct log_summary {
	uint64_t log_id, published, done, failed, depth;
	uint64_t oldest_ns; /* publish time of the oldest unsettled message, 0 for none */
	uint64_t bytes;     /* on disk */
	uint64_t state_word; /* state and generation last logged; RUNNING, 0 when none was */
	struct control_detail detail;
};

/* Returns 0, -ENOENT when there is no log yet, -EBADMSG when it is damaged (error names file and
 * offset), or -errno. A batch that another log cut may still be counted: the router decides at its
 * next start. */
int log_summarize(
    const char *queue_dir, struct log_summary *, char *error, size_t error_bytes);

#endif
