/*
 * store - a queue's SQLite database, STATE/stores/QUEUE.db: the effects of its messages, once each.
 *
 * Rows are keyed by (log, sequence). Each row also has its message's id, because a log that lost
 * its end assigns sequences again, to other messages. All writes of a batch are one transaction,
 * synced at the commit. Exactly one process, the holder of the queue's lock, has a store open for
 * writing.
 */
#ifndef HEADGATE_WORKERS_STORE_H
#define HEADGATE_WORKERS_STORE_H

#include "workers/service.h"

struct store;

/* Opens the store. make: creates a missing store and its directory. Returns 0; -ENOENT if the store
 * is missing and `make` is false; or, with `error` filled, -ESTALE for a store of another version,
 * -EBADMSG for a damaged file or no database, or another -errno. */
int store_open(struct store **, const char *state_dir, const struct service *, bool make,
    char *error, size_t error_bytes);
void store_close(struct store *);
/* True if store_open() created the store. */
bool store_is_new(const struct store *);

/* After an error, store_highest() and store_begin() open the store again, provided that the files
 * are still the same. */

/* Sets *sequence to the highest sequence of this log in the store, 0 for none. Messages up to this
 * sequence may have been applied. Returns 0 or -EIO. */
int store_highest(struct store *, uint64_t log, uint64_t *sequence);

/* Looks up the outcome of a message that was applied before. Returns 1 with *outcome filled; 0 if
 * the message has no row; -EEXIST if another message has a row under this log and sequence; or
 * -EIO. */
int store_find(struct store *, const struct message *, struct outcome *);

/* One batch: begin, then a row or a failure for each message, then commit. Each returns 0 or -EIO.
 * After an error call store_rollback(); then nothing of the batch was applied. After an error of
 * store_commit() all of the batch may have been applied, perhaps to a file that was removed or
 * replaced. */
int store_begin(struct store *);
int store_apply(
    struct store *, const struct service_context *, const struct message *, double processing_ms);
/* Stores the body with masked account numbers (message/mask.h). */
int store_fail(
    struct store *, const struct service_context *, const struct message *, const struct outcome *);
int store_commit(struct store *);
void store_rollback(struct store *);

/* The text of the last error. */
const char *store_error(const struct store *);

#endif
