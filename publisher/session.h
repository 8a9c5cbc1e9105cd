/*
 * session - one connection to the router: hello, frames out, results in. Never blocks but in
 * session_open().
 */
#ifndef HEADGATE_PUBLISHER_SESSION_H
#define HEADGATE_PUBLISHER_SESSION_H

#include "message/wire.h"
#include "publisher/topic.h"
#include "publisher/window.h"

struct session {
	int fd;               /* -1: not connected */
	uint32_t router_pid;  /* of who took the last connection; 0: nobody did, or not known */
	uint64_t next_number; /* of the first message that is not sent whole */
	uint64_t settled;     /* number of the last that was answered */

	/* the frame being sent */
	struct {
		struct wire_header header;
		struct wire_publish publish;
	} head;
	struct window_frame frame;
	size_t sent; /* of head and frame */
	bool sending;

	uint8_t *in; /* results, WIRE_SMALL_BYTES and a header */
	size_t in_length;
	char error[256]; /* the router's, when session_receive() returned -EINVAL */
};

/* One queue of a receipt. */
struct session_place {
	unsigned queue; /* index in the topic's queues */
	uint64_t sequence;
};

struct session_result {
	uint32_t count; /* messages that it speaks of */
	int status;
	bool duplicate;
	char error[256];
	struct session_place places[CONFIG_QUEUES];
	size_t place_count;
};

int session_init(struct session *);
void session_free(struct session *);

/* Connects and says hello. Returns 0 with *topic filled; -ENOENT, -ECONNREFUSED: no router;
 * -EAGAIN: it said to try later; -EINVAL: it refused for good, error says why; -EACCES, -EPERM: it
 * is for another user, error says so; -ETIMEDOUT: no answer within timeout_ms; or -errno. */
int session_open(struct session *, const char *run_dir, const char *topic_name, bool wants_receipts,
    int timeout_ms, struct topic_settings *topic, char *error, size_t error_bytes);
void session_close(struct session *);

/* Does the router owe an answer? */
static inline bool
session_unanswered(const struct session *session)
{
	return session->sending || session->next_number > session->settled + 1;
}

/* Sends as much of the window as the socket takes. Returns 1 when it takes no more for now, 0 when
 * all is sent, or -errno. */
int session_send(struct session *, struct window *);

/* Reads what has come and calls result for each. Returns 0, -EPIPE at the end of the stream,
 * -EPROTO, -EINVAL when the router refused for good (error says why), what the callback returned,
 * or -errno. */
int session_receive(
    struct session *, int (*result)(void *context, const struct session_result *), void *context);

#endif
