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

/* Waits for so many on the pipe that say it is ready, one that says it is not, or its end. */
static void __attribute__((noreturn)) wait_for_status(int fd, pid_t child, unsigned times)
{
	unsigned char status = EX_UNAVAILABLE;
	int how = 0;

	for (;;) {
		ssize_t n = read(fd, &status, 1);

		if (n == 1 && (status != 0 || --times == 0))
			_exit(status);
		if (n == 1)
			continue;
		if (stop_signal != 0)
			kill(child, SIGTERM);
		if (n == 0 || stop_signal != 0 || errno != EINTR)
			break;
	}
	while (waitpid(child, &how, 0) < 0 && errno == EINTR)
		;
	if (stop_signal != 0)
		_exit(128 + stop_signal);
	_exit(WIFEXITED(how) && WEXITSTATUS(how) != 0 ? WEXITSTATUS(how) : EX_UNAVAILABLE);
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
		wait_for_status(ends[0], child, times);
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
