/*
 * status - gathers a picture of all queues, workers and topics, from the control segment or,
 * without a router, from the disk; and prints it.
 */
#ifndef HEADGATE_CTL_STATUS_H
#define HEADGATE_CTL_STATUS_H

#include "ctl/ctl.h"

enum {
	STATUS_WORKER_SILENT_S = 3, /* an idle worker with an older heartbeat hangs */
	STATUS_UNKNOWN = 64         /* most logs of unknown queues */
};

struct status_worker {
	uint32_t pid;
	pid_t parent;       /* the process to signal; 0: unknown */
	bool frozen;        /* stopped by a signal */
	bool parent_frozen; /* the parent is stopped by a signal; the worker may go on */
	uint64_t lanes;     /* bit n: the worker has lane n */
	double heartbeat_age_s;
	uint64_t handling; /* sequence of the message being handled; 0: none */
	double handling_s; /* time of this handler so far */
	bool store_empty;  /* the store has no row of the log, although messages were done */
};

struct status_queue {
	const char *name;
	bool dead_letters;
	bool absent; /* no router runs, and the queue has no log */
	enum control_state state;
	struct control_detail detail;
	uint64_t blocked_groups, parked, depth, in_flight, published, duplicates, done, failed,
	    dead_lettered, expired;
	double oldest_age_s; /* negative: no message waits */
	struct status_worker workers[CONTROL_WORKERS];
	unsigned worker_count;
	enum control_refusal refuses;
	uint64_t visibility_ns;
	double next_probe_s; /* time until auto_probe; negative: none */
	char error[512];     /* reason why the log is unreadable, and only the name valid; or "" */
};

struct status_topic {
	const char *name;
	uint64_t published, refused, unroutable, duplicates;
	uint64_t ids, ids_bytes; /* in the deduplication window; the router's memory */
	enum control_refusal refuses;
};

/* A log of a queue unknown to router and configuration. */
struct status_unknown {
	char name[CONFIG_NAME_BYTES];
	uint64_t depth;
	bool readable;
};

struct status {
	bool running;
	bool stale;    /* a router of another version is running */
	bool starting; /* a router holds the state without a segment: starting, or removed */
	uint32_t pid;
	bool foreign;      /* pid, and the workers', are numbers of another pid namespace */
	bool frozen;       /* stopped by a signal */
	uint64_t since_ns; /* CLOCK_MONOTONIC */
	double heartbeat_age_s;
	const char *config_file;       /* the router's; "": built in, or no router */
	bool no_state;                 /* without a router: the state directory is missing */
	char owner[CONFIG_NAME_BYTES]; /* another user who owns the state; "": none */
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

/* The begin of the queue's state. TRIPPED begins with the first failure of the message, also after
 * probes in vain. */
static inline uint64_t
status_since_ns(const struct status_queue *queue)
{
	return queue->state == CONTROL_TRIPPED ? control_tripped_ns(&queue->detail)
					       : queue->detail.since_ns;
}

/* The time of the last probe in vain of a TRIPPED queue; 0: none. */
static inline uint64_t
status_probed_ns(const struct status_queue *queue)
{
	uint64_t since_ns = queue->detail.since_ns;

	return queue->state == CONTROL_TRIPPED && queue->detail.tripped_s != 0 &&
		since_ns / 1000000000 > queue->detail.tripped_s
	    ? since_ns
	    : 0;
}

/* Gathers the picture. Its names point into `control`, which the caller closes afterwards. */
void status_gather(struct status *, struct ctl *, struct control *);

/* before: the previous picture, for rates; NULL: none. */
void status_print_text(const struct status *, const struct status *before, const struct ctl *ctl);
void status_print_json(const struct status *);
/* "RUNNING", ...; "UNKNOWN" for an invalid state. */
const char *status_state_text(enum control_state);

#endif
