/*
 * connection - one client on RUN/router.sock: a publisher, a worker or headgatectl.
 *
 * Bytes come into a buffer that grows to the longest message and no further. Results are gathered in
 * a buffer, and move to the one that is being sent when the batch they speak of is durable.
 *
 *   0           durable          closed           length
 *   +--------------+---------------+----------------+
 *   | may be sent  |   in flight   | batch gathered |
 */
#ifndef HEADGATE_ROUTER_CONNECTION_H
#define HEADGATE_ROUTER_CONNECTION_H

#include "message/envelope.h"
#include "message/wire.h"
#include "router/state.h"

enum { CONNECTION_QUEUES = 64 }; /* that one message may go to */

struct buffer {
	uint8_t *data;
	size_t length, capacity;
};

struct connection;

/* What is done for who is at the other end. Those of a newcomer, until it says HELLO; then those of its role. Where
 * one is NULL nothing is to be done. */
struct connection_handlers {
	/* Takes what it can of in. Returns 1 when it needs more bytes, 0 when it must pause, or -EPROTO. */
	int (*consume)(struct connection *);
	/* The batch is being closed: results that were not put into out yet. */
	void (*flush)(struct connection *);
	/* The connection was closed. */
	void (*closed)(struct connection *);
	/* Frees what belongs to a closed connection. False: not yet, it is to be called again. */
	bool (*freeable)(struct connection *);
};

/* A publisher's side of it (session/publish.h). */
struct publisher {
	struct topic *topic;
	bool wants_receipts;
	bool refusing;        /* said "try again": refuses everything behind it */
	uint32_t left, bytes; /* messages, and bytes, of the PUBLISH frame being read */
	uint64_t next_number;
	struct {
		uint64_t first;
		uint32_t count;
		uint16_t status;
		bool duplicate;
	} run; /* results that are not encoded yet */
};

struct connection {
	TAILQ_ENTRY(connection) link;
	struct router *router;
	int fd;
	uint32_t peer_uid, peer_pid;
	enum wire_role role; /* 0: no HELLO yet */
	const struct connection_handlers *handlers;
	char program[CONFIG_NAME_BYTES];
	uint64_t opened_ns; /* CLOCK_MONOTONIC */
	bool closed;        /* freed as soon as nothing is pending */
	bool
	    paused; /* holds bytes that there is no room for in a log yet, or an answer is to be sent first */
	bool ending; /* closed when all of out is sent */
	struct worker *worker;

	struct {
		uint8_t *data;
		size_t capacity, start, end;
	} in;
	struct io_message receive;
	int received_fd; /* a worker's lock file, -1 */
	bool fd_was_cut; /* it was sent, and there was no descriptor for it */

	struct buffer out; /* what is drawn above */
	size_t out_durable, out_closed;
	struct buffer sending; /* the back end reads it; not touched meanwhile */
	size_t sent;
	struct io_request send_request;

	/* headgatectl */
	struct {
		struct queue *queue; /* NULL: it waits for nothing */
		uint64_t hash, sequence;
		bool skip;
		char message_id[ENVELOPE_ID_BYTES + 1];
	} request; /* waits for what becomes of this message */

	struct publisher publisher;
};

/* Takes over a new descriptor. Returns NULL without memory. */
struct connection *connection_new(struct router *, int fd, const struct connection_handlers *);
/* Begins to read from it. */
void connection_begin(struct connection *);

/* Ends a connection at once; it is freed when the back end has let go of it. */
void connection_close(struct connection *);
/* Frees what is closed and no longer in use. */
void connection_sweep(struct router *);
/* Goes on with a connection that was paused. */
void connection_resume(struct connection *);

/* Appends a frame to out; payload may be NULL to be filled by the caller. Returns where the payload
 * stands, or NULL without memory (the connection is then closed). */
uint8_t *connection_frame(struct connection *, enum wire_type, const void *payload, size_t length);
/* Sends what is durable in out; of a worker's everything: that promises nothing about the disk. */
void connection_flush(struct connection *);
/* Lets everything in out be sent now. */
void connection_flush_now(struct connection *);
/* Sends an ERROR frame and ends the connection behind it. */
void connection_refuse(struct connection *, int status, const char *text);

/* All publishers: the results so far belong to the batch that is being closed; that batch is durable. */
void connection_results_closed(struct router *);
void connection_results_durable(struct router *);

/* Takes whole small frames out of in, one call of the handler each, which returns 1, 0 to be called again later, or
 * -EPROTO. Returns as a consume handler. */
typedef int connection_frame_handler(
    struct connection *, enum wire_type, const void *payload, size_t length);
int connection_take_frames(struct connection *, connection_frame_handler *);

#endif
