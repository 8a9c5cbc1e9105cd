/*
 * salvage - makes a whole log of what is whole in a damaged one, and puts it in its place.
 *
 *	1. the new log is written into ASIDE/NAME.new and synced
 *	2. that gets its final name, ASIDE/NAME-TIME
 *	3. the two directories change names: from here on the new log is the queue's
 *
 * So at each moment the queue has one of the two logs, whole as it is, and an unfinished copy is known by
 * its name. Nothing of the old log is changed or removed.
 *
 * The new log is the old one: same id, same sequences, so a store knows what it has applied even where its
 * settlement is lost. All messages that are whole are kept, settled or not: the ids of those that are settled
 * are still needed. What is missing counts as settled. New sequences begin far above all that can have been
 * given, because those that were given last may be what is lost: at the time in microseconds. The last segment holds one checkpoint, so
 * nothing but messages is needed of those before it; its batch has the number of the highest that counts,
 * or the one below where that one will be cut: the other logs' batches stay as complete as they were.
 */
#ifndef HEADGATE_LOG_SALVAGE_H
#define HEADGATE_LOG_SALVAGE_H

#include "log/audit.h"

struct log_salvage {
	char aside[LOG_PATH_BYTES]; /* where the damaged log is now */
	uint64_t waiting;           /* messages that are not settled */
	uint64_t next_sequence;     /* that a message may have from here on */
	bool new_id;                /* the old one's was nowhere to be read */
};

/* audit: after log_audit_read(), of which it changes what is settled; no router may run. aside_dir is made when it is not there, and must be
 * on the log's file system; name is the queue's. Returns 0; -EEXIST, -EINVAL when the file system cannot
 * exchange two names; -ENODATA when nothing of the log ever counted; or -errno. error tells. */
int log_salvage(struct log_salvage *, struct log_audit *, const struct log_decision *,
    const char *aside_dir, const char *name, char *error, size_t error_bytes);

#endif
