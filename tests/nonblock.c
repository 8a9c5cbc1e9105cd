/*
 * nonblock PROGRAM ARGUMENT...: runs the program with non-blocking standard output and error, as
 * some parents leave them. A pipe gets a capacity of 4 KiB.
 */
#include <err.h>
#include <fcntl.h>
#include <sysexits.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	if (argc < 2)
		errx(EX_USAGE, "usage: nonblock PROGRAM ARGUMENT...");
	for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
		fcntl(fd, F_SETPIPE_SZ, 4096);
		if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
			err(EX_OSERR, "F_SETFL");
	}
	execvp(argv[1], argv + 1);
	err(EX_NOINPUT, "%s", argv[1]);
}
