/*
 * file - which file a name stands for: files are removed, moved, replaced and covered by mounts while they are open.
 */
#ifndef HEADGATE_BASE_FILE_H
#define HEADGATE_BASE_FILE_H

#include <errno.h>
#include <stdint.h>
#include <sys/stat.h>

struct file_id {
	uint64_t device, inode;
};

/* The file that a name stands for now, through symbolic links. Returns 0; -errno, with no file's id. */
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

/* Is this name still this file? Returns 1; 0: it is another file's, or nothing has it; or another -errno: it cannot be
 * said, for instance because the directory may not be searched. */
static inline int
file_has_name(const struct file_id *id, const char *path)
{
	struct file_id now;
	int rc = file_named(path, &now);

	if (rc == 0)
		return now.device == id->device && now.inode == id->inode;
	return rc == -ENOENT || rc == -ENOTDIR ? 0 : rc;
}

/* The file that a descriptor is of. Returns 0; -errno, with no file's id. */
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

/* As file_has_name(), of an open file. */
static inline int
file_is_at(int fd, const char *path)
{
	struct file_id id;
	int rc = file_of(fd, &id);

	return rc == 0 ? file_has_name(&id, path) : rc;
}

/* Are two descriptors of one file? Returns 1, 0, or -errno. */
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
