#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "router/places.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "config/paths.h"
#include "config/pidfile.h"
#include "router/delivery.h"
#include "telemetry/event.h"

enum { LOOK_NS = 1000000000 };

static void
say_restored(const char *path)
{
	event(EVENT_WARN, "router.file_restored", "s:file", path, NULL);
}

/* Each reason once. */
static void
say_failed(struct router *router, int rc, const char *error)
{
	if (rc != router->places_said)
		event(EVENT_ERROR, "router.file_not_restored", "s:error", error, NULL);
	router->places_error = rc;
}

/* Returns whether the place is ours. */
static bool
look_at_lock(struct router *router, struct place_lock *lock, const char *dir)
{
	char error[CONFIG_PATH_BYTES + 256];
	int rc = place_lock_again(lock, dir, error, sizeof(error));

	if (rc < 0)
		say_failed(router, rc, error);
	else if (rc > 0)
		say_restored(dir);
	return rc >= 0;
}

/* Workers have the old segment: they attach again, with the new one. */
static void
let_workers_go(struct router *router)
{
	struct worker *worker, *next;

	for (unsigned i = 0; i < router->queue_count; i++)
		TAILQ_FOREACH_SAFE (worker, &router->queues[i].workers, link, next)
			delivery_let_go(worker);
}

static void
look_at_control(struct router *router)
{
	char path[CONFIG_PATH_BYTES + 32];
	int rc;

	snprintf(path, sizeof(path), "%s/control", router->config->run_dir);
	if (paths_is_there(path, router->control.fd))
		return;
	rc = control_replace(&router->control, path);
	if (rc == -EAGAIN) /* somebody changes a state there: the next time */
		return;
	if (rc == -EFAULT)
		router->failed = rc;
	if (rc != 0) {
		say_failed(router, rc, path);
		return;
	}
	let_workers_go(router);
	say_restored(path);
}

static void
look_at_socket(struct router *router)
{
	char path[CONFIG_PATH_BYTES + 32];
	struct stat st;

	snprintf(path, sizeof(path), "%s/router.sock", router->config->run_dir);
	if (stat(path, &st) == 0 || errno != ENOENT)
		return;
	router_listen_again(router);
	say_restored(path);
}

static void
look_at_pid_file(struct router *router)
{
	int rc = pidfile_again(router->config->run_dir, "headgate-router");
	char path[CONFIG_PATH_BYTES + 32];

	snprintf(path, sizeof(path), "%s/headgate-router.pid", router->config->run_dir);
	if (rc > 0)
		say_restored(path);
	if (rc < 0)
		say_failed(router, rc, path);
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
	if (now_ns - router->looked_ns < LOOK_NS || router->stopping)
		return;
	router->looked_ns = now_ns;
	router->places_said = router->places_error;
	router->places_error = 0;
	look_at_logs(router);
	look_at_lock(router, &router->state_lock, router->config->state_dir);
	/* Else what is there may be another router's. */
	if (!look_at_lock(router, &router->run_lock, router->config->run_dir))
		return;
	look_at_control(router);
	look_at_socket(router);
	look_at_pid_file(router);
}
