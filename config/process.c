#include "config/process.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "config/output.h"

static void
open_standard_descriptors(void)
{
	static const int wrong_way[] = { O_WRONLY, O_RDONLY, O_RDONLY };

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", wrong_way[fd]) != fd)
			exit(EX_OSERR);
}

static void
reset_signals(void)
{
	sigset_t none;

	signal(SIGCHLD, SIG_DFL);
	signal(SIGALRM, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* SIGBUS: a page of a mapped file is not there. The memory is lost, so the program cannot go on.
 * SA_RESETHAND: after the return from a SIGBUS of another kind, the program dies of the signal. */
static void
on_bus_error(int signal, siginfo_t *info, void *context)
{
	static const char text[] =
	    ": RUN/control, or a store's -shm file, was truncated while it was mapped, or its file "
	    "system is full; nothing acknowledged is lost: start it again, as "
	    "headgate-operations(7), \"A program ended with 74\", says\n";
	const struct iovec line[] = {
		{ program_invocation_short_name, strlen(program_invocation_short_name) },
		{ (void *)(uintptr_t)text, sizeof(text) - 1 },
	};

	(void)signal;
	(void)context;
	if (info->si_code != BUS_ADRERR)
		return;
	(void)!writev(STDERR_FILENO, line, 2);
	_exit(EX_IOERR);
}

static void
catch_bus_errors(void)
{
	struct sigaction action = {
		.sa_sigaction = on_bus_error,
		.sa_flags = SA_SIGINFO | SA_RESETHAND,
	};

	sigaction(SIGBUS, &action, NULL);
}

/* Reaps all ended processes. If the child is among them, ends with its status, 128 + N for signal
 * N. */
static void
reap(pid_t child)
{
	pid_t pid;
	int how;

	while ((pid = waitpid(-1, &how, WNOHANG)) > 0)
		if (pid == child)
			_exit(WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how));
}

static void
become_init(void)
{
	sigset_t all, before;
	siginfo_t info;
	pid_t child;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	child = fork();
	if (child < 0)
		err(EX_OSERR, "fork");
	if (child == 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		return;
	}
	for (;;) {
		int signal = sigwaitinfo(&all, &info);

		if (signal == SIGCHLD)
			reap(child);
		/* The kernel sends the terminal's signals (si_code > 0) to the child itself. */
		else if (signal > 0 && info.si_code <= 0)
			kill(child, signal);
	}
}

void
process_begin(void)
{
	open_standard_descriptors();
	reset_signals();
	catch_bus_errors();
	if (getpid() == 1)
		become_init();
	output_begin();
}
