#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "config/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "config/paths.h"

enum { INSTANCES = 100 };

static char held_path[PATH_MAX];
static int held_fd = -1;
static pid_t holder; /* not its children */

/* Returns a descriptor with the lock; -EWOULDBLOCK: another process has it; or another -errno. */
static int
lock(const char *path)
{
	int fd, rc;

	for (;;) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0)
			return -errno;
		rc = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : -errno;
		if (rc == 0 && paths_is_there(path, fd))
			return fd;
		close(fd); /* or who held it has removed it just now */
		if (rc != 0)
			return rc;
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
	if (getpid() == holder && paths_is_there(held_path, held_fd))
		unlink(held_path);
}

int
pidfile_hold(const char *run_dir, const char *program)
{
	char number[16] = "";
	int fd = -EWOULDBLOCK;

	for (int i = 1; i < INSTANCES && fd == -EWOULDBLOCK; i++) {
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
	holder = getpid();
	atexit(release);
	return write_number(fd);
}

pid_t
pidfile_holder(const char *path)
{
	char line[16] = "";
	ssize_t n;
	long pid = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	/* The lock is had for a moment only if nobody lives; who begins just now takes another name. */
	if (flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
		n = pread(fd, line, sizeof(line) - 1, 0);
		pid = n > 0 ? strtol(line, NULL, 10) : 0;
	}
	close(fd);
	return pid > 0 && pid <= INT32_MAX ? (pid_t)pid : 0;
}
