/*
 * headgate-router(8)
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "config/daemon.h"
#include "config/output.h"
#include "config/pidfile.h"
#include "config/process.h"
#include "config/title.h"
#include "config/usage.h"
#include "router/core.h"
#include "router/journal/space.h"
#include "router/open.h"
#include "router/places.h"
#include "router/queue/subscription.h"
#include "telemetry/event.h"

#define STOP_WAIT_NS 8000000000ull /* a stop takes no longer, whatever the disk does */

enum { OPTION_IO = 256, OPTION_LOG, OPTION_PARANOID, OPTION_WAIT }; /* have no letter */
enum { DESCRIPTORS = 65536 };

static volatile sig_atomic_t stop_signal;
static volatile sig_atomic_t running; /* recovery is over */

/* Recovery may be interrupted anywhere: nothing was taken yet, and the next start begins it anew. */
static void
on_signal(int signal)
{
	if (!running)
		_exit(0);
	stop_signal = signal;
}

static void
print_help(void)
{
	fputs("usage: headgate-router [-dhVv] [-c FILE] [-D DIR] [--io auto|uring|poll]\n"
	      "                       [--log FILE] [--paranoid] [--wait TIME]\n"
	      "  -c, --config FILE     configuration; without it the built-in utility system\n"
	      "  -D, --directory DIR   base directory: DIR/run and DIR/state\n"
	      "  -d, --detach          go to the background when ready\n"
	      "      --io WHICH        auto (io_uring, or else poll), uring, poll\n"
	      "      --log FILE        log to FILE; with -d the default is "
	      "STATE/headgate-router.log\n"
	      "      --wait TIME       how long -d waits until it is ready: 60s\n"
	      "      --paranoid        check each batch once more when it is written\n"
	      "  -v, --verbose         say more\n"
	      "  -V, --version         print the version\n"
	      "  -h, --help            print this\n",
	    stdout);
}

enum io_choice { IO_AUTO, IO_URING, IO_POLL };

struct settings {
	struct config_options config;
	enum io_choice io;
	struct daemon daemon;
	bool paranoid;
};

/* from: the option or the variable that says so. */
static enum io_choice
read_io(const char *from, const char *text)
{
	static const char *const names[] = {
		[IO_AUTO] = "auto",
		[IO_URING] = "uring",
		[IO_POLL] = "poll",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(text, names[i]) == 0)
			return (enum io_choice)i;
	errx(EX_USAGE, "%s=%s: it is auto, uring or poll", from, text);
}

static void
read_options(struct settings *settings, int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "directory", required_argument, NULL, 'D' },
		{ "detach", no_argument, NULL, 'd' },
		{ "io", required_argument, NULL, OPTION_IO },
		{ "log", required_argument, NULL, OPTION_LOG },
		{ "wait", required_argument, NULL, OPTION_WAIT },
		{ "paranoid", no_argument, NULL, OPTION_PARANOID },
		{ "verbose", no_argument, NULL, 'v' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *io = getenv("HEADGATE_IO");
	const char *io_from = "HEADGATE_IO";
	int option;

	while ((option = usage_next(
		    argc, argv, ":c:D:dvVh", options, NULL, "headgate-router --help")) != -1) {
		switch (option) {
		case 'c':
			settings->config.file = optarg;
			break;
		case 'D':
			settings->config.base_dir = optarg;
			break;
		case 'd':
			settings->daemon.detach = true;
			break;
		case OPTION_IO:
			io = optarg;
			io_from = "--io";
			break;
		case OPTION_LOG:
			settings->daemon.log = optarg;
			break;
		case OPTION_WAIT:
			usage_duration("--wait", optarg, &settings->daemon.wait_ns);
			break;
		case OPTION_PARANOID:
			settings->paranoid = true;
			break;
		case 'v':
			settings->daemon.verbose = true;
			break;
		case 'V':
			puts("headgate-router " VERSION_TEXT);
			exit(output_end(0));
		case 'h':
			print_help();
			exit(output_end(0));
		}
	}
	if (optind < argc)
		errx(EX_USAGE, "%s: no arguments are taken; see: headgate-router --help",
		    argv[optind]);
	if (io != NULL && io[0] != '\0')
		settings->io = read_io(io_from, io);
}

static int
exit_status(int rc)
{
	switch (rc) {
	case -EBUSY:
		return EX_TEMPFAIL;
	case -EACCES:
	case -EPERM:
		return EX_NOPERM;
	case -ENOTDIR:
	case -EISDIR:
	case -EROFS:
		return EX_CANTCREAT;
	case -EINVAL:
		return EX_CONFIG;
	case -EBADMSG:
	case -ESTALE:
		return EX_DATAERR;
	case -EIO:
		return EX_IOERR;
	default:
		return EX_OSERR;
	}
}

