/*
 * headgatectl shutdown: ends the router, the workers, or both.
 *
 * Workers, standbys included, are found by their pid files and in the control segment. A process is
 * signalled through a pidfd, and checked again after pidfd_open(), as its pid may belong to another
 * process by then.
 *
 * The kernel names the holder of a pid file, so that pid is valid in this pid namespace. Pids in
 * the segment are of the router's pid namespace, and not used in another. If one process cannot be
 * signalled, none is.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/output.h"
#include "config/pidfile.h"
#include "ctl/ctl.h"
#include "ctl/process.h"

enum { TARGETS = 256 };
static const char router_program[] = "headgate-router";

struct target {
	pid_t pid;
	int fd; /* pidfd; -1: the process has ended */
	char program[CONFIG_NAME_BYTES];
};

struct targets {
	struct target target[TARGETS];
	unsigned count;
	bool unseen; /* processes of another pid namespace exist */
};

static bool
is_known(const struct targets *targets, pid_t pid)
{
	for (unsigned i = 0; i < targets->count; i++)
		if (targets->target[i].pid == pid)
			return true;
	return false;
}

/* Adds a target. The caller has checked the process after opening fd. */
static void
add(struct targets *targets, pid_t pid, int fd, const char *program, size_t length)
{
	struct target *target = &targets->target[targets->count];

	if (targets->count == TARGETS) {
		close(fd);
		return;
	}
	*target = (struct target){ .pid = pid, .fd = fd };
	snprintf(target->program, sizeof(target->program), "%.*s", (int)length, program);
	targets->count++;
}

/* The length of NAME in NAME.pid and NAME.2.pid. */
static size_t
program_length(const char *file)
{
	size_t length = strlen(file) - strlen(".pid"), digits = length;

	while (digits > 0 && file[digits - 1] >= '0' && file[digits - 1] <= '9')
		digits--;
	return digits > 1 && digits < length && file[digits - 1] == '.' ? digits - 1 : length;
}

/* Opens a pidfd of the process. Returns -1 if the process has ended. */
static int
open_process(pid_t pid)
{
	int fd = pidfd_open(pid, 0);
	char name[32];

	if (fd < 0) {
		snprintf(name, sizeof(name), "process %d", (int)pid);
		ctl_not_for_want(errno, name);
	}
	return fd;
}

static pid_t
holder(const char *path)
{
	pid_t pid = pidfile_holder(path);

	if (pid < 0)
		ctl_not_for_want(-pid, path);
	return pid;
}

static void
add_file(struct targets *targets, const char *dir, const char *file)
{
	char path[PATH_MAX];
	pid_t pid;
	int fd;

	snprintf(path, sizeof(path), "%.3800s/%.255s", dir, file);
	pid = holder(path);
	targets->unseen |= pid == -EXDEV;
	if (pid <= 0 || is_known(targets, pid))
		return;
	fd = open_process(pid);
	if (fd < 0 || holder(path) != pid) {
		if (fd >= 0)
			close(fd);
		return;
	}
	add(targets, pid, fd, file, program_length(file));
}

static bool
is_pid_file(const char *name)
{
	size_t length = strlen(name), suffix = strlen(".pid");

	return length > suffix && strcmp(name + length - suffix, ".pid") == 0;
}

static void
add_files(struct targets *targets, const char *dir, bool routers, bool workers)
{
	struct dirent *entry;
	DIR *run = opendir(dir);

	if (run == NULL && errno == EACCES)
		ctl_no_permission(dir);
	if (run == NULL)
		ctl_not_for_want(errno, dir);
	while (run != NULL && (entry = readdir(run)) != NULL) {
		size_t length;
		bool router;

		if (!is_pid_file(entry->d_name))
			continue;
		length = program_length(entry->d_name);
		router = length == strlen(router_program) &&
		    memcmp(entry->d_name, router_program, length) == 0;
		if (router ? routers : workers)
			add_file(targets, dir, entry->d_name);
	}
	if (run != NULL)
		closedir(run);
}

static bool
has_attached(const struct control *control)
{
	for (unsigned i = 0; i < CONTROL_WORKERS; i++)
		/* Relaxed: nothing else of the entry is read. */
		if (atomic_load_explicit(&control->shared->worker[i].pid, memory_order_relaxed) !=
		    0)
			return true;
	return false;
}

/* Adds attached workers without a pid file, which was removed. */
static void
add_attached(struct targets *targets, const struct control *control)
{
	if (!control_shares_pids(control)) {
		targets->unseen |= targets->count == 0 && has_attached(control);
		return;
	}
	for (unsigned i = 0; i < CONTROL_WORKERS; i++) {
		/* Relaxed: nothing else of the entry is read. */
		pid_t pid = (pid_t)atomic_load_explicit(
		    &control->shared->worker[i].pid, memory_order_relaxed);
		pid_t target = pid > 0 ? process_supervisor(pid) : 0;
		int fd;

		if (target <= 0 || is_known(targets, target))
			continue;
		fd = open_process(target);
		if (fd >= 0 && process_supervisor(pid) == target)
			add(targets, target, fd, "worker", strlen("worker"));
		else if (fd >= 0)
			close(fd);
	}
}

