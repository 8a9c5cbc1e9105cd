#include "log/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/file.h"
#include "telemetry/crash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

void
log_key_path(char path[LOG_PATH_BYTES], const char *state_dir)
{
	snprintf(path, LOG_PATH_BYTES, "%.4000s/dedup.key", state_dir);
}

static uint64_t
checksum(const struct log_key *key)
{
	return XXH3_64bits(key, offsetof(struct log_key, checksum));
}

/* True for another version's file. In the first version the file is the secret alone. */
static bool
is_other_version(const struct log_key *key, size_t bytes)
{
	if (bytes < sizeof(key->magic) || memcmp(key->magic, LOG_KEY_MAGIC, 5) != 0)
		return bytes == LOG_KEY_SECRET_BYTES;
	return memcmp(key->magic, LOG_KEY_MAGIC, sizeof(key->magic)) != 0;
}

/* Reads the whole file. More bytes than a key are damage. */
static int
read_file(int fd, struct log_key *key)
{
	char more;
	ssize_t n = read(fd, key, sizeof(*key)), after = 0;

	if (n == sizeof(*key))
		after = read(fd, &more, 1);
	if (n < 0 || after < 0)
		return -errno;
	if (is_other_version(key, (size_t)n))
		return -ESTALE;
	return n == sizeof(*key) && after == 0 && key->checksum == checksum(key) ? 0 : -EBADMSG;
}

int
log_key_read(const char *state_dir, struct log_key *key)
{
	char path[LOG_PATH_BYTES];
	int fd, rc;

	log_key_path(path, state_dir);
	fd = file_open(path, O_RDONLY, 0);
	rc = fd < 0 ? -errno : read_file(fd, key);
	if (fd >= 0)
		close(fd);
	if (rc != 0)
		memset(key, 0, sizeof(*key));
	return rc;
}

int
log_key_make(struct log_key *key)
{
	memcpy(key->magic, LOG_KEY_MAGIC, sizeof(key->magic));
	if (getrandom(key->secret, sizeof(key->secret), 0) != sizeof(key->secret))
		return -EIO;
	key->checksum = checksum(key);
	return 0;
}

int
log_key_write(const char *state_dir, const struct log_key *key)
{
	char path[LOG_PATH_BYTES], new_path[LOG_PATH_BYTES + 4];
	ssize_t n;
	int fd, rc;

	log_key_path(path, state_dir);
	snprintf(new_path, sizeof(new_path), "%s.new", path);
	fd = file_open(new_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return -errno;
	n = write(fd, key, sizeof(*key));
	rc = n < 0 ? -errno : n != sizeof(*key) ? -EIO : 0;
	if (rc == 0 && fsync(fd) != 0)
		rc = -errno;
	close(fd);
	CRASH_POINT("key.written");
	if (rc == 0 && rename(new_path, path) != 0)
		rc = -errno;
	CRASH_POINT("key.renamed");
	return rc == 0 ? log_sync_dir(state_dir) : rc;
}

/* The command numbers its backups: several queues have files of the same name. */
void
log_key_explain_stale(char *text, size_t bytes, const char *state_dir, bool key_too)
{
	char path[LOG_PATH_BYTES] = "";

	if (key_too)
		log_key_path(path, state_dir);
	snprintf(text, bytes,
	    LOG_KEY_STALE "; to go on, type `mkdir -p %s/away && mv --backup=numbered %s%s"
			  "%s/queues/*/*.ids %s/away': a message that was published within "
			  "dedup_window before the router ended may be taken as new when it is "
			  "published again",
	    state_dir, path, key_too ? " " : "", state_dir, state_dir);
}
