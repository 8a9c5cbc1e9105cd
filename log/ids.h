/*
 * ids - message ids of freed segments, kept for deduplication.
 *
 * NNNNNNNNNNNNNNNN.ids stands beside the segments. The file has hashes of the message ids of freed
 * segments, and the number of the last of these segments. The file is removed once all ids are
 * older than the deduplication window.
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
	uint64_t key;            /* log_key.checksum of the key of the hashes */
	uint64_t newest_clock_s; /* highest log_id.clock_s */
	uint64_t count;
	uint64_t checksum;        /* XXH3 of the ids */
	uint64_t header_checksum; /* of all bytes before */
};
_Static_assert(sizeof(struct log_ids_header) == 64, "disk layout");

struct log_id {
	uint32_t hash[4]; /* keyed, see log/key.h and router/tables/dedup.h */
	uint32_t clock_s; /* log_commit.clock_ns of the batch, in seconds, rounded up */
};
_Static_assert(sizeof(struct log_id) == 20, "disk layout");

void log_ids_path(char path[LOG_PATH_BYTES], const char *dir, uint64_t number);
/* Fills in magic and both checksums. */
void log_ids_set_checksums(struct log_ids_header *, const struct log_id *ids);

/* Reads the file with this number. The caller checks header.key and frees *ids. Returns 0;
 * -EBADMSG: damaged, or of another log; -ESTALE: another version's; -ENOENT; or another -errno. */
int log_ids_read(const char *dir, uint64_t log_id, uint64_t number, struct log_ids_header *,
    struct log_id **ids);

/* Lists the numbers of the .ids files of a directory, sorted. The caller frees *numbers. Returns
 * 0 or -errno. */
int log_ids_list(const char *dir, uint64_t **numbers, size_t *count);

#endif
