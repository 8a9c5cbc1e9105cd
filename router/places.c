#include "router/places.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "config/pidfile.h"
#include "router/delivery/worker.h"
#include "router/journal/writer.h"
#include "router/listen.h"
#include "telemetry/event.h"
#include "telemetry/sink.h"

enum { LOOK_NS = 1000000000 };

static void
say_restored(const char *path)
{
	event(EVENT_WARN, "router.file_restored", "s:file", path, NULL);
}

/* Logs why a place could not be made again, unless the last look failed for the same reason. */
static void
say_failed(int *last, int rc, const char *error)
{
	if (rc != *last)
		event(EVENT_ERROR, "router.file_not_restored", "s:error", error, NULL);
	*last = rc;
}

/* Returns whether the place is ours. */
static bool
look_at_lock(struct place_lock *lock, struct place_lock *first, const char *dir, int *last)
{
	char error[CONFIG_PATH_BYTES + 256];
	int rc = place_lock_again(lock, first, dir, error, sizeof(error));

	if (rc < 0) {
		say_failed(last, rc, error);
		return false;
	}
	*last = 0;
	if (rc > 0)
		say_restored(dir);
	return true;
}

/* Workers have the old segment: they attach again, with the new one. */
static void
let_workers_go(struct router *router)
{
	struct worker *worker, *next;

	for (unsigned i = 0; i < router->queue_count; i++)
		TAILQ_FOREACH_SAFE (worker, &router->queues[i].attached.workers, link, next)
			worker_let_go(worker);
}

static void
look_at_control(struct router *router)
{
	char path[CONFIG_PATH_BYTES + 32], error[CONFIG_PATH_BYTES + 256];
	int rc;

	snprintf(path, sizeof(path), "%s/control", router->config->run_dir);
	if (file_is_at(router->control.fd, path) == 1) {
		router->places.control_error = 0;
		return;
	}
	rc = control_replace(&router->control, path);
	if (rc == -EAGAIN && router->places.control_error == 0) {
		router->places.control_error = rc; /* to change a state takes an instant */
		return;
	}
	if (rc == -EAGAIN) {
		snprintf(error, sizeof(error),
		    "%s: another process keeps the removed file locked (flock): end it", path);
		say_failed(&router->places.control_error, -EBUSY, error);
		return;
	}
	if (rc == -EFAULT)
		router->failed = rc;
	if (rc != 0) {
		snprintf(error, sizeof(error), "%s: %s", path, strerror(-rc));
		say_failed(&router->places.control_error, rc, error);
		return;
	}
	router->places.control_error = 0;
	let_workers_go(router);
	say_restored(path);
}

static void
look_at_socket(struct router *router)
{
	char path[CONFIG_PATH_BYTES + 32];

	snprintf(path, sizeof(path), "%s/router.sock", router->config->run_dir);
	if (router->listener.fd < 0 || file_has_name(&router->listener.file, path) == 0)
		listen_again(router);
}

static void
look_at_pid_file(struct router *router)
{
	int rc = pidfile_again(router->config->run_dir, "headgate-router");
	char path[CONFIG_PATH_BYTES + 32];

	snprintf(path, sizeof(path), "%s/headgate-router.pid", router->config->run_dir);
	if (rc < 0) {
		say_failed(&router->places.pid_file_error, rc, path);
		return;
	}
	router->places.pid_file_error = 0;
	if (rc > 0)
		say_restored(path);
}

static void
look_at_logs(struct router *router)
{
	for (unsigned i = 0; i < router->queue_count; i++)
		if (writer_lost_files(&router->queues[i].writer))
			event(EVENT_ERROR, "log.files_gone", "s:queue",
			    router->queues[i].config->name, "s:directory",
			    router->queues[i].writer.dir, NULL);
}

void
places_look(struct router *router, uint64_t now_ns)
{
	if (now_ns - router->places.looked_ns < LOOK_NS || router->stopping)
		return;
	router->places.looked_ns = now_ns;
	look_at_lock(&router->places.state_lock, &router->places.logs_lock,
	    router->config->state_dir, &router->places.state_error);
	(void)sink_restore(); /* it may be in STATE, and is for what is said here */
	look_at_logs(router);
	/* Else what is there may be another router's. */
	if (!look_at_lock(&router->places.run_lock, NULL, router->config->run_dir,
		&router->places.run_error))
		return;
	look_at_control(router);
	look_at_socket(router);
	look_at_pid_file(router);
}
