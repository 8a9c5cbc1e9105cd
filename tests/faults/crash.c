/*
 * CRASH_POINT() in the programs of the fault tests.
 *
 * HEADGATE_CRASH=K          the process dies at the K-th pass of any place
 * HEADGATE_CRASH_DONE=FILE  made at the death, with the place's name; while FILE exists, no process
 * dies HEADGATE_CRASH_LIST=FILE  gets a line for each pass
 *
 * In a worker, the child counts.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "telemetry/crash.h"

static unsigned long passes;

static void
append(const char *path, int flags, const char *name)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | flags, 0600);
	char line[128];
	int length = snprintf(line, sizeof(line), "%s\n", name);

	if (fd < 0)
		return;
	if (write(fd, line, (size_t)length) != length)
		_exit(99);
	close(fd);
}

void
crash_point(const char *name)
{
	const char *at = getenv("HEADGATE_CRASH");
	const char *done = getenv("HEADGATE_CRASH_DONE");
	const char *list = getenv("HEADGATE_CRASH_LIST");

	passes++;
	if (list != NULL)
		append(list, 0, name);
	if (at == NULL || strtoul(at, NULL, 10) != passes ||
	    (done != NULL && access(done, F_OK) == 0))
		return;
	if (done != NULL)
		append(done, O_EXCL, name);
	kill(getpid(), SIGKILL);
}
