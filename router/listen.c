#include "router/listen.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/container_of.h"
#include "router/io/error.h"
#include "router/session/session.h"
#include "telemetry/event.h"

enum {
	BACKLOG = 128,
	RETRY_NS = 100000000 /* after an accept that failed */
};

static void restart(struct router *);

static void
accepted(struct io_request *request, int64_t result)
{
	struct router *router = CONTAINER_OF(request, struct router, listener.request);

	if (result >= 0) {
		session_accept(router, (int)result);
		router->listener.failing = false;
	}
	if (router->listener.restarts && !request->pending) { /* whatever the request came to */
		restart(router);
		return;
	}
	if (result < 0 && !router->listener.failing) {
		event(EVENT_WARN, "router.accept_failed", "s:error", strerror((int)-result), NULL);
		router->listener.failing = true;
	}
	/* Who could not be accepted for want of descriptors is still there: not at once. */
	if (!request->pending)
		router->listener.again_ns = io_monotonic_ns() + (result < 0 ? RETRY_NS : 0);
}

int
listen_begin(struct router *router, char *error, size_t error_bytes)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char path[CONFIG_PATH_BYTES + 32];

	if (snprintf(path, sizeof(path), "%s/router.sock", router->config->run_dir) >=
	    (int)sizeof(address.sun_path))
		return error_fill(error, error_bytes, -ENAMETOOLONG, path,
		    "longer than the 107 bytes of a socket's path");
	strcpy(address.sun_path, path);
	router->listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* We hold the lock: whoever listened there is gone. */
	if (router->listener.fd < 0 || (unlink(path) != 0 && errno != ENOENT) ||
	    bind(router->listener.fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    chmod(path, 0600) != 0 || listen(router->listener.fd, BACKLOG) != 0)
		return error_fill(error, error_bytes, -errno, path, strerror(errno));
	if (file_named(path, &router->listener.file) != 0)
		router->listener.file = (struct file_id){ 0 }; /* removed already: it will be missed */
	router->listener.request.done = accepted;
	router->io->operations->accept(router->io, router->listener.fd, &router->listener.request);
	return 0;
}

/*
 * The socket was removed: nobody finds the old one. First the back end has to let go of that.
 */

/* Once a second until it goes. */
static void
restart(struct router *router)
{
	char path[CONFIG_PATH_BYTES + 32], error[CONFIG_PATH_BYTES + 256];
	int rc, before = router->listener.error;

	router->listener.restarts = false;
	if (router->listener.fd >= 0)
		close(router->listener.fd);
	rc = router->listener.error = listen_begin(router, error, sizeof(error));
	if (rc == 0) {
		snprintf(path, sizeof(path), "%s/router.sock", router->config->run_dir);
		event(EVENT_WARN, "router.file_restored", "s:file", path, NULL);
		return;
	}
	if (router->listener.fd >= 0)
		close(router->listener.fd);
	router->listener.fd = -1;
	if (rc != before)
		event(EVENT_ERROR, "router.not_listening", "s:error", error, NULL);
}

void
listen_again(struct router *router)
{
	if (router->stopping || router->listener.restarts)
		return;
	router->listener.again_ns = 0;
	if (!router->listener.request.pending) {
		restart(router);
		return;
	}
	router->listener.restarts = true;
	router->io->operations->cancel(router->io, &router->listener.request);
}

void
listen_go_on(struct router *router)
{
	if (router->listener.again_ns == 0 || router->stopping ||
	    io_monotonic_ns() < router->listener.again_ns)
		return;
	router->listener.again_ns = 0;
	router->io->operations->accept(router->io, router->listener.fd, &router->listener.request);
}
