#include "workers/worker.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/daemon.h"
#include "config/output.h"
#include "config/pidfile.h"
#include "config/process.h"
#include "config/title.h"
#include "config/usage.h"
#include "shm/lane_lock.h"
#include "telemetry/event.h"
#include "telemetry/sink.h"
#include "workers/attachment.h"
#include "workers/consumer.h"
#include "workers/invoke.h"
#include "workers/store.h"

enum {
	STANDBY_MS = 50,
	CONNECT_MS_MIN = 20,
	CONNECT_MS_MAX = 1000,
	RESPAWN_MS_MIN = 100,
	RESPAWN_MS_MAX = 5000,
	STOP_MS = 10000,        /* for a child to end, beyond the time of its handler */
	LOOK_MS = 1000,         /* between two looks at RUN */
	SILENT_NS = 2000000000, /* a router that has not stirred for so long does not answer */
	HEALTHY_S = 10 /* of life; afterwards the respawn delay starts again at its minimum */
};

struct settings {
	struct config_options config;
	struct daemon daemon;
	unsigned processes;
	bool invoke;
};

/* A working process of the program. */
struct child {
	pid_t pid; /* 0: not running */
	uint64_t lanes;
	uint64_t born_ms, due_ms; /* due_ms: of the next start */
	int wait_ms;              /* respawn delay, doubled after each death */
};

static volatile sig_atomic_t stop_signal;

static void
on_signal(int signal)
{
	stop_signal = signal;
}

/* The signal's only purpose is to interrupt ppoll(). */
static void
on_child(int signal)
{
	(void)signal;
}

static void
print_help(const struct service *service)
{
	printf("usage: %s [-dhVv] [-c FILE] [-D DIR] [--log FILE] [--wait TIME]%s\n"
	       "       %s --invoke [-c FILE] < message.json\n",
	    service->program, service->table == NULL ? " [-j N]" : "", service->program);
	fputs("  -c, --config FILE     configuration; without it the built-in utility system\n"
	      "  -D, --directory DIR   base directory: DIR/run and DIR/state\n"
	      "  -d, --detach          go to the background when attached or a standby\n"
	      "      --invoke          handle one message from stdin, print the result\n"
	      "      --log FILE        log to FILE; with -d the default is STATE/PROGRAM.log\n"
	      "      --wait TIME       how long -d waits until it is ready: 60s\n"
	      "  -v, --verbose         say more\n"
	      "  -V, --version         print the version\n"
	      "  -h, --help            print this\n",
	    stdout);
	if (service->table == NULL)
		fputs("  -j, --jobs N          work with N processes, which share the lanes\n",
		    stdout);
}

/* A store belongs to one process, so -j is for services without one. */
static unsigned
read_jobs(const struct service *service, const char *text)
{
	char *end;
	unsigned long jobs = strtoul(text, &end, 10);

	if (service->table == NULL && text[0] >= '1' && text[0] <= '9' && *end == '\0' &&
	    jobs <= CONFIG_LANES_MAX)
		return (unsigned)jobs;
	if (service->table != NULL)
		warnx("-j: the service has a store, which one process owns");
	else
		warnx("-j %s: not from 1 to %d", text, CONFIG_LANES_MAX);
	exit(EX_USAGE);
}

static void
read_options(const struct service *service, struct settings *settings, int argc, char **argv)
{
	enum { INVOKE = 256, LOG, WAIT };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "directory", required_argument, NULL, 'D' },
		{ "detach", no_argument, NULL, 'd' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "invoke", no_argument, NULL, INVOKE },
		{ "log", required_argument, NULL, LOG },
		{ "wait", required_argument, NULL, WAIT },
		{ "verbose", no_argument, NULL, 'v' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	char help[CONFIG_NAME_BYTES];
	int option;

	settings->processes = 1;
	snprintf(help, sizeof(help), "%s --help", service->program);
	while ((option = usage_next(argc, argv, ":c:D:dj:vVh", options, NULL, help)) != -1) {
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
		case 'j':
			settings->processes = read_jobs(service, optarg);
			break;
		case INVOKE:
			settings->invoke = true;
			break;
		case LOG:
			settings->daemon.log = optarg;
			break;
		case WAIT:
			usage_duration("--wait", optarg, &settings->daemon.wait_ns);
			break;
		case 'v':
			settings->daemon.verbose = true;
			break;
		case 'V':
			printf("%s %s\n", service->program, VERSION_TEXT);
			exit(output_end(0));
		case 'h':
			print_help(service);
			exit(output_end(0));
		}
	}
	if (settings->invoke && (settings->daemon.detach || settings->processes > 1))
		errx(EX_USAGE, "--invoke handles one message here: not with -d or -j");
	if (optind < argc)
		errx(EX_USAGE, "%s: no arguments are taken; see: %s", argv[optind], help);
}

