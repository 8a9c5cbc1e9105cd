#include "log/registry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "log/ids.h"
#include "telemetry/crash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

void
log_registry_path(char path[LOG_PATH_BYTES], const char *state_dir, const char *queue)
{
	snprintf(path, LOG_PATH_BYTES, "%.4000s/known/%.64s.log", state_dir, queue);
}

int
log_registry_add(const char *state_dir, const char *queue)
{
	char path[LOG_PATH_BYTES], dir[LOG_PATH_BYTES];
	int fd, rc;

	snprintf(dir, sizeof(dir), "%.4000s/known", state_dir);
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return -errno;
	log_registry_path(path, state_dir, queue);
	fd = file_open(path, O_WRONLY | O_CREAT, 0600);
	if (fd < 0)
		return -errno;
	CRASH_POINT("registry.made");
	rc = fsync(fd) == 0 ? 0 : -errno;
	close(fd);
	if (rc == 0)
		rc = log_sync_dir(dir);
	CRASH_POINT("registry.synced");
	return rc == 0 ? log_sync_dir(state_dir) : rc;
}

static uint64_t
checksum(const struct log_registry_end *end)
{
	return XXH3_64bits(end, offsetof(struct log_registry_end, checksum));
}

int
log_registry_set_end(const char *state_dir, const char *queue, struct log_registry_end *end)
{
	char path[LOG_PATH_BYTES];
	ssize_t n;
	int fd, rc;

	memcpy(end->magic, LOG_REGISTRY_MAGIC, sizeof(end->magic));
	end->checksum = checksum(end);
	log_registry_path(path, state_dir, queue);
	fd = file_open(path, O_WRONLY, 0);
	if (fd < 0)
		return -errno;
	n = pwrite(fd, end, sizeof(*end), 0);
	rc = n < 0 ? -errno : n != sizeof(*end) ? -EIO : 0;
	if (rc == 0 && fsync(fd) != 0)
		rc = -errno;
	close(fd);
	CRASH_POINT("registry.ended");
	return rc;
}

int
log_registry_clear_end(const char *state_dir, const char *queue)
{
	char path[LOG_PATH_BYTES];
	int fd, rc;

	log_registry_path(path, state_dir, queue);
	fd = file_open(path, O_WRONLY | O_TRUNC, 0);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	rc = fsync(fd) == 0 ? 0 : -errno;
	close(fd);
	return rc;
}

/* Reads an entry. *end is all zero if the file is missing, empty or torn. Returns 0 or -errno. */
static int
read_end(const char *path, struct log_registry_end *end)
{
	int fd = file_open(path, O_RDONLY, 0);
	ssize_t n;

	*end = (struct log_registry_end){ .batch = 0 };
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	do {
		n = pread(fd, end, sizeof(*end), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n != sizeof(*end) || memcmp(end->magic, LOG_REGISTRY_MAGIC, sizeof(end->magic)) != 0 ||
	    end->checksum != checksum(end))
		*end = (struct log_registry_end){ .batch = 0 };
	return n < 0 ? (int)n : 0;
}

int
log_registry_read_end(const char *state_dir, const char *queue, const struct log_list *list,
    struct log_registry_end *end, char *error, size_t error_bytes)
{
	char path[LOG_PATH_BYTES];
	int rc;

	log_registry_path(path, state_dir, queue);
	rc = read_end(path, end);
	if (rc != 0)
		snprintf(error, error_bytes, "%s: %s", path, strerror(-rc));
	else if (list->queue[0] != '\0' && strncmp(list->queue, queue, sizeof(list->queue)) != 0) {
		snprintf(error, error_bytes,
		    "%.4000s/queues/%.64s: this is not the log that was here: it is of the queue "
		    "%.63s",
		    state_dir, queue, list->queue);
		rc = -EBADMSG;
	} else if (list->log_id != 0 && end->log_id != 0 && end->log_id != list->log_id) {
		snprintf(error, error_bytes,
		    "%.4000s/queues/%.64s: this is not the log that was here: put that back; or, "
		    "to go on "
		    "with this one, move %.64s.log out of known",
		    state_dir, queue, queue);
		rc = -EBADMSG;
	}
	if (rc != 0 || list->log_id == 0)
		*end = (struct log_registry_end){ .batch = 0 };
	return rc;
}

int
log_registry_read_end_of(
    const struct log_list *list, struct log_registry_end *end, char *error, size_t error_bytes)
{
	char state_dir[LOG_PATH_BYTES], queue[LOG_PATH_BYTES];
	char *slash;

	*end = (struct log_registry_end){ .batch = 0 };
	strlcpy(state_dir, list->dir, sizeof(state_dir));
	for (int names = 0; names < 2; names++) { /* cuts NAME, then "queues" */
		slash = strrchr(state_dir, '/');
		if (slash == NULL)
			return 0;
		if (names == 0)
			strlcpy(queue, slash + 1, sizeof(queue));
		*slash = '\0';
	}
	return log_registry_read_end(state_dir, queue, list, end, error, error_bytes);
}

int
log_registry_check(const char *queue_dir, const struct log_registry_end *end, uint64_t last_batch,
    char *error, size_t error_bytes)
{
	if (last_batch >= end->batch)
		return 0;
	snprintf(error, error_bytes,
	    "%s: its last batches are damaged or missing: it ends with batch %" PRIu64
	    ", and the router left it with batch %" PRIu64,
	    queue_dir, last_batch, end->batch);
	return -EBADMSG;
}

int
log_registry_highest(const char *state_dir, uint64_t *highest)
{
	char path[LOG_PATH_BYTES];
	struct dirent *entry;
	DIR *dir;
	int rc;

	*highest = 0;
	snprintf(path, sizeof(path), "%.4000s/known", state_dir);
	dir = opendir(path);
	if (dir == NULL)
		return errno == ENOENT ? 0 : -errno;
	while ((rc = log_next_entry(dir, &entry)) == 1) {
		struct log_registry_end end;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%.4000s/known/%.255s", state_dir, entry->d_name);
		rc = read_end(path, &end);
		if (rc != 0)
			break;
		if (end.batch > *highest)
			*highest = end.batch;
	}
	closedir(dir);
	return rc;
}

/* True if the queue has an entry. Returns 1, 0 or -errno. */
static int
is_registered(const char *state_dir, const char *queue)
{
	char path[LOG_PATH_BYTES];
	int fd;

	log_registry_path(path, state_dir, queue);
	fd = file_open(path, O_RDONLY, 0);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	close(fd);
	return 1;
}

/* True if the queue has .ids files: these are written while the log has segments. Returns 1, 0 or
 * -errno. */
static int
has_ids(const char *queue_dir)
{
	uint64_t *numbers;
	size_t count;
	int rc = log_ids_list(queue_dir, &numbers, &count);

	if (rc != 0)
		return rc == -ENOENT || rc == -ENOTDIR ? 0 : rc;
	free(numbers);
	return count > 0;
}

int
log_registry_lost(const char *state_dir, const char *queue, char *error, size_t error_bytes)
{
	char dir[LOG_PATH_BYTES];
	int rc = is_registered(state_dir, queue);

	snprintf(dir, sizeof(dir), "%.4000s/queues/%.64s", state_dir, queue);
	if (rc == 0)
		rc = has_ids(dir);
	if (rc == 0)
		return 0;
	snprintf(error, error_bytes, "%s: %s", dir,
	    rc < 0 ? strerror(-rc) : "its log is gone: there was one, and no file of it is left");
	return rc < 0 ? rc : -EBADMSG;
}
