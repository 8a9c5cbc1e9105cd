/*
 * ids - what the deduplication window still needs of segments that are gone.
 *
 * NNNNNNNNNNNNNNNN.ids stands beside the segments and holds the hashes of the ids of the messages in
 * segments that were freed, the last of which had this number; until the last of them is older than the
 * window.
 *
 *	| struct log_ids_header | struct log_id, count of them |
 */
#ifndef HEADGATE_LOG_IDS_H
#define HEADGATE_LOG_IDS_H

#include "log/list.h"

#define LOG_IDS_MAGIC "HGIDS002"

struct log_ids_header {
	char magic[8];
	uint64_t log_id, number;
	uint64_t key;            /* log_key.checksum of the key that they are hashed with */
	uint64_t newest_clock_s; /* as in struct log_id, the highest */
	uint64_t count;
	uint64_t checksum;        /* XXH3 of the ids */
	uint64_t header_checksum; /* of all that stands before it */
};
_Static_assert(sizeof(struct log_ids_header) == 64, "disk layout");

struct log_id {
	uint32_t hash[4]; /* keyed: see log/key.h and router/dedup.h */
	uint32_t clock_s; /* log_commit.clock_ns of its batch, in seconds, rounded up */
};
_Static_assert(sizeof(struct log_id) == 20, "disk layout");

void log_ids_path(char path[LOG_PATH_BYTES], const char *dir, uint64_t number);
void log_ids_set_checksums(struct log_ids_header *, const struct log_id *ids);

/* Reads the file with this number; with which key it was made, the caller looks. *ids is for free(3). Returns 0;
 * -EBADMSG when it is damaged or of another log; -ESTALE when it is another version's; -ENOENT, or -errno. */
int log_ids_read(const char *dir, uint64_t log_id, uint64_t number, struct log_ids_header *,
    struct log_id **ids);

/* Numbers of the .ids files of a directory, sorted, *numbers for free(3). Returns 0 or -errno. */
int log_ids_list(const char *dir, uint64_t **numbers, size_t *count);

#endif
