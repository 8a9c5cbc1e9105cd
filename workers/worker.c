#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "workers/worker.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "config/detach.h"
#include "telemetry/event.h"
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
	HEALTHY_S = 10 /* a child that lived so long may be respawned at once */
};

struct settings {
	struct config_options config;
	bool detach, verbose, invoke;
};

static volatile sig_atomic_t stop_signal;

static void
on_signal(int signal)
{
	stop_signal = signal;
}

/* Only to end a sigsuspend(). */
static void
on_child(int signal)
{
	(void)signal;
}

static void
usage(const struct service *service, FILE *out)
{
	fprintf(out,
	    "usage: %s [-dhVv] [-c FILE] [-D DIR]\n"
	    "       %s --invoke [-c FILE] < message.json\n",
	    service->program, service->program);
	fputs("  -c, --config FILE     configuration; without it the built-in utility system\n"
	      "  -D, --directory DIR   base directory: DIR/run and DIR/state\n"
	      "  -d, --detach          go to the background when attached or a standby\n"
	      "      --invoke          handle one message from stdin, print the result\n"
	      "  -v, --verbose         say more\n"
	      "  -V, --version         print the version\n"
	      "  -h, --help            print this\n",
	    out);
}

static void
read_options(const struct service *service, struct settings *settings, int argc, char **argv)
{
	enum { INVOKE = 256 };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "directory", required_argument, NULL, 'D' },
		{ "detach", no_argument, NULL, 'd' },
		{ "invoke", no_argument, NULL, INVOKE },
		{ "verbose", no_argument, NULL, 'v' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "c:D:dvVh", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			settings->config.file = optarg;
			break;
		case 'D':
			settings->config.base_dir = optarg;
			break;
		case 'd':
			settings->detach = true;
			break;
		case INVOKE:
			settings->invoke = true;
			break;
		case 'v':
			settings->verbose = true;
			break;
		case 'V':
			printf("%s %s\n", service->program, VERSION_TEXT);
			exit(0);
		case 'h':
			usage(service, stdout);
			exit(0);
		default:
			usage(service, stderr);
			exit(EX_USAGE);
		}
	}
	if (optind < argc) {
		warnx("%s: takes no arguments", argv[optind]);
		usage(service, stderr);
		exit(EX_USAGE);
	}
}

static void
catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	action.sa_handler = on_child;
	sigaction(SIGCHLD, &action, NULL);
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

