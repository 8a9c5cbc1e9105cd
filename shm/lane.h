/*
 * lane - the ring pair between the router and one worker, in a sealed memfd.
 *
 *   offset 0            struct lane_shared: identity, the worker's words, doorbells, ring positions
 *   LANE_DATA_OFFSET    delivery ring data      (router -> worker), delivery_capacity bytes
 *   ... behind it       completion ring data    (worker -> router), completion_capacity bytes
 *
 * The router creates a lane for each lane number of a worker, and passes the memfd by SCM_RIGHTS. A
 * lane is never reused: the router drops a dead worker's lane with all its contents, and gives the
 * next worker a new lane, from the first unsettled message on.
 *
 * Words that a reader reads together, with the reason why the combination is consistent:
 *   ring position and record bytes   ring.h: release and acquire on the position.
 *   sleeping and ring positions      doorbell.h: a full barrier on each side.
 *   starting.sequence and .since_ns  start.h: release and acquire; since_ns is never set back.
 *   state_seen and completions       Release and acquire on state_seen: a reader finds the outcomes
 *                                    of all handlers started under older states.
 *   starting and the state word      Never read together. A process that changes the state waits
 *                                    for state_seen. Afterwards no handler starts under an older
 *                                    state, even without a barrier: successive loads of the state
 *                                    word never go back in time (tests/model/gate.pml).
 *   heartbeat_ns, handled            Independent.
 *   header                           Copied once, and checked, before the lane is used.
 *
 * After a change of the layout, change LANE_MAGIC's last digit. The fingerprint follows
 * automatically.
 */
#ifndef HEADGATE_SHM_LANE_H
#define HEADGATE_SHM_LANE_H

#include "shm/doorbell.h"
#include "shm/ring.h"
#include "shm/start.h"

#define LANE_MAGIC "HGLANE03"

/* The simulation uses smaller rings, which get full. */
#ifndef LANE_DELIVERY
#define LANE_DELIVERY (1 << 20)
#endif
#define LANE_DELIVERY_BYTES LANE_DELIVERY /* default capacity of the delivery ring */

enum {
	LANE_DATA_OFFSET = 4096,    /* or a page, if that is larger */
	LANE_QUEUE_NAME_BYTES = 64, /* with the terminating NUL */
	LANE_COMPLETION_BYTES = 1 << 18
};

/* Tags of ring records. */
enum lane_tag { LANE_TAG_DELIVERY = 1, LANE_TAG_COMPLETION = 2 };

/* Payload of a delivery record: this, then reason_length bytes of UTF-8, then the envelope
 * (message/envelope.h). */
struct lane_delivery {
	uint64_t sequence;      /* in the queue, from 1 */
	uint32_t receive_count; /* earlier handlers of the message that died */
	uint16_t flags;         /* enum lane_delivery_flag */
	uint16_t status;        /* LANE_GIVE_UP: record the message as failed with this status */
	uint16_t reason_length; /* LANE_GIVE_UP: bytes of the reason; else 0 */
	uint16_t pad[3];
};
_Static_assert(sizeof(struct lane_delivery) == 24, "shared layout");

enum lane_delivery_flag {
	LANE_AGAIN = 1,  /* the router has unblocked the message's group */
	LANE_GIVE_UP = 2 /* record the message as failed instead of handling it */
};

/* Payload of a completion record: this, then reason_length bytes of UTF-8. */
struct lane_completion {
	uint64_t sequence;
	uint64_t state_seen; /* state word (control.h) when the handler started */
	uint16_t status;     /* 200 .. 599 */
	uint16_t reason_length;
	uint32_t flags; /* enum lane_completion_flag */
};
_Static_assert(sizeof(struct lane_completion) == 24, "shared layout");
enum lane_completion_flag {
	LANE_ENDED = 1,     /* the failure is recorded in the store; the message is not retried */
	LANE_GIVEN_BACK = 2 /* not handled, as an earlier message of the group failed */
};
enum { LANE_REASON_BYTES = 512 }; /* longest reason; longer ones are cut */

/* Written by the worker. The router uses these words for decisions about this worker only. */
struct lane_worker_words {
	_Alignas(RING_LINE_BYTES) struct start starting; /* message being handled */
	_Atomic uint64_t heartbeat_ns;                   /* CLOCK_MONOTONIC */
	_Atomic uint64_t state_seen; /* state word; no handler runs or starts under an older one */
	_Atomic uint64_t handled;    /* messages since the attachment */
	_Atomic uint64_t flags;      /* enum control_worker_flag (control.h) */
};

struct lane_shared {
	char magic[8];
	uint32_t endian;      /* 0x01020304 in the router's byte order */
	uint32_t fingerprint; /* lane_fingerprint() */
	uint64_t size;        /* of the memfd, bytes */
	uint64_t log_id;
	uint64_t generation; /* of the lane: increases with each attached worker */
	uint64_t delivery_capacity;
	uint64_t completion_capacity;
	uint32_t queue_index; /* in the control segment */
	uint32_t lane;        /* number, from 0 */
	uint32_t lanes;       /* of the queue */
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
	/* Checked copies; a faulty peer may change the shared originals. */
	size_t delivery_capacity, completion_capacity;
	uint64_t log_id;
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

/* A hash of all offsets and sizes of the layout, so that different builds refuse each other. */
uint32_t lane_fingerprint(void);

/* Router. Makes a memfd, seals it against shrinking and growing, and maps it. The memory is
 * allocated here, so that a full tmpfs is an error here instead of a SIGBUS later. Returns 0, or
 * -errno with nothing mapped. */
int lane_create(struct lane *lane, const struct lane_params *);

/* Closes the memfd; the mappings stay. */
void lane_close_fd(struct lane *);

/* Worker. Maps a lane from the router, and closes `fd`. Returns 0; -EPROTO for a wrong magic, size,
 * seal or queue name; -ESTALE for another version or fingerprint; or another -errno. */
int lane_attach(struct lane *lane, int fd, const char *queue);

/* Unmaps and closes. Allowed after a failed lane_attach(). */
void lane_drop(struct lane *lane);

/* Maps `length` bytes at `offset` of `fd` twice, back to back. Returns 0 or -errno. */
int lane_map_twice(int fd, uint64_t offset, size_t length, void **data);

#endif
