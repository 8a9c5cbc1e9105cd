/*
 * file - the opening of own files, and the identity of files, as an open file's path may be removed,
 * moved, replaced or covered by a mount.
 */
#ifndef HEADGATE_BASE_FILE_H
#define HEADGATE_BASE_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

/* open(2) with O_CLOEXEC, for plain files only. Does not wait for the other end if the path is a FIFO.
 * Fails with EISDIR for a directory, and with EMEDIUMTYPE for any other file that is not plain. */
static inline int
file_open(const char *path, int flags, mode_t mode)
{
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode);
	struct stat st;
	int error;

	if (fd < 0) {
		errno = errno == ENXIO ? EMEDIUMTYPE : errno; /* a FIFO without a reader, or a socket */
		return -1;
	}
	if (fstat(fd, &st) != 0)
		error = errno;
	else if (!S_ISREG(st.st_mode))
		error = S_ISDIR(st.st_mode) ? EISDIR : EMEDIUMTYPE;
	else if (fcntl(fd, F_SETFL, flags) != 0) /* io_uring would not wait for the disk */
		error = errno;
	else
		return fd;
	close(fd);
	errno = error;
	return -1;
}

struct file_id {
	uint64_t device, inode;
};

/* Identifies the file at a path, through symbolic links. Returns 0, or -errno with an id of
 * zeros. */
static inline int
file_named(const char *path, struct file_id *id)
{
	struct stat st;

	*id = (struct file_id){ 0 };
	if (stat(path, &st) != 0)
		return -errno;
	*id = (struct file_id){ .device = st.st_dev, .inode = st.st_ino };
	return 0;
}

/* Returns 1 if the file is at this path; 0 if another file or none is; or -errno if unknown, for
 * instance without permission to search the directory. */
static inline int
file_has_name(const struct file_id *id, const char *path)
{
	struct file_id now;
	int rc = file_named(path, &now);

	if (rc == 0)
		return now.device == id->device && now.inode == id->inode;
	return rc == -ENOENT || rc == -ENOTDIR ? 0 : rc;
}

/* Identifies the descriptor's file. Returns 0, or -errno with an id of zeros. */
static inline int
file_of(int fd, struct file_id *id)
{
	struct stat st;

	*id = (struct file_id){ 0 };
	if (fstat(fd, &st) != 0)
		return -errno;
	*id = (struct file_id){ .device = st.st_dev, .inode = st.st_ino };
	return 0;
}

/* As file_has_name(), for an open file. */
static inline int
file_is_at(int fd, const char *path)
{
	struct file_id id;
	int rc = file_of(fd, &id);

	return rc == 0 ? file_has_name(&id, path) : rc;
}

/* Returns 1 if both descriptors are of the same file, else 0; or -errno. */
static inline int
file_is_same(int one, int other)
{
	struct file_id a, b;
	int rc = file_of(one, &a);

	if (rc == 0)
		rc = file_of(other, &b);
	return rc == 0 ? a.device == b.device && a.inode == b.inode : rc;
}

#endif
