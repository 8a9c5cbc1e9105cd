/*
 * headgatectl(1)
 */
#include <err.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/output.h"
#include "config/process.h"
#include "ctl/command.h"
#include "ctl/options.h"
#include "router/filter.h"

enum {
	WAIT_S = 30,
	COUNT = 10,
	AGAIN_S = 2 /* for a router to make its segment again, which it checks once a second */
};

/* Passes on the result of opening the segment. Ends the program if permission or memory is missing,
 * or if the segment's times are of another time namespace. */
static int
opened(const struct ctl *ctl, const struct control *control, int rc)
{
	if (rc == 0 && !control_shares_clock(control) && control_router_alive(control))
		errx(EX_UNAVAILABLE,
		    "%s/control: the router is in another time namespace, whose clock cannot be "
		    "read here; nothing was changed: run headgatectl in the router's (nsenter "
		    "--time, or in its container)",
		    ctl->config.run_dir);
	if (rc == -EACCES || rc == -EPERM)
		ctl_no_permission(ctl->config.run_dir);
	ctl_not_for_want(-rc, ctl->config.run_dir);
	return rc;
}

int
ctl_open_control(const struct ctl *ctl, struct control *control, bool writable)
{
	char path[CONFIG_PATH_BYTES + 16];

	snprintf(path, sizeof(path), "%s/control", ctl->config.run_dir);
	return opened(ctl, control, control_open(control, path, writable));
}

bool
ctl_router_holds_state(const struct ctl *ctl)
{
	int held = control_dir_held(ctl->config.state_dir);

	if (held < 0)
		ctl_not_for_want(-held, ctl->config.state_dir);
	return held > 0;
}

int
ctl_open_living(const struct ctl *ctl, struct control *control, bool writable)
{
	uint64_t again_ns = ctl->begun_ns + AGAIN_S * UINT64_C(1000000000);
	uint64_t deadline_ns = ctl_deadline_ns(ctl, UINT64_MAX);

	return opened(ctl, control,
	    control_open_living(control, ctl->config.run_dir, ctl->config.state_dir, writable,
		again_ns < deadline_ns ? again_ns : deadline_ns));
}

uint64_t
ctl_deadline_ns(const struct ctl *ctl, uint64_t limit_ns)
{
	uint64_t now_ns = clock_monotonic_ns();
	uint64_t end_ns = ctl->timeout_ns < UINT64_MAX - ctl->begun_ns
	    ? ctl->begun_ns + ctl->timeout_ns
	    : UINT64_MAX;

	return now_ns < end_ns && limit_ns < end_ns - now_ns ? now_ns + limit_ns : end_ns;
}

int
ctl_left_ms(const struct ctl *ctl, int limit_ms)
{
	uint64_t now_ns = clock_monotonic_ns();
	uint64_t end_ns = ctl_deadline_ns(ctl, (uint64_t)limit_ms * 1000000);
	int left_ms = end_ns > now_ns ? (int)((end_ns - now_ns) / 1000000) : 0;

	return left_ms > 0 ? left_ms : 1;
}

void
ctl_no_router(const struct ctl *ctl)
{
	if (ctl_router_holds_state(ctl))
		errx(EX_UNAVAILABLE,
		    "a router runs on %s, and %s/control is not there: it is starting, or the file "
		    "was "
		    "removed and it makes it again; nothing was changed: try again",
		    ctl->config.state_dir, ctl->config.run_dir);
	errx(EX_UNAVAILABLE,
	    "no router is running in %s, and nothing was changed: start it with: "
	    "%sheadgate-router%s "
	    "-d",
	    ctl->config.run_dir, ctl->config.env, ctl->config.options);
}

void
ctl_not_for_want(int error, const char *path)
{
	if (error == EMFILE || error == ENFILE || error == ENOMEM)
		errc(EX_OSERR, error, "%s", path);
}

void
ctl_no_permission(const char *path)
{
	errx(EX_NOPERM, "%s: no permission: be the user that the router runs as, or root", path);
}

