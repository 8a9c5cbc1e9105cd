/*
 * One walk of a line collects the fields of interest (struct converter, `values`) and all
 * attributes, as spans of the text. Only strings with escapes are copied, unescaped, into the
 * scratch. Afterwards fill() chooses ids and group from the collected values. An SNS notification
 * takes two walks: one of the wrapping, one of its Message. Format of a notification:
 * https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
 */
#include "publisher/convert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sha2.h>

#include "message/json_fault.h"
#include "message/trace.h"
#include "message/uuid.h"
#include "publisher/input.h"

enum {
	/* Unescaped text is never longer than its source. At most three copies of a line's text are
	 * made: the Message of a notification, its fields as attributes, and ids among its
	 * fields. */
	SCRATCH_BYTES = 3 * INPUT_LINE_BYTES + JSON_PADDING,
	REASON_BYTES = 256
};

/* The fields of interest. The topic's group_by fields follow them in the arrays. */
enum field { MESSAGE_GROUP_ID, MESSAGE_ID, TRACEPARENT, TYPE, MESSAGE, ATTRIBUTES, FIELDS };

#define TEXT(literal)                        \
	{                                    \
		literal, sizeof(literal) - 1 \
	}

static const struct span field_names[FIELDS] = {
	[MESSAGE_GROUP_ID] = TEXT("message_group_id"),
	[MESSAGE_ID] = TEXT("message_id"),
	[TRACEPARENT] = TEXT("traceparent"),
	[TYPE] = TEXT("Type"),
	[MESSAGE] = TEXT("Message"),
	[ATTRIBUTES] = TEXT("MessageAttributes"),
};

struct converter {
	struct json_reader *reader, *member_reader; /* the second: inside a walk of the first */
	const struct topic_settings *topic;

	struct span names[FIELDS + CONFIG_FIELDS]; /* fields of interest */
	size_t name_count;
	uint64_t name_lengths;                            /* bit n % 64: a name has n bytes */
	struct json_value values[FIELDS + CONFIG_FIELDS]; /* type 0: absent */

	struct envelope_attribute_source attributes[ENVELOPE_ATTRIBUTES];
	size_t attribute_count, inline_bytes;

	struct span text; /* the text being walked; in the end, the body */
	size_t scratch_used;
	char reason[REASON_BYTES];
	char uuid[37];
	uint8_t hash[SHA256_DIGEST_LENGTH];
	uint8_t trace[ENVELOPE_TRACE_BYTES];
	char scratch[SCRATCH_BYTES];
};

struct converter *
convert_new(void)
{
	struct converter *c = malloc(sizeof(*c));

	if (c == NULL)
		return NULL;
	c->reader = json_reader_new(INPUT_LINE_BYTES);
	c->member_reader = json_reader_new(0);
	if (c->reader == NULL || c->member_reader == NULL) {
		convert_free(c);
		return NULL;
	}
	c->reason[0] = '\0';
	return c;
}

void
convert_free(struct converter *c)
{
	if (c == NULL)
		return;
	json_reader_free(c->reader);
	json_reader_free(c->member_reader);
	free(c);
}

const char *
convert_reason(const struct converter *c)
{
	return c->reason;
}

static int __attribute__((format(printf, 3, 4)))
refuse(struct converter *c, int status, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(c->reason, sizeof(c->reason), format, arguments);
	va_end(arguments);
	return status;
}

