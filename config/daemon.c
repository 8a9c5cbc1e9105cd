#include "config/daemon.h"

#include <err.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "config/detach.h"
#include "config/output.h"
#include "config/paths.h"
#include "telemetry/event.h"
#include "telemetry/sink.h"

/* Returns an allocated absolute path, never freed, as the options live as long as the program. */
static const char *
absolute(const char *path)
{
	char cwd[PATH_MAX], *whole;

	if (path == NULL || path[0] == '/' || path[0] == '\0')
		return path;
	if (getcwd(cwd, sizeof(cwd)) == NULL)
		errx(EX_OSERR, "%s: " PATHS_NO_CWD, path);
	if (asprintf(&whole, "%s/%s", cwd, path) < 0)
		errx(EX_OSERR, "out of memory");
	return whole;
}

void
daemon_fix_paths(struct daemon *daemon, struct config_options *options)
{
	const char *base = getenv("HEADGATE_DIR"), *whole = absolute(base);

	options->file = absolute(options->file);
	options->base_dir = absolute(options->base_dir);
	daemon->log = absolute(daemon->log);
	if (whole != base && setenv("HEADGATE_DIR", whole, 1) != 0)
		err(EX_OSERR, "HEADGATE_DIR");
}

static volatile sig_atomic_t hung_up;

static void
on_hangup(int signal)
{
	(void)signal;
	sink_reopen();
	hung_up = 1;
}

bool
daemon_was_hung_up(void)
{
	bool was = hung_up;

	hung_up = 0;
	return was;
}

/* Without a log file, SIGHUP and SIGUSR1 have no effect. */
static void
catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_hangup, .sa_flags = SA_RESTART };

	sigaction(SIGHUP, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
}

/* Lines appended to the configuration would keep the next program from starting. */
static void
check_log(const struct daemon *daemon, const struct config *config)
{
	struct stat log, file;

	if (config->file_path != NULL && stat(daemon->log, &log) == 0 &&
	    stat(config->file_path, &file) == 0 && output_same_file(&log, &file))
		errx(EX_USAGE, "--log %s: is the configuration: name another file", daemon->log);
}

void
daemon_begin(struct daemon *daemon, const struct config *config, unsigned times)
{
	static char own[CONFIG_PATH_BYTES + 64]; /* the default log of -d */
	int rc = 0;

	if (daemon->log == NULL && daemon->detach) {
		snprintf(own, sizeof(own), "%s/%s.log", config->state_dir, daemon->program);
		daemon->log = own;
	}
	if (daemon->log != NULL)
		check_log(daemon, config);
	catch_signals();
	daemon->ready_fd = daemon->detach ? detach_begin(times, daemon->wait_ns, daemon->log) : -1;
	sink_never_wait();
	if (daemon->log != NULL)
		rc = sink_open(daemon->log);
	if (rc != 0)
		errc(EX_CANTCREAT, -rc, "%s", daemon->log);
	event_init(daemon->program, daemon->verbose);
}

void
daemon_ready(struct daemon *daemon, int status)
{
	bool asked = daemon->ready_fd >= 0 && !detach_alone(daemon->ready_fd);

	if (daemon->ready_fd < 0)
		return;
	detach_ready(&daemon->ready_fd, status);
	if (status == 0 || !asked)
		sink_take_stderr();
}

void
daemon_look(struct daemon *daemon)
{
	if (detach_alone(daemon->ready_fd))
		daemon_ready(daemon, 0);
}
