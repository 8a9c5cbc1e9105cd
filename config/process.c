#include "config/process.h"

#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
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
	if (getpid() == 1)
		become_init();
	output_begin();
}
