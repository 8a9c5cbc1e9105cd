/*
 * known - what is known of a log from elsewhere: STATE/known/QUEUE.log.
 *
 * The file is made when the log's first segment is durable, and before a message is taken for it. So a log of which
 * no file is left is told from one that was never made. A router that ends by itself writes into it how the log
 * ends, when that is durable: nothing in a log that is cut at the end of a batch would say that there was more.
 */
#ifndef HEADGATE_LOG_REGISTRY_H
#define HEADGATE_LOG_REGISTRY_H

#include "log/list.h"

#define LOG_REGISTRY_MAGIC "HGEND001"

struct log_registry_end { /* the file; empty while nothing is known */
	char magic[8];
	uint64_t log_id;
	uint64_t batch;         /* the last one in the log */
	uint64_t next_sequence; /* that a message would have had */
	uint64_t checksum;      /* of what is before it */
};
_Static_assert(sizeof(struct log_registry_end) == 40, "disk layout");

void log_registry_path(char path[LOG_PATH_BYTES], const char *state_dir, const char *queue);

/* Router. Makes a log known, and that durable; again at each start, for the router before may have died before it
 * was. The log itself is durable. Returns 0 or -errno. */
int log_registry_add(const char *state_dir, const char *queue);

/* Router, after log_registry_add(): the log ends so, durably. Fills magic and checksum. Returns 0 or -errno. */
int log_registry_set_end(const char *state_dir, const char *queue, struct log_registry_end *);
/* Of a log that was salvaged: what was known of its end is of no use. Returns 0 or -errno. */
int log_registry_clear_end(const char *state_dir, const char *queue);
/* Anyone. How the log with this id ended at least: routers may have gone on with it since. All zero when nothing is
 * known. Returns 0, or -errno: it could not be read. */
int log_registry_read_end(
    const char *state_dir, const char *queue, uint64_t log_id, struct log_registry_end *);

/* Anyone who reads one log alone, and knows only its directory, STATE/queues/NAME: is its end there? *end: as
 * log_registry_read_end() has it, read before the log, which a router may go on with meanwhile. last_batch: of log_scan_tail().
 * Each returns 0; or -EBADMSG, or the reader another -errno, with error filled. */
int log_registry_read_end_of(const char *queue_dir, uint64_t log_id, struct log_registry_end *end,
    char *error, size_t error_bytes);
int log_registry_check(const char *queue_dir, const struct log_registry_end *end,
    uint64_t last_batch, char *error, size_t error_bytes);

/* The highest batch of all that are known, also of queues that are not in the configuration: theirs may be put back.
 * Returns likewise. */
int log_registry_highest(const char *state_dir, uint64_t *batch);

/* Anyone. Of a queue of which log_list_open() says that it has no log: returns 0 when it never had one; -EBADMSG, with
 * error filled, when it had, for it is known or ids of its segments are left; or another -errno, likewise. */
int log_registry_lost(const char *state_dir, const char *queue, char *error, size_t error_bytes);

#endif
