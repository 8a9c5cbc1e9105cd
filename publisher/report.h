/*
 * report - what the publisher tells: receipts, refused lines, progress.
 */
#ifndef HEADGATE_PUBLISHER_REPORT_H
#define HEADGATE_PUBLISHER_REPORT_H

#include <stdio.h>

#include "publisher/session.h"

struct report {
	bool receipts, progress;
	bool name_files; /* in receipts: there are several */
	FILE *rejects;   /* NULL: not kept */
	uint64_t durable, refused;
	uint64_t duplicates; /* of durable: of a message that was there before, and not delivered */
	uint64_t resent;     /* of durable: sent again after a lost connection, and there already */
	uint64_t started_ns, shown_ns, shown_durable;
};

/* One line of input was settled: durable, or refused with a status and a reason. resent: as
 * window_head_resent() says. */
void report_durable(struct report *, const struct topic_settings *, const struct window_entry *,
    const struct session_result *, bool resent);
void report_refused(struct report *, const struct window_entry *, int status, const char *reason);
/* A line that has no answer: only its receipt says so. */
void report_given_up(struct report *, const struct window_entry *, const char *reason);

/* What is refused without being held, a line too long or a source that is no lines: its pieces, as
 * they come; the refusal with the first. */
void report_piece(struct report *, const struct input_line *);

/* Shows progress, if wanted and not shown just now (or now in any case). */
void report_progress(struct report *, bool now);
/* Ends the progress line, before other words. */
void report_end_progress(struct report *);

/* Tells how many lines were not delivered because they were duplicates. */
void report_duplicates(const struct report *);

#endif
