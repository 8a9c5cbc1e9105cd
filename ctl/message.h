/*
 * message - reads and prints messages of a queue's log.
 */
#ifndef HEADGATE_CTL_MESSAGE_H
#define HEADGATE_CTL_MESSAGE_H

#include "ctl/ctl.h"
#include "log/format.h"
#include "message/envelope.h"

struct message {
	uint64_t sequence, position;
	struct log_content content;
	struct envelope envelope; /* all zeros if unreadable */
	const char *unreadable;   /* the reason; NULL: readable */
};

/* True if the state directory exists. */
bool message_has_state(const struct ctl *);

/* Calls message() for the unsettled messages of a queue with sequences above `after`, in order,
 * until message() returns another value than 0. Returns this value; 0; or -errno after a message to
 * the user: -ENOENT if the state directory is missing; -EBADMSG, also after calls of message(), if a
 * running router has other files open than the directory has. A queue without a log has no
 * messages. */
int message_read(const struct ctl *, const char *queue, uint64_t after,
    int (*message)(void *context, const struct message *), void *context);
/* The exit status for a result of message_read(). */
int message_exit_status(int rc);

/* A body for people. */
struct body {
	char *text; /* allocated; NULL: the body must not be shown */
	size_t length;
	const char *why; /* the reason, if text is NULL */
};
/* The body with masked account numbers; reveal: unmasked. */
struct body message_body(const struct message *, bool reveal);

/* Prints "name":"value", with a comma in front unless `first`; null for data NULL. */
void message_put_json_text(const char *name, const char *data, size_t length, bool first);
/* Prints "body":...; null if the body must not be shown. */
void message_put_json_body(const struct message *, bool reveal);

#endif
