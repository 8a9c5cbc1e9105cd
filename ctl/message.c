#include "ctl/message.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "ctl/text.h"
#include "log/reader.h"
#include "log/registry.h"
#include "message/mask.h"

struct reading {
	int (*message)(void *context, const struct message *);
	void *context;
	bool stopped;
};

static int
show(void *context, const struct log_frame *frame, uint64_t position)
{
	struct reading *reading = context;
	struct message message = {
		.sequence = frame->sequence,
		.position = position,
		.content = log_content(frame),
	};
	int rc;

	if (envelope_open(&message.envelope, message.content.envelope, message.content.length,
		ENVELOPE_BODY_BYTES_MAX, &message.unreadable) == 0)
		message.unreadable = NULL;
	else
		message.envelope = (struct envelope){ 0 };
	rc = reading->message(reading->context, &message);
	reading->stopped = rc != 0;
	return rc;
}

bool
message_has_state(const struct ctl *ctl)
{
	return access(ctl->config.state_dir, F_OK) == 0 || errno != ENOENT;
}

/* Returns 0 for a queue that never had a log, in an existing state directory; else -errno after a
 * message. */
static int
look_for_log(const struct ctl *ctl, const char *queue)
{
	char error[LOG_ERROR_BYTES];
	int rc;

	if (!message_has_state(ctl)) {
		warnx("no state directory %s: nothing was looked at", ctl->config.state_dir);
		return -ENOENT;
	}
	rc = log_registry_lost(ctl->config.state_dir, queue, error, sizeof(error));
	if (rc != 0)
		warnx("%s: %s", queue, error);
	return rc;
}

/* True if a running router has another log open than the directory has. missing: the directory has
 * no log. The router looks once a second, so a message without a log says as much. */
static bool
is_gone(const struct control *control, const char *queue, bool missing)
{
	int index = control_find_queue(control, queue);
	const struct control_queue *shared;

	if (index < 0)
		return false;
	shared = &control->shared->queue[index];
	return atomic_load_explicit(&shared->refuses, memory_order_relaxed) == CONTROL_FILES_GONE ||
	    (missing &&
		atomic_load_explicit(&shared->counters.depth, memory_order_relaxed) > 0);
}

/* Returns 0, or -EBADMSG after a message. */
static int
ask_router(const struct ctl *ctl, const char *queue, bool missing)
{
	struct control control;
	bool gone;

	if (ctl_open_living(ctl, &control, false) != 0)
		return 0;
	gone = is_gone(&control, queue, missing);
	control_close(&control);
	if (!gone)
		return 0;
	warnx("%s: %s: %s/queues/%s is not what the router has open, and cannot be relied on: do "
	      "not end the router before you have read headgate-operations(7), \"Log files were "
	      "removed or moved\"",
	    queue, control_refusal_text(CONTROL_FILES_GONE), ctl->config.state_dir, queue);
	return -EBADMSG;
}

int
message_read(const struct ctl *ctl, const char *queue, uint64_t after,
    int (*message)(void *context, const struct message *), void *context)
{
	struct reading reading = { .message = message, .context = context };
	struct log_reader reader = { .message = show, .context = &reading, .after = after };
	char dir[LOG_PATH_BYTES];
	int rc;

	snprintf(dir, sizeof(dir), "%s/queues/%s", ctl->config.state_dir, queue);
	rc = log_reader_run(&reader, dir);
	if (ctl->verbose && reader.restarts > 0)
		warnx(
		    "%s: its files changed %u times while they were read", queue, reader.restarts);
	if (ask_router(ctl, queue, rc == -ENOENT) != 0)
		return -EBADMSG;
	if (rc == 0 || reading.stopped)
		return rc;
	if (rc == -ENOENT)
		return look_for_log(ctl, queue);
	warnx("%s: %s", queue, reader.error);
	if (rc == -EBADMSG)
		warnx("what is damaged, and which messages are lost: %sheadgatectl%s check %s",
		    ctl->config.env, ctl->config.options, queue);
	return rc;
}

int
message_exit_status(int rc)
{
	switch (rc) {
	case -ENOENT:
		return EX_NOINPUT;
	case -EBADMSG:
	case -ESTALE:
		return EX_DATAERR;
	case -EACCES:
	case -EPERM:
		return EX_NOPERM;
	case -EIO:
		return EX_IOERR;
	default:
		return rc < 0 ? EX_OSERR : 0;
	}
}

struct body
message_body(const struct message *message, bool reveal)
{
	static struct json_reader *reader;
	struct span body = message->envelope.body;
	enum json_error error;
	struct body out;
	char *padded;

	if (message->unreadable != NULL)
		return (struct body){ .why = message->unreadable };
	padded = calloc(1, body.length + JSON_PADDING);
	out = (struct body){ .text = malloc(mask_capacity(body.length)) };
	if (reader == NULL)
		reader = json_reader_new(ENVELOPE_BODY_BYTES);
	if (padded == NULL || out.text == NULL || reader == NULL)
		err(EX_OSERR, "a body of %zu bytes", body.length);
	memcpy(padded, body.data, body.length);
	memcpy(out.text, body.data, body.length);
	out.length = body.length;
	error = reveal ? JSON_OK : mask_body(reader, padded, body.length, out.text, &out.length);
	free(padded);
	if (error != JSON_OK) {
		free(out.text);
		out = (struct body){ .why = json_error_text(error) };
	}
	return out;
}

void
message_put_json_text(const char *name, const char *data, size_t length, bool first)
{
	printf("%s\"%s\":", first ? "" : ",", name);
	if (data != NULL)
		text_put_json(data, length);
	else
		fputs("null", stdout);
}

void
message_put_json_body(const struct message *message, bool reveal)
{
	struct body body = message_body(message, reveal);

	message_put_json_text("body", body.text, body.length, false);
	free(body.text);
}
