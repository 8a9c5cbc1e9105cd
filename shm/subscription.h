/*
 * subscription - opens and closes gates for people, in headgatectl and the subscription manager.
 */
#ifndef HEADGATE_SHM_SUBSCRIPTION_H
#define HEADGATE_SHM_SUBSCRIPTION_H

#include "shm/control.h"
#include "shm/gate.h"

/* The origin of a change, and its options. */
struct subscription_by {
	const char *program;
	const char *user; /* NULL: the user of this process */
	const char *reason;
	const char *message_id; /* expected id of the message that tripped the queue; NULL: any */
	bool new_reason;        /* a stop of a STOPPED queue replaces its reason */
	bool drain; /* a stop lets workers handle their messages, unless a message has failed */
};

enum subscription_result {
	SUBSCRIPTION_CHANGED = 1,
	SUBSCRIPTION_SAME,         /* the state was the same before; a new reason is stored */
	SUBSCRIPTION_REFUSED,      /* the event has no transition in this state */
	SUBSCRIPTION_OTHER_MESSAGE /* another message tripped the queue */
};

struct subscription_change {
	enum control_state from, to;  /* to: 0 if refused */
	uint64_t generation;          /* of the resulting state */
	bool drains;                  /* workers go on with messages handed out before */
	struct control_detail before; /* detail of the state `from` */
};

/* Applies the event to the queue with this index. The caller holds control_lock(), and calls
 * wire_poke() afterwards to wake the router. */
enum subscription_result subscription_change(struct control *, unsigned queue, enum gate_event,
    const struct subscription_by *, struct subscription_change *);

/* Waits at most timeout_ns until this generation is on disk. Returns 0; -ESRCH if the router is
 * gone; -EAGAIN if the change is not on disk yet. */
int subscription_wait_logged(
    const struct control *, unsigned queue, uint64_t generation, uint64_t timeout_ns);

/* Why the queue's log has no room, as a text: a change may not be logged for that; NULL: it has
 * room. */
const char *subscription_lacks_room(const struct control *, unsigned queue);

/* Waits at most timeout_ns until (1) this generation is on disk, and (2) each worker of the queue
 * other than this process has seen it. Returns as subscription_wait_logged() does, and -ETIMEDOUT
 * with *worker set to the pid of a worker that has not seen the generation. */
int subscription_wait(const struct control *, unsigned queue, uint64_t generation,
    uint64_t timeout_ns, uint32_t *worker);

#endif
