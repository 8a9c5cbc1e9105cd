#include "config/output.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

static int failed; /* errno of the first write that failed when it was looked; 0 */

bool
output_flush(void)
{
	if (fflush(stdout) != 0 && failed == 0)
		failed = errno;
	return failed == 0 && !ferror(stdout);
}

int
output_end(int status)
{
	if (output_flush())
		return status;
	if (failed != EPIPE)
		warnx("stdout: %s", failed != 0 ? strerror(failed) : "not all could be written");
	return EX_IOERR;
}
