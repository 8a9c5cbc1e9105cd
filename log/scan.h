/*
 * scan - reads the batches of a log from its files: for the router's recovery, and for headgatectl
 * while the router runs or not. Never writes. One segment at a time is in memory.
 *
 * A scan ends at the first bad place, unless bad() is set: then it goes on at the next frame that is
 * whole, and what it returns is of what is left.
 */
#ifndef HEADGATE_LOG_SCAN_H
#define HEADGATE_LOG_SCAN_H

#include "log/list.h"
#include "log/settled.h"

/* What a scan tells its user. Each may be NULL. A callback that returns non-zero ends the scan with
 * that value. */
struct log_visitor {
	/* For each batch that is whole in this log: its end frame's payload, then all its frames in
	 * order. */
	int (*batch)(void *context, const struct log_commit *);
	int (*frame)(void *context, const struct log_frame *, uint64_t position);
	void *context;
};

/* How a log ends. */
struct log_tail {
	size_t segment;      /* index of the one that is written to: the last with anything in it */
	uint64_t end;        /* position behind the last whole batch, aligned as it was written */
	uint64_t last_start; /* where the last whole batch starts; 0 when there is none */
	uint64_t
	    unproven; /* ... and the first of those of which no other says that it is durable */
	uint64_t last_batch; /* its number, 0 when there is none */
	uint64_t clock_ns;   /* its log_commit.clock_ns */
	bool last_synced;    /* it is a barrier */
	uint64_t torn_end;   /* behind what can be made out behind a bad place; 0: nothing */
	uint64_t torn_batch; /* number of the batch there, the last if there are several */
	bool torn_os;        /* it may have been written without being synced */
	uint64_t *last_logs; /* the logs that the last whole batch names */
	size_t last_log_count;
};

struct log_scan {
	struct log_list *list;
	uint64_t last_batch; /* batches with a higher number do not count */
	char *error;
	size_t error_bytes;
	/* Tells how many bytes were read. May be NULL. */
	void (*progress)(void *context, uint64_t bytes);
	void *progress_context;
	/* Is told that segment i has no whole frame in [offset, end) of its file, though something was
	 * written behind. May be NULL: that is an error then. Frames around the place are shown without
	 * a batch() in front of them. What it returns, if not 0, ends the scan. */
	int (*bad)(void *context, size_t i, uint64_t offset, uint64_t end);
	void *bad_context;
	/* Index of the first segment that may end in a torn batch: log_scan_tail() says. */
	size_t torn_from;

	uint8_t *image; /* of the segment that was read last */
	size_t image_bytes, image_segment;
	bool image_valid;
};

void log_scan_init(struct log_scan *, struct log_list *, char *error, size_t error_bytes);
void log_scan_free(struct log_scan *);

/* Finds where the log ends. visitor (may be NULL) is shown the ends of the batches that are read for
 * that. Returns 0; -EBADMSG with error naming file and offset when something is damaged in front of a
 * whole batch; what the visitor returned; or -errno. */
int log_scan_tail(struct log_scan *, const struct log_visitor *, struct log_tail *);
void log_tail_free(struct log_tail *);

/* Shows segment index i to the visitor, whole batches up to last_batch. When it is known where the
 * segment's data ends (data_bytes), they must reach to there, and in front of where the log ends nothing may
 * be torn: else -EBADMSG. After log_scan_tail(). Returns as that, or what the visitor returned; *end (may be
 * NULL) is the position behind the last batch. */
int log_scan_segment(struct log_scan *, size_t i, const struct log_visitor *, uint64_t *end);

/* A checkpoint, put together. */
struct log_base {
	size_t segment; /* index of the one that begins with it */
	struct log_checkpoint head;
	struct log_totals totals;
	struct settled settled;
};

/* Finds the newest checkpoint that is whole, in the segment with this index or an older one, and
 * describes the list's segments by it. A log without any (its first batch was torn) gives the one of an
 * empty log. From it on no file may be missing. Returns 0, -EBADMSG with error filled, or -errno. */
int log_scan_base(struct log_scan *, size_t segment, struct log_base *);

/* When all is read that settles: in front of the checkpoint, sequences that no segment holds must be settled. Those
 * that it does not describe were given back before it was written. Returns 0, or -EBADMSG with error filled. */
int log_scan_gaps(struct log_scan *, const struct log_base *, const struct settled *);

#endif
