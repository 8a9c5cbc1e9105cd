/*
 * proportions - constants of the router, drawn by the seed: a fault may need a tail that is small beside a segment, a
 * batch that is large beside the tail, or just the proportions that are shipped.
 *
 * Included before each source of the simulation but shipped.c: the names below take the place of the constants.
 */
#ifndef HEADGATE_TESTS_SIM_PROPORTIONS_H
#define HEADGATE_TESTS_SIM_PROPORTIONS_H

struct proportions {
	unsigned segment_min, segment_max; /* bytes */
	unsigned block, tail, gather;      /* bytes */
	unsigned piece;                    /* entries or chunks in a frame of a checkpoint */
	unsigned reserved;                 /* sequences that are promised at once */
	unsigned lane;                     /* bytes of a delivery ring */
};
extern struct proportions proportions;

extern const struct proportions proportions_shipped;

/* Draws them for a run; shipped: as they are shipped. */
void proportions_draw(int shipped);

#ifndef PROPORTIONS_SHIPPED
#define LOG_BLOCK       proportions.block
#define LOG_SEGMENT_MIN proportions.segment_min
#define LOG_SEGMENT_MAX proportions.segment_max
#define WRITER_TAIL     proportions.tail
#define WRITER_GATHER   proportions.gather
#define QUEUE_PIECE     proportions.piece
#define QUEUE_RESERVE   proportions.reserved
#define LANE_DELIVERY   proportions.lane
#endif

#endif