/* Sleeps, but not through a signal that asks to stop. */
static void
pause_ms(int ms)
{
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
	sigset_t blocked, before;

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

/* Takes the queue's lock; as a standby looks again and again. Returns the fd, or -1 when told to
 * stop. */
static int
take_lock(const struct config *config, const char *queue, int *ready_fd)
{
	char path[CONFIG_PATH_BYTES + CONFIG_NAME_BYTES + 8];
	int fd;

	snprintf(path, sizeof(path), "%s/%s.lock", config->run_dir, queue);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		err(EX_CANTCREAT, "%s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	event(EVENT_INFO, "worker.standby", "s:queue", queue, NULL);
	detach_ready(ready_fd, 0);
	while (stop_signal == 0) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		pause_ms(STANDBY_MS);
	}
	close(fd);
	return -1;
}

/* Attaches, works, and begins again when the router is gone, until told to stop. */
static int
serve(const struct service *service, const struct config *config, struct consumer *consumer,
    int lock_fd, int *ready_fd)
{
	struct attachment attachment;
	int wait_ms = CONNECT_MS_MIN;
	bool said = false;
	char error[512];

	while (stop_signal == 0) {
		int rc = attachment_open(&attachment, config->run_dir, service->program,
		    service->queue, lock_fd, error, sizeof(error));

		if (rc != 0) {
			if (!said)
				event(EVENT_INFO, "worker.waiting", "s:queue", service->queue,
				    "s:error", error, NULL);
			said = true;
			pause_ms(wait_ms);
			wait_ms = wait_ms * 2 < CONNECT_MS_MAX ? wait_ms * 2 : CONNECT_MS_MAX;
			continue;
		}
		event(EVENT_INFO, "worker.attached", "s:queue", service->queue, NULL);
		detach_ready(ready_fd, 0);
		said = false;
		wait_ms = CONNECT_MS_MIN;
		rc = consumer_run(consumer, &attachment);
		attachment_close(&attachment);
		if (rc != 0)
			event(EVENT_ERROR, "worker.detached", "s:queue", service->queue, "s:error",
			    strerror(-rc), NULL);
		if (rc != 0)
			pause_ms(CONNECT_MS_MAX);
	}
	return 0;
}

static int
child_main(const struct service *service, const struct config *config,
    const struct config_options *options, pid_t parent, int ready_fd)
{
	const struct config_queue *queue = config_find_queue(config, service->queue);
	struct consumer *consumer;
	struct store *store = NULL;
	char error[PATH_MAX + 512];
	int lock_fd, rc;

	/* The parent is the one to signal; if it dies, so do we, and give up the lock. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		return EX_OSERR;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (service->begin != NULL && service->begin(options, error, sizeof(error)) != 0)
		event(EVENT_WARN, "worker.config", "s:error", error, NULL);
	lock_fd = take_lock(config, service->queue, &ready_fd);
	if (lock_fd < 0)
		return 0;
	rc = service->table != NULL
	    ? store_open(&store, config->state_dir, service, error, sizeof(error))
	    : 0;
	if (rc != 0)
		errx(rc == -ESTALE || rc == -EBADMSG ? EX_CANTCREAT : EX_TEMPFAIL, "%s", error);
	consumer = consumer_new(service, queue, store, ENVELOPE_BODY_BYTES_MAX, &stop_signal);
	if (consumer == NULL)
		errx(EX_OSERR, "out of memory");
	serve(service, config, consumer, lock_fd, &ready_fd);
	consumer_free(consumer);
	store_close(store);
	event(EVENT_INFO, "worker.stopped", "s:queue", service->queue, NULL);
	return 0;
}

/*
 * The parent.
 */

static pid_t
spawn(const struct service *service, const struct config *config,
    const struct config_options *options, int ready_fd)
{
	pid_t parent = getpid();
	pid_t child = fork();

	if (child < 0)
		err(EX_OSERR, "fork");
	if (child == 0)
		_exit(child_main(service, config, options, parent, ready_fd));
	return child;
}

/* Waits for the child; passes a signal to stop on to it. Returns its wait status. Signals are blocked
 * but while it sleeps, so that none comes between the look at stop_signal and the sleep. */
static int
wait_for(pid_t child)
{
	sigset_t blocked, before;
	bool told = false;
	int status = 0;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGCHLD);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	while (waitpid(child, &status, WNOHANG) != child) {
		if (stop_signal != 0 && !told) {
			kill(child, SIGTERM);
			told = true;
		}
		sigdelset(&before, SIGCHLD);
		sigsuspend(&before);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return status;
}

static bool
is_final(int status)
{
	/* What a respawn cannot mend: the store is another version's, the lock cannot be made. */
	return WIFEXITED(status) && WEXITSTATUS(status) == EX_CANTCREAT;
}

static int
supervise(const struct service *service, const struct config *config,
    const struct config_options *options, int ready_fd)
{
	int wait_ms = RESPAWN_MS_MIN;

	for (;;) {
		time_t born = time(NULL);
		int status = wait_for(spawn(service, config, options, ready_fd));

		if (stop_signal != 0)
			return 0;
		event(EVENT_ERROR, "worker.died", "s:queue", service->queue, "d:signal",
		    WIFSIGNALED(status) ? WTERMSIG(status) : 0, "d:status",
		    WIFEXITED(status) ? WEXITSTATUS(status) : 0, NULL);
		if (is_final(status)) {
			detach_ready(&ready_fd, WEXITSTATUS(status));
			return WEXITSTATUS(status);
		}
		if (time(NULL) - born >= HEALTHY_S)
			wait_ms = RESPAWN_MS_MIN;
		pause_ms(wait_ms);
		wait_ms = wait_ms * 2 < RESPAWN_MS_MAX ? wait_ms * 2 : RESPAWN_MS_MAX;
		if (stop_signal != 0)
			return 0;
	}
}

int
worker_main(const struct service *service, int argc, char **argv)
{
	static struct settings settings;
	static struct config config;
	char error[512 + PATH_MAX];
	int ready_fd = -1;
	int rc;

	read_options(service, &settings, argc, argv);
	umask(077);
	event_init(service->program, settings.verbose);
	if (config_load(&config, &settings.config, error, sizeof(error)) != 0)
		errx(EX_CONFIG, "%s", error);
	if (config_find_queue(&config, service->queue) == NULL)
		errx(EX_CONFIG, "%s: there is no queue %s in the configuration",
		    config.file ? config.file : "built-in configuration", service->queue);
	if (service->begin != NULL && service->begin(&settings.config, error, sizeof(error)) != 0)
		errx(EX_CONFIG, "%s", error);
	if (settings.invoke)
		return invoke_main(service, &config);
	rc = config_make_dirs(&config, error, sizeof(error));
	if (rc != 0)
		errx(rc == -EPERM || rc == -EACCES ? EX_NOPERM : EX_CANTCREAT, "%s", error);
	if (settings.detach)
		ready_fd = detach_begin();
	catch_signals();
	rc = supervise(service, &config, &settings.config, ready_fd);
	config_free(&config);
	return rc;
}
