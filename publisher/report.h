/*
 * report - the publisher's output: receipts, refused lines, progress.
 */
#ifndef HEADGATE_PUBLISHER_REPORT_H
#define HEADGATE_PUBLISHER_REPORT_H

#include <stdio.h>

#include "publisher/session.h"

struct report {
	bool receipts, progress;
	bool name_files;           /* receipts have the file's name, as there are several files */
	FILE *rejects;             /* refused lines go here; NULL: they are dropped */
	uint64_t durable, refused; /* lines */
	uint64_t duplicates; /* durable lines that duplicate an earlier message, so not delivered */
	uint64_t resent;     /* durable lines that were stored over a lost connection before */
	uint64_t started_ns, shown_ns, shown_durable; /* of the progress line; CLOCK_MONOTONIC */
};

/* A line of input has settled: durable, or refused with a status and a reason. resent: the result
 * of window_head_resent(). */
void report_durable(struct report *, const struct topic_settings *, const struct window_entry *,
    const struct session_result *, bool resent);
void report_refused(struct report *, const struct window_entry *, int status, const char *reason);
/* A line without an answer from the router: writes a receipt with status 503. */
void report_given_up(struct report *, const struct window_entry *, const char *reason);

/* A piece of a refused line or source. The first piece reports the refusal; all pieces go to
 * rejects. */
void report_piece(struct report *, const struct input_line *);

/* Shows progress if wanted, every 0.5 s; now: at once. */
void report_progress(struct report *, bool now);
/* Ends the progress line; call before other output on stderr. */
void report_end_progress(struct report *);

/* Warns about lines that were not delivered because they are duplicates. */
void report_duplicates(const struct report *);

#endif
