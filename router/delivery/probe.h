/*
 * probe - the message that is let through first when a gate that a 5xx closed is to be opened, and what
 * comes of it. Every outcome leads out of PROBING:
 *
 *   it was ended (2xx, 4xx, given up)         the gate opens
 *   it answered 5xx, server_error = stop      TRIPPED again
 *   it blocks its group, or waits in it       the gate opens: from here on it is its group's business;
 *     behind another that does                TRIPPED again if it was to be given up, as it was not
 *
 * While none is there yet, the worker died, it is delivered to the next one.
 */
#ifndef HEADGATE_ROUTER_DELIVERY_PROBE_H
#define HEADGATE_ROUTER_DELIVERY_PROBE_H

#include "router/state.h"

/* Each turn, while the queue is PROBING: begins a probe, whose message waits for no group, and opens the gate
 * when that was ended. Of a state that is none, makes STOPPED. */
void probe_look(struct queue *);

/* In TRIPPED, when the configuration says auto_probe: tries again when it is time. */
void probe_auto(struct queue *, uint64_t now_ns);

/* A message failed, and its group waits from now on. */
void probe_blocked(struct queue *, const struct group *, uint64_t sequence);

#endif
