/*
 * router - requests to a living router: transfers of dead letters, lists of blocked groups,
 * retries.
 */
#ifndef HEADGATE_CTL_ROUTER_H
#define HEADGATE_CTL_ROUTER_H

#include "ctl/ctl.h"
#include "message/blocked.h"
#include "message/wire.h"

struct router_place { /* of a message in a queue's log */
	uint64_t sequence, position;
};

struct router_moved { /* a MOVED frame, see message/wire.h */
	uint64_t moved, gone;
	int status;
	char text[128];
};

enum { ROUTER_ANSWER_MS = 5000 };

/* Connects, with a time limit for each step. Ends the program after an error, with a remedy. */
int router_connect(const struct ctl *, int timeout_ms);

/* Sends a MOVE with at most WIRE_MOVE_MAX places; target "": delete. Returns 0 or -errno. The
 * caller then waits for the answer. */
int router_send_move(
    int fd, const char *queue, const char *target, const struct router_place *places, size_t count);
/* Receives the answer, once the socket is readable. Returns 0, -EPIPE if the router is gone,
 * -EPROTO, or another -errno. */
int router_receive_moved(int fd, struct router_moved *);

/* Requests a page of a queue's blocked groups, see message/blocked.h. Returns 0, -EPIPE if the
 * router is gone, -ETIMEDOUT, -EPROTO, or another -errno. */
int router_blocked(int fd, const char *queue, uint64_t from, struct blocked_page *);
/* Sends a TRY, and waits for the outcome. Returns as router_blocked() does. */
int router_try(int fd, const struct blocked_try *, int timeout_ms, struct blocked_tried *);

#endif
