/*
 * audit - everything the files of a log tell, also of a damaged log. Never writes. No router may
 * run.
 *
 * The audit notes each bad place and reads on behind. Losses follow from the rest: a sequence is
 * missing if it was given, is not settled, and has no valid frame.
 */
#ifndef HEADGATE_LOG_AUDIT_H
#define HEADGATE_LOG_AUDIT_H

#include "log/decision.h"
#include "log/registry.h"
#include "log/settled.h"

enum { LOG_FILE_BYTES = 24 };

struct log_bad { /* a bad place */
	char file[LOG_FILE_BYTES];
	uint64_t offset,
	    end; /* [offset, end) of the file, bytes; equal: something is missing there */
	const char *what;
};

struct log_range { /* sequences [first, last] */
	uint64_t first, last;
};

struct log_contents {                           /* messages with valid frames in a segment */
	uint64_t first_sequence, last_sequence; /* 0: no message */
	uint64_t messages;                      /* number of messages ... */
	uint64_t live;                          /* ... and of live messages */
};

struct log_audit {
	struct log_list list; /* without unreadable files */
	struct log_scan scan;
	struct log_tail tail;
	char error[LOG_ERROR_BYTES];

	/* Set by the caller after log_audit_open(). 0: unknown. */
	struct log_registry_end registered;
	uint64_t key;            /* log_key.checksum of the deduplication key */
	uint64_t window_begin_s; /* begin of the deduplication window, as log_id.clock_s */

	struct log_bad *bad; /* bad places; none: the log is whole */
	size_t bad_count, bad_capacity;

	/* Valid after log_audit_read(). */
	size_t keyless;                /* .ids files among the bad places without their key ... */
	size_t stale;                  /* ... and of another version */
	uint64_t bytes;                /* of all segments */
	struct log_contents *contents; /* one per segment of the list */
	uint64_t torn_bytes;           /* cut from the end at the router's next start */
	bool torn_unsynced;            /* the cut may take acknowledged messages */
	uint64_t waiting;              /* live messages with a valid frame */
	uint64_t first_sequence;       /* lowest sequence with a valid frame; 0: none */
	struct log_totals totals;
	struct log_checkpoint head;    /* as in a checkpoint written now */
	struct settled settled;        /* does not contain the missing sequences */
	bool has_state;                /* `state` is valid */
	struct log_state state;        /* last state of the subscription */
	struct log_clock clock;        /* last index entry of the retention; all zero: none */
	struct log_received *received; /* last receive count of each live message, by sequence */
	size_t received_count, received_capacity;
	struct log_range *missing; /* missing sequences, in order */
	size_t missing_count, missing_capacity;
	uint64_t missing_total; /* number of missing sequences */
	size_t base_segment;    /* index of the segment with the newest whole checkpoint ... */
	bool has_base;          /* ... if a checkpoint is whole */

	/* State of the walk over all messages. */
	uint64_t last_sequence;
	size_t last_bad_count, current;
	const char
	    *lost; /* proof of a batch missing at the end, in words; NULL: no batch is missing */
	uint64_t lost_at; /* position of the missing batch */
};

/* Lists the log of a directory and finds its end. Shows the commit records there to the decision
 * (may be NULL). Returns 0, for a damaged log too; -ENOENT: no log; -ESTALE: another version's; or
 * another -errno. error is filled. */
int log_audit_open(struct log_audit *, const char *dir, struct log_decision *);
/* Reads the whole log, after log_decision_make(); `index` is the log's index in the decision.
 * Returns 0, for a damaged log too; or -errno with error filled. */
int log_audit_read(struct log_audit *, const struct log_decision *, unsigned index);
void log_audit_close(struct log_audit *);

/* True for a segment freed before the newest whole checkpoint was written. Nothing in such a
 * segment counts. */
bool log_audit_is_freed(const struct log_audit *, size_t segment);

#endif
