/*
 * crowd RUN COUNT: connects COUNT times to RUN/router.sock, as idle publishers, prints "N welcomed,
 * N refused", and keeps the connections until the end of standard input.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "message/wire.h"

enum { ANSWER_MS = 60000 };

static bool
is_welcome(int fd)
{
	const struct wire_hello hello = { .role = WIRE_PUBLISHER, .program = "crowd", .name = "" };
	static uint8_t payload[WIRE_SMALL_BYTES];
	enum wire_type type;
	size_t length;

	return fd >= 0 && wire_send_hello(fd, &hello, -1) == 0 &&
	    wire_receive(fd, &type, payload, &length, NULL, NULL, ANSWER_MS) == 0 &&
	    type == WIRE_WELCOME;
}

int
main(int argc, char **argv)
{
	struct rlimit limit;
	unsigned welcomed = 0, refused = 0;

	if (argc != 3)
		errx(64, "usage: crowd RUN COUNT");
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	for (int n = atoi(argv[2]); n > 0; n--) {
		int fd = wire_connect(argv[1], ANSWER_MS);

		if (is_welcome(fd)) {
			welcomed++;
			continue; /* it is kept */
		}
		refused++;
		if (fd >= 0)
			close(fd);
	}
	printf("%u welcomed, %u refused\n", welcomed, refused);
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
