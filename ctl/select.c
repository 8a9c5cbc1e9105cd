#include "ctl/select.h"

#include <ctype.h>
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* The fields of --filter. A message passes if, for each field with filters, at least one of these
 * filters holds. */
enum field { CODE, GROUP, MESSAGE_ID, FIELDS };
static const char *const field_names[FIELDS] = {
	[CODE] = "code",
	[GROUP] = "group",
	[MESSAGE_ID] = "message_id",
};

/* The field of FIELD=VALUE; FIELDS if unknown. *value points behind the sign. */
static enum field
field_of(const char *filter, const char **value)
{
	const char *sign = strchrnul(filter, '=');

	*value = *sign == '=' ? sign + 1 : sign;
	for (enum field field = 0; *sign == '=' && field < FIELDS; field++)
		if (strlen(field_names[field]) == (size_t)(sign - filter) &&
		    strncmp(field_names[field], filter, (size_t)(sign - filter)) == 0)
			return field;
	return FIELDS;
}

/* True for "422" or "4xx". */
static bool
is_code(const char *text)
{
	return strlen(text) == 3 && text[0] >= '1' && text[0] <= '9' &&
	    ((isdigit(text[1]) && isdigit(text[2])) || strcasecmp(text + 1, "xx") == 0);
}

static bool
code_matches(const char *text, const struct message *message)
{
	unsigned status = message->content.origin ? message->content.origin->status : 0;

	if (isdigit(text[1]))
		return status == (unsigned)atoi(text);
	return status / 100 == (unsigned)(text[0] - '0');
}

static bool
equals(struct span span, const char *text)
{
	return span.data != NULL && span.length == strlen(text) &&
	    memcmp(span.data, text, span.length) == 0;
}

static bool
matches(enum field field, const char *value, const struct message *message)
{
	switch (field) {
	case CODE:
		return code_matches(value, message);
	case GROUP:
		return equals(message->envelope.group, value);
	case MESSAGE_ID:
		return equals(message->envelope.message_id, value);
	default:
		return false;
	}
}

static bool
passes_filters(const struct ctl *ctl, const struct message *message)
{
	bool asked[FIELDS] = { false }, held[FIELDS] = { false };
	const char *value;

	for (unsigned i = 0; i < ctl->filter_count; i++) {
		enum field field = field_of(ctl->filters[i], &value);

		asked[field] = true;
		held[field] |= matches(field, value, message);
	}
	for (enum field field = 0; field < FIELDS; field++)
		if (asked[field] && !held[field])
			return false;
	return true;
}

static bool
is_meant(const struct selection *selection, const struct message *message, bool by_sequence)
{
	const struct log_origin *origin = message->content.origin;

	if (selection->source != NULL &&
	    (origin == NULL || strcmp(origin->queue, selection->source) != 0))
		return false;
	if (selection->which != NULL &&
	    (by_sequence ? selection->sequence != message->sequence
			 : !equals(message->envelope.message_id, selection->which)))
		return false;
	return passes_filters(selection->ctl, message);
}

void
selection_init(struct selection *selection, const struct ctl *ctl)
{
	const char *value;
	unsigned queue, dead;
	char *end;

	if (ctl->queue_count != 1)
		errx(
		    EX_USAGE, "name one queue: a dead-letter queue, or the one that it belongs to");
	queue = (unsigned)queues_index(ctl, ctl->queues[0]);
	dead = ctl->known.queue[queue].dead_letter_queue;
	*selection = (struct selection){
		.ctl = ctl,
		.dead = ctl->known.queue[dead].name,
		.which = ctl->which,
	};
	if (queue != dead)
		selection->source = ctl->known.queue[queue].name;
	if (ctl->which != NULL) {
		selection->sequence = strtoull(ctl->which, &end, 10);
		if (!isdigit(ctl->which[0]) || *end != '\0')
			selection->sequence = 0;
	}
	for (unsigned i = 0; i < ctl->filter_count; i++) {
		enum field field = field_of(ctl->filters[i], &value);

		if (field == FIELDS)
			errx(
			    EX_USAGE, "--filter %s: code=, group= or message_id=", ctl->filters[i]);
		if (field == CODE && !is_code(value))
			errx(EX_USAGE, "--filter %s: a code such as 422, or 4xx", ctl->filters[i]);
	}
}

struct filtered {
	const struct selection *selection;
	int (*message)(void *context, const struct message *);
	void *context;
	bool by_sequence, found;
};

static int
pass_on(void *context, const struct message *message)
{
	struct filtered *filtered = context;

	if (!is_meant(filtered->selection, message, filtered->by_sequence))
		return 0;
	filtered->found = true;
	return filtered->message(filtered->context, message);
}

int
selection_read(const struct selection *selection, uint64_t after,
    int (*message)(void *context, const struct message *), void *context)
{
	struct filtered filtered = {
		.selection = selection,
		.message = message,
		.context = context,
	};

	int rc = message_read(selection->ctl, selection->dead, after, pass_on, &filtered);

	/* A number is a sequence only if no message has the number as its id. */
	if (rc != 0 || filtered.found || selection->sequence == 0)
		return rc;
	filtered.by_sequence = true;
	return message_read(selection->ctl, selection->dead, after, pass_on, &filtered);
}
