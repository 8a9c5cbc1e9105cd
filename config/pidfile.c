#include "config/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum { INSTANCES = 100 };

static char held_path[PATH_MAX];
static int held_fd = -1;
static pid_t holder; /* the process with the lock, as opposed to its children */

/* Opens and locks the file. Returns the descriptor; -EAGAIN if another process has the lock; or
 * another -errno. */
static int
lock(const char *path)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd, rc;

	for (;;) {
		fd = file_open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
		if (fd < 0)
			return -errno;
		rc = fcntl(fd, F_SETLK, &whole) == 0 ? 0 : -errno;
		if (rc == 0 && file_is_at(fd, path) == 1)
			return fd;
		close(fd); /* locked elsewhere; or removed by its holder just now: tries again */
		if (rc != 0)
			return rc == -EACCES ? -EAGAIN : rc;
	}
}

static int
write_number(int fd)
{
	char line[16];
	int length = snprintf(line, sizeof(line), "%d\n", (int)getpid());

	if (ftruncate(fd, 0) != 0)
		return -errno;
	return pwrite(fd, line, (size_t)length, 0) == length ? 0 : -EIO;
}

static void
release(void)
{
	if (getpid() == holder && file_is_at(held_fd, held_path) == 1)
		unlink(held_path);
}

int
pidfile_hold(const char *run_dir, const char *program)
{
	char number[16] = "";
	int fd = -EAGAIN;

	for (int i = 1; i < INSTANCES && fd == -EAGAIN; i++) {
		if (i > 1)
			snprintf(number, sizeof(number), ".%d", i);
		if (snprintf(held_path, sizeof(held_path), "%s/%s%s.pid", run_dir, program,
			number) >= (int)sizeof(held_path))
			fd = -ENAMETOOLONG;
		else
			fd = lock(held_path);
	}
	if (fd < 0)
		return fd;
	held_fd = fd;
	if (holder == 0)
		atexit(release);
	holder = getpid();
	return write_number(fd);
}

int
pidfile_again(const char *run_dir, const char *program)
{
	int before = held_fd, rc;

	if (before >= 0 && file_is_at(before, held_path) == 1)
		return 0;
	rc = pidfile_hold(run_dir, program);
	if (before >= 0 && held_fd != before)
		close(before);
	return rc == 0 ? 1 : rc;
}

pid_t
pidfile_holder(const char *path)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = file_open(path, O_RDONLY | O_NOFOLLOW, 0);
	int rc;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	rc = fcntl(fd, F_GETLK, &whole) == 0 ? 0 : -errno;
	close(fd);
	if (rc != 0)
		return rc;
	/* The kernel gives 0 for a process that has no number in the caller's pid namespace, and a
	 * negative number for a lock that is no process's. */
	if (whole.l_type != F_UNLCK && whole.l_pid == 0)
		return -EXDEV;
	return whole.l_type != F_UNLCK && whole.l_pid > 0 ? whole.l_pid : 0;
}
