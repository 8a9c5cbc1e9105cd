#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "config/detach.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

static volatile sig_atomic_t stop_signal;

static void
on_signal(int signal)
{
	stop_signal = signal;
}

/* Waits until so many on the pipe say that they are ready: 0. Or one says that it is not, or nobody is left who
 * could, or we are told to stop: the status of that. */
static unsigned char
read_status(int fd, unsigned times)
{
	unsigned char status = 0;
	ssize_t n;

	for (;;) {
		n = read(fd, &status, 1);
		if (n == 1 && (status != 0 || --times == 0))
			return status;
		if (n == 0 || stop_signal != 0 || (n < 0 && errno != EINTR))
			return EX_UNAVAILABLE;
	}
}

static int
wait_for_end(pid_t child)
{
	int how = 0;

	do
		if (stop_signal != 0)
			kill(child, SIGTERM);
	while (waitpid(child, &how, 0) < 0 && errno == EINTR);
	return how;
}

/* When it is not ready its end is waited for, too: it lets go of its locks with that. */
static void __attribute__((noreturn)) wait_for_ready(int fd, pid_t child, unsigned times)
{
	unsigned char status = read_status(fd, times);
	int how;

	if (status == 0)
		_exit(0);
	how = wait_for_end(child);
	if (stop_signal != 0)
		_exit(128 + stop_signal);
	_exit(WIFEXITED(how) && WEXITSTATUS(how) != 0 ? WEXITSTATUS(how) : status);
}

int
detach_begin(unsigned times)
{
	struct sigaction action = { .sa_handler = on_signal }, before[2];
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) != 0)
		err(EX_OSERR, "pipe");
	sigaction(SIGINT, &action, &before[0]);
	sigaction(SIGTERM, &action, &before[1]);
	child = fork();
	if (child < 0)
		err(EX_OSERR, "fork");
	if (child > 0) {
		close(ends[1]);
		wait_for_ready(ends[0], child, times);
	}
	sigaction(SIGINT, &before[0], NULL);
	sigaction(SIGTERM, &before[1], NULL);
	close(ends[0]);
	setsid();
	return ends[1];
}

void
detach_ready(int *fd, int status)
{
	unsigned char byte = (unsigned char)status;

	if (*fd < 0)
		return;
	/* Nobody listens any more when it is not for the first time. */
	if (write(*fd, &byte, 1) != 1 && errno != EPIPE)
		warn("cannot tell the parent process");
	close(*fd);
	*fd = -1;
	if (status == 0)
		detach_standard();
}

void
detach_standard(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	close(null);
}
