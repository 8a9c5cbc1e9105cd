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
 *
 * A person may have it tried at once, or given up (router/session/admin.h).
 */
#ifndef HEADGATE_ROUTER_DELIVERY_BLOCKING_H
#define HEADGATE_ROUTER_DELIVERY_BLOCKING_H

#include "message/envelope.h"
#include "router/delivery/worker.h"

/* The cursor has come to this message: parks it if its group is blocked. Returns 1, 0, or -ENOMEM. */
int blocking_park(struct worker *, const struct log_frame *);

/* The group of a message that stands at parked; block: a new one, if it was open. Returns 0; -EPROTO when it was and
 * is not to be blocked; -ENOMEM; or -EBADMSG or -EAGAIN, as lookup_find(). */
int blocking_group(struct queue *, struct parked, bool block, struct group **group);

/* What a worker says of a message. parked: where it stands. Each returns 0 or -ENOMEM. */
int blocking_failed(
    struct worker *, struct group *, struct parked, uint16_t status, const char *reason);
int blocking_given_back(struct worker *, struct group *, struct parked);
void blocking_ended(struct worker *, struct group *);

/* The hash of the group of a message. Returns 0 or -EBADMSG. */
int blocking_hash(const struct log_frame *, uint64_t *hash);

/* Tries the message at a group's head now; skip: its sequence, when it is to be given up, or 0. */
void blocking_request(struct queue *, struct group *, uint64_t skip);
/* The id of a message that is parked or in flight. False when it cannot be read. May read the disk. */
bool blocking_message_id(struct queue *, struct parked, char id[ENVELOPE_ID_BYTES + 1]);

/* Delivers what is ready, as far as there is room. Returns as rings_put(). */
int blocking_deliver(struct worker *);

/* Ten times a second. */
void blocking_tick(struct worker *, uint64_t now_ns);

#endif
