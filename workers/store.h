/*
 * store - a queue's SQLite database, STATE/stores/QUEUE.db: the effects of its messages, once each.
 *
 * Rows are keyed by (log, sequence), and have the id of their message: a log that lost its end gives sequences
 * again, and who has one now is not who had it then. All writes of a batch are one transaction, synced at its commit.
 * Exactly one process has a store open for writing: the one that holds the queue's lock.
 */
#ifndef HEADGATE_WORKERS_STORE_H
#define HEADGATE_WORKERS_STORE_H

#include "workers/service.h"

struct store;

/* Opens it, or makes it, with its directory, if it may. Returns 0; -ENOENT when there is none and it may not; or -errno with
 * error filled; -ESTALE: another version's; -EBADMSG: damaged, or no database. */
int store_open(struct store **, const char *state_dir, const struct service *, bool make,
    char *error, size_t error_bytes);
void store_close(struct store *);
/* Was there none before it was opened? */
bool store_is_new(const struct store *);

/* A store that failed is opened anew by store_highest() and store_begin(), if it is still the same file. */

/* Highest sequence of this log that the store knows, 0 for none. Below it a message may have been
 * applied already. Returns 0 or -EIO. */
int store_highest(struct store *, uint64_t log, uint64_t *sequence);

/* The outcome that a message had, if it was applied before. Returns 1 with *outcome filled, 0, -EIO, or
 * -EEXIST: another message was applied under its log and sequence, so this one cannot be. */
int store_find(struct store *, const struct message *, struct outcome *);

/* One batch: begin, then for each message a row or a failure, then commit. Each returns 0 or -EIO:
 * then call store_rollback(), and nothing of the batch was applied; or all of it, when it was the commit that
 * failed, perhaps to a file that was removed or replaced meanwhile. */
int store_begin(struct store *);
int store_apply(
    struct store *, const struct service_context *, const struct message *, double processing_ms);
/* Keeps the body without account numbers (message/mask.h). */
int store_fail(
    struct store *, const struct service_context *, const struct message *, const struct outcome *);
int store_commit(struct store *);
void store_rollback(struct store *);

/* Words for the last error. */
const char *store_error(const struct store *);

#endif
