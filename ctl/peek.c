/*
 * headgatectl peek
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "ctl/message.h"
#include "ctl/text.h"

enum { SHOWN_BYTES = 2048 }; /* of a body, as text */

struct peek {
	const struct ctl *ctl;
	uint64_t left, shown;
	uint64_t now_ns;
};

static double
age_s(const struct peek *peek, const struct message *message)
{
	uint64_t then_ns = message->envelope.published_ns;

	return then_ns == 0 || then_ns > peek->now_ns ? 0 : (double)(peek->now_ns - then_ns) / 1e9;
}

static void
print_json(const struct peek *peek, const struct message *message)
{
	const struct envelope *envelope = &message->envelope;

	printf("{\"sequence\":%" PRIu64, message->sequence);
	message_put_json_text(
	    "message_id", envelope->message_id.data, envelope->message_id.length, false);
	message_put_json_text("group", envelope->group.data, envelope->group.length, false);
	fputs(",\"published\":", stdout);
	text_put_json_time(envelope->published_ns);
	printf(",\"age_s\":%.3f,\"size\":%zu", age_s(peek, message), envelope->body.length);
	message_put_json_body(message, peek->ctl->reveal);
	puts("}");
}

static void
print_body(const struct message *message, bool reveal)
{
	struct body body = message_body(message, reveal);
	size_t shown = body.length < SHOWN_BYTES ? body.length : SHOWN_BYTES;

	fputs("    ", stdout);
	if (body.text == NULL)
		printf("(not shown: %s)", body.why);
	text_put_safe(body.text, shown);
	puts(shown < body.length ? " ..." : "");
	free(body.text);
}

static void
print_text(const struct peek *peek, const struct message *message)
{
	const struct envelope *envelope = &message->envelope;
	char published[TEXT_TIME_BYTES], age[TEXT_AGE_BYTES];

	if (peek->shown == 0)
		printf("%10s  %-19s %9s %8s  %s\n", "SEQUENCE", "PUBLISHED", "AGE", "SIZE",
		    "MESSAGE ID, GROUP, BODY");
	text_time(published, envelope->published_ns);
	text_age(age, age_s(peek, message));
	printf("%10" PRIu64 "  %-19s %9s %8zu  ", message->sequence, published, age,
	    envelope->body.length);
	text_put_safe(envelope->message_id.data, envelope->message_id.length);
	fputs("  ", stdout);
	text_put_safe(envelope->group.data, envelope->group.length);
	putchar('\n');
	print_body(message, peek->ctl->reveal);
}

static int
print(void *context, const struct message *message)
{
	struct peek *peek = context;

	if (peek->ctl->json)
		print_json(peek, message);
	else
		print_text(peek, message);
	peek->shown++;
	return peek->shown == peek->left || ferror(stdout);
}

int
peek_main(struct ctl *ctl)
{
	struct peek peek = { .ctl = ctl, .left = ctl->count, .now_ns = ctl_wall_ns() };

	if (ctl->queue_count != 1)
		errx(EX_USAGE, "peek: name one queue");
	if (ctl->groups)
		return peek_groups_main(ctl);
	return message_exit_status(message_read(ctl, ctl->queues[0], 0, print, &peek));
}
