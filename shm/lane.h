/*
 * lane - the ring pair between the router and one worker, in a sealed memfd.
 *
 *   offset 0            struct lane_shared: identity, the worker's words, doorbells, ring positions
 *   LANE_DATA_OFFSET    delivery ring data      (router -> worker), delivery_capacity bytes
 *   ... behind it       completion ring data    (worker -> router), completion_capacity bytes
 *
 * The router creates a lane for each lane number that a worker is given, and hands over the memfd
 * by SCM_RIGHTS. A lane is never reused: when its worker is gone it is dropped with everything in
 * it, and the next worker gets a fresh one from the first unsettled message.
 *
 * Words that one side reads together, and why that is right:
 *   ring position and record bytes   ring.h: release and acquire on the position
 *   sleeping and ring positions      doorbell.h: a full barrier on each side
 *   starting.sequence and .since_ns  start.h: release and acquire, and since_ns is never set back
 *   state_seen and completions       release and acquire on state_seen: who sees it sees the outcomes of all handlers that
 *                                    were started under older states
 *   starting and the state word      never read together. Who changes the state waits for state_seen. No handler starts
 *                                    under an older state after that, without a barrier: each look at the state word
 *                                    finds it as new as the look before, or newer (tests/model/gate.pml)
 *   heartbeat_ns, handled            each read by itself
 *   what stands in the header        copied once, and checked, before the lane is used
 *
 * Changing the layout: change LANE_MAGIC's last digit; the fingerprint follows by itself.
 */
#ifndef HEADGATE_SHM_LANE_H
#define HEADGATE_SHM_LANE_H

#include "shm/doorbell.h"
#include "shm/ring.h"
#include "shm/start.h"

#define LANE_MAGIC "HGLANE03"

/* The simulation makes it smaller, so that rings are full. */
#ifndef LANE_DELIVERY
#define LANE_DELIVERY (1 << 20)
#endif
#define LANE_DELIVERY_BYTES LANE_DELIVERY /* default capacity of the delivery ring */

enum {
	LANE_DATA_OFFSET = 4096,    /* or a page, if that is larger */
	LANE_QUEUE_NAME_BYTES = 64, /* with the terminating NUL */
	LANE_COMPLETION_BYTES = 1 << 18
};

/* What a ring record's tag says. */
enum lane_tag { LANE_TAG_DELIVERY = 1, LANE_TAG_COMPLETION = 2 };

/* Payload of a delivery record: this, then reason_length bytes of UTF-8, then the envelope
 * (message/envelope.h). */
struct lane_delivery {
	uint64_t sequence;      /* the queue's, from 1 */
	uint32_t receive_count; /* handlers that were started on it before and died */
	uint16_t flags;         /* enum lane_delivery_flag */
	uint16_t status;        /* with LANE_GIVE_UP: as what it is recorded */
	uint16_t reason_length; /* ... and why */
	uint16_t pad[3];
};
_Static_assert(sizeof(struct lane_delivery) == 24, "shared layout");

enum lane_delivery_flag {
	LANE_AGAIN = 1,  /* its group was blocked, and is not any more */
	LANE_GIVE_UP = 2 /* not to be handled, but recorded as failed */
};

/* Payload of a completion record: this, then reason_length bytes of UTF-8. */
struct lane_completion {
	uint64_t sequence;
	uint64_t state_seen; /* the state word (control.h) that the handler was started under */
	uint16_t status;     /* 200 .. 599 */
	uint16_t reason_length;
	uint32_t flags; /* enum lane_completion_flag */
};
_Static_assert(sizeof(struct lane_completion) == 24, "shared layout");
enum lane_completion_flag {
	LANE_ENDED = 1,     /* of a failure: it is recorded, and the message is not tried again */
	LANE_GIVEN_BACK = 2 /* it was not handled: one of its group that comes before it failed */
};
enum { LANE_REASON_BYTES = 512 }; /* longest reason; longer ones are cut */

/* Written by the worker, read by the router, which believes none of it but in what concerns this worker. */
struct lane_worker_words {
	_Alignas(RING_LINE_BYTES) struct start starting; /* what its handler is at */
	_Atomic uint64_t heartbeat_ns;                   /* CLOCK_MONOTONIC */
	_Atomic uint64_t
	    state_seen; /* state word: no handler is at work or started under an older one */
	_Atomic uint64_t handled; /* messages handled since it attached */
	_Atomic uint64_t flags;   /* enum control_worker_flag (control.h) */
};

struct lane_shared {
	char magic[8];
	uint32_t endian;      /* 0x01020304 as the router writes it */
	uint32_t fingerprint; /* lane_fingerprint() */
	uint64_t size;        /* of the memfd, bytes */
	uint64_t log_id;
	uint64_t generation; /* of the lane: one more for every worker that attached */
	uint64_t delivery_capacity;
	uint64_t completion_capacity;
	uint32_t queue_index; /* in the control segment */
	uint32_t lane;        /* number, from 0 */
	uint32_t lanes;       /* that the queue has */
	uint32_t max_message_bytes;
	char queue[LANE_QUEUE_NAME_BYTES];

	_Alignas(
	    RING_LINE_BYTES) struct doorbell worker_bell; /* worker sleeps; in its first lane */
	_Alignas(
	    RING_LINE_BYTES) struct doorbell router_bell; /* router sleeps; in its first lane */
	struct lane_worker_words worker;
	_Alignas(RING_LINE_BYTES) struct ring_shared delivery;
	struct ring_shared completion;
};
_Static_assert(sizeof(struct lane_shared) <= LANE_DATA_OFFSET, "header page");

/* One process's mapping of a lane. */
struct lane {
	struct lane_shared *shared;
	size_t size;
	int fd; /* the memfd; -1 when closed */
	size_t delivery_capacity,
	    completion_capacity; /* as checked; what is shared may change ... */
	uint64_t log_id;         /* ... as it stood there */
	uint32_t number, max_message_bytes;
	void *delivery_data;   /* mapped twice */
	void *completion_data; /* mapped twice */
};

struct lane_params {
	const char *queue;
	uint64_t log_id, generation;
	size_t delivery_capacity, completion_capacity; /* bytes, powers of two >= 4096 */
	uint32_t queue_index, lane, lanes, max_message_bytes;
};

/* Hash of every offset and size in the layout: two builds that differ do not talk. */
uint32_t lane_fingerprint(void);

/* Router. Makes the memfd (allocated, so that a full tmpfs is an error here and not SIGBUS later),
 * seals it against shrinking and growing, maps it. Returns 0 or -errno; *lane is then unmapped. */
int lane_create(struct lane *lane, const struct lane_params *);

/* Closes the memfd: the mappings stay. */
void lane_close_fd(struct lane *);

/* Worker. Maps a lane that the router handed over, and closes the fd. Returns 0, -EPROTO for a wrong
 * magic, size, seal or queue name, -ESTALE for another version or fingerprint, or -errno. */
int lane_attach(struct lane *lane, int fd, const char *queue);

/* Unmaps and closes. Safe on a lane that failed to attach. */
void lane_drop(struct lane *lane);

/* Maps length bytes at offset of fd twice, back to back. Returns 0 or -errno. */
int lane_map_twice(int fd, uint64_t offset, size_t length, void **data);

#endif
