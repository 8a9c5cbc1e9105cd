/*
 * headgatectl peek
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/clock.h"
#include "ctl/message.h"
#include "ctl/table.h"
#include "ctl/text.h"

enum { SHOWN_BYTES = 2048 }; /* of a body, in text output */

struct peek {
	const struct ctl *ctl;
	uint64_t left, shown;
	uint64_t now_ns;
	struct table *table;
};

static double
age_s(const struct peek *peek, const struct message *message)
{
	return text_seconds(message->envelope.published_ns, peek->now_ns);
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

static const struct table_column columns[] = {
	{ "SEQUENCE", TABLE_NUMBER },
	{ "PUBLISHED", TABLE_TEXT },
	{ "SIZE", TABLE_NUMBER },
	{ "MESSAGE ID", TABLE_NAME },
	{ "GROUP", TABLE_NAME },
};

/* Adds the beginning of the body below the row. */
static void
add_body(struct table *table, const struct message *message, bool reveal)
{
	struct body body = message_body(message, reveal);
	char why[128];

	if (body.text == NULL) {
		snprintf(why, sizeof(why), "(not shown: %s)", body.why);
		table_under(table, why, strlen(why));
		return;
	}
	if (body.length > SHOWN_BYTES) {
		body.length = SHOWN_BYTES;
		memcpy(body.text + SHOWN_BYTES - 4, " ...", 4);
	}
	table_under(table, body.text, body.length);
	free(body.text);
}

static void
add_row(const struct peek *peek, const struct message *message)
{
	const struct envelope *envelope = &message->envelope;
	char published[TEXT_TIME_BYTES];

	text_time(published, envelope->published_ns);
	table_number(peek->table, message->sequence);
	table_text(peek->table, published);
	table_number(peek->table, envelope->body.length);
	table_bytes(peek->table, envelope->message_id.data, envelope->message_id.length);
	table_bytes(peek->table, envelope->group.data, envelope->group.length);
	add_body(peek->table, message, peek->ctl->reveal);
	table_row_done(peek->table);
}

static int
print_message(void *context, const struct message *message)
{
	struct peek *peek = context;

	if (peek->ctl->json)
		print_json(peek, message);
	else
		add_row(peek, message);
	peek->shown++;
	return peek->shown == peek->left || ferror(stdout);
}

int
peek_main(struct ctl *ctl)
{
	struct peek peek = {
		.ctl = ctl,
		.left = ctl->count,
		.now_ns = clock_wall_ns(),
	};
	int rc;

	if (ctl->queue_count != 1)
		errx(EX_USAGE, "peek: name one queue");
	if (ctl->groups)
		return peek_groups_main(ctl);
	peek.table =
	    table_new(columns, sizeof(columns) / sizeof(columns[0]), text_columns(ctl->wide), 0);
	rc = message_read(ctl, ctl->queues[0], 0, print_message, &peek);
	if (peek.shown > 0 && !ctl->json)
		table_flush(peek.table);
	table_free(peek.table);
	return message_exit_status(rc);
}
