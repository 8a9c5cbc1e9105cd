/*
 * gate - the transition table of subscriptions: events and states. Shown in headgate(7).
 */
#ifndef HEADGATE_SHM_GATE_H
#define HEADGATE_SHM_GATE_H

#include "shm/control.h"

enum gate_event {
	/* Commands of a person or a control message: */
	GATE_START, /* open the gate */
	GATE_STOP,  /* close the gate */
	GATE_SKIP,  /* give up the message that tripped the queue, then open the gate */
	/* Events in the router: */
	GATE_FAILED, /* a handler answered 5xx; STOPPED stays, and its detail records the failure */
	GATE_PASSED, /* the probed message has ended, or blocks its group only */
	GATE_PROBE,  /* auto_probe is due */
	GATE_RESTART, /* the router starts */
	GATE_DAMAGE,  /* a message cannot be read */
	GATE_EVENTS
};
/* "start", ... */
const char *gate_event_name(enum gate_event);

/* The next state, perhaps the same one; 0 if the table has no transition, and for an invalid state
 * or event. */
enum control_state gate_next(enum control_state, enum gate_event);

#endif
