/*
 * The synchronous part of io.h, by plain system calls.
 */
#include "base/file.h"
#include "router/io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "log/list.h"

enum { FDS_MAX = 65 };

void
io_message_prepare(struct io_message *message)
{
	message->fd = -1;
	message->cut = false;
	message->iov = (struct iovec){ .iov_base = message->buffer, .iov_len = message->length };
	message->header = (struct msghdr){
		.msg_iov = &message->iov,
		.msg_iovlen = 1,
		.msg_control = message->control,
		/* Not CMSG_SPACE: its padding would hold a second descriptor, that nobody closes. */
		.msg_controllen = CMSG_LEN(sizeof(int)),
	};
}

void
io_message_finish(struct io_message *message, int64_t result)
{
	struct cmsghdr *header;

	if (result <= 0)
		return;
	header = CMSG_FIRSTHDR(&message->header);
	if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
	    header->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&message->fd, CMSG_DATA(header), sizeof(int));
	else
		message->cut = message->header.msg_flags & MSG_CTRUNC;
	message->header.msg_flags = 0;
	message->header.msg_controllen = 0; /* a later receive() must not find it again */
}

int
io_open_log(const char *path, bool create, bool direct)
{
	int flags = O_RDWR | O_DSYNC;
	int fd;

	if (create)
		flags |= O_CREAT | O_TRUNC;
	fd = file_open(path, flags | (direct ? O_DIRECT : 0), 0600);
	return fd < 0 ? -errno : fd;
}

int
io_open_cached(const char *path)
{
	int fd = file_open(path, O_RDWR, 0);

	return fd < 0 ? -errno : fd;
}

int
io_sync(int fd)
{
	return fsync(fd) == 0 ? 0 : -errno;
}

int
io_close(int fd)
{
	return close(fd) == 0 ? 0 : -errno;
}

int
io_allocate(int fd, uint64_t bytes)
{
	while (fallocate(fd, 0, 0, (off_t)bytes) != 0) {
		/* Then the zeros that are written first take the room. posix_fallocate() would write single bytes, which
		 * O_DIRECT does not take. */
		if (errno == EOPNOTSUPP || errno == ENOSYS)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

bool
io_is_full(int rc)
{
	return rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG;
}

int
io_punch(int fd, uint64_t from, uint64_t bytes)
{
	return fallocate(
		   fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)bytes) == 0
	    ? 0
	    : -errno;
}

void
io_forget(int fd, uint64_t from, uint64_t bytes)
{
	posix_fadvise(fd, (off_t)from, (off_t)bytes, POSIX_FADV_DONTNEED);
}

int
io_free_bytes(const char *dir, uint64_t *bytes)
{
	struct statvfs st;

	if (statvfs(dir, &st) != 0)
		return -errno;
	*bytes = (uint64_t)st.f_bavail * st.f_frsize;
	return 0;
}

int
io_read_all(int fd, void *buffer, size_t length, uint64_t offset)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = pread(fd, (char *)buffer + done, length - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		done += (size_t)n;
	}
	return 0;
}

int
io_write_all(int fd, const void *buffer, size_t length, uint64_t offset)
{
	for (size_t done = 0; done < length;) {
		ssize_t n =
		    pwrite(fd, (const char *)buffer + done, length - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int
io_rename(const char *from, const char *to)
{
	return rename(from, to) == 0 ? 0 : -errno;
}

int
io_unlink(const char *path)
{
	return unlink(path) == 0 ? 0 : -errno;
}

int
io_make_dir(const char *path)
{
	char parent[PATH_MAX];

	/* One that is there may be of a router that died before it came to the sync. */
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return -errno;
	if (snprintf(parent, sizeof(parent), "%s", path) >= (int)sizeof(parent))
		return -ENAMETOOLONG;
	return log_sync_dir(dirname(parent));
}

int
io_send_fds(int fd, const void *buffer, size_t length, const int *fds, size_t count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { .iov_len = length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *header;
	ssize_t sent;

	if (count == 0 || count > FDS_MAX)
		return -EINVAL;
	memcpy(&iov.iov_base, &buffer, sizeof(buffer));
	message.msg_control = control.bytes;
	message.msg_controllen = CMSG_SPACE(count * sizeof(int));
	memset(control.bytes, 0, sizeof(control.bytes));
	header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	do {
		sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	return (size_t)sent == length ? 0 : -EMSGSIZE;
}

uint64_t
io_wall_ns(void)
{
	return clock_wall_ns();
}

uint64_t
io_monotonic_ns(void)
{
	return clock_monotonic_ns();
}

void
io_random(void *buffer, size_t length)
{
	char *bytes = buffer;

	while (length > 0) {
		ssize_t n = getrandom(bytes, length < 256 ? length : 256, 0);

		if (n > 0) {
			bytes += n;
			length -= (size_t)n;
		}
	}
}
