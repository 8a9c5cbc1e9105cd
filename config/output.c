#include "config/output.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static int failed; /* errno of the first failed write; 0: none */

/* A handled signal ends the wait, as it would end a blocking write. */
static ssize_t
write_all(void *cookie, const char *text, size_t length)
{
	struct pollfd poller = { .fd = (int)(intptr_t)cookie, .events = POLLOUT };
	size_t done = 0;

	while (done < length) {
		ssize_t n = write(poller.fd, text + done, length - done);

		if (n >= 0)
			done += (size_t)n;
		else if (errno != EAGAIN || poll(&poller, 1, -1) < 0)
			break;
	}
	return (ssize_t)done;
}

/* Does not change the descriptor's flags, as other processes share the open file. */
static FILE *
waiting_stream(int fd, FILE *stream, int buffering)
{
	static const cookie_io_functions_t functions = { .write = write_all };
	int flags = fcntl(fd, F_GETFL);
	FILE *waiting;

	if (flags < 0 || !(flags & O_NONBLOCK))
		return stream;
	waiting = fopencookie((void *)(intptr_t)fd, "w", functions);
	if (waiting == NULL)
		return stream;
	setvbuf(waiting, NULL, buffering, BUFSIZ);
	return waiting;
}

void
output_begin(void)
{
	stdout = waiting_stream(STDOUT_FILENO, stdout, _IOFBF);
	stderr = waiting_stream(STDERR_FILENO, stderr, _IOLBF);
}

bool
output_flush(void)
{
	if (fflush(stdout) != 0 && failed == 0)
		failed = errno;
	return failed == 0 && !ferror(stdout);
}

const char *
output_error(void)
{
	return failed != 0 ? strerror(failed) : "not all could be written";
}

int
output_end(int status)
{
	if (output_flush())
		return status;
	if (failed != EPIPE)
		warnx("stdout: %s", output_error());
	return EX_IOERR;
}

bool
output_same_file(const struct stat *one, const struct stat *other)
{
	return (S_ISREG(one->st_mode) || S_ISFIFO(one->st_mode)) && one->st_dev == other->st_dev &&
	    one->st_ino == other->st_ino;
}
