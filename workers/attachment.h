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
	struct ring_record head[CONFIG_LANES_MAX]; /* a delivery looked at but not taken */
	bool has_head[CONFIG_LANES_MAX];
	struct control control;
	unsigned queue;
	uint64_t log_id;
	struct policy policy; /* the router's */
};

/* Asks the router for these lanes of the queue (shm/lane_lock.h), which lock_fd holds; of LANE_LOCK_ALL it
 * gives those that there are. Returns 0; -ENOENT or
 * -ECONNREFUSED when no router is there; -EAGAIN when it said to try again; -EPROTO when what it sent
 * cannot be; or -errno. error is filled when it fails. */
int attachment_open(struct attachment *, const char *run_dir, const char *program,
    const char *queue, uint64_t lanes, int lock_fd, char *error, size_t error_bytes);
void attachment_close(struct attachment *);
/* Takes a worker's WELCOME that came with so many lanes: queue and policy. Returns 0 or -EPROTO. */
int attachment_read_welcome(struct attachment *, const void *payload, size_t length, size_t lanes);

/* Is the router still there? */
bool attachment_alive(const struct attachment *);

/* Takes the delivery with the lowest sequence of all lanes. *record points into the lane until
 * attachment_release(). Returns 1 with *lane set, 0 when there is none, -EPROTO. */
int attachment_take(struct attachment *, struct ring_record *record, unsigned *lane);
/* Says what is the matter with this worker: enum control_worker_flag. */
void attachment_flag(struct attachment *, uint64_t flags);
/* How many messages of the queue were done, as far as the log knows. */
uint64_t attachment_done(const struct attachment *);
bool attachment_has_delivery(struct attachment *);
/* Puts the last taken one back. */
void attachment_untake(struct attachment *, const struct ring_record *record, unsigned lane);
/* Gives the room of what was taken back to the router, and wakes it if it sleeps. */
void attachment_release(struct attachment *);

/* Reports an outcome; flags: enum lane_completion_flag. Returns 1, 0 when the ring is full (attachment_publish() and try again), or
 * -EPROTO. Shown to the router by attachment_publish(). */
int attachment_complete(struct attachment *, unsigned lane, uint64_t sequence, uint64_t state,
    int status, uint32_t flags, const char *reason);
void attachment_publish(struct attachment *);

/* The subscription's state word now. */
uint64_t attachment_state(const struct attachment *);
/* Why it is in this state. False when it is no longer this word. */
bool attachment_detail(const struct attachment *, uint64_t state, struct control_detail *);
/* Says in the lane that a handler is started on this message; that none is at work. */
void attachment_start(struct attachment *, uint64_t sequence, uint64_t now_ns);
void attachment_end(struct attachment *);
/* Says that this worker is alive, and that no handler is at work, nor will be started, under a state older than
 * this one: to be called between batches, with what attachment_state() returned. */
void attachment_heartbeat(struct attachment *, uint64_t state, uint64_t handled, uint64_t now_ns);

/* Sleeps until the router rings, something is in the rings, the state differs from state, or
 * timeout_ns has passed. */
void attachment_wait(struct attachment *, uint64_t state, bool for_delivery, int64_t timeout_ns);

#endif
