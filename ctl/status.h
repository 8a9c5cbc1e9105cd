/*
 * status - one picture of everything, from the control segment or, without a router, from the disk; and the ways to
 * tell it.
 */
#ifndef HEADGATE_CTL_STATUS_H
#define HEADGATE_CTL_STATUS_H

#include "ctl/ctl.h"

enum {
	STATUS_WORKER_SILENT_S =
	    3, /* a worker that has said nothing for longer, and handles nothing, hangs */
	STATUS_UNKNOWN = 64 /* logs of queues that nobody knows, at most */
};

struct status_worker {
	uint32_t pid;
	pid_t parent;   /* that is to be signalled; 0: not known */
	bool frozen;    /* stopped by a signal */
	bool parent_frozen; /* likewise, and the worker itself may go on */
	uint64_t lanes; /* bit n: it has lane n */
	double heartbeat_age_s;
	uint64_t handling; /* sequence of the message that its handler is at; 0: none */
	double handling_s; /* for so long */
	bool store_empty;  /* of the log, of which messages were done */
};

struct status_queue {
	const char *name;
	bool dead_letters;
	bool
	    absent; /* no router runs, and it has no log: nothing is in force, and nothing is there */
	enum control_state state;
	struct control_detail detail;
	uint64_t blocked_groups, parked, depth, in_flight, published, duplicates, done, failed,
	    dead_lettered, expired;
	double oldest_age_s; /* negative: nothing is waiting */
	struct status_worker workers[CONTROL_WORKERS];
	unsigned worker_count;
	enum control_refusal refuses;
	uint64_t visibility_ns;
	double next_probe_s; /* auto_probe tries in so long; negative: it does not */
	char error[512]; /* the log cannot be read, so all but the name is unknown: why; else "" */
};

struct status_topic {
	const char *name;
	uint64_t published, refused, unroutable, duplicates;
	uint64_t ids, ids_bytes; /* remembered by the deduplication */
	enum control_refusal refuses;
};

/* A log of a queue that neither the router nor the configuration has. */
struct status_unknown {
	char name[CONFIG_NAME_BYTES];
	uint64_t depth;
	bool readable;
};

struct status {
	bool running;
	bool stale;    /* one runs that is of another version */
	bool starting; /* a router holds the state, and has no segment: or that was removed */
	uint32_t pid;
	bool foreign;      /* pid, and the workers', are numbers of another pid namespace */
	bool frozen;       /* stopped by a signal */
	uint64_t since_ns; /* CLOCK_MONOTONIC */
	double heartbeat_age_s;
	const char *config_file; /* that the router read; "": the built-in one, or no router */
	bool no_state;                 /* without a router: there is no state directory */
	char owner[CONFIG_NAME_BYTES]; /* it is this other user's; "" */
	struct status_queue queues[CONTROL_QUEUES];
	struct status_topic topics[CONTROL_TOPICS];
	struct status_unknown unknown[STATUS_UNKNOWN];
	unsigned queue_count, topic_count, unknown_count;
	uint64_t taken_ns; /* CLOCK_MONOTONIC */
};

static inline bool
status_is_known(const struct status_queue *queue)
{
	return queue->error[0] == '\0';
}

static inline bool
status_is_silent(const struct status_worker *worker)
{
	return worker->frozen ||
	    (worker->handling == 0 && worker->heartbeat_age_s > STATUS_WORKER_SILENT_S);
}

/* Since when it is in its state: a TRIPPED one since its message failed first, however often that was probed. */
static inline uint64_t
status_since_ns(const struct status_queue *queue)
{
	return queue->state == CONTROL_TRIPPED ? control_tripped_ns(&queue->detail)
					       : queue->detail.since_ns;
}

/* When a TRIPPED one was probed last, in vain; 0: it was not. */
static inline uint64_t
status_probed_ns(const struct status_queue *queue)
{
	uint64_t since_ns = queue->detail.since_ns;

	return queue->state == CONTROL_TRIPPED && queue->detail.tripped_s != 0 &&
		since_ns / 1000000000 > queue->detail.tripped_s
	    ? since_ns
	    : 0;
}

/* Names point into control, which is open until it is closed. */
void status_gather(struct status *, struct ctl *, struct control *);

/* before: the picture a moment ago, for rates; NULL: none. */
void status_print_text(const struct status *, const struct status *before, const struct ctl *ctl);
void status_print_json(const struct status *);
/* "RUNNING" ..., whatever stands there. */
const char *status_state_text(enum control_state);

#endif
