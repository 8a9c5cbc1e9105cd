#include "router/io/place_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "config/paths.h"

enum { TRIES = 25, PAUSE_NS = 20000000, LINE_BYTES = 12 };

static void
file_path(char path[PATH_MAX], const char *dir)
{
	snprintf(path, PATH_MAX, "%.4000s/router.lock", dir);
}

static int
lock_failed(char *error, size_t error_bytes, int rc, const char *path)
{
	snprintf(error, error_bytes, "%s: %s", path, strerror(-rc));
	return rc;
}

/* The number of the process that has the lock; 0: it is not known. */
static long
holder(int file_fd)
{
	char line[LINE_BYTES + 1] = "";

	return pread(file_fd, line, LINE_BYTES, 0) == LINE_BYTES ? strtol(line, NULL, 10) : 0;
}

/* Only who has the directory has written its number; headgatectl check locks the file alone. */
static int
refuse_second(char *error, size_t error_bytes, const char *dir, bool has_dir)
{
	char path[PATH_MAX], who[64] = "";
	long pid = 0;
	int fd;

	file_path(path, dir);
	fd = has_dir ? file_open(path, O_RDONLY, 0) : -1;
	if (fd >= 0) {
		pid = holder(fd);
		close(fd);
	}
	if (pid > 0)
		snprintf(who, sizeof(who), ", process %ld", pid);
	else if (!has_dir)
		snprintf(who, sizeof(who), ", or headgatectl check looks at its logs");
	snprintf(error, error_bytes, "%s: another router runs here%s", path, who);
	return -EBUSY;
}

/* headgatectl and systemd-tmpfiles have the lock for an instant, so one refusal proves nothing. */
static int
take(int fd, int tries)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };

	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (--tries <= 0)
			return -EBUSY;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* Always as long, so that it is written over; filled up with empty lines, which $(cat) leaves out. */
static void
write_number(int fd)
{
	char line[LINE_BYTES + 1];

	memset(line, '\n', LINE_BYTES);
	line[snprintf(line, sizeof(line), "%d", (int)getpid())] = '\n';
	if (pwrite(fd, line, LINE_BYTES, 0) != LINE_BYTES)
		return; /* a disk that is full, perhaps: it is for messages only */
}

/* Takes a lock on what was opened, or closes it. */
static int
keep(int fd, int *kept, int tries)
{
	int rc = fd < 0 ? -errno : take(fd, tries);

	if (rc == 0)
		*kept = fd;
	else if (fd >= 0)
		close(fd);
	return rc;
}

static int
lock_dir(struct place_lock *lock, const char *dir, int tries)
{
	int rc = keep(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), &lock->dir_fd, tries);

	/* Where directories cannot be locked, as on NFS, the file's lock is all there is. */
	return rc == -EBADF || rc == -EINVAL || rc == -EOPNOTSUPP || rc == -ENOLCK ? 0 : rc;
}

static int
lock_file(struct place_lock *lock, const char *dir, int tries)
{
	char path[PATH_MAX];
	int rc;

	file_path(path, dir);
	rc = keep(file_open(path, O_RDWR | O_CREAT, 0600), &lock->file_fd, tries);
	if (rc == 0)
		write_number(lock->file_fd);
	return rc;
}

void
place_lock_init(struct place_lock *lock)
{
	*lock = (struct place_lock){ .dir_fd = -1, .file_fd = -1 };
}

int
place_lock(struct place_lock *lock, const char *dir, char *error, size_t error_bytes)
{
	char path[PATH_MAX];
	int rc = lock_dir(lock, dir, TRIES);
	bool has_dir = rc == -EBUSY;

	if (rc == 0)
		rc = lock_file(lock, dir, TRIES);
	if (rc == -EBUSY)
		return refuse_second(error, error_bytes, dir, has_dir);
	file_path(path, dir);
	return rc == 0 ? 0 : lock_failed(error, error_bytes, rc, path);
}

/* What is not held is not missed. */
static bool
is_there(const char *path, int fd)
{
	return fd < 0 || file_is_at(fd, path) == 1;
}

static bool
is_held(const struct place_lock *lock)
{
	return lock->dir_fd >= 0 || lock->file_fd >= 0;
}

/* The first directory has its name back: its lock is held already. */
static bool
take_back(struct place_lock *lock, struct place_lock *first, const char *dir)
{
	if (first == NULL || first->dir_fd < 0 || file_is_at(first->dir_fd, dir) != 1)
		return false;
	place_unlock(lock);
	*lock = *first;
	place_lock_init(first);
	return true;
}

/* Lets go of a lock; of the first one not, where that is to be kept. */
static void
let_go(struct place_lock *lock, struct place_lock *first)
{
	if (first == NULL || is_held(first)) {
		place_unlock(lock);
		return;
	}
	*first = *lock;
	place_lock_init(lock);
}

int
place_lock_again(struct place_lock *lock, struct place_lock *first, const char *dir, char *error,
    size_t error_bytes)
{
	struct place_lock again;
	char path[PATH_MAX];
	bool taken_back = take_back(lock, first, dir);
	bool dir_there = is_there(dir, lock->dir_fd);
	int rc;

	file_path(path, dir);
	if (dir_there && is_there(path, lock->file_fd))
		return taken_back;
	place_lock_init(&again);
	rc = dir_there ? 0 : paths_make(dir, error, error_bytes);
	if (rc != 0)
		return rc;
	rc = dir_there ? 0 : lock_dir(&again, dir, 1); /* the router does not wait */
	if (rc == 0)
		rc = lock_file(&again, dir, 1);
	if (rc != 0) {
		place_unlock(&again);
		return rc == -EBUSY ? refuse_second(error, error_bytes, dir, false)
				    : lock_failed(error, error_bytes, rc, path);
	}
	if (dir_there) {
		again.dir_fd = lock->dir_fd;
		lock->dir_fd = -1;
		place_unlock(lock);
	} else {
		let_go(lock, first);
	}
	*lock = again;
	return 1;
}

void
place_unlock(struct place_lock *lock)
{
	if (lock->file_fd >= 0)
		close(lock->file_fd);
	if (lock->dir_fd >= 0)
		close(lock->dir_fd);
	place_lock_init(lock);
}
