/*
 * wire - what goes over RUN/router.sock, a Unix stream socket.
 *
 * Every frame: struct wire_header, then length bytes of payload. The first frame of a connection is
 * WIRE_HELLO; its role decides what may follow.
 *
 *   role        client -> router                    router -> client
 *   publisher   HELLO, PUBLISH ...                  WELCOME, RESULT ..., ERROR
 *   worker      HELLO (with the lock file's fd)     WELCOME (with eventfd and lane memfds), ERROR
 *   control     HELLO, POKE, MOVE, GROUPS, TRY      WELCOME, MOVED, GROUP_LIST, TRIED, ERROR
 *
 * A worker that hangs up is gone; the router hangs up on one that breaks a rule.
 *
 * Payloads are msgpack arrays (packed with msgpack-c; checked by wire_check() before msgpack-c reads
 * them), but for PUBLISH, which is struct wire_publish and then count times a uint32_t length and
 * that many bytes of envelope. Integers outside of msgpack are in host byte order: the peer is on
 * this machine.
 *
 *   HELLO    [WIRE_VERSION, role, program, queue or topic name, wants_receipts, lanes mask]
 *   WELCOME  publisher: [topic id, topic name, max body bytes, [group_by...], [dedup_by...],
 *                        control topic?, [queue name...]]   (queue names: what RESULT's indices mean)
 *            worker:    [queue index, [lane number...], [blocks 5xx?, blocks 4xx?, lives that a
 *                        message may cost, visibility timeout in ns]]
 *                        with fds: eventfd, then one a lane. The last is struct policy, by which the
 *                        worker goes, whatever its own configuration says.
 *            control:   []
 *   RESULT   [[first, count, status, duplicate, [[queue, sequence]...]] ...]
 *            in order of number, without gaps; status 200, 400, 413, 422 or 503; for errors the
 *            last element is the text of the reason instead.
 *   ERROR    [status, text]   the connection ends behind it
 *   POKE     []               a state word in the control segment was changed
 *   MOVE     [queue, target, [[sequence, position] ...]]
 *            messages of a dead-letter queue, ascending by sequence, at most WIRE_MOVE_MAX, each with its
 *            place in the log; go to the queue target, or away for good when that is ""
 *   MOVED    [moved, gone, status, text]   when it is on disk: so many were moved, so many were settled
 *            before. status 200; 404 no such queue; 409 a worker is attached, or a place is no longer
 *            that message's: look again; 503 no room: try again. What was moved before that is done.
 *
 * A GROUPS or TRY is looked at when all that was answered before has been sent: there is one answer at a time,
 * of one frame, whatever a client asks for and does not read. Behind a TRY nothing may come before its
 * TRIED, which may take long. message/blocked.h packs and reads these:
 *
 *   GROUPS      [queue, hash]   the blocked groups of a queue with this hash or a higher one
 *   GROUP_LIST  [known, more, total, [[hash, sequence, since, due in, behind, tries, status, state,
 *               error] ...]]    at most BLOCKED_PAGE of them; known: is there such a queue?
 *   TRY         [queue, group, give up?, message id, reason]   the message at the group's head is tried
 *               now, or given up; if there is a message id, only if it is that one
 *   TRIED       [outcome, sequence, message id, status, text]   what became of it; when it was ended, once
 *               that is on disk
 */
#ifndef HEADGATE_MESSAGE_WIRE_H
#define HEADGATE_MESSAGE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WIRE_VERSION = 2,
	WIRE_SMALL_BYTES = 64 << 10, /* longest payload of all but PUBLISH */
	WIRE_MOVE_MAX = 1024,        /* messages of one MOVE */
	WIRE_PUBLISH_BYTES = 2 << 20 /* longest PUBLISH payload; one message of 1 MiB always fits */
};

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_WELCOME,
	WIRE_PUBLISH,
	WIRE_RESULT,
	WIRE_ERROR,
	WIRE_POKE,
	WIRE_MOVE,
	WIRE_MOVED,
	WIRE_GROUPS,
	WIRE_GROUP_LIST,
	WIRE_TRY,
	WIRE_TRIED
};

enum wire_role { WIRE_PUBLISHER = 1, WIRE_WORKER, WIRE_CONTROL };

struct wire_header {
	uint32_t length; /* of the payload, bytes */
	uint8_t type;    /* enum wire_type */
	uint8_t pad[3];  /* 0 */
};
_Static_assert(sizeof(struct wire_header) == 8, "wire layout");

struct wire_publish {
	uint64_t first; /* number of the first message: the connection counts its messages from 1 */
	uint32_t count;
	uint32_t pad;
};
_Static_assert(sizeof(struct wire_publish) == 16, "wire layout");

/* True when type is known and length within its bound. */
bool wire_header_valid(const struct wire_header *);

/* Walks one msgpack object of length bytes without allocating: true when it is whole, ends exactly at
 * length, is nested at most depth deep, and no count or length goes beyond the bytes that remain. */
bool wire_check(const void *data, size_t length, unsigned depth);

/* RUN/router.sock: connects. Returns the fd (close-on-exec, blocking), or -errno: -ENOENT and
 * -ECONNREFUSED when no router is there, -ETIMEDOUT when a router does not take connections within timeout_ms, -EINTR when a
 * signal came first, -ENAMETOOLONG when the path is beyond 107 bytes, -EPERM when who listens is another user, who is not
 * root either. Each later write to the fd has the same limit. */
int wire_connect(const char *run_dir, int timeout_ms);

/* Blocking exchange for simple clients (workers, ctl). Sends header and payload, with fd_count
 * descriptors. Returns 0 or -errno: -ETIMEDOUT when the router takes nothing for the limit that wire_connect() was given,
 * -EINTR when a signal came first. The connection is of no use then. */
int wire_send(int fd, enum wire_type type, const void *payload, size_t length, const int *fds,
    size_t fd_count);

/* A client's first frame. */
struct wire_hello {
	enum wire_role role;
	const char *program;
	const char *name; /* of a topic or queue, or "" */
	bool wants_receipts;
	uint64_t lanes; /* of a worker: bit n asks for lane n */
};
/* lock_fd: of a worker, else -1. Returns as wire_send(); 0 also when the router has hung up: why may be there to be
 * received. */
int wire_send_hello(int fd, const struct wire_hello *, int lock_fd);

/* Receives one frame of at most WIRE_SMALL_BYTES into buffer (that large). *length and *type are set;
 * up to *fd_count descriptors are put into fds and *fd_count set. Waits at most timeout_ms (-1: for
 * ever). Returns 0, -ETIMEDOUT, -EPIPE at the end of the stream, -EPROTO, or -errno. */
int wire_receive(int fd, enum wire_type *type, void *buffer, size_t *length, int *fds,
    size_t *fd_count, int timeout_ms);

/* Tells the router in run_dir that program changed a state word, if it answers within timeout_ms. It would
 * see it by itself, a little later. */
void wire_poke(const char *run_dir, const char *program, int timeout_ms);

#endif
