/* The shipped constants, from the headers. */
#define PROPORTIONS_SHIPPED
#include "router/journal/writer.h"
#include "router/queue/checkpoint.h"
#include "router/queue/reservation.h"
#include "shm/lane.h"
#include "tests/sim/proportions.h"

const struct proportions proportions_shipped = {
	.segment_min = LOG_SEGMENT_MIN,
	.segment_max = LOG_SEGMENT_MAX,
	.block = LOG_BLOCK,
	.tail = WRITER_TAIL,
	.gather = WRITER_GATHER,
	.piece = CHECKPOINT_PIECE,
	.reserved = RESERVATION_SEQUENCES,
	.lane = LANE_DELIVERY,
};
