/*
 * subscription - opening and closing a gate by hand: what headgatectl and the subscription manager do.
 */
#ifndef HEADGATE_SHM_SUBSCRIPTION_H
#define HEADGATE_SHM_SUBSCRIPTION_H

#include "shm/control.h"
#include "shm/gate.h"

/* Who asks for a change, and why. */
struct subscription_by {
	const char *program;
	const char *user; /* NULL: whose process this is */
	const char *reason;
	const char *message_id; /* that the trip must name; NULL: any */
	bool new_reason;        /* a stop of what is STOPPED already: for this reason from now on */
	bool drain; /* a stop: what workers were given is handled first, unless a message failed */
};

enum subscription_result {
	SUBSCRIPTION_CHANGED = 1,
	SUBSCRIPTION_SAME,    /* it was in this state before; a new reason of a stop is noted */
	SUBSCRIPTION_REFUSED, /* the event means nothing in this state */
	SUBSCRIPTION_OTHER_MESSAGE /* the trip names another one */
};

struct subscription_change {
	enum control_state from, to;  /* to: 0 when it was refused */
	uint64_t generation;          /* of the state that it is in now */
	bool drains;                  /* what was handed to workers is being handled */
	struct control_detail before; /* who, when and why of from */
};

/* Lets the event happen to the queue with this index. The caller holds control_lock(), and wakes the router
 * by wire_poke() when it is done. */
enum subscription_result subscription_change(struct control *, unsigned queue, enum gate_event,
    const struct subscription_by *, struct subscription_change *);

/* Waits, at most timeout_ns, until this generation is on disk. Returns 0; -ESRCH when the router is gone; -EAGAIN
 * when it has not logged the change yet. */
int subscription_wait_logged(
    const struct control *, unsigned queue, uint64_t generation, uint64_t timeout_ns);

/* Waits, at most timeout_ns, until this generation is on disk and every worker of the queue (but this
 * process, if it is one) has seen it. Returns as subscription_wait_logged(), and -ETIMEDOUT when *worker, a
 * pid, has not seen it yet. */
int subscription_wait(const struct control *, unsigned queue, uint64_t generation,
    uint64_t timeout_ns, uint32_t *worker);

#endif
