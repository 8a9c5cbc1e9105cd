/*
 * blocking - what a failure does where it does not close the gate: the message is tried again, its group
 * waits, all other groups go on (server_error = block-group or retry, client_error = retry).
 *
 *               5xx                           time has passed
 *   (not blocked) ---> waiting (parked: all of it) ------> trying: one message is delivered
 *        ^                  ^                                 |            |
 *        |                  +--------------- 5xx -------------+            | 2xx
 *        |                  +--------------- 5xx -------------+            v
 *        +---------- nothing is parked any more ------------- releasing, in order
 */
#ifndef HEADGATE_ROUTER_BLOCKING_H
#define HEADGATE_ROUTER_BLOCKING_H

#include "router/delivery.h"

/* Is a message that ended so to be tried again? */
bool blocking_applies(const struct queue *, uint16_t status);

/* The cursor has come to this message: parks it if its group is blocked. Returns 1, 0, or -ENOMEM. */
int blocking_park(struct worker *, const struct log_frame *);

/* What a worker says of a message. parked: where it stands. Each returns 0, -EPROTO, -EBADMSG when the
 * message cannot be read, or -ENOMEM. group: NULL unless it was delivered again. */
int blocking_failed(
    struct worker *, struct group *, struct parked, uint16_t status, const char *reason);
int blocking_given_back(struct worker *, struct group *, struct parked);
void blocking_ended(struct worker *, struct group *);

/* Delivers what is ready, as far as there is room. Returns as delivery_put(). */
int blocking_deliver(struct worker *);

/* Ten times a second. */
void blocking_tick(struct worker *, uint64_t now_ns);

#endif