static void
add_router(struct targets *targets, const struct control *control)
{
	pid_t pid = (pid_t)atomic_load_explicit(&control->shared->router_pid, memory_order_relaxed);
	int fd;

	if (!control_shares_pids(control)) {
		targets->unseen |= targets->count == 0;
		return;
	}
	fd = is_known(targets, pid) ? -1 : open_process(pid);
	if (fd >= 0 && control_router_alive(control))
		add(targets, pid, fd, router_program, strlen(router_program));
	else if (fd >= 0)
		close(fd);
}

static void
find(struct targets *targets, const struct ctl *ctl, bool routers, bool workers)
{
	struct control control;

	targets->count = 0;
	targets->unseen = false;
	add_files(targets, ctl->config.run_dir, routers, workers);
	if (ctl_open_control(ctl, &control, false) != 0)
		return;
	if (control_router_alive(&control)) {
		if (workers)
			add_attached(targets, &control);
		if (routers)
			add_router(targets, &control);
	}
	control_close(&control);
}

static void
tell(const struct targets *targets)
{
	for (unsigned i = 0; i < targets->count; i++) {
		const struct target *target = &targets->target[i];

		if (pidfd_send_signal(target->fd, SIGTERM, NULL, 0) == 0 || errno == ESRCH)
			continue;
		err(errno == EPERM ? EX_NOPERM : EX_OSERR, "%s %d", target->program,
		    (int)target->pid);
	}
}

/* Waits until a target ends, or until the deadline. */
static void
wait_for_one(struct targets *targets, uint64_t deadline_ns)
{
	uint64_t now_ns = clock_monotonic_ns();
	struct pollfd polled[TARGETS];
	uint64_t left_ms = deadline_ns > now_ns ? (deadline_ns - now_ns) / 1000000 + 1 : 0;

	for (unsigned i = 0; i < targets->count; i++)
		polled[i] = (struct pollfd){ .fd = targets->target[i].fd, .events = POLLIN };
	if (poll(polled, targets->count, left_ms > INT_MAX ? INT_MAX : (int)left_ms) < 0)
		return;
	for (unsigned i = 0; i < targets->count; i++) {
		struct target *target = &targets->target[i];

		if (target->fd < 0 || polled[i].revents == 0)
			continue;
		printf("%s %d: ended\n", target->program, (int)target->pid);
		close(target->fd);
		target->fd = -1;
	}
}

static unsigned
count_left(const struct targets *targets)
{
	unsigned left = 0;

	for (unsigned i = 0; i < targets->count; i++)
		left += targets->target[i].fd >= 0;
	return left;
}

/* Reports a target that has not ended. A frozen child keeps its parent waiting, so is named. */
static void
say_not_ended(const struct target *target)
{
	int pid = (int)target->pid;
	bool frozen = process_look(target->pid).frozen;
	int child = frozen ? 0 : (int)process_frozen_child(target->pid);

	if (frozen)
		warnx("%s %d has not ended yet: it is stopped by a signal; kill -CONT %d lets it "
		      "go on, kill -KILL %d ends it",
		    target->program, pid, pid, pid);
	else if (child != 0)
		warnx("%s %d has not ended yet: its child %d is stopped by a signal; kill -CONT "
		      "%d lets it go on, kill -KILL %d ends it",
		    target->program, pid, child, child, child);
	else
		warnx("%s %d has not ended yet", target->program, pid);
}

static int
wait_for_all(struct targets *targets, uint64_t deadline_ns)
{
	while (count_left(targets) > 0 && clock_monotonic_ns() < deadline_ns) {
		wait_for_one(targets, deadline_ns);
		output_flush();
	}
	for (unsigned i = 0; i < targets->count; i++) {
		const struct target *target = &targets->target[i];

		if (target->fd < 0)
			continue;
		say_not_ended(target);
		close(target->fd);
	}
	return count_left(targets) > 0 ? EX_TEMPFAIL : 0;
}

/* Ends the targets, and reports processes that were started meanwhile. */
static int
end(const struct ctl *ctl, bool routers, bool workers, uint64_t deadline_ns)
{
	static struct targets targets;
	int rc;

	find(&targets, ctl, routers, workers);
	if (targets.unseen)
		errx(EX_UNAVAILABLE,
		    "%s: %s is in another pid namespace, where headgatectl cannot signal it; "
		    "nothing was "
		    "signalled: run headgatectl there (nsenter --pid, or in its container)",
		    ctl->config.run_dir, routers ? "the router" : "a worker");
	if (targets.count == 0)
		printf(
		    "no %s is running in %s\n", routers ? "router" : "worker", ctl->config.run_dir);
	tell(&targets);
	rc = wait_for_all(&targets, deadline_ns);
	if (rc != 0 || targets.count == 0)
		return rc;
	find(&targets, ctl, routers, workers);
	for (unsigned i = 0; i < targets.count; i++) {
		warnx("%s %d was started meanwhile: end what starts it first",
		    targets.target[i].program, (int)targets.target[i].pid);
		close(targets.target[i].fd);
	}
	return targets.count > 0 ? EX_TEMPFAIL : 0;
}

int
shutdown_main(struct ctl *ctl)
{
	uint64_t deadline_ns = ctl_deadline_ns(ctl, UINT64_MAX);
	bool workers = ctl->all || ctl->workers;
	int rc = 0;

	if (ctl->queue_count > 0)
		errx(EX_USAGE, "shutdown takes no queues: stop closes the gate of one");
	if (workers)
		rc = end(ctl, false, true, deadline_ns);
	if (rc == 0 && !ctl->workers)
		rc = end(ctl, true, false, deadline_ns);
	return rc;
}
