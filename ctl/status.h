/*
 * status - one picture of everything, from the control segment or, without a router, from the disk;
 * and the two ways to print it.
 */
#ifndef HEADGATE_CTL_STATUS_H
#define HEADGATE_CTL_STATUS_H

#include "ctl/ctl.h"

struct status_worker {
	uint32_t pid;
	uint64_t lanes; /* bit n: it has lane n */
	double heartbeat_age_s;
	uint64_t handling; /* sequence of the message that its handler is at; 0: none */
	double handling_s; /* for so long */
};

struct status_queue {
	const char *name;
	bool dead_letters;
	enum control_state state;
	struct control_detail detail;
	uint64_t blocked_groups, parked, depth, in_flight, published, duplicates, done, failed,
	    dead_lettered, expired;
	double oldest_age_s; /* negative: nothing is waiting */
	struct status_worker workers[CONTROL_WORKERS];
	unsigned worker_count;
	enum control_refusal refuses;
	double next_probe_s; /* auto_probe tries in so long; negative: it does not */
	char error[512]; /* the log cannot be read, so all but the name is unknown: why; else "" */
};

struct status_topic {
	const char *name;
	uint64_t published, refused, unroutable;
	uint64_t ids, ids_bytes; /* remembered by the deduplication */
	enum control_refusal refuses;
};

struct status {
	bool running;
	uint32_t pid;
	uint64_t since_ns; /* CLOCK_REALTIME */
	double heartbeat_age_s;
	struct status_queue queues[CONTROL_QUEUES];
	struct status_topic topics[CONTROL_TOPICS];
	unsigned queue_count, topic_count;
};

static inline bool
status_is_known(const struct status_queue *queue)
{
	return queue->error[0] == '\0';
}

void status_print_text(const struct status *, const struct ctl *);
void status_print_json(const struct status *);

#endif
