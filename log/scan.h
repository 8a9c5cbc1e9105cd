/*
 * scan - reads the batches of a log from its files: for the router's recovery, and for headgatectl
 * with or without a running router. Never writes. Holds one segment in memory at a time.
 *
 * A scan ends at the first bad place. With bad() set, a scan reports the place and goes on at the
 * next valid frame.
 */
#ifndef HEADGATE_LOG_SCAN_H
#define HEADGATE_LOG_SCAN_H

#include "log/list.h"
#include "log/settled.h"

/* Callbacks of a scan. Each may be NULL. A non-zero return value ends the scan, which returns the
 * value. */
struct log_visitor {
	/* Called once for each whole batch, before the batch's frames. */
	int (*batch)(void *context, const struct log_commit *);
	/* Called for each frame of a whole batch, in order. */
	int (*frame)(void *context, const struct log_frame *, uint64_t position);
	void *context;
};

/* End of a log. "Last batch" is the last whole batch. */
struct log_tail {
	size_t segment;      /* index of the active segment: the newest with any frame */
	uint64_t end;        /* position behind the last batch; a multiple of LOG_BLOCK_BYTES */
	uint64_t last_start; /* position of the last batch; 0: no batch */
	uint64_t unproven;   /* position of the first batch that no later batch proves durable */
	uint64_t last_batch; /* number of the last batch; 0: no batch */
	uint64_t clock_ns;   /* log_commit.clock_ns of the last batch */
	bool last_synced;    /* the last batch is a barrier */
	uint64_t torn_end;   /* position behind the last torn frame; 0: no torn frame */
	uint64_t torn_batch; /* number of the torn batch, or of the last of several */
	bool torn_os;        /* the torn batch may be unsynced */
	uint64_t *last_logs; /* ids of the logs named by the last batch */
	size_t last_log_count;
};

struct log_scan {
	struct log_list *list;
	uint64_t last_batch; /* recovery point: batches with a higher number do not count */
	char *error;
	size_t error_bytes;
	/* Reports bytes read from disk. May be NULL. */
	void (*progress)(void *context, uint64_t bytes);
	void *progress_context;
	/* Reports a bad place: segment i has no valid frame in [offset, end) of the file, although
	 * bytes behind were written. Valid frames around the place are shown without a call of
	 * batch(). A non-zero return value ends the scan. NULL: a bad place is an error. */
	int (*bad)(void *context, size_t i, uint64_t offset, uint64_t end);
	void *bad_context;
	/* Index of the first segment that may end in a torn batch; set by log_scan_tail(). */
	size_t torn_from;

	uint8_t *image; /* bytes of the segment read last */
	size_t image_bytes, image_segment;
	bool image_valid;
};

void log_scan_init(struct log_scan *, struct log_list *, char *error, size_t error_bytes);
/* Frees the image. The scan stays usable. */
void log_scan_free(struct log_scan *);

/* Finds the end of the log. Shows the commit records of the batches read on the way to the visitor
 * (may be NULL). Returns 0; -EBADMSG: damage in front of a whole batch, error names file and
 * offset; the visitor's non-zero value; or another -errno. */
int log_scan_tail(struct log_scan *, const struct log_visitor *, struct log_tail *);
void log_tail_free(struct log_tail *);

/*
 * Shows the whole batches of segment i up to last_batch. *end (may be NULL) becomes the position
 * behind the last shown batch. Call log_scan_tail() before. Returns -EBADMSG if
 *	1. the batches do not reach the known end of the segment's data (data_bytes), or
 *	2. a batch is torn in a segment before torn_from.
 * Otherwise returns as log_scan_tail().
 */
int log_scan_segment(struct log_scan *, size_t i, const struct log_visitor *, uint64_t *end);

/* A checkpoint, assembled from its frames. */
struct log_base {
	size_t segment; /* index of the segment that begins with the checkpoint */
	struct log_checkpoint head;
	struct log_totals totals;
	struct settled settled;
};

/* Finds the newest whole checkpoint in segment i or an older segment, and describes the list's
 * segments accordingly. A log without a checkpoint, because its first batch was torn, has the
 * checkpoint of an empty log. No file may be missing behind the checkpoint. Returns 0; -EBADMSG
 * with error filled; or another -errno. */
int log_scan_base(struct log_scan *, size_t i, struct log_base *);

/* Checks that no file in front of the checkpoint is missing: sequences in no segment must be
 * settled. Segments without a description were freed before the checkpoint. Call after all
 * settlements are in the set. Returns 0, or -EBADMSG with error filled. */
int log_scan_gaps(struct log_scan *, const struct log_base *, const struct settled *);

#endif
