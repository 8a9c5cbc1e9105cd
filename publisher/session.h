/*
 * session - one connection to the router: HELLO, frames out, results in. Only session_open()
 * blocks.
 */
#ifndef HEADGATE_PUBLISHER_SESSION_H
#define HEADGATE_PUBLISHER_SESSION_H

#include "message/wire.h"
#include "publisher/topic.h"
#include "publisher/window.h"

struct session {
	int fd;              /* -1: not connected */
	uint32_t router_pid; /* listener of the last connection; 0: none or unknown */
	uint64_t next_number; /* first message not sent in full */
	uint64_t settled;     /* last message answered */

	/* the frame being sent */
	struct {
		struct wire_header header;
		struct wire_publish publish;
	} head;
	struct window_frame frame;
	size_t sent; /* bytes of head and frame together */
	bool sending;

	uint8_t *in; /* received bytes; room for one header and WIRE_SMALL_BYTES */
	size_t in_length;
	char error[256]; /* the router's reason, when session_receive() returned -EINVAL */
};

/* The place of a message in one queue. */
struct session_place {
	unsigned queue; /* index in the topic's queues */
	uint64_t sequence;
};

/* The result of `count` consecutive messages. */
struct session_result {
	uint32_t count;
	int status;
	bool duplicate;
	char error[256];                            /* status 300 and above */
	struct session_place places[CONFIG_QUEUES]; /* status below 300, if receipts are wanted */
	size_t place_count;
};

/* Returns 0 or -ENOMEM. */
int session_init(struct session *);
void session_free(struct session *);

/* Connects and sends HELLO. Returns 0 with *topic filled, or, with a text in `error`:
 *   -ENOENT, -ECONNREFUSED  no router is running
 *   -EAGAIN                 the router asks to try later
 *   -EINVAL                 the router refused for good
 *   -EACCES, -EPERM         the router or the listener belongs to another user
 *   -ETIMEDOUT              no answer within timeout_ms
 *   another -errno */
int session_open(struct session *, const char *run_dir, const char *topic_name, bool wants_receipts,
    int timeout_ms, struct topic_settings *topic, char *error, size_t error_bytes);
void session_close(struct session *);

/* True while a message is being sent or has no answer. */
static inline bool
session_unanswered(const struct session *session)
{
	return session->sending || session->next_number > session->settled + 1;
}

/* Sends as much of the window as the socket accepts. Returns 0 when all is sent, 1 if the socket is
 * full, or -errno. */
int session_send(struct session *, struct window *);

/* Reads all that has arrived and calls `result` for each result. A callback's value other than 0
 * ends the reading and is returned. Returns 0; -EPIPE at the end of the stream; -EPROTO; after an
 * ERROR frame -EINVAL (refused for good), -EACCES or -EAGAIN, with session->error set; or
 * -errno. */
int session_receive(
    struct session *, int (*result)(void *context, const struct session_result *), void *context);

#endif
