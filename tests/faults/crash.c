/*
 * Behind CRASH_POINT() in the programs of the fault tests.
 *
 * HEADGATE_CRASH=K          the K-th pass of any place is the process's last
 * HEADGATE_CRASH_DONE=FILE  is made then and says which place it was; while it is there, nothing ends
 * HEADGATE_CRASH_LIST=FILE  each pass is appended to it
 *
 * A worker counts in its child.
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
