/*
 * registry - the logs that exist, and their last known ends: STATE/known/QUEUE.log.
 *
 * The entry of a log is made once the log's first segment is durable, and before the log takes a
 * message. So a log without any file differs from a log that never existed.
 *
 * A router that ends in order writes the end of each durable log into its entry. Without the entry
 * a log cut between two batches would look whole.
 */
#ifndef HEADGATE_LOG_REGISTRY_H
#define HEADGATE_LOG_REGISTRY_H

#include "log/list.h"

#define LOG_REGISTRY_MAGIC "HGEND001"

struct log_registry_end { /* the file; empty before the first ordered end */
	char magic[8];
	uint64_t log_id;
	uint64_t batch;         /* last batch of the log */
	uint64_t next_sequence; /* sequence for the next message */
	uint64_t checksum;      /* of all bytes before */
};
_Static_assert(sizeof(struct log_registry_end) == 40, "disk layout");

void log_registry_path(char path[LOG_PATH_BYTES], const char *state_dir, const char *queue);

/*
 * For the router. Each returns 0 or -errno.
 */

/* Registers a durable log, durably. Called again at each start: the router before may have died
 * before its entry was durable. */
int log_registry_add(const char *state_dir, const char *queue);
/* Writes the end of a registered, durable log into the entry, durably. Fills magic and checksum. */
int log_registry_set_end(const char *state_dir, const char *queue, struct log_registry_end *);

/* Removes the end from the entry of a salvaged log: the old end is no end of the new log. Returns 0
 * or -errno. */
int log_registry_clear_end(const char *state_dir, const char *queue);

/*
 * For anyone.
 */

/* Reads the registered end of the listed log of the queue. Later routers may have appended to the
 * log. *end is all zero if no end is registered, or if the entry is torn. Returns 0; -EBADMSG: the
 * list is of another log, by its registered id or by the queue in its headers; or another -errno.
 * Fills error unless it returns 0. */
int log_registry_read_end(const char *state_dir, const char *queue, const struct log_list *,
    struct log_registry_end *end, char *error, size_t error_bytes);

/* Likewise, for a reader of a single log with the directory STATE/queues/NAME. Call before reading
 * the log: a running router may append meanwhile. */
int log_registry_read_end_of(
    const struct log_list *, struct log_registry_end *end, char *error, size_t error_bytes);
/* Checks that a log with this last batch (log_scan_tail()) reaches its registered end. Returns 0,
 * or -EBADMSG with error filled. */
int log_registry_check(const char *queue_dir, const struct log_registry_end *end,
    uint64_t last_batch, char *error, size_t error_bytes);

/* Finds the highest registered batch of all logs, also of queues absent from the configuration: a
 * later configuration may bring them back. Returns 0 or -errno. */
int log_registry_highest(const char *state_dir, uint64_t *batch);

/* For a queue without a log, after -ENOENT of log_list_open(). Returns 0: there never was a log;
 * -EBADMSG with error filled: the log is gone, a registry entry or .ids files prove it existed; or
 * another -errno with error filled. */
int log_registry_lost(const char *state_dir, const char *queue, char *error, size_t error_bytes);

#endif
