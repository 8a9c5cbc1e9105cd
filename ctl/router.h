/*
 * router - asks a living router: to move dead letters, which groups are blocked, and to try one.
 */
#ifndef HEADGATE_CTL_ROUTER_H
#define HEADGATE_CTL_ROUTER_H

#include "ctl/ctl.h"
#include "message/blocked.h"
#include "message/wire.h"

struct router_place { /* of a message in a queue's log */
	uint64_t sequence, position;
};

struct router_moved { /* what a MOVED says, see message/wire.h */
	uint64_t moved, gone;
	int status;
	char text[128];
};

enum { ROUTER_ANSWER_MS = 5000 };

/* Connects, with so much time for each step. Ends the program, with what to do about it, when that cannot be. */
int router_connect(const struct ctl *, int timeout_ms);

/* One MOVE, of at most WIRE_MOVE_MAX places; target "": away for good. Returns 0 or -errno; then the wait
 * for the answer is still to be done. */
int router_send_move(
    int fd, const char *queue, const char *target, const struct router_place *places, size_t count);
/* Its answer, once something can be read. Returns 0, -EPIPE when the router is gone, -EPROTO, -errno. */
int router_receive_moved(int fd, struct router_moved *);

/* One page of a queue's blocked groups, see message/blocked.h. Returns 0, -EPIPE when the router is gone,
 * -ETIMEDOUT, -EPROTO, or -errno. */
int router_blocked(int fd, const char *queue, uint64_t from, struct blocked_page *);
/* Orders a TRY, and waits for what becomes of it. Returns as router_blocked(). */
int router_try(int fd, const struct blocked_try *, int timeout_ms, struct blocked_tried *);

#endif
