/*
 * fail.so - preloaded (LD_PRELOAD), it makes system calls fail, or writes down what becomes of files.
 *
 * FAIL_CALL=NAME, FAIL_AT=N, FAIL_HOW=HOW   the N-th call of NAME fails. HOW is an error's name, or
 *                                           SHORT: half of it is done
 * FAIL_FROM=1                               and every one behind it
 * FAIL_DONE=FILE                            is made at the N-th call
 * FAIL_GONE=FILE                            while it is there, nothing fails any more
 * FAIL_UNDER=DIR                            only calls on files below DIR count (sockets always do)
 *
 * JOURNAL=FILE JOURNAL_DIR=DIR   what is done to files below DIR and sent to sockets is appended to FILE:
 *                                see journal.h
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "tests/faults/journal.h"

enum { FDS = 4096 };

static bool tracked[FDS]; /* descriptors of files below the directory */
static unsigned long calls;
static int journal_fd = -1;

static const struct {
	const char *name;
	int error;
} errors[] = {
	{ "ENOSPC", ENOSPC },
	{ "EIO", EIO },
	{ "EINTR", EINTR },
	{ "EMFILE", EMFILE },
	{ "ENFILE", ENFILE },
	{ "ENOMEM", ENOMEM },
	{ "EACCES", EACCES },
	{ "EAGAIN", EAGAIN },
	{ "ECONNABORTED", ECONNABORTED },
	{ "EPIPE", EPIPE },
	{ "SHORT", 0 },
};

/* dlsym() gives an object pointer; a function's is as long. */
#define REAL(type, name)                              \
	static __typeof__(type) real;                 \
	if (real == NULL) {                           \
		void *found = dlsym(RTLD_NEXT, name); \
		memcpy(&real, &found, sizeof(real));  \
	}

static bool
below(const char *variable, const char *path)
{
	const char *dir = getenv(variable);

	return dir == NULL || path == NULL || strncmp(path, dir, strlen(dir)) == 0;
}

static bool
is_tracked(int fd)
{
	return fd >= 0 && fd < FDS && tracked[fd];
}

static void
mark(const char *path)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd >= 0)
		syscall(SYS_close, fd);
}

/* -1: the call is made as it is; else the error that it ends with, 0 for a short one. */
static int
fault(const char *name, bool counts)
{
	const char *call = getenv("FAIL_CALL"), *at = getenv("FAIL_AT"), *how = getenv("FAIL_HOW");
	const char *done = getenv("FAIL_DONE"), *gone = getenv("FAIL_GONE");
	unsigned long n;

	if (call == NULL || at == NULL || how == NULL || !counts || strcmp(call, name) != 0)
		return -1;
	n = strtoul(at, NULL, 10);
	calls++;
	if (calls < n || (calls > n && getenv("FAIL_FROM") == NULL))
		return -1;
	if (gone != NULL && syscall(SYS_access, gone, F_OK) == 0)
		return -1;
	if (done != NULL)
		mark(done);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (strcmp(how, errors[i].name) == 0)
			return errors[i].error;
	_exit(98);
}

/*
 * Writing down.
 */

static void
note(enum journal_kind kind, int fd, int64_t offset, uint64_t length, const char *a, const char *b,
    const void *data, uint64_t data_bytes)
{
	struct journal_entry entry = {
		.kind = kind,
		.fd = fd,
		.offset = offset,
		.length = length,
		.a_bytes = a != NULL ? (uint32_t)strlen(a) + 1 : 0,
		.b_bytes = b != NULL ? (uint32_t)strlen(b) + 1 : 0,
		.data_bytes = data_bytes,
	};
	struct iovec parts[4] = { { .iov_base = &entry, .iov_len = sizeof(entry) } };
	struct timespec now;

	if (journal_fd < 0)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	entry.time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	memcpy(&parts[1].iov_base, &a, sizeof(a));
	parts[1].iov_len = entry.a_bytes;
	memcpy(&parts[2].iov_base, &b, sizeof(b));
	parts[2].iov_len = entry.b_bytes;
	memcpy(&parts[3].iov_base, &data, sizeof(data));
	parts[3].iov_len = data_bytes;
	if (syscall(SYS_writev, journal_fd, parts, 4) < 0)
		_exit(97);
}

