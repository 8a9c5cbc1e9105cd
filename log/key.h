/*
 * key - the secret of deduplication's id hashes: STATE/dedup.key.
 *
 * The key is made once and kept with the state. Only .ids files (log/ids.h) store hashes, together
 * with the checksum of their key. The router hashes all other ids again at each start. So while no
 * .ids file exists, losing the key loses nothing.
 */
#ifndef HEADGATE_LOG_KEY_H
#define HEADGATE_LOG_KEY_H

#include "log/list.h"

#define LOG_KEY_MAGIC "HGKEY001"
#define LOG_KEY_STALE "written by another version of Headgate"

enum { LOG_KEY_SECRET_BYTES = 192, LOG_KEY_TEXT_BYTES = 4 * LOG_PATH_BYTES + 512 };

struct log_key { /* the file */
	char magic[8];
	uint8_t secret[LOG_KEY_SECRET_BYTES]; /* secret of XXH3 */
	uint64_t checksum; /* of all bytes before; names the key in log_ids_header.key */
};
_Static_assert(sizeof(struct log_key) == 208, "disk layout");

void log_key_path(char path[LOG_PATH_BYTES], const char *state_dir);
/* Reads the key. Returns 0; -ENOENT; -EBADMSG: damaged; -ESTALE: another version's; or another
 * -errno. The key is all zeros after an error. */
int log_key_read(const char *state_dir, struct log_key *);
/* Makes a new key, in memory only. Returns 0 or -errno. */
int log_key_make(struct log_key *);
/* Writes the key into STATE, durably. Returns 0 or -errno. */
int log_key_write(const char *state_dir, const struct log_key *);
/* Fills text with an error, and how to go on: .ids files, and with key_too the key, are of another
 * version. */
void log_key_explain_stale(char *text, size_t bytes, const char *state_dir, bool key_too);

#endif