static bool
span_equal(struct span a, struct span b)
{
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static bool
span_inside(struct span part, struct span whole)
{
	return part.data >= whole.data && part.data + part.length <= whole.data + whole.length;
}

/* SCRATCH_BYTES is enough for any line, so no check is needed. */
static char *
scratch_take(struct converter *c, size_t length)
{
	char *taken = c->scratch + c->scratch_used;

	c->scratch_used += length;
	return taken;
}

/* A string's unescaped value. The walk has checked all escapes, so failures are not reported. */
static struct span
string_value(struct converter *c, const struct json_value *value)
{
	char *buffer;
	long length;

	if (!value->escaped)
		return value->raw;
	buffer = c->scratch + c->scratch_used;
	length = json_unescape(value, buffer, value->raw.length);
	if (length < 0)
		return (struct span){ buffer, 0 };
	return (struct span){ scratch_take(c, (size_t)length), (size_t)length };
}

/* The reader reuses an unescaped name's buffer for the next field, so such a name is copied. */
static struct span
name_keep(struct converter *c, struct span name)
{
	if (span_inside(name, c->text))
		return name;
	return (struct span){ memcpy(scratch_take(c, name.length), name.data, name.length),
		name.length };
}

static void
names_set(struct converter *c, const struct topic_settings *topic)
{
	memcpy(c->names, field_names, sizeof(field_names));
	for (size_t i = 0; i < topic->group_by_count; i++)
		c->names[FIELDS + i] =
		    (struct span){ topic->group_by[i], strlen(topic->group_by[i]) };
	c->name_count = FIELDS + topic->group_by_count;
	c->name_lengths = 0;
	for (size_t i = 0; i < c->name_count; i++)
		c->name_lengths |= UINT64_C(1) << c->names[i].length % 64;
	c->topic = topic;
}

static size_t
attribute_find(const struct converter *c, struct span name)
{
	size_t i = 0;

	while (i < c->attribute_count && !span_equal(c->attributes[i].name, name))
		i++;
	return i;
}

/* Bytes of an attribute outside of the body: envelope_pack() cannot refer to them. */
static size_t
inline_bytes(const struct converter *c, const struct envelope_attribute_source *attribute)
{
	return (span_inside(attribute->name, c->text) ? 0 : attribute->name.length) +
	    (span_inside(attribute->text, c->text) ? 0 : attribute->text.length);
}

/* Sets the attribute's text and type. False for values that are no attributes: null, containers,
 * and texts longer than ENVELOPE_ATTRIBUTE_BYTES. */
static bool
attribute_value(struct converter *c, const struct json_value *value,
    struct envelope_attribute_source *attribute)
{
	attribute->type = value->type;
	attribute->text = value->raw;
	switch (value->type) {
	case JSON_STRING:
		attribute->text = string_value(c, value);
		break;
	case JSON_NUMBER:
		break;
	case JSON_BOOL:
		attribute->value = value->raw.data[0] == 't';
		break;
	default:
		return false;
	}
	return attribute->text.length <= ENVELOPE_ATTRIBUTE_BYTES;
}

/* Stores an attribute at `index`; attribute_count appends. No effect if a bound would be
 * exceeded. */
static void
attribute_put(struct converter *c, size_t index, const struct envelope_attribute_source *attribute)
{
	size_t bytes = inline_bytes(c, attribute);

	if (index == ENVELOPE_ATTRIBUTES || c->inline_bytes + bytes > CONVERT_INLINE_BYTES)
		return;
	c->inline_bytes += bytes;
	c->attributes[index] = *attribute;
	if (index == c->attribute_count)
		c->attribute_count++;
}

static void
note_value(struct converter *c, const struct json_field *field)
{
	for (size_t i = 0; i < c->name_count; i++)
		if (span_equal(field->name, c->names[i]))
			c->values[i] = field->value;
}

static int
take_field(void *context, const struct json_field *field)
{
	struct envelope_attribute_source attribute = { .value = false };
	struct converter *c = context;

	if (c->name_lengths >> field->name.length % 64 & 1)
		note_value(c, field);
	if (attribute_value(c, &field->value, &attribute)) {
		attribute.name = name_keep(c, field->name);
		attribute_put(c, c->attribute_count, &attribute);
	}
	return 0;
}

static int
walk(struct converter *c, struct span text)
{
	enum json_error error;

	memset(c->values, 0, c->name_count * sizeof(c->values[0]));
	c->attribute_count = c->inline_bytes = 0;
	c->text = text;
	error = json_walk(c->reader, text.data, text.length, take_field, c);
	if (error == JSON_OK)
		return 0;
	json_fault_describe(c->reader, text.data, text.length, error, c->reason, sizeof(c->reason));
	return 400;
}

static bool
is_notification(struct converter *c)
{
	static const struct span notification = TEXT("Notification");

	return c->values[TYPE].type == JSON_STRING && c->values[MESSAGE].type == JSON_STRING &&
	    span_equal(string_value(c, &c->values[TYPE]), notification);
}

/* A member of MessageAttributes: {"Type": ..., "Value": ...}. */
struct sns_attribute {
	struct json_value type, value;
};

static int
take_sns_member(void *context, struct span name, const struct json_value *value)
{
	static const struct span type_name = TEXT("Type"), value_name = TEXT("Value");
	struct sns_attribute *sns = context;

	if (span_equal(name, type_name))
		sns->type = *value;
	else if (span_equal(name, value_name))
		sns->value = *value;
	return 0;
}

/* SNS encodes each Value as a string, also numbers. */
static int
take_sns_attribute(void *context, struct span name, const struct json_value *member)
{
	static const struct span number = TEXT("Number"), binary = TEXT("Binary");
	struct envelope_attribute_source attribute = { .value = false };
	struct sns_attribute sns = { 0 };
	struct converter *c = context;
	struct span type;

	if (member->type != JSON_OBJECT ||
	    json_each(c->member_reader, member->raw, take_sns_member, &sns) != JSON_OK)
		return refuse(c, 400, "MessageAttributes: not {\"Type\": ..., \"Value\": ...}");
	if (sns.type.type != JSON_STRING || sns.value.type != JSON_STRING)
		return refuse(c, 400, "MessageAttributes: Type and Value must be strings");
	type = string_value(c, &sns.type);
	if (span_equal(type, binary) || !attribute_value(c, &sns.value, &attribute))
		return 0;
	if (span_equal(type, number))
		attribute.type = JSON_NUMBER;
	attribute.name = name_keep(c, name);
	attribute_put(c, attribute_find(c, name), &attribute);
	return 0;
}

/* "Message: " tells that byte numbers in the reason count within the Message, not within the
 * line. */
static int
refuse_message(struct converter *c, int status)
{
	char reason[REASON_BYTES];

	memcpy(reason, c->reason, sizeof(reason));
	return refuse(c, status, "Message: %s", reason);
}

/* Walks the Message of a notification. MessageAttributes replace attributes of the same name. */
static int
unwrap(struct converter *c)
{
	struct json_value message = c->values[MESSAGE], attributes = c->values[ATTRIBUTES];
	long length;
	int status;

	/* Nothing from the walk of the wrapping is used any more. */
	c->scratch_used = 0;
	length = json_unescape(&message, c->scratch, message.raw.length);
	if (length < 0)
		return refuse(c, 400, "Message: %s", json_error_text(JSON_ENCODING));
	/* A Message without escapes is copied as well: in the line, text follows instead of
	 * padding. */
	(void)scratch_take(c, (size_t)length + JSON_PADDING);
	status = walk(c, (struct span){ c->scratch, (size_t)length });
	if (status != 0)
		return refuse_message(c, status);
	if (attributes.type == 0)
		return 0;
	if (attributes.type != JSON_OBJECT)
		return refuse(c, 400, "MessageAttributes: not an object");
	return json_each(c->reader, attributes.raw, take_sns_attribute, c) == JSON_OK ? 0 : 400;
}

/*
 * Choosing group and ids from the collected values.
 */

/* Takes a field's value as an id: a string of 1 to ENVELOPE_ID_BYTES bytes without NUL. Returns 0
 * or a refusal. */
static int
take_id(struct converter *c, size_t field, struct span *id)
{
	const struct json_value *value = &c->values[field];
	struct span name = c->names[field];

	if (value->type != JSON_STRING)
		return refuse(c, 400, "%.*s: %s, not a string%s", (int)name.length, name.data,
		    json_type_text(value->type),
		    value->type == JSON_NUMBER ? ": write it in double quotes" : "");
	*id = string_value(c, value);
	if (id->length == 0)
		return refuse(c, 400, "%.*s: empty", (int)name.length, name.data);
	if (id->length > ENVELOPE_ID_BYTES)
		return refuse(c, 400, "%.*s: longer than %d bytes", (int)name.length, name.data,
		    ENVELOPE_ID_BYTES);
	if (memchr(id->data, '\0', id->length) != NULL)
		return refuse(c, 400, "%.*s: has a NUL in it", (int)name.length, name.data);
	return 0;
}

static bool
is_absent(const struct json_value *value)
{
	return value->type == 0 || value->type == JSON_NULL ||
	    (value->type == JSON_STRING && value->raw.length == 0);
}

/* Example: "no group: message_group_id is missing, customer_id is empty". */
static int
refuse_group(struct converter *c)
{
	size_t end = strlen(strcpy(c->reason, "no group:"));

	for (size_t i = 0; i < c->name_count; i++) {
		const struct json_value *value = &c->values[i];

		if (i != MESSAGE_GROUP_ID && i < FIELDS)
			continue;
		if (end < sizeof(c->reason))
			end += (size_t)snprintf(c->reason + end, sizeof(c->reason) - end,
			    "%s %.*s is %s", i == MESSAGE_GROUP_ID ? "" : ",",
			    (int)c->names[i].length, c->names[i].data,
			    value->type == 0               ? "missing"
				: value->type == JSON_NULL ? "null"
							   : "empty");
	}
	return 400;
}

/* The group is the first present field of message_group_id and the topic's group_by fields. A
 * present field that is no string is an error: its author named a group, so no other field may
 * replace it. */
static int
find_group(struct converter *c, struct span *group)
{
	static const struct span control = TEXT("control");

	*group = control;
	if (c->topic->control)
		return 0;
	for (size_t i = 0; i < c->name_count; i++)
		if ((i == MESSAGE_GROUP_ID || i >= FIELDS) && !is_absent(&c->values[i]))
			return take_id(c, i, group);
	return refuse_group(c);
}

/* The message's own id, else a new UUID. */
static int
find_message_id(struct converter *c, struct span *id, bool *explicit_id)
{
	*explicit_id = c->values[MESSAGE_ID].type != 0;
	if (!*explicit_id) {
		uuid_v7(c->uuid);
		*id = (struct span){ c->uuid, sizeof(c->uuid) - 1 };
		return 0;
	}
	return take_id(c, MESSAGE_ID, id);
}

static void
hash_body(struct converter *c, struct envelope *head)
{
	SHA2_CTX hash;

	SHA256Init(&hash);
	SHA256Update(&hash, (const uint8_t *)head->body.data, head->body.length);
	SHA256Final(c->hash, &hash);
	head->dedup_id = (struct span){ (const char *)c->hash, sizeof(c->hash) };
	head->dedup_is_hash = true;
}

/* Takes the first deduplication id that dedup_by yields, else a new UUID. Every message gets an id,
 * so that a message sent again after a lost answer is not stored twice. */
static void
find_dedup_id(struct converter *c, struct envelope *head, bool explicit_id)
{
	for (size_t i = 0; i < c->topic->dedup_by_count; i++) {
		if (c->topic->dedup_by[i] == TOPIC_DEDUP_MESSAGE_ID && explicit_id) {
			head->dedup_id = head->message_id;
			return;
		}
		if (c->topic->dedup_by[i] == TOPIC_DEDUP_CONTENT && !c->topic->control) {
			hash_body(c, head);
			return;
		}
	}
	if (explicit_id)
		uuid_v7(c->uuid);
	head->dedup_id = (struct span){ c->uuid, sizeof(c->uuid) - 1 };
}

static void
find_trace(struct converter *c, struct envelope *head)
{
	const struct json_value *given = &c->values[TRACEPARENT];

	if (given->type != JSON_STRING || trace_parse(string_value(c, given), c->trace) != 0)
		trace_make(c->trace);
	head->trace = c->trace;
}

static int
fill(struct converter *c, struct envelope *head)
{
	bool explicit_id;
	int status;

	head->topic = c->topic->id;
	head->body = c->text;
	if (c->text.length > c->topic->max_body_bytes)
		return refuse(c, 413, "longer than the %zu bytes of max_message_size",
		    c->topic->max_body_bytes);
	status = find_group(c, &head->group);
	if (status == 0)
		status = find_message_id(c, &head->message_id, &explicit_id);
	if (status != 0)
		return status;
	find_dedup_id(c, head, explicit_id);
	find_trace(c, head);
	return 0;
}

int
convert_line(struct converter *c, const struct topic_settings *topic, struct span line,
    uint64_t published_ns, struct envelope_source *source)
{
	int status;

	names_set(c, topic);
	c->scratch_used = 0;
	*source = (struct envelope_source){ .head = { .published_ns = published_ns } };
	status = walk(c, line);
	if (status == 0 && is_notification(c))
		status = unwrap(c);
	if (status == 0)
		status = fill(c, &source->head);
	source->attributes = c->attributes;
	source->count = c->attribute_count;
	return status;
}
