/*
 * attachment - a worker's connection to the router: its lanes, doorbells, and the state word.
 */
#ifndef HEADGATE_WORKERS_ATTACHMENT_H
#define HEADGATE_WORKERS_ATTACHMENT_H

#include "config/policy.h"
#include "shm/control.h"
#include "shm/lane.h"

struct attachment {
	int socket, bell_fd;
	unsigned lane_count;
	struct lane lane[CONFIG_LANES_MAX];
	struct ring_consumer delivery[CONFIG_LANES_MAX];
	struct ring_producer completion[CONFIG_LANES_MAX];
	struct ring_record head[CONFIG_LANES_MAX]; /* delivery peeked at and not taken */
	bool has_head[CONFIG_LANES_MAX];
	struct control control;
	unsigned queue;
	uint64_t log_id;
	struct policy policy; /* from the router */
};

/* Connects to the router and maps the lanes: bit n of `lanes` requests lane n, LANE_LOCK_ALL all
 * lanes of the queue. lock_fd holds the lanes' locks (shm/lane_lock.h). Returns 0, or with a text
 * in `error`:
 *   -ENOENT, -ECONNREFUSED  no router is running
 *   -EAGAIN                 the router refuses for now
 *   -EPROTO                 the router's answer breaks the protocol
 *   another -errno */
int attachment_open(struct attachment *, const char *run_dir, const char *program,
    const char *queue, uint64_t lanes, int lock_fd, char *error, size_t error_bytes);
void attachment_close(struct attachment *);
/* Reads queue and policy from the payload of a worker's WELCOME that came with `lanes` lanes.
 * Returns 0 or -EPROTO. */
int attachment_read_welcome(struct attachment *, const void *payload, size_t length, size_t lanes);

/* False once the router has closed the connection. */
bool attachment_alive(const struct attachment *);

/* Takes the delivery with the lowest sequence of all lanes. *record points into the lane until
 * attachment_release(). Returns 1 with *lane set, 0 if all rings are empty, or -EPROTO. */
int attachment_take(struct attachment *, struct ring_record *record, unsigned *lane);
/* Reports a fault of this worker to the router: enum control_worker_flag. */
void attachment_flag(struct attachment *, uint64_t flags);
/* The number of the queue's messages that were done (2xx), from the router's counters. */
uint64_t attachment_done(const struct attachment *);
bool attachment_has_delivery(struct attachment *);
/* Puts back the delivery that attachment_take() returned last. */
void attachment_untake(struct attachment *, const struct ring_record *record, unsigned lane);
/* Frees the ring space of all taken deliveries, and wakes the router if asleep. */
void attachment_release(struct attachment *);

/* Writes a completion; flags: enum lane_completion_flag. The router sees the completion after
 * attachment_publish(). Returns 1, 0 if the ring is full (publish, then try again), or -EPROTO. */
int attachment_complete(struct attachment *, unsigned lane, uint64_t sequence, uint64_t state,
    int status, uint32_t flags, const char *reason);
void attachment_publish(struct attachment *);

/* The subscription's current state word. */
uint64_t attachment_state(const struct attachment *);
/* Reads the detail of the state word `state`. False if the word has changed. */
bool attachment_detail(const struct attachment *, uint64_t state, struct control_detail *);
/* Marks the start of a handler on this message; marks that no handler runs. */
void attachment_start(struct attachment *, uint64_t sequence, uint64_t now_ns);
void attachment_end(struct attachment *);
/* Tells the router (1) that this worker is alive, and (2) that no handler runs, or will be started,
 * under a state older than `state`, a result of attachment_state(). Call between batches only. */
void attachment_heartbeat(struct attachment *, uint64_t state, uint64_t handled, uint64_t now_ns);

/* Sleeps until (1) the router rings, (2) with for_delivery: a ring has a delivery, (3) the state
 * word differs from `state`, or (4) timeout_ns has passed. */
void attachment_wait(struct attachment *, uint64_t state, bool for_delivery, int64_t timeout_ns);

#endif
