/*
 * proportions - constants of the router, drawn by the seed. A bug may show only if the tail is
 * small compared with a segment, or a batch large compared with the tail, or with the shipped
 * constants.
 *
 * The build includes this header before each source of the simulation except shipped.c, so the
 * macros below replace the constants.
 */
#ifndef HEADGATE_TESTS_SIM_PROPORTIONS_H
#define HEADGATE_TESTS_SIM_PROPORTIONS_H

struct proportions {
	unsigned segment_min, segment_max; /* bytes */
	unsigned block, tail, gather;      /* bytes */
	unsigned piece;                    /* entries or chunks per frame of a checkpoint */
	unsigned reserved;                 /* sequences reserved at once */
	unsigned lane;                     /* bytes of a delivery ring */
};
extern struct proportions proportions;

extern const struct proportions proportions_shipped;

/* Draws the constants of a run; shipped: takes the shipped ones. */
void proportions_draw(int shipped);

#ifndef PROPORTIONS_SHIPPED
#define LOG_BLOCK             proportions.block
#define LOG_SEGMENT_MIN       proportions.segment_min
#define LOG_SEGMENT_MAX       proportions.segment_max
#define WRITER_TAIL           proportions.tail
#define WRITER_GATHER         proportions.gather
#define CHECKPOINT_PIECE      proportions.piece
#define RESERVATION_SEQUENCES proportions.reserved
#define LANE_DELIVERY         proportions.lane
#endif

#endif
