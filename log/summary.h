/*
 * summary - counters and state of a queue, read from its files without a running router.
 */
#ifndef HEADGATE_LOG_SUMMARY_H
#define HEADGATE_LOG_SUMMARY_H

#include "log/list.h"
#include "shm/control.h"

struct log_summary {
	uint64_t log_id, published, duplicates;
	uint64_t depth; /* live messages */
	struct log_totals totals;
	uint64_t oldest_ns;  /* publish time of the oldest live message; 0: none */
	uint64_t bytes;      /* on disk */
	uint64_t state_word; /* last logged state and generation; RUNNING and 0 if never logged */
	struct control_detail detail;
};

/* Returns 0; -ENOENT: no log; -EBADMSG: damaged, error names file and offset; or another -errno.
 * May count a batch that another log lacks: the recovery decision belongs to the next router. */
int log_summarize(const char *queue_dir, struct log_summary *, char *error, size_t error_bytes);

#endif
