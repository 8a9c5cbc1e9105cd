#include "tests/sim/proportions.h"

#include "tests/sim/world.h"

struct proportions proportions;

static unsigned
one_of(const unsigned *values, unsigned count)
{
	return values[world_below(count)];
}
#define ONE_OF(...)                               \
	one_of((const unsigned[]){ __VA_ARGS__ }, \
	    sizeof((const unsigned[]){ __VA_ARGS__ }) / sizeof(unsigned))

/*
 * Range: from a tail of 4 segments to a segment of 32 tails; shipped is a segment of 8 tails.
 * Constraints: (1) a batch holds a piece of a checkpoint and the longest message; (2) the tail
 * holds two batches and their commit records; (3) a checkpoint names each segment in 56 bytes, so a
 * log of many small segments would consist of checkpoints: 64 KiB hold 1,100 names, as many as the
 * dead letters of a long run take, while 128 KiB are enough (1 MiB, as shipped, names 18,000).
 */
static struct proportions
draw(void)
{
	struct proportions drawn = {
		.block = ONE_OF(512, 512, 4096),
		.tail = ONE_OF(64, 64, 128, 256, 512) << 10,
		.reserved = ONE_OF(64, 512, 4096),
		.lane = ONE_OF(8, 8, 16, 64) << 10,
	};

	drawn.gather = drawn.tail / ONE_OF(2, 4);
	if (drawn.gather > drawn.tail / 2 - (24 << 10))
		drawn.gather = drawn.tail / 4;
	drawn.piece = ONE_OF(2, 16, drawn.gather / 2 / 72);
	if (drawn.piece > 512)
		drawn.piece = 512;
	drawn.segment_max = drawn.tail * ONE_OF(1, 2, 8, 8, 8, 32) / ONE_OF(1, 1, 4);
	if (drawn.segment_max < 128 << 10)
		drawn.segment_max = 128 << 10;
	if (drawn.segment_max > 2 << 20)
		drawn.segment_max = 2 << 20;
	drawn.segment_min = drawn.segment_max / ONE_OF(1, 2, 64);
	if (drawn.segment_min < 64 << 10)
		drawn.segment_min = 64 << 10;
	return drawn;
}

void
proportions_draw(int shipped)
{
	proportions = shipped ? proportions_shipped : draw();
	world_trace("proportions: block %u, segments %u to %u, tail %u, gather %u, piece %u, "
		    "reserved %u, lane %u",
	    proportions.block, proportions.segment_min, proportions.segment_max, proportions.tail,
	    proportions.gather, proportions.piece, proportions.reserved, proportions.lane);
}
