#include "telemetry/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Ways to keep a write from blocking. */
enum waiting {
	NEVER,   /* a non-blocking descriptor, or a regular file */
	POLLED,  /* poll(2) before each write */
	FLAGGED, /* a socket: MSG_DONTWAIT with each write */
};

static int sink_fd = STDERR_FILENO;
static enum waiting waiting = NEVER;
static char sink_path[PATH_MAX];           /* "": standard error */
static bool torn;                          /* the last line was written in part */
static volatile sig_atomic_t not_reopened; /* errno */

void
sink_never_wait(void)
{
	struct stat st;
	int fd;

	if (fstat(STDERR_FILENO, &st) != 0 || S_ISREG(st.st_mode))
		return;
	waiting = S_ISSOCK(st.st_mode) ? FLAGGED : POLLED;
	if (waiting == FLAGGED)
		return;
	/* Opens the same pipe or terminal again, as a new open file with flags of its own. That
	 * fails for another user's file, which is polled then. */
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (dup2(fd, STDERR_FILENO) == STDERR_FILENO)
		waiting = NEVER;
	close(fd);
}

/* O_NONBLOCK: for a FIFO. */
static int
open_file(void)
{
	return open(
	    sink_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
}

int
sink_open(const char *path)
{
	int fd;

	if (strlcpy(sink_path, path, sizeof(sink_path)) >= sizeof(sink_path)) {
		sink_path[0] = '\0';
		return -ENAMETOOLONG;
	}
	fd = open_file();
	if (fd < 0) {
		sink_path[0] = '\0';
		return -errno;
	}
	sink_fd = fd;
	waiting = NEVER;
	return 0;
}

static bool
stderr_is_log(void)
{
	struct stat log, standard;

	return fstat(sink_fd, &log) == 0 && fstat(STDERR_FILENO, &standard) == 0 &&
	    log.st_dev == standard.st_dev && log.st_ino == standard.st_ino;
}

void
sink_reopen(void)
{
	int before = errno, fd;

	if (sink_fd == STDERR_FILENO)
		return;
	fd = open_file();
	not_reopened = fd < 0 ? errno : 0;
	if (fd >= 0) {
		bool both = stderr_is_log();

		dup3(fd, sink_fd, O_CLOEXEC);
		if (both)
			dup2(fd, STDERR_FILENO);
		close(fd);
	}
	errno = before;
}

bool
sink_restore(void)
{
	struct stat st;

	if (sink_fd == STDERR_FILENO || fstat(sink_fd, &st) != 0 || st.st_nlink > 0)
		return false;
	sink_reopen();
	if (not_reopened == 0)
		return true;
	not_reopened = 0; /* the next time */
	return false;
}

int
sink_not_reopened(const char **path)
{
	int why = not_reopened;

	not_reopened = 0;
	*path = sink_path;
	return why;
}

void
sink_take_stderr(void)
{
	if (sink_path[0] != '\0')
		dup2(sink_fd, STDERR_FILENO);
}

bool
sink_is_terminal(void)
{
	return isatty(sink_fd);
}

static ssize_t
put(const char *text, size_t length)
{
	struct pollfd poller = { .fd = sink_fd, .events = POLLOUT };

	if (waiting == FLAGGED)
		return send(sink_fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	/* poll(2) reports a pipe writable if PIPE_BUF bytes fit. */
	if (waiting == POLLED && (poll(&poller, 1, 0) != 1 || !(poller.revents & POLLOUT)))
		return -1;
	return write(sink_fd, text, length);
}

bool
sink_write(const char *line, size_t length)
{
	ssize_t n;

	if (torn && put("\n", 1) != 1)
		return false;
	n = put(line, length);
	torn = n > 0 && (size_t)n < length;
	return n == (ssize_t)length;
}
