/*
 * generate-mix -s SEED -n COUNT -m BYTES -p PROFILE -q QUEUES -g GROUPS [-f FIRST]: COUNT messages of random sizes up
 * to BYTES, {"g":"0","q":"1","n":4711}, the same for the same seed. n counts up from FIRST.
 *
 * PROFILE: 0 all as short as can be; 1 short, some longer; 2 any size, each length's order of magnitude as likely as
 * another; 3 long; 4 short, and some as long as may be.
 */
#include <err.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "tests/random.h"

enum { SHORT_BYTES = 300, LEAST_BYTES = 20 };

static uint64_t state;

static double
fraction(void)
{
	return (double)(random_next(&state) >> 11) / (double)(1ull << 53);
}

static uint64_t
draw_length(unsigned profile, uint64_t most)
{
	switch (profile) {
	case 0:
		return 0;
	case 1:
		return random_next(&state) % 20 == 0 ? random_next(&state) % 4096
						     : random_next(&state) % SHORT_BYTES;
	case 2:
		return (uint64_t)(LEAST_BYTES * pow((double)most / LEAST_BYTES, fraction()));
	case 3:
		return most / 2 + random_next(&state) % (most / 2 + 1);
	default:
		return random_next(&state) % 200 == 0 ? most : random_next(&state) % SHORT_BYTES;
	}
}

int
main(int argc, char **argv)
{
	uint64_t count = 1000, most = 1000, queues = 1, groups = 1, first = 1;
	unsigned profile = 0;
	char *filler;
	int option;

	while ((option = getopt(argc, argv, "s:n:m:p:q:g:f:")) != -1) {
		uint64_t value = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;

		switch (option) {
		case 's':
			state = value;
			break;
		case 'n':
			count = value;
			break;
		case 'm':
			most = value;
			break;
		case 'p':
			profile = (unsigned)value;
			break;
		case 'q':
			queues = value;
			break;
		case 'g':
			groups = value;
			break;
		case 'f':
			first = value;
			break;
		default:
			return EX_USAGE;
		}
	}
	if (most < 64 || queues == 0 || groups == 0)
		return EX_USAGE;
	filler = malloc(most);
	if (filler == NULL)
		err(EX_OSERR, "generate-mix");
	memset(filler, 'x', most);
	for (uint64_t n = first; n < first + count; n++) {
		/* One file is one publisher's: its groups are its own. */
		int used = printf("{\"g\":\"%" PRIu64 ".%" PRIu64 "\",\"q\":\"%" PRIu64
				  "\",\"n\":%" PRIu64,
		    first, random_next(&state) % groups, random_next(&state) % queues, n);
		uint64_t length = draw_length(profile, most);

		if (length > (uint64_t)used + 10)
			printf(",\"x\":\"%.*s\"", (int)(length - (uint64_t)used - 8), filler);
		puts("}");
	}
	free(filler);
	return fflush(stdout) == 0 ? 0 : EX_IOERR;
}