/* What was chosen; by itself io_uring, and poll where there is none. error is filled when it fails. */
static int
open_io(enum io_choice choice, struct io **io, char *error, size_t error_bytes)
{
	int rc;

	if (choice != IO_POLL) {
		rc = io_uring_create(io);
		if (rc == 0)
			return 0;
		if (choice == IO_URING) {
			snprintf(error, error_bytes,
			    "this machine does not let us use io_uring: %s; try --io=poll",
			    strerror(-rc));
			return rc;
		}
		event(EVENT_INFO, "router.no_io_uring", "s:error", strerror(-rc), NULL);
	}
	rc = io_poll_create(io);
	if (rc != 0)
		snprintf(error, error_bytes, "poll: %s", strerror(-rc));
	return rc;
}

static void
catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	action.sa_handler =
	    SIG_DFL; /* were it ignored, a command's number could be another's already */
	sigaction(SIGCHLD, &action, NULL);
}

/* No more than that: each connection may take 256 KiB of memory. Returns what the limit is now. */
static uint64_t
raise_descriptors(uint64_t *before)
{
	struct rlimit limit;

	*before = 0;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 0;
	*before = limit.rlim_cur;
	if (limit.rlim_cur >= DESCRIPTORS || limit.rlim_cur == limit.rlim_max)
		return limit.rlim_cur;
	limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
	return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : *before;
}

/* The next router finds these states in the control segment, if that is still there. */
static void
say_unlogged(const struct router *router)
{
	for (unsigned i = 0; i < router->queue_count; i++) {
		const struct queue *queue = &router->queues[i];
		int rc = space_shortage(&queue->writer);

		if (!subscription_is_appended(queue))
			event(EVENT_ERROR, "router.state_not_logged", "s:queue",
			    queue->config->name, "s:state",
			    control_state_name(control_word_state(subscription_word(queue))),
			    "s:error", rc == 0 ? "the disk does not answer" : strerror(-rc), NULL);
	}
}

static int
run(struct router *router)
{
	uint64_t stopped_ns = 0;
	int rc;

	while ((rc = router_step(router, INT64_MAX)) == 0) {
		places_look(router, io_monotonic_ns());
		event_tick();
		if (stop_signal == 0)
			continue;
		if (stopped_ns == 0) {
			event(EVENT_INFO, "router.stopping", NULL);
			stopped_ns = io_monotonic_ns();
			router_stop(router);
		}
		if (router_states_logged(router) && router_idle(router))
			return 0;
		if (io_monotonic_ns() - stopped_ns > STOP_WAIT_NS) {
			say_unlogged(router);
			return 0;
		}
	}
	return rc;
}

int
main(int argc, char **argv)
{
	static struct settings settings = {
		.daemon = { .program = "headgate-router", .wait_ns = DAEMON_WAIT_NS },
	};
	struct daemon *daemon = &settings.daemon;
	static struct config config;
	static struct router router;
	char error[LOG_ERROR_BYTES];
	uint64_t descriptors, descriptors_before;
	struct io *io;
	int rc;

	process_begin();
	title_begin(argc, argv);
	read_options(&settings, argc, argv);
	umask(077);
	daemon_fix_paths(daemon, &settings.config);
	if (config_load(&config, &settings.config, error, sizeof(error)) != 0)
		errx(EX_CONFIG, "%s", error);
	config.paranoid = settings.paranoid;
	rc = config_make_dirs(&config, error, sizeof(error));
	if (rc != 0)
		errx(exit_status(rc) == EX_NOPERM ? EX_NOPERM : EX_CANTCREAT, "%s", error);
	daemon_begin(daemon, &config, 1);
	title_set(config.state_dir, "");
	(void)pidfile_hold(
	    config.run_dir, daemon->program); /* without, the segment has its number */
	catch_signals();
	descriptors = raise_descriptors(&descriptors_before);
	rc = open_io(settings.io, &io, error, sizeof(error));
	if (rc != 0) {
		int status = settings.io == IO_URING ? EX_UNAVAILABLE : EX_OSERR;

		daemon_ready(daemon, status);
		errx(status, "%s", error);
	}
	rc = router_open(&router, io, &config, error, sizeof(error));
	if (rc != 0) {
		daemon_ready(daemon, exit_status(rc));
		if (rc == -EFBIG)
			errx(EX_OSERR,
			    "%s: raise the limit of file sizes (ulimit -f) to %u KiB at least: a "
			    "queue's memory counts as a file of that size",
			    error, (unsigned)(WRITER_TAIL_BYTES / 1024));
		errx(exit_status(rc), "%s", error);
	}
	router_set_descriptors(&router, descriptors, descriptors_before);
	running = 1;
	event(EVENT_INFO, "router.ready", "s:io", io->operations->name, "s:run", config.run_dir,
	    "s:state", config.state_dir, "u:queues", (uint64_t)router.queue_count, NULL);
	daemon_ready(daemon, 0);
	rc = run(&router);
	if (rc != 0)
		event(EVENT_ERROR, "router.failed", "s:error", strerror(-rc), NULL);
	event_flush();
	if (rc != 0)
		_exit(EX_IOERR); /* at once: nothing more may be acknowledged */
	router_close(&router);
	io->operations->destroy(io);
	config_free(&config);
	event(EVENT_INFO, "router.stopped", NULL);
	return 0;
}
