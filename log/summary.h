/*
 * summary - what can be said of a queue from its files alone, when no router runs.
 */
#ifndef HEADGATE_LOG_SUMMARY_H
#define HEADGATE_LOG_SUMMARY_H

#include "log/list.h"
#include "shm/control.h"

struct log_summary {
	uint64_t log_id, published, duplicates, depth;
	struct log_totals totals;
	uint64_t oldest_ns;  /* publish time of the oldest unsettled message, 0 for none */
	uint64_t bytes;      /* on disk */
	uint64_t state_word; /* state and generation last logged; RUNNING, 0 when none was */
	struct control_detail detail;
};

/* Returns 0, -ENOENT when there is no log yet, -EBADMSG when it is damaged (error names file and
 * offset), or -errno. A batch that another log cut may still be counted: the router decides at its
 * next start. */
int log_summarize(const char *queue_dir, struct log_summary *, char *error, size_t error_bytes);

#endif
