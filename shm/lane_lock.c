#include "shm/lane_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"

enum { LANES = 64 };

static void
lock_path(char path[PATH_MAX], const char *run_dir, const char *queue)
{
	snprintf(path, PATH_MAX, "%s/%s.lock", run_dir, queue);
}

int
lane_lock_open(const char *run_dir, const char *queue)
{
	char path[PATH_MAX];
	int fd;

	lock_path(path, run_dir, queue);
	fd = file_open(path, O_RDWR | O_CREAT, 0600);
	return fd < 0 ? -errno : fd;
}

/* Sets a lock of this type (F_WRLCK, ...) on the bytes of these lanes, one run of bytes at a
 * time. */
static int
set(int fd, uint64_t lanes, short type)
{
	for (unsigned first = 0; first < LANES; first++) {
		struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = first };

		while (first < LANES && lanes >> first & 1) {
			lock.l_len++;
			first++;
		}
		if (lock.l_len > 0 && fcntl(fd, F_OFD_SETLK, &lock) != 0)
			return errno == EACCES ? -EAGAIN : -errno;
	}
	return 0;
}

int
lane_lock_take(int fd, uint64_t lanes)
{
	int rc = set(fd, lanes, F_WRLCK);

	if (rc != 0)
		set(fd, lanes, F_UNLCK);
	return rc;
}

/* Opens the queue's lock file again, if it is fd's file. Returns the new descriptor; -ENOENT for a
 * removed or other file; or another -errno. */
static int
open_same(const char *run_dir, const char *queue, int fd)
{
	char path[PATH_MAX];
	int own, rc;

	lock_path(path, run_dir, queue);
	own = file_open(path, O_RDONLY, 0);
	if (own < 0)
		return -errno;
	rc = file_is_same(own, fd);
	if (rc == 1)
		return own;
	close(own);
	return rc == 0 ? -ENOENT : rc;
}

/* The other process has the lock if a lock through its descriptor succeeds, and one through a new
 * descriptor fails. */
int
lane_lock_holds(const char *run_dir, const char *queue, int fd, uint64_t lanes)
{
	int own = open_same(run_dir, queue, fd);
	bool good;

	if (own < 0)
		return own == -ENOENT ? 0 : own;
	good = set(fd, lanes, F_WRLCK) == 0 && set(own, lanes, F_RDLCK) == -EAGAIN;
	close(own);
	return good;
}

bool
lane_lock_is_there(const char *run_dir, const char *queue, int fd)
{
	char path[PATH_MAX];

	lock_path(path, run_dir, queue);
	return file_is_at(fd, path) != 0;
}
