/*
 * audit - all that can be said of a log from its files, also when it is damaged. Never writes; no router
 * may run.
 *
 * The scan ends at a bad place; the audit notes it and goes on. What is lost is worked out from what is
 * left: a sequence that was given, is not settled and has no whole frame is missing.
 */
#ifndef HEADGATE_LOG_AUDIT_H
#define HEADGATE_LOG_AUDIT_H

#include "log/decision.h"
#include "log/registry.h"
#include "log/settled.h"

enum { LOG_FILE_BYTES = 24 };

struct log_bad { /* a place of a file */
	char file[LOG_FILE_BYTES];
	uint64_t offset, end; /* bytes; the same: something is missing there */
	const char *what;
};

struct log_range { /* of sequences */
	uint64_t first, last;
};

struct log_contents {                           /* whole messages of a segment */
	uint64_t first_sequence, last_sequence; /* 0: there are none */
	uint64_t messages, live;                /* so many, and of them are not settled */
};

struct log_audit {
	struct log_list list; /* without the files of which nothing can be told */
	struct log_scan scan;
	struct log_tail tail;
	char error[LOG_ERROR_BYTES];
	struct log_registry_end registered; /* to be filled in by whoever knows it */
	uint64_t key;                       /* likewise: log_key.checksum of deduplication's ... */
	uint64_t window_begin_s; /* ... and what is older than its window, as log_id.clock_s */
	struct log_bad *bad;     /* the log is whole when there are none */
	size_t bad_count, bad_capacity;

	/* From log_audit_read() on. */
	size_t keyless, stale; /* .ids files of bad that lack their key; of another version */
	uint64_t bytes;        /* of all segments */
	struct log_contents *contents; /* in each segment of the list */
	uint64_t torn_bytes;           /* at the end: cut at the router's next start ... */
	bool torn_unsynced;            /* ... and may be of messages that were acknowledged */
	uint64_t waiting;              /* messages that are whole and not settled */
	uint64_t first_sequence;       /* lowest of a whole message, settled or not; 0: none */
	struct log_totals totals;
	struct log_checkpoint head; /* as one that is written now would be, but for ... */
	struct settled settled;     /* ... what is missing: that is not settled */
	bool has_state;             /* one was found: the last */
	struct log_clock clock;     /* the last mark; 0: none */
	struct log_state state;
	struct log_received *received; /* not settled, by sequence; the last counts */
	size_t received_count, received_capacity;
	struct log_range *missing; /* in order */
	size_t missing_count, missing_capacity;
	uint64_t missing_total;
	size_t base_segment; /* index of the one whose checkpoint counts */
	bool has_base;       /* ... if any does */

	/* While messages are looked at. */
	uint64_t last_sequence;
	size_t last_bad_count, current;
	const char *lost; /* why a batch that is not there was; NULL: none is missing at the end */
	uint64_t lost_at; /* its position */
};

/* Lists the log of a directory and looks for its end; the decision (may be NULL) sees the batches there.
 * Returns 0, also when it is damaged; -ENOENT when there is no log; -ESTALE; or another -errno. error
 * tells. */
int log_audit_open(struct log_audit *, const char *dir, struct log_decision *);
/* Reads all of it. index: of this log in the decision, which has decided. Returns 0, also when it is
 * damaged; or -errno with error filled. */
int log_audit_read(struct log_audit *, const struct log_decision *, unsigned index);
void log_audit_close(struct log_audit *);

/* Was a segment given back before the checkpoint that counts was written? Then nothing in it counts. */
bool log_audit_is_freed(const struct log_audit *, size_t segment);

#endif
