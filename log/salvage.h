/*
 * salvage - copies the valid frames of a damaged log into a new log, and replaces the damaged log.
 *
 *	1. The new log is written into ASIDE/NAME.new and synced.
 *	2. The directory gets its final name, ASIDE/NAME-TIME.
 *	3. The two directories exchange their names. The exchange is the commit point.
 *
 * So at each moment the queue has one of the two logs, and the name tells an unfinished copy. No
 * file of the old log is changed or removed.
 *
 * The new log continues the old log:
 *	1. Log id and sequences stay. So a store knows its applied messages, even without their
 *	   settlements.
 *	2. All messages with valid frames are kept. Settled messages are kept for their ids.
 *	3. Missing sequences count as settled.
 *	4. New sequences begin at the time in microseconds, far above all given sequences: the
 *	   sequences given last may be the lost ones.
 *	5. The last segment holds the only checkpoint. The segments before hold messages only.
 *	6. The checkpoint's batch has the number of the highest batch that counts (last_batch()). So
 *	   batches of the other logs stay as complete as before.
 */
#ifndef HEADGATE_LOG_SALVAGE_H
#define HEADGATE_LOG_SALVAGE_H

#include "log/audit.h"

struct log_salvage {
	char aside[LOG_PATH_BYTES]; /* present place of the damaged log */
	uint64_t waiting;           /* live messages in the new log */
	uint64_t next_sequence;     /* lowest sequence of a later message */
	bool new_id;                /* no header with the old id was readable */
};

/*
 * Salvages the log of the queue `name`. No router may run. The audit comes from log_audit_read();
 * its settled set changes. aside_dir is created if missing, and must be on the log's file system.
 * Returns 0; -EEXIST or -EINVAL: the file system cannot exchange two names; -ENODATA: no batch of
 * the log ever counted; or another -errno. error is filled.
 */
int log_salvage(struct log_salvage *, struct log_audit *, const struct log_decision *,
    const char *aside_dir, const char *name, char *error, size_t error_bytes);

#endif