static void
catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	action.sa_handler = on_child;
	sigaction(SIGCHLD, &action, NULL);
}

/* Sleeps until the time has passed or a stop signal has arrived, also one that arrived before. */
static void
pause_ms(int ms)
{
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
	sigset_t blocked, before;

	event_tick();
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	if (stop_signal == 0)
		pselect(0, NULL, NULL, NULL, &left, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/*
 * The child.
 */

/* The exit status if a file cannot be made in the run or state directory. */
static int
place_status(int rc)
{
	return rc == -EPERM || rc == -EACCES ? EX_NOPERM : EX_CANTCREAT;
}

/* False while a router that may hold a dead worker's lock stands still: the router drops the lock
 * when it finds the connection closed. True without a router, or if the router has run since
 * then. */
static bool
router_has_stirred(const char *run_dir, uint64_t since_ns)
{
	struct control control;
	char path[PATH_MAX + 8];
	bool stirred = true;

	snprintf(path, sizeof(path), "%s/control", run_dir);
	if (control_open(&control, path, false) != 0)
		return true;
	if (control_router_alive(&control) && control_shares_clock(&control))
		/* Relaxed: nothing else is read. */
		stirred = atomic_load_explicit(&control.shared->router_heartbeat_ns,
			      memory_order_relaxed) > since_ns;
	control_close(&control);
	return stirred;
}

/* Tells, once each, that the locks are not free: this process is a standby, or the router does not
 * answer. */
static void
tell_standby(const struct config *config, const char *queue, uint64_t since_ns, bool told[2],
    struct daemon *daemon)
{
	if (told[1])
		return;
	if (router_has_stirred(config->run_dir, since_ns)) {
		event(EVENT_INFO, "worker.standby", "s:queue", queue, NULL);
		daemon_ready(daemon, 0);
		told[1] = true;
	} else if (!told[0] && clock_monotonic_ns() - since_ns > SILENT_NS) {
		event(EVENT_INFO, "worker.waiting", "s:queue", queue, "s:error",
		    "the lanes are locked, perhaps by a dead worker, and the router, which frees "
		    "such "
		    "locks, does not answer: see headgatectl status",
		    NULL);
		told[0] = true;
	}
}

/* Takes the locks of these lanes; as a standby, tries until the locks are free. Returns the lock
 * file's descriptor, or -1 when told to stop. */
static int
take_lock(const struct config *config, const char *queue, uint64_t lanes, struct daemon *daemon)
{
	int fd = lane_lock_open(config->run_dir, queue), rc;
	uint64_t since_ns = clock_monotonic_ns();
	bool told[2] = { false, false };

	if (fd < 0)
		errx(place_status(fd), "%s/%s.lock: %s", config->run_dir, queue, strerror(-fd));
	rc = lane_lock_take(fd, lanes);
	while (rc == -EAGAIN && stop_signal == 0) {
		pause_ms(STANDBY_MS);
		rc = lane_lock_take(fd, lanes);
		if (rc == -EAGAIN)
			tell_standby(config, queue, since_ns, told, daemon);
		daemon_look(daemon);
	}
	if (rc == 0)
		return fd;
	if (rc != -EAGAIN)
		errx(place_status(rc), "%s/%s.lock: %s", config->run_dir, queue, strerror(-rc));
	close(fd);
	return -1;
}

/* The objects of a working process. */
struct work {
	const struct service *service;
	const struct config *config;
	struct store *store; /* NULL: a service without a store, or not open yet */
	struct consumer *consumer;
	struct config_queue queue; /* its settings, as the router has them */
};

/* Logs a warning if the worker's configuration differs from the policy of the router, which takes
 * precedence. Faults are rehearsed only where both want that: a worker without the router's
 * environment must not fail real messages. */
static void
take_policy(struct work *work, const struct attachment *attachment)
{
	const struct service *service = work->service;
	struct policy own;
	const char *setting;

	work->queue = *config_find_queue(work->config, service->queue);
	policy_of(&own, &work->queue);
	work->queue.fault_markers &= attachment->policy.fault_markers;
	setting = policy_difference(&own, &attachment->policy);
	if (setting != NULL)
		event(EVENT_WARN, "worker.other_policy", "s:queue", service->queue, "s:setting",
		    setting, NULL);
}

/* Opens the store. make: creates a missing store; only after a router has accepted the worker, as a
 * mistyped DIR has no router. Returns 0 or -ENOENT, or ends the process. SQLite calls a file
 * damaged after a single failed read, so a damaged store is tried twice. */
static int
open_store(struct work *work, bool make, struct daemon *daemon)
{
	char error[PATH_MAX + 512];
	int rc = -EBADMSG;

	if (work->service->table == NULL || work->store != NULL)
		return 0;
	for (int tries = 0; tries < 2 && rc == -EBADMSG; tries++)
		rc = store_open(&work->store, work->config->state_dir, work->service, make, error,
		    sizeof(error));
	daemon_look(daemon);
	if (rc != 0 && (make || rc != -ENOENT))
		errx(rc == -ESTALE || rc == -EBADMSG ? EX_CANTCREAT : EX_TEMPFAIL, "%s", error);
	if (rc == 0 && store_is_new(work->store))
		event(EVENT_INFO, "store.created", "s:queue", work->service->queue, NULL);
	return rc;
}

static void
get_ready(struct work *work, struct daemon *daemon)
{
	(void)open_store(work, true, daemon);
	if (work->consumer == NULL)
		work->consumer = consumer_new(work->service, &work->queue, work->store,
		    ENVELOPE_BODY_BYTES_MAX, &stop_signal);
	if (work->consumer == NULL)
		errx(EX_OSERR, "out of memory");
}

/* Attaches and works, again and again, until told to stop. Returns 0, or -ESTALE if the router
 * refuses the worker and the locked file is no longer the queue's lock file. */
static int
serve(struct work *work, uint64_t lanes, int lock_fd, struct daemon *daemon)
{
	const struct service *service = work->service;
	const struct config *config = work->config;
	static struct attachment attachment; /* static: too large for a small stack */
	int wait_ms = CONNECT_MS_MIN;
	char error[512], said[512] = "";

	while (stop_signal == 0) {
		int rc = attachment_open(&attachment, config->run_dir, service->program,
		    service->queue, lanes, lock_fd, error, sizeof(error));

		if (rc == -EINTR)
			continue;
		if (rc != 0) {
			if (strcmp(error, said) != 0)
				event(EVENT_INFO, "worker.waiting", "s:queue", service->queue,
				    "s:error", error, NULL);
			memcpy(said, error, sizeof(said));
			if (rc == -EAGAIN &&
			    !lane_lock_is_there(config->run_dir, service->queue, lock_fd))
				return -ESTALE;
			pause_ms(wait_ms);
			wait_ms = wait_ms * 2 < CONNECT_MS_MAX ? wait_ms * 2 : CONNECT_MS_MAX;
			continue;
		}
		event(EVENT_INFO, "worker.attached", "s:queue", service->queue, NULL);
		take_policy(work, &attachment);
		get_ready(work, daemon);
		daemon_ready(daemon, 0);
		said[0] = '\0';
		wait_ms = CONNECT_MS_MIN;
		rc = consumer_run(work->consumer, &attachment);
		attachment_close(&attachment);
		if (rc != 0)
			event(EVENT_ERROR, "worker.detached", "s:queue", service->queue, "s:error",
			    rc == -EIO && work->store != NULL ? store_error(work->store)
							      : strerror(-rc),
			    NULL);
		if (rc != 0)
			pause_ms(CONNECT_MS_MAX);
	}
	return 0;
}

static int
child_main(const struct service *service, const struct config *config,
    const struct config_options *options, uint64_t lanes, pid_t parent, struct daemon *daemon)
{
	struct work work = { .service = service, .config = config };
	char error[PATH_MAX + 512];
	int lock_fd, rc;

	title_set(config->state_dir, "worker");
	/* People signal the parent. If the parent dies, the child must end and free the lock. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		return EX_OSERR;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (service->begin != NULL && service->begin(options, error, sizeof(error)) != 0)
		event(EVENT_WARN, "worker.config", "s:error", error, NULL);
	lock_fd = take_lock(config, service->queue, lanes, daemon);
	if (lock_fd < 0)
		return 0;
	(void)open_store(&work, false, daemon);
	rc = serve(&work, lanes, lock_fd, daemon);
	consumer_free(work.consumer);
	store_close(work.store);
	if (rc == -ESTALE)
		event_flush();
	if (rc == -ESTALE)
		errx(EX_TEMPFAIL, "%s/%s.lock: it was removed; the next child takes the new one",
		    config->run_dir, service->queue);
	event(EVENT_INFO, "worker.stopped", "s:queue", service->queue, NULL);
	event_flush();
	return 0;
}

/*
 * The parent.
 */

static uint64_t
now_ms(void)
{
	return clock_monotonic_ns() / 1000000;
}

/* The lanes of a process. The share covers lanes beyond the queue's present number, which may
 * grow. */
static uint64_t
share_of_lanes(unsigned process, unsigned processes)
{
	uint64_t lanes = 0;

	if (processes == 1)
		return LANE_LOCK_ALL;
	for (unsigned lane = process; lane < CONFIG_LANES_MAX; lane += processes)
		lanes |= 1ull << lane;
	return lanes;
}

/* Starts a child. Signals are blocked in the parent; `unblocked` is the child's mask. */
static void
spawn(struct child *child, const struct service *service, const struct config *config,
    const struct config_options *options, const sigset_t *unblocked, struct daemon *daemon)
{
	pid_t parent = getpid();

	child->born_ms = now_ms();
	child->pid = fork();
	if (child->pid < 0)
		err(EX_OSERR, "fork");
	if (child->pid != 0)
		return;
	sigprocmask(SIG_SETMASK, unblocked, NULL);
	_exit(child_main(service, config, options, child->lanes, parent, daemon));
}

/* True if the program must end with the child, because (1) a respawn would fail in the same way:
 * the store is of another version, or the lock file cannot be made; or (2) a caller of -d waits,
 * who gets any error that comes before the worker is ready. */
static bool
is_final(int status, const struct daemon *daemon)
{
	return WIFEXITED(status) &&
	    (WEXITSTATUS(status) == EX_CANTCREAT || WEXITSTATUS(status) == EX_NOPERM ||
		(WEXITSTATUS(status) != 0 && daemon->ready_fd >= 0));
}

/* Returns the wait status of a child that has ended, and schedules its respawn; -1 if the child
 * runs. */
static int
reap(struct child *child, const char *queue)
{
	int status;

	if (child->pid == 0 || waitpid(child->pid, &status, WNOHANG) != child->pid)
		return -1;
	child->pid = 0;
	if (stop_signal != 0)
		return status;
	event(EVENT_ERROR, "worker.died", "s:queue", queue, "d:signal",
	    WIFSIGNALED(status) ? WTERMSIG(status) : 0, "d:status",
	    WIFEXITED(status) ? WEXITSTATUS(status) : 0, NULL);
	if (now_ms() - child->born_ms >= HEALTHY_S * 1000)
		child->wait_ms = RESPAWN_MS_MIN;
	child->due_ms = now_ms() + (uint64_t)child->wait_ms;
	child->wait_ms = child->wait_ms * 2 < RESPAWN_MS_MAX ? child->wait_ms * 2 : RESPAWN_MS_MAX;
	return status;
}

/* Sleeps until (1) a signal arrives, (2) the caller of -d has gone (ready_fd; -1: no caller), or
 * (3) due_ms. Signals are unblocked during the sleep only, so none gets lost between a check and
 * the sleep. */
static void
wait_until(uint64_t due_ms, const sigset_t *unblocked, int ready_fd)
{
	struct pollfd caller = { .fd = ready_fd };
	uint64_t now = now_ms(), left_ms = due_ms > now ? due_ms - now : 0;
	struct timespec left = { .tv_sec = (time_t)(left_ms / 1000),
		.tv_nsec = (long)(left_ms % 1000 * 1000000) };

	ppoll(&caller, 1, left_ms > INT_MAX ? NULL : &left, unblocked);
}

/* The time of the next respawn; UINT64_MAX: none is due. */
static uint64_t
next_due_ms(const struct child *children, unsigned count)
{
	uint64_t due_ms = UINT64_MAX;

	for (unsigned i = 0; i < count; i++)
		if (children[i].pid == 0 && children[i].due_ms < due_ms)
			due_ms = children[i].due_ms;
	return due_ms;
}

/* Sends a signal (0: none) to all children. Returns the number of running children. */
static unsigned
signal_children(const struct child *children, unsigned count, int signal)
{
	unsigned alive = 0;

	for (unsigned i = 0; i < count; i++) {
		alive += children[i].pid != 0;
		if (children[i].pid != 0 && signal != 0)
			kill(children[i].pid, signal);
	}
	return alive;
}

/* Makes a removed run directory and pid file again, so that people find this process even without a
 * router. */
static void
look_at_places(const struct service *service, const struct config *config)
{
	char error[512 + PATH_MAX];

	if (pidfile_again(config->run_dir, service->program) == -ENOENT &&
	    config_make_dirs(config, error, sizeof(error)) == 0)
		(void)pidfile_again(config->run_dir, service->program);
}

/* Ends all children: SIGTERM, and SIGKILL after the time that a handler may take and STOP_MS. */
static void
stop_children(struct child *children, unsigned count, const struct config_queue *queue,
    const sigset_t *unblocked)
{
	uint64_t limit_ms = now_ms() + queue->visibility_ns / 1000000 + STOP_MS;
	int signal = SIGTERM;

	for (;;) {
		for (unsigned i = 0; i < count; i++)
			(void)reap(&children[i], queue->name);
		if (signal_children(children, count, signal) == 0)
			return;
		signal = 0;
		/* Without ready_fd: a caller that has gone would end each sleep at once. */
		wait_until(limit_ms, unblocked, -1);
		if (now_ms() < limit_ms)
			continue;
		event(EVENT_WARN, "worker.killed", "s:queue", queue->name, NULL);
		signal = SIGKILL;
		limit_ms = UINT64_MAX;
	}
}

/* Keeps the children running until told to stop, or until a child ends for good (is_final()).
 * Returns the exit status. */
static int
supervise(const struct service *service, const struct config *config, struct settings *settings)
{
	static struct child children[CONFIG_LANES_MAX];
	struct daemon *daemon = &settings->daemon;
	unsigned count = settings->processes;
	sigset_t blocked, before;
	int rc = 0;

	for (unsigned i = 0; i < count; i++)
		children[i] = (struct child){
			.lanes = share_of_lanes(i, count),
			.wait_ms = RESPAWN_MS_MIN,
		};
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGCHLD);
	sigaddset(&blocked, SIGHUP);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	sigdelset(&before, SIGCHLD);
	while (stop_signal == 0) {
		for (unsigned i = 0; i < count; i++) {
			int status = reap(&children[i], service->queue);

			if (status >= 0 && stop_signal == 0 && is_final(status, daemon)) {
				rc = WEXITSTATUS(status);
				daemon_ready(daemon, rc);
				stop_signal = SIGTERM;
			}
		}
		look_at_places(service, config);
		event_tick();
		for (unsigned i = 0; i < count && stop_signal == 0; i++)
			if (children[i].pid == 0 && children[i].due_ms <= now_ms())
				spawn(&children[i], service, config, &settings->config, &before,
				    daemon);
		if (stop_signal == 0) {
			uint64_t look_ms = now_ms() + LOOK_MS;
			uint64_t due_ms = next_due_ms(children, count);

			wait_until(due_ms < look_ms ? due_ms : look_ms, &before, daemon->ready_fd);
		}
		daemon_look(daemon);
		if (sink_restore() || daemon_was_hung_up())
			(void)signal_children(children, count, SIGHUP);
	}
	stop_children(children, count, config_find_queue(config, service->queue), &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
	event_flush();
	return rc;
}

int
worker_main(const struct service *service, int argc, char **argv)
{
	static struct settings settings;
	static struct config config;
	char error[512 + PATH_MAX];
	int rc;

	process_begin();
	title_begin(argc, argv);
	settings.daemon.program = service->program;
	settings.daemon.wait_ns = DAEMON_WAIT_NS;
	read_options(service, &settings, argc, argv);
	umask(077);
	event_init(service->program, settings.daemon.verbose);
	daemon_fix_paths(&settings.daemon, &settings.config);
	if (config_load(&config, &settings.config, error, sizeof(error)) != 0)
		errx(EX_CONFIG, "%s", error);
	if (config_find_queue(&config, service->queue) == NULL)
		errx(EX_CONFIG, "%s: there is no queue %s in the configuration",
		    config.file ? config.file : "built-in configuration", service->queue);
	if (settings.processes > config_find_queue(&config, service->queue)->lanes)
		errx(EX_USAGE, "-j %u: queue %s has %u lanes", settings.processes, service->queue,
		    config_find_queue(&config, service->queue)->lanes);
	if (service->begin != NULL && service->begin(&settings.config, error, sizeof(error)) != 0)
		errx(EX_CONFIG, "%s", error);
	if (settings.invoke)
		return invoke_main(service, &config);
	rc = config_make_dirs(&config, error, sizeof(error));
	if (rc != 0)
		errx(place_status(rc), "%s", error);
	daemon_begin(&settings.daemon, &config, settings.processes);
	title_set(config.state_dir, "");
	/* An error is no obstacle: headgatectl also finds workers through the router. */
	(void)pidfile_hold(config.run_dir, service->program);
	catch_signals();
	rc = supervise(service, &config, &settings);
	config_free(&config);
	return rc;
}
