/*
 * wire - the protocol on RUN/router.sock, a Unix stream socket.
 *
 * A frame is struct wire_header, then `length` bytes of payload. The first frame of a connection is
 * WIRE_HELLO. The role in HELLO decides which frames may follow.
 *
 *   role        client -> router                    router -> client
 *   publisher   HELLO, PUBLISH ...                  WELCOME, RESULT ..., ERROR
 *   worker      HELLO (with the lock file's fd)     WELCOME (with eventfd and lane memfds), ERROR
 *   control     HELLO, POKE, MOVE, GROUPS, TRY      WELCOME, MOVED, GROUP_LIST, TRIED, ERROR
 *
 * A closed connection means that the worker is gone. The router closes the connection of a client
 * that breaks a rule.
 *
 * Payloads are msgpack arrays, packed with msgpack-c. A receiver calls wire_check() first, because
 * msgpack-c allocates by the counts in the payload. PUBLISH alone is no msgpack: struct
 * wire_publish, then `count` times a uint32_t length and that many bytes of envelope. Integers
 * outside msgpack are in host byte order, as both ends are on one machine.
 *
 *   HELLO    [WIRE_VERSION, role, program, queue or topic name, wants_receipts, lanes mask]
 *   WELCOME  to a publisher: [topic id, topic name, max body bytes, [group_by...], [dedup_by...],
 *                             control topic?, [queue name...]]
 *                RESULT names a queue by its index in the list of queue names.
 *            to a worker:    [queue index, [lane number...], [blocks 5xx?, blocks 4xx?, worker
 *                             deaths a message may cause, visibility timeout in ns,
 *                             fault markers?]]
 *                Descriptors: the eventfd, then one memfd per lane. The last array is struct
 *                policy. The policy overrides the worker's own configuration, but switches no
 *                fault markers on.
 *            to control:     []
 *   RESULT   [[first, count, status, duplicate, [[queue, sequence]...]] ...]
 *            In order of message number, without gaps. Status: 200, 400, 413, 422 or 503. For
 *            errors the last element is the reason, a text.
 *   ERROR    [status, text]   The router closes the connection afterwards.
 *   POKE     []               The client changed a state word in the control segment.
 *   MOVE     [queue, target, [[sequence, position] ...]]
 *            Messages of a dead-letter queue, ascending by sequence, at most WIRE_MOVE_MAX.
 *            `position` is the message's offset in the log. The messages go to the queue `target`;
 *            "" deletes them.
 *   MOVED    [moved, gone, status, text]
 *            Sent when the transfer is on disk. `moved` messages were transferred; `gone` messages
 *            had been settled before. Status: 200; 404: no such queue; 409: a worker is attached,
 *            or a position holds another message, so the client reads the log again; 503: no space,
 *            try again. Transfers counted in `moved` are done, whatever the status.
 *
 * The router handles a GROUPS or TRY only when the client has received all earlier answers, so a
 * client that sends and never reads holds at most one answer in memory. A client sends nothing
 * between TRY and TRIED, and TRIED may take long. message/blocked.h packs and reads these four:
 *
 *   GROUPS      [queue, hash]
 *               Asks for the blocked groups of a queue from `hash` upwards.
 *   GROUP_LIST  [known, more, total, [[hash, sequence, since, due in, behind, tries, status, state,
 *               error] ...]]
 *               At most BLOCKED_PAGE groups. `known` is false if the queue does not exist.
 *   TRY         [queue, group, give up?, message id, reason]
 *               Retries the message at the group's head now, or gives the message up. A message id
 *               that is not "" limits the request to this message.
 *   TRIED       [outcome, sequence, message id, status, text]
 *               The outcome. A message that ended is on disk as ended before TRIED is sent.
 */
#ifndef HEADGATE_MESSAGE_WIRE_H
#define HEADGATE_MESSAGE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WIRE_VERSION = 3,
	WIRE_SMALL_BYTES = 64 << 10, /* longest payload of each type but PUBLISH */
	WIRE_MOVE_MAX = 1024,        /* messages per MOVE */
	WIRE_PUBLISH_BYTES = 2 << 20 /* longest PUBLISH payload; a message of 1 MiB always fits */
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
	uint64_t first; /* number of the first message; a connection's messages count from 1 */
	uint32_t count;
	uint32_t pad;
};
_Static_assert(sizeof(struct wire_publish) == 16, "wire layout");

/* True if the type is known and the length within the type's bound. */
bool wire_header_valid(const struct wire_header *);

/* Walks one msgpack object of `length` bytes without allocating. True if
 * (1) the object is whole and ends exactly at `length`,
 * (2) the object is nested at most `depth` levels (at most 32), and
 * (3) no count and no length exceeds the bytes that remain.
 * Tags: https://github.com/msgpack/msgpack/blob/master/spec.md */
bool wire_check(const void *data, size_t length, unsigned depth);

/* Connects to RUN/router.sock. Returns the descriptor (close-on-exec, blocking) or -errno:
 *   -ENOENT, -ECONNREFUSED  no router is running
 *   -ETIMEDOUT              the router accepted no connection within timeout_ms
 *   -EINTR                  a signal arrived first
 *   -ENAMETOOLONG           the path is longer than 107 bytes
 *   -EPERM                  the listener is neither root nor the caller's user
 * Each later write to the descriptor has the same time limit. */
int wire_connect(const char *run_dir, int timeout_ms);

/* Sends header, payload and fd_count descriptors; for clients that may block (workers, ctl).
 * Returns 0 or -errno. -ETIMEDOUT: the router read nothing within the limit set by wire_connect().
 * -EINTR: a signal arrived first. After an error the caller closes the connection. */
int wire_send(int fd, enum wire_type type, const void *payload, size_t length, const int *fds,
    size_t fd_count);

/* A client's first frame. */
struct wire_hello {
	enum wire_role role;
	const char *program;
	const char *name; /* topic or queue; "" for control */
	bool wants_receipts;
	uint64_t lanes; /* workers: bit n requests lane n */
};
/* lock_fd: the worker's lock file; -1 for other roles. Returns as wire_send() does. A connection
 * that the router has closed is no error here: an ERROR frame with the reason may wait to be
 * received. */
int wire_send_hello(int fd, const struct wire_hello *, int lock_fd);

/* Receives one frame into `buffer` (WIRE_SMALL_BYTES large) and sets *type and *length. fd_count
 * NULL: no descriptors are taken. Otherwise up to *fd_count descriptors go to `fds`, and *fd_count
 * is set to their number; surplus descriptors are closed. Waits at most timeout_ms; -1: no limit.
 * Returns 0, -ETIMEDOUT, -EPIPE at the end of the stream, -EPROTO for a bad header, -EMFILE if the
 * process has no room for a descriptor, or another -errno. */
int wire_receive(int fd, enum wire_type *type, void *buffer, size_t *length, int *fds,
    size_t *fd_count, int timeout_ms);

/* Tells the router in run_dir that `program` changed a state word. Waits at most timeout_ms. Errors
 * are ignored, because the router polls the state words as well. */
void wire_poke(const char *run_dir, const char *program, int timeout_ms);

#endif