static bool
journaled(const char *path)
{
	return journal_fd >= 0 && path != NULL && below("JOURNAL_DIR", path);
}

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("JOURNAL");

	if (path == NULL)
		return;
	journal_fd = (int)syscall(
	    SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	/* Out of the way: descriptors are to have the numbers that they have without us. */
	journal_fd = fcntl(journal_fd, F_DUPFD_CLOEXEC, 900);
	note(JOURNAL_BEGIN, -1, 0, 0, NULL, NULL, NULL, 0);
}

/*
 * The calls.
 */

static int
do_open(const char *name, int dir, const char *path, int flags, mode_t mode)
{
	int error = fault("open", below("FAIL_UNDER", path));
	struct stat st;
	bool existed = syscall(SYS_newfstatat, dir, path, &st, 0) == 0;
	int fd;

	(void)name;
	if (error > 0) {
		errno = error;
		return -1;
	}
	fd = (int)syscall(SYS_openat, dir, path, flags, mode);
	if (fd >= 0 && fd < FDS) {
		tracked[fd] =
		    journaled(path) || (getenv("FAIL_UNDER") && below("FAIL_UNDER", path));
		if (journaled(path))
			note(JOURNAL_OPEN, fd, flags, existed, path, NULL, NULL, 0);
	}
	return fd;
}

int
open(const char *path, int flags, ...)
{
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
	va_end(list);
	return do_open("open", AT_FDCWD, path, flags, mode);
}

int
open64(const char *path, int flags, ...)
{
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
	va_end(list);
	return do_open("open", AT_FDCWD, path, flags, mode);
}

int
close(int fd)
{
	if (is_tracked(fd)) {
		note(JOURNAL_CLOSE, fd, 0, 0, NULL, NULL, NULL, 0);
		tracked[fd] = false;
	}
	return (int)syscall(SYS_close, fd);
}

static ssize_t
do_write(const char *name, int fd, const void *data, size_t length, int64_t offset)
{
	int error = fault(name, is_tracked(fd));
	ssize_t n;

	if (error > 0) {
		errno = error;
		return -1;
	}
	if (error == 0)
		length = length > 512 ? length / 2 & ~(size_t)511 : length / 2;
	n = offset < 0 ? syscall(SYS_write, fd, data, length)
		       : syscall(SYS_pwrite64, fd, data, length, offset);
	if (n > 0 && is_tracked(fd))
		note(JOURNAL_WRITE, fd, offset, (uint64_t)n, NULL, NULL, data, (uint64_t)n);
	return n;
}

ssize_t
pwrite(int fd, const void *data, size_t length, off_t offset)
{
	return do_write("pwrite", fd, data, length, offset);
}

ssize_t
pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
	return do_write("pwrite", fd, data, length, offset);
}

ssize_t
write(int fd, const void *data, size_t length)
{
	return do_write("write", fd, data, length, -1);
}

static ssize_t
do_read(int fd, void *data, size_t length, int64_t offset)
{
	int error = fault("pread", is_tracked(fd));

	if (error > 0) {
		errno = error;
		return -1;
	}
	return syscall(SYS_pread64, fd, data, error == 0 ? (length + 1) / 2 : length, offset);
}

ssize_t
pread(int fd, void *data, size_t length, off_t offset)
{
	return do_read(fd, data, length, offset);
}

ssize_t
pread64(int fd, void *data, size_t length, off64_t offset)
{
	return do_read(fd, data, length, offset);
}

int
fallocate(int fd, int mode, off_t offset, off_t length)
{
	REAL(int (*)(int, int, off_t, off_t), "fallocate")
	int error = mode == 0 ? fault("fallocate", is_tracked(fd)) : 0, rc;

	if (error > 0) {
		errno = error;
		return -1;
	}
	rc = real(fd, mode, offset, length);
	if (rc == 0 && mode == 0 && is_tracked(fd))
		note(JOURNAL_ALLOCATE, fd, offset, (uint64_t)length, NULL, NULL, NULL, 0);
	return rc;
}

/* Where no room can be had, none is there. */
int
statvfs(const char *path, struct statvfs *st)
{
	REAL(int (*)(const char *, struct statvfs *), "statvfs")
	const char *call = getenv("FAIL_CALL"), *gone = getenv("FAIL_GONE");
	int rc = real(path, st);

	if (rc == 0 && call != NULL && strcmp(call, "fallocate") == 0 &&
	    getenv("FAIL_FROM") != NULL && below("FAIL_UNDER", path) &&
	    (gone == NULL || syscall(SYS_access, gone, F_OK) != 0))
		st->f_bavail = 0;
	return rc;
}