double
ctl_router_age_s(const struct control *control)
{
	uint64_t then_ns =
	    atomic_load_explicit(&control->shared->router_heartbeat_ns, memory_order_relaxed);
	uint64_t now_ns = clock_monotonic_ns();

	return now_ns > then_ns ? (double)(now_ns - then_ns) / 1e9 : 0;
}

bool
ctl_has_worker(const struct control *control, unsigned queue)
{
	for (unsigned i = 0; i < CONTROL_WORKERS; i++)
		/* Acquire: pairs with the router's release store of the pid, which publishes the
		 * entry. */
		if (atomic_load_explicit(&control->shared->worker[i].pid, memory_order_acquire) !=
			0 &&
		    control->shared->worker[i].queue == queue)
			return true;
	return false;
}

void
ctl_pause_ms(int ms)
{
	struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&pause, NULL);
}

int
config_main(struct ctl *ctl)
{
	struct stat output, file;
	char why[256];

	if (ctl->queue_count > 0)
		errx(EX_USAGE, "config takes no arguments");
	for (size_t i = 0; i < ctl->config.queue_count; i++) {
		const struct config_queue *queue = &ctl->config.queues[i];
		struct filter *filter;

		if (filter_compile(&filter, queue->filter_policy, why, sizeof(why)) != 0)
			errx(EX_CONFIG, "%s:%d: queue %s: filter_policy: %s",
			    ctl->config.file ? ctl->config.file : "built-in configuration",
			    queue->line, queue->name, why);
		filter_free(filter);
	}
	if (ctl->config.file != NULL && fstat(STDOUT_FILENO, &output) == 0 &&
	    stat(ctl->config.file, &file) == 0 && output_same_file(&output, &file))
		errx(EX_USAGE, "%s: is read, and cannot be standard output, too", ctl->config.file);
	config_print(&ctl->config, stdout);
	return 0;
}

/* headgatectl help [COMMAND], headgatectl [COMMAND] --help */
static _Noreturn void
help(char **words, int count)
{
	int used;

	if (count == 0)
		command_help_all();
	else
		command_help(command_find(words, count, &used));
	exit(output_end(0));
}

/* Finds the command, and takes the other words as queues, or as a queue and a message. */
static const struct command *
find_command(struct ctl *ctl, char **words, int count)
{
	const struct command *command;
	int used;

	if (count > 0 && strcmp(words[0], "help") == 0)
		help(words + 1, count - 1);
	command = command_find(words, count, &used);
	ctl->queues = words + used;
	ctl->queue_count = count - used;
	if (command->which && ctl->queue_count == 2)
		ctl->which = ctl->queues[--ctl->queue_count];
	return command;
}

int
main(int argc, char **argv)
{
	static struct ctl ctl = {
		.timeout_ns = WAIT_S * UINT64_C(1000000000),
		.condition = CTL_READY,
		.reason = "",
		.count = COUNT,
	};
	char error[CONFIG_PATH_BYTES + 512];
	const struct command *command;
	char **words;
	int count, status;

	process_begin();
	ctl.begun_ns = clock_monotonic_ns();
	/* For the widths of characters: messages are UTF-8, whatever the user's locale. */
	setlocale(LC_CTYPE, "C.UTF-8");
	count = options_read(&ctl, argc, argv, &words);
	if (ctl.version) {
		puts("headgatectl " VERSION_TEXT);
		return output_end(0);
	}
	if (ctl.help)
		help(words, count);
	command = find_command(&ctl, words, count);
	options_check(command);
	if (ctl.all && ctl.queue_count > 0)
		errx(EX_USAGE, "--all, or the names of queues: not both");
	if (config_load(&ctl.config, &ctl.options, error, sizeof(error)) != 0)
		errx(EX_CONFIG, "%s", error);
	ctl.any_log = command->run == check_main;
	queues_find(&ctl);
	status = output_end(command->run(&ctl));
	config_free(&ctl.config);
	return status;
}
