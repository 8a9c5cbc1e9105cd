/*
 * worker - an attached worker, as the router sees it.
 */
#ifndef HEADGATE_ROUTER_DELIVERY_WORKER_H
#define HEADGATE_ROUTER_DELIVERY_WORKER_H

#include "router/delivery/flights.h"
#include "router/state.h"
#include "shm/lane.h"

enum worker_state {
	WORKER_ATTACHED,
	WORKER_SLOW, /* at one message for too long, which was logged; it could not be killed yet */
	WORKER_KILLED,  /* its end is seen when its connection closes */
	WORKER_DETACHED /* freed when the back end lets go */
};

/* Why the router ends it. */
enum worker_reason {
	WORKER_NONE,
	WORKER_LOST,   /* it answered for a message that cannot be read: it is to be let go */
	WORKER_LET_GO, /* it is to attach again, and loses no life */
	WORKER_BROKEN  /* it broke the rules: nothing more is settled for it */
};

/* Where it reads the log (cursor.h). */
struct cursor {
	uint64_t position; /* of the next frame to look at */

	/* A piece of the log read from disk, for a cursor that fell behind. */
	uint8_t *window;
	uint64_t window_position;
	size_t window_length;
	int window_fd;
	uint64_t window_segment;
	struct io_request window_request;
	uint64_t window_retry_ns; /* CLOCK_MONOTONIC: not to be read before; 0: at once */
	bool window_short;        /* the file ends where there should be more */
};

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
	struct {
		struct ring_record record;
		bool there;
	} head[CONFIG_LANES_MAX]; /* a completion taken but not settled yet */
	bool no_room;             /* for what the next completion is to be put into a log */

	struct {
		int fd; /* eventfd: the worker wakes the router */
		uint64_t count;
		struct io_request request;
	} bell;

	struct cursor cursor;
	uint64_t delivered;  /* highest sequence that was put into a ring or parked */
	uint64_t in_flight;  /* delivered and not completed */
	uint64_t unanswered; /* deliveries; also of what was settled meanwhile */
	struct flights flights;
	/* Generation of the state under which it answered the last 5xx that closes the gate. */
	uint64_t failed_generation;
	uint64_t alone; /* a message that has cost a worker's life: nothing beside it; 0: none */
	struct {
		int lane; /* the cursor waits for room in this one; -1: it does not */
		uint64_t bytes;
	} full;

	int pid_fd;           /* to end the worker by; -1 */
	uint64_t attached_ns; /* CLOCK_MONOTONIC */
	enum worker_state state;
	enum worker_reason reason;
};

/* Ends it with SIGKILL: its end is seen when its connection closes. One that is gone already is fine, too. False: it
 * cannot be ended. */
bool worker_kill(struct worker *);
/* Ends a worker that has been at one message for too long, or does not stir. */
void worker_check_time(struct worker *, uint64_t now_ns);
/* It broke the rules: logs what it did, and closes its connection. */
void worker_drop(struct worker *, const char *what);
/* The worker is to attach again: it has done nothing wrong, and loses no life. */
void worker_let_go(struct worker *);
/* The same, for its log cannot be read. */
void worker_log_unread(struct worker *, const char *what);
/* Frees a detached worker if nothing is pending. Returns false when it must be called again. */
bool worker_free(struct worker *);

/* Wakes the worker, e.g. because the state changed. */
void worker_ring(struct worker *);
/* Before the router sleeps: asks to be woken. Returns false when there is work already. */
bool worker_may_sleep(struct worker *);
void worker_awake(struct worker *);
/* So many messages that the worker had are not settled and not with it any more. */
void worker_count_returned(const struct worker *, uint64_t n);
/* Copies what a queue's workers say into the control segment. Returns true when all of them have seen the
 * current state. */
bool worker_publish_counters(struct queue *);

#endif