static int
do_truncate(int fd, int64_t length)
{
	int error = fault("ftruncate", is_tracked(fd));
	int rc;

	if (error > 0) {
		errno = error;
		return -1;
	}
	rc = (int)syscall(SYS_ftruncate, fd, length);
	if (rc == 0 && is_tracked(fd))
		note(JOURNAL_TRUNCATE, fd, 0, (uint64_t)length, NULL, NULL, NULL, 0);
	return rc;
}

int
ftruncate(int fd, off_t length)
{
	return do_truncate(fd, length);
}

int
ftruncate64(int fd, off64_t length)
{
	return do_truncate(fd, length);
}

static int
do_sync(int fd, long call)
{
	int error = fault("fsync", is_tracked(fd));
	int rc;

	if (error > 0) {
		errno = error;
		return -1;
	}
	rc = (int)syscall(call, fd);
	if (rc == 0 && is_tracked(fd))
		note(JOURNAL_SYNC, fd, 0, 0, NULL, NULL, NULL, 0);
	return rc;
}

int
fsync(int fd)
{
	return do_sync(fd, SYS_fsync);
}

int
fdatasync(int fd)
{
	return do_sync(fd, SYS_fdatasync);
}

int
rename(const char *from, const char *to)
{
	int error = fault("rename", below("FAIL_UNDER", to));
	int rc;

	if (error > 0) {
		errno = error;
		return -1;
	}
	rc = (int)syscall(SYS_rename, from, to);
	if (rc == 0 && journaled(to))
		note(JOURNAL_RENAME, -1, 0, 0, from, to, NULL, 0);
	return rc;
}

int
unlink(const char *path)
{
	int error = fault("unlink", below("FAIL_UNDER", path));
	int rc;

	if (error > 0) {
		errno = error;
		return -1;
	}
	rc = (int)syscall(SYS_unlink, path);
	if (rc == 0 && journaled(path))
		note(JOURNAL_UNLINK, -1, 0, 0, path, NULL, NULL, 0);
	return rc;
}

int
mkdir(const char *path, mode_t mode)
{
	int error = fault("mkdir", below("FAIL_UNDER", path));
	int rc;

	if (error > 0) {
		errno = error;
		return -1;
	}
	rc = (int)syscall(SYS_mkdir, path, mode);
	if (rc == 0 && journaled(path))
		note(JOURNAL_MKDIR, -1, 0, 0, path, NULL, NULL, 0);
	return rc;
}

ssize_t
recv(int fd, void *data, size_t length, int flags)
{
	int error = fault("recv", true);

	if (error > 0) {
		errno = error;
		return -1;
	}
	if (error == 0)
		length = (length + 1) / 2;
	return syscall(SYS_recvfrom, fd, data, length, flags, NULL, NULL);
}

ssize_t
recvmsg(int fd, struct msghdr *message, int flags)
{
	int error = fault("recvmsg", true);

	if (error > 0) {
		errno = error;
		return -1;
	}
	return syscall(SYS_recvmsg, fd, message, flags);
}

ssize_t
send(int fd, const void *data, size_t length, int flags)
{
	int error = fault("send", true);
	ssize_t n;

	if (error > 0) {
		errno = error;
		return -1;
	}
	if (error == 0)
		length = (length + 1) / 2;
	n = syscall(SYS_sendto, fd, data, length, flags, NULL, 0);
	if (n > 0)
		note(JOURNAL_SEND, fd, 0, (uint64_t)n, NULL, NULL, data, (uint64_t)n);
	return n;
}

ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
	int error = fault("sendmsg", true);

	if (error > 0) {
		errno = error;
		return -1;
	}
	return syscall(SYS_sendmsg, fd, message, flags);
}

int
accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	int error = fault("accept4", true);

	if (error > 0) {
		errno = error;
		return -1;
	}
	return (int)syscall(SYS_accept4, fd, address, length, flags);
}

/* Only what the program asks for itself: libraries may take it as they like. */
static bool
is_program(const void *caller)
{
	Dl_info info;

	return dladdr(caller, &info) != 0 && info.dli_fname != NULL &&
	    strstr(info.dli_fname, "/headgate-") != NULL;
}

void *
realloc(void *old, size_t bytes)
{
	REAL(void *(*)(void *, size_t), "realloc")

	if (getenv("FAIL_CALL") != NULL &&
	    fault("realloc", is_program(__builtin_return_address(0))) > 0) {
		errno = ENOMEM;
		return NULL;
	}
	return real(old, bytes);
}
