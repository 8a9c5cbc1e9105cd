/*
 * delivery - hands durable messages to workers and takes their outcomes.
 *
 * The rings are a cache, the log is the truth. Each attached worker has one cursor, which reads the
 * log forward: from the writer's memory while the worker keeps up, from disk when it fell behind. When
 * a worker is gone its rings are dropped with all that is in them, and the next one starts at the
 * first unsettled message.
 */
#ifndef HEADGATE_ROUTER_DELIVERY_H
#define HEADGATE_ROUTER_DELIVERY_H

#include "router/state.h"
#include "router/flights.h"
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

/* A worker's HELLO: checks that it holds the locks of these lanes and gives it fresh ones. Answers on the
 * connection either way. lanes: bit n asks for lane n. */
void delivery_attach(struct connection *, const char *queue, uint64_t lanes);

/* Ten times a second: ends a worker that has been at one message for too long, or does not stir; looks which
 * groups are to be tried again. */
void delivery_tick(struct worker *, uint64_t now_ns);

/* The worker is gone: settles what it completed and drops its lanes. */
void delivery_detach(struct worker *);

/* The worker is to attach again: it has done nothing wrong, and loses no life. */
void delivery_let_go(struct worker *);

/* Settles what the worker has completed. Returns true when there was something. */
bool delivery_settle(struct worker *);

/* Fills the worker's rings as far as there is room and the subscription runs. */
void delivery_pump(struct worker *);

/* Puts a message into its lane. Returns 1, 0 when there is no room, or -EPROTO for a ring that cannot
 * be. reason: delivery->reason_length bytes. */
int delivery_put(
    struct worker *, const struct log_frame *, const struct lane_delivery *, const char *reason);

/* Segments were replaced by this one: what was in front of the cursor may now be in it. */
void delivery_rewind(struct worker *, const struct log_segment *);

/* Before the router sleeps: asks to be woken. Returns false when there is work already. */
bool delivery_may_sleep(struct worker *);
void delivery_awake(struct worker *);

/* Wakes the worker, e.g. because the state changed. */
void delivery_ring(struct worker *);

/* Copies what a queue's workers say into the control segment. Returns true when all of them have seen the
 * current state. */
bool delivery_publish_figures(struct queue *);

/* Frees a detached worker if nothing is pending. Returns false when it must be called again. */
bool delivery_free(struct worker *);

#endif
