#include "config/detach.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define SECOND_NS UINT64_C(1000000000)

enum {
	END_NS_S = 10, /* time for a failed process to end */
	LOOK_NS = 10000000,
	RELAY_READS = 16
};

static volatile sig_atomic_t stop_signal;

static void
on_signal(int signal)
{
	stop_signal = signal;
}

/* State of the waiter. */
struct watch {
	pid_t child;
	unsigned times; /* outstanding reports */
	int ready_fd, error_fd;
	uint64_t deadline_ns;
	sigset_t mask; /* during the wait */
};

/* Waits until a descriptor is readable, a signal arrives, or limit_ns has passed. */
static void
wait_some(struct watch *watch, struct pollfd pollers[2], uint64_t limit_ns)
{
	uint64_t now_ns = clock_monotonic_ns();
	uint64_t left_ns = watch->deadline_ns > now_ns ? watch->deadline_ns - now_ns : 0;
	struct timespec left;

	if (limit_ns < left_ns)
		left_ns = limit_ns;
	left = (struct timespec){ .tv_sec = (time_t)(left_ns / SECOND_NS),
		.tv_nsec = (long)(left_ns % SECOND_NS) };
	pollers[0] = (struct pollfd){ .fd = watch->ready_fd, .events = POLLIN };
	pollers[1] = (struct pollfd){ .fd = watch->error_fd, .events = POLLIN };
	if (ppoll(pollers, 2, &left, &watch->mask) < 0)
		pollers[0].revents = pollers[1].revents = 0;
}

/* Writes to standard error, without waiting for a reader. */
static void
say(const char *text, size_t length)
{
	struct pollfd out = { .fd = STDERR_FILENO, .events = POLLOUT };

	if (poll(&out, 1, 0) == 1 && write(STDERR_FILENO, text, length) < 0)
		return;
}

/* Passes bytes of the background process on, at most a pipe's capacity, as that process may write
 * without end. */
static void
relay(struct watch *watch)
{
	char text[PIPE_BUF];
	ssize_t n = 1;

	for (int i = 0; i < RELAY_READS && n > 0; i++) {
		n = read(watch->error_fd, text, sizeof(text));
		if (n > 0)
			say(text, (size_t)n);
	}
	if (n == 0) {
		close(watch->error_fd);
		watch->error_fd = -1;
	}
}

/* Returns 0 when all are ready; the reported status; EX_UNAVAILABLE if no process is left to
 * report, or after a stop signal; -1 if the time is up. */
static int
wait_for_status(struct watch *watch)
{
	struct pollfd pollers[2];

	while (stop_signal == 0) {
		unsigned char status = 0;
		ssize_t n = -1;

		wait_some(watch, pollers, UINT64_MAX);
		if (pollers[1].revents != 0)
			relay(watch);
		if (pollers[0].revents != 0)
			n = read(watch->ready_fd, &status, 1);
		else if (clock_monotonic_ns() >= watch->deadline_ns)
			return -1;
		if (n == 0)
			break;
		if (n == 1 && (status != 0 || --watch->times == 0))
			return status;
	}
	return EX_UNAVAILABLE;
}

/* Waits for the end of a failed background process, which frees its locks. Returns its exit status,
 * or 0. */
static int
wait_for_end(struct watch *watch)
{
	struct pollfd pollers[2];
	int how = 0;
	pid_t pid;

	watch->deadline_ns = clock_monotonic_ns() + END_NS_S * SECOND_NS;
	close(watch->ready_fd);
	watch->ready_fd = -1;
	if (stop_signal != 0)
		kill(watch->child, SIGTERM);
	while ((pid = waitpid(watch->child, &how, WNOHANG)) == 0 &&
	    clock_monotonic_ns() < watch->deadline_ns) {
		wait_some(watch, pollers, LOOK_NS);
		if (watch->error_fd >= 0)
			relay(watch);
	}
	if (watch->error_fd >= 0)
		relay(watch);
	return pid == watch->child && WIFEXITED(how) ? WEXITSTATUS(how) : 0;
}

static void __attribute__((noreturn))
wait_for_ready(struct watch *watch, uint64_t limit_ns, const char *log)
{
	int status = wait_for_status(watch), end;

	if (status == 0)
		_exit(0);
	if (status < 0) {
		char text[PIPE_BUF];
		int length = snprintf(text, sizeof(text),
		    "%s: not ready after %g s: it goes on in the background, and %s says why\n",
		    program_invocation_short_name, (double)limit_ns / SECOND_NS, log);

		say(text, length < PIPE_BUF ? (size_t)length : PIPE_BUF);
		_exit(EX_TEMPFAIL);
	}
	end = wait_for_end(watch);
	if (stop_signal != 0)
		_exit(128 + stop_signal);
	_exit(end != 0 ? end : status);
}

/* Detaches from the caller's session and descriptors. Errors go through the pipe until ready. */
static void
leave_caller(int error_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		err(EX_OSERR, "/dev/null");
	if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(error_fd, STDERR_FILENO) < 0)
		err(EX_OSERR, "dup2");
	close(null);
	close(error_fd);
	setsid();
	if (chdir("/") != 0)
		warn("/");
}

int
detach_begin(unsigned times, uint64_t limit_ns, const char *log)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct watch watch = { .times = times };
	int ready[2], error[2];
	sigset_t set;

	closefrom(STDERR_FILENO + 1);
	if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(error, O_CLOEXEC) != 0)
		err(EX_OSERR, "pipe");
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &watch.mask);
	watch.deadline_ns = clock_monotonic_ns() + limit_ns;
	watch.child = fork();
	if (watch.child < 0)
		err(EX_OSERR, "fork");
	if (watch.child > 0) {
		sigaction(SIGINT, &action, NULL);
		sigaction(SIGTERM, &action, NULL);
		close(ready[1]);
		close(error[1]);
		watch.ready_fd = ready[0];
		watch.error_fd = error[0];
		fcntl(watch.error_fd, F_SETFL, O_NONBLOCK);
		wait_for_ready(&watch, limit_ns, log);
	}
	sigprocmask(SIG_SETMASK, &watch.mask, NULL);
	close(ready[0]);
	close(error[0]);
	leave_caller(error[1]);
	return ready[1];
}

void
detach_ready(int *fd, int status)
{
	unsigned char byte = (unsigned char)status;

	if (*fd < 0)
		return;
	/* EPIPE: the waiter has ended before. */
	if (write(*fd, &byte, 1) != 1 && errno != EPIPE)
		warn("cannot tell the parent process");
	close(*fd);
	*fd = -1;
}

bool
detach_alone(int fd)
{
	struct pollfd poller = { .fd = fd };

	return fd >= 0 && poll(&poller, 1, 0) == 1 && (poller.revents & POLLERR) != 0;
}
