/*
 * headgatectl dead list and dead show
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/select.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "message/trace.h"

enum {
	TRACE_ID_AT = 3, /* in a traceparent: 00-TRACE_ID-... */
	TRACE_ID_BYTES = 32
};

struct printing {
	const struct selection *selection;
	uint64_t shown;
	int status;
	struct table *table;
};

/* A message that was published to the dead-letter queue itself has no origin. */
static const struct log_origin *
origin_of(const struct message *message)
{
	static const struct log_origin none;

	return message->content.origin != NULL ? message->content.origin : &none;
}

static struct span
reason_of(const struct message *message)
{
	return (struct span){ message->content.reason, origin_of(message)->reason_length };
}

/*
 * JSON.
 */

static void
put_json_fields(const struct message *message)
{
	const struct envelope *envelope = &message->envelope;
	const struct log_origin *origin = origin_of(message);
	struct span reason = reason_of(message);

	message_put_json_text("queue", origin->queue, strlen(origin->queue), true);
	printf(",\"sequence\":%" PRIu64, message->sequence);
	message_put_json_text(
	    "message_id", envelope->message_id.data, envelope->message_id.length, false);
	message_put_json_text("group", envelope->group.data, envelope->group.length, false);
	printf(",\"status\":%u", origin->status);
	message_put_json_text("reason", reason.data, reason.length, false);
	printf(",\"receives\":%" PRIu32 ",\"first\":", origin->receives);
	text_put_json_time(origin->first_ns);
	fputs(",\"last\":", stdout);
	text_put_json_time(origin->last_ns);
}

/* Writes the trace id in hexadecimal, "" for a message without one. */
static void
trace_id(const struct message *message, char text[TRACE_ID_BYTES + 1])
{
	char parent[TRACE_TEXT_BYTES];

	text[0] = '\0';
	if (message->envelope.trace == NULL)
		return;
	trace_format(message->envelope.trace, parent);
	memcpy(text, parent + TRACE_ID_AT, TRACE_ID_BYTES);
	text[TRACE_ID_BYTES] = '\0';
}

static void
show_json(const struct message *message, bool reveal)
{
	char trace[TRACE_ID_BYTES + 1];

	putchar('{');
	put_json_fields(message);
	printf(",\"origin_sequence\":%" PRIu64 ",\"published\":", origin_of(message)->sequence);
	text_put_json_time(message->envelope.published_ns);
	trace_id(message, trace);
	message_put_json_text("trace_id", trace[0] ? trace : NULL, strlen(trace), false);
	printf(",\"size\":%zu", message->envelope.body.length);
	message_put_json_body(message, reveal);
	puts("}");
}

/*
 * list
 */

static int
list_json(void *context, const struct message *message)
{
	struct printing *printing = context;

	putchar('{');
	put_json_fields(message);
	puts("}");
	printing->shown++;
	return ferror(stdout);
}

static const struct table_column list_columns[] = {
	{ "SEQUENCE", TABLE_NUMBER },
	{ "CODE", TABLE_NUMBER },
	{ "RECEIVES", TABLE_NUMBER },
	{ "LAST", TABLE_NUMBER },
	{ "MESSAGE ID", TABLE_NAME },
	{ "GROUP", TABLE_NAME },
	{ "QUEUE", TABLE_NAME },
};

static int
list_text(void *context, const struct message *message)
{
	struct printing *printing = context;
	struct table *table = printing->table;
	const struct log_origin *origin = origin_of(message);
	struct span id = message->envelope.message_id, group = message->envelope.group;
	struct span reason = reason_of(message);
	char last[TEXT_AGE_BYTES];

	printing->shown++;
	text_age(last, text_seconds(origin->last_ns, clock_wall_ns()));
	table_number(table, message->sequence);
	table_number(table, origin->status);
	table_number(table, origin->receives);
	table_text(table, last);
	table_bytes(table, id.data, id.length);
	table_bytes(table, group.data, group.length);
	table_text(table, origin->queue);
	table_under(table, reason.data, reason.length);
	table_row_done(table);
	return ferror(stdout);
}

