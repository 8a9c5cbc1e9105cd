/*
 * message - messages of a queue's log, for those that print them.
 */
#ifndef HEADGATE_CTL_MESSAGE_H
#define HEADGATE_CTL_MESSAGE_H

#include "ctl/ctl.h"
#include "log/format.h"
#include "message/envelope.h"

struct message {
	uint64_t sequence, position;
	struct log_content content;
	struct envelope envelope; /* all zeros when it cannot be read: then */
	const char *unreadable;   /* ... why; else NULL */
};

/* Is there a state directory? */
bool message_has_state(const struct ctl *);

/* Shows the messages of a queue that are not settled and have a higher sequence than after, in order, until
 * message() returns something else than 0. Returns that; 0; or -errno, of which the user was told: -ENOENT when there is
 * no state directory. A queue that has no log yet has no messages. */
int message_read(const struct ctl *, const char *queue, uint64_t after,
    int (*message)(void *context, const struct message *), void *context);
/* The exit status for what message_read() returned. */
int message_exit_status(int rc);

/* A body as it may be shown. */
struct body {
	char *text; /* for free(3); NULL: nothing of it may be shown */
	size_t length;
	const char *why; /* ... because */
};
/* Its account numbers masked, unless revealed. */
struct body message_body(const struct message *, bool reveal);

/* "name":"value" with a comma in front unless it is the object's first; null when data is NULL. */
void message_put_json_text(const char *name, const char *data, size_t length, bool first);
/* "body":..., null when it may not be shown. */
void message_put_json_body(const struct message *, bool reveal);

#endif
