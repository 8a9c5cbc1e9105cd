#include "router/listen.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

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
	struct router *router = (void *)((char *)request - offsetof(struct router, accept_request));

	if (result >= 0) {
		session_accept(router, (int)result);
		router->accept_failing = false;
	}
	if (router->listens_again && !request->pending) { /* whatever the request came to */
		restart(router);
		return;
	}
	if (result < 0 && !router->accept_failing) {
		event(EVENT_WARN, "router.accept_failed", "s:error", strerror((int)-result), NULL);
		router->accept_failing = true;
	}
	/* Who could not be accepted for want of descriptors is still there: not at once. */
	if (!request->pending)
		router->accept_again_ns = io_monotonic_ns() + (result < 0 ? RETRY_NS : 0);
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
	router->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* We hold the lock: whoever listened there is gone. */
	if (router->listen_fd < 0 || (unlink(path) != 0 && errno != ENOENT) ||
	    bind(router->listen_fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    chmod(path, 0600) != 0 || listen(router->listen_fd, BACKLOG) != 0)
		return error_fill(error, error_bytes, -errno, path, strerror(errno));
	router->accept_request.done = accepted;
	router->io->operations->accept(router->io, router->listen_fd, &router->accept_request);
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
	int rc, before = router->listen_error;

	router->listens_again = false;
	if (router->listen_fd >= 0)
		close(router->listen_fd);
	rc = router->listen_error = listen_begin(router, error, sizeof(error));
	if (rc == 0) {
		snprintf(path, sizeof(path), "%s/router.sock", router->config->run_dir);
		event(EVENT_WARN, "router.file_restored", "s:file", path, NULL);
		return;
	}
	if (router->listen_fd >= 0)
		close(router->listen_fd);
	router->listen_fd = -1;
	if (rc != before)
		event(EVENT_ERROR, "router.not_listening", "s:error", error, NULL);
}

void
listen_again(struct router *router)
{
	if (router->stopping || router->listens_again)
		return;
	router->accept_again_ns = 0;
	if (!router->accept_request.pending) {
		restart(router);
		return;
	}
	router->listens_again = true;
	router->io->operations->cancel(router->io, &router->accept_request);
}

void
listen_go_on(struct router *router)
{
	if (router->accept_again_ns == 0 || router->stopping ||
	    io_monotonic_ns() < router->accept_again_ns)
		return;
	router->accept_again_ns = 0;
	router->io->operations->accept(router->io, router->listen_fd, &router->accept_request);
}