static void
say_none(const struct selection *selection)
{
	warnx("%s: no dead letters%s%s", selection->dead, selection->source != NULL ? " of " : "",
	    selection->source != NULL ? selection->source : "");
}

int
dead_list_main(struct ctl *ctl)
{
	struct selection selection;
	struct printing printing = {
		.selection = &selection,
		.table = table_new(list_columns, sizeof(list_columns) / sizeof(list_columns[0]),
		    text_columns(ctl->wide), 0),
	};
	int rc;

	selection_init(&selection, ctl);
	rc = selection_read(&selection, 0, ctl->json ? list_json : list_text, &printing);
	if (printing.shown > 0 && !ctl->json)
		table_flush(printing.table);
	table_free(printing.table);
	if (rc == 0 && printing.shown == 0 && !ctl->json)
		say_none(&selection);
	return message_exit_status(rc);
}

/*
 * show
 */

static void
show_raw(struct printing *printing, const struct message *message)
{
	struct body body = message_body(message, printing->selection->ctl->reveal);

	if (body.text == NULL) {
		warnx("%s: %" PRIu64 ": the body is not shown: %s%s", printing->selection->dead,
		    message->sequence, body.why, message->unreadable ? "" : "; --reveal shows it");
		printing->status = EX_DATAERR;
	}
	if (printing->shown > 0)
		putchar('\n');
	fwrite(body.text != NULL ? body.text : "", 1, body.length, stdout);
	free(body.text);
}

static void
put_line(const char *name, struct span text)
{
	printf("%-12s ", name);
	text_put_safe(text.data, text.length);
	putchar('\n');
}

static void
put_time_line(const char *name, uint64_t ns)
{
	char text[TEXT_TIME_BYTES];

	text_time(text, ns);
	printf("%-12s %s\n", name, ns != 0 ? text : "-");
}

static void
show_text(const struct printing *printing, const struct message *message)
{
	const struct log_origin *origin = origin_of(message);
	struct body body = message_body(message, printing->selection->ctl->reveal);
	char trace[TRACE_ID_BYTES + 1];

	trace_id(message, trace);
	printf("%s%-12s %" PRIu64 " in %s\n", printing->shown > 0 ? "\n" : "", "sequence",
	    message->sequence, printing->selection->dead);
	printf("%-12s %s, sequence %" PRIu64 "\n", "from", origin->queue, origin->sequence);
	put_line("message id", message->envelope.message_id);
	put_line("group", message->envelope.group);
	printf("%-12s %u\n", "code", origin->status);
	put_line("reason", reason_of(message));
	printf("%-12s %" PRIu32 "\n", "receives", origin->receives);
	put_time_line("published", message->envelope.published_ns);
	put_time_line("first", origin->first_ns);
	put_time_line("last", origin->last_ns);
	put_line("trace id", (struct span){ trace, strlen(trace) });
	printf("%-12s %zu bytes\n", "body", message->envelope.body.length);
	if (body.text == NULL)
		printf("(not shown: %s)", body.why);
	else if (isatty(STDOUT_FILENO))
		text_put_safe(body.text, body.length);
	else
		fwrite(body.text, 1, body.length, stdout);
	putchar('\n');
	free(body.text);
}

static int
show(void *context, const struct message *message)
{
	struct printing *printing = context;
	const struct ctl *ctl = printing->selection->ctl;

	if (ctl->raw)
		show_raw(printing, message);
	else if (ctl->json)
		show_json(message, ctl->reveal);
	else
		show_text(printing, message);
	printing->shown++;
	/* Without `which`, shows the oldest. A message id may occur more than once. */
	return ctl->which == NULL || printing->selection->sequence == message->sequence ||
	    ferror(stdout);
}

int
dead_show_main(struct ctl *ctl)
{
	struct selection selection;
	struct printing printing = { .selection = &selection };
	int rc;

	selection_init(&selection, ctl);
	rc = selection_read(&selection, 0, show, &printing);
	if (rc < 0)
		return message_exit_status(rc);
	if (printing.shown == 0) {
		if (ctl->which != NULL)
			warnx("%s: no dead letter %s", selection.dead, ctl->which);
		else
			say_none(&selection);
		return EX_NOINPUT;
	}
	return printing.status;
}
