/*
 * gate - what may happen to a subscription, and what state it is in then. Drawn in headgate(7).
 */
#ifndef HEADGATE_SHM_GATE_H
#define HEADGATE_SHM_GATE_H

#include "shm/control.h"

enum gate_event {
	GATE_START,   /* a person, or a control message: open it */
	GATE_STOP,    /* ... close it */
	GATE_SKIP,    /* ... give up the message that tripped it, then open it */
	GATE_FAILED,  /* a message was answered with a server error; in STOPPED it is only noted */
	GATE_PASSED,  /* the message that is being probed was ended, or blocks its group only */
	GATE_PROBE,   /* auto_probe: it is time to try again */
	GATE_RESTART, /* the router starts */
	GATE_DAMAGE,  /* a message cannot be read */
	GATE_EVENTS
};
/* "start" ... */
const char *gate_event_name(enum gate_event);

/* The state that the event leads to, perhaps the same one; 0 when the event means nothing in this state
 * and nothing changes, also for a state that is none. */
enum control_state gate_next(enum control_state, enum gate_event);

#endif
