/*
 * backlog SOCKET: connects until the listener's queue of waiting connections is full, prints
 * "full", and keeps the queue full until killed.
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (argc != 2 || strlen(argv[1]) >= sizeof(address.sun_path))
		errx(EX_USAGE, "usage: backlog SOCKET");
	memcpy(address.sun_path, argv[1], strlen(argv[1]) + 1);
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

		if (fd < 0)
			err(EX_OSERR, "socket");
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			continue;
		if (errno != EAGAIN)
			err(EX_OSERR, "%s", argv[1]);
		break;
	}
	puts("full");
	fflush(stdout);
	pause();
	return 0;
}
