/*
 * worker - an attached worker, as the router sees it.
 */
#ifndef HEADGATE_ROUTER_DELIVERY_WORKER_H
#define HEADGATE_ROUTER_DELIVERY_WORKER_H

#include "router/delivery/flights.h"
#include "router/state.h"
#include "shm/lane.h"

struct worker {
	TAILQ_ENTRY(worker) link;
	struct queue *queue;
	struct connection *connection;
	struct control_worker *control;
	uint64_t lanes; /* bit n: it has lane n */
	unsigned lane_count;
	int lane_index
	    [CONFIG_LANES_MAX]; /* of a lane's number, in the arrays below; -1: not its own */
	struct lane lane[CONFIG_LANES_MAX];
	struct ring_producer delivery[CONFIG_LANES_MAX];
	struct ring_consumer completion[CONFIG_LANES_MAX];
	struct ring_record head[CONFIG_LANES_MAX]; /* a completion taken but not settled yet */
	bool has_head[CONFIG_LANES_MAX];
	bool no_room; /* for what the next completion is to be put into a log */

	int bell_fd; /* eventfd: the worker wakes the router */
	uint64_t bell_count;
	struct io_request bell_request;

	uint64_t cursor;     /* position of the next frame to look at */
	uint64_t delivered;  /* highest sequence that was put into a ring or parked */
	uint64_t in_flight;  /* delivered and not completed */
	uint64_t unanswered; /* deliveries; also of what was settled meanwhile */
	struct flights flights;
	uint64_t
	    failed_generation; /* of the state under which it answered the last 5xx that closes the gate */
	uint64_t alone; /* a message that has cost a worker's life: nothing beside it; 0: none */
	int pid_fd;     /* to end the worker by; -1 */
	bool killed;
	bool told_slow;       /* that it is to be killed was logged */
	uint64_t attached_ns; /* CLOCK_MONOTONIC */
	int full_lane;        /* the cursor waits for room in this one; -1: it does not */
	uint64_t full_bytes;

	/* A piece of the log read from disk, for a cursor that fell behind. */
	uint8_t *window;
	uint64_t window_position;
	size_t window_length;
	int window_fd;
	uint64_t window_segment;
	struct io_request window_request;
	uint64_t window_retry_ns; /* CLOCK_MONOTONIC: not to be read before; 0: at once */
	bool window_short;        /* the file ends where there should be more */
	bool lost;     /* it answered for a message that cannot be read: it is to be let go */
	bool let_go;   /* its log could not be read */
	bool broken;   /* it broke the rules: nothing more is settled for it */
	bool detached; /* freed when the back end lets go */
};

#endif
