/*
 * key - the secret of the hashes that deduplication remembers ids by: STATE/dedup.key.
 *
 * Made once, kept with the state. Ids of messages whose segments are gone stand in .ids files as such hashes
 * (log/ids.h), which say with which key they were made; all others are hashed anew when a router starts. So while
 * there is no .ids file nothing is lost with the key.
 */
#ifndef HEADGATE_LOG_KEY_H
#define HEADGATE_LOG_KEY_H

#include "log/list.h"

#define LOG_KEY_MAGIC "HGKEY001"
#define LOG_KEY_STALE "written by another version of Headgate"

enum { LOG_KEY_SECRET_BYTES = 192, LOG_KEY_TEXT_BYTES = 4 * LOG_PATH_BYTES + 512 };

struct log_key { /* the file */
	char magic[8];
	uint8_t secret[LOG_KEY_SECRET_BYTES]; /* of XXH3 */
	uint64_t
	    checksum; /* of what is before it; it also stands for the key in log_ids_header.key */
};
_Static_assert(sizeof(struct log_key) == 208, "disk layout");

void log_key_path(char path[LOG_PATH_BYTES], const char *state_dir);
/* Returns 0, -ENOENT, -EBADMSG when it is damaged, -ESTALE when it is another version's, or another -errno. The key is
 * all zeros then. */
int log_key_read(const char *state_dir, struct log_key *);
/* A new one, in memory only. Returns 0 or -errno. */
int log_key_make(struct log_key *);
/* Makes it the one in STATE, durably. Returns 0 or -errno. */
int log_key_write(const char *state_dir, const struct log_key *);
/* That the .ids files are of another version, and the key, too, or not; and how to go on. */
void log_key_say_stale(char *text, size_t bytes, const char *state_dir, bool key_too);

#endif
