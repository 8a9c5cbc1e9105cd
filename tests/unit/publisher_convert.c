/*
 * Conversion of lines: group, ids, attributes, wrapping, and reasons of refusals. Each accepted
 * message is packed, and opened by envelope_open() as in the router.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message/trace.h"
#include "publisher/convert.h"
#include "publisher/input.h"

static struct topic_settings topic = {
	.id = 7,
	.name = "t",
	.max_body_bytes = ENVELOPE_BODY_BYTES,
	.group_by = { "customer_id", "account" },
	.group_by_count = 2,
	.dedup_by = { TOPIC_DEDUP_MESSAGE_ID, TOPIC_DEDUP_CONTENT },
	.dedup_by_count = 2,
};
static struct converter *converter;
static struct envelope envelope;

static void
setup(void)
{
	converter = convert_new();
	cr_assert(converter != NULL);
}

static void
teardown(void)
{
	convert_free(converter);
}

TestSuite(publisher_convert, .init = setup, .fini = teardown, .timeout = 300);

/* Converts, packs and opens. Returns the status. The line's copy ends with the padding, so that
 * ASan finds a read beyond. */
static int
convert_bytes(const char *text, size_t length)
{
	static char packed[ENVELOPE_BODY_BYTES_MAX + ENVELOPE_OVERHEAD_BYTES];
	char *line = calloc(1, length + JSON_PADDING);
	struct envelope_source source;
	const char *why = "it is too long";
	int status;

	memcpy(line, text, length);
	status = convert_line(converter, &topic, (struct span){ line, length }, 123, &source);
	if (status == 0) {
		long n = envelope_pack(packed, sizeof(packed), &source);

		cr_assert(n > 0 &&
			envelope_open(
			    &envelope, packed, (size_t)n, ENVELOPE_BODY_BYTES_MAX, &why) == 0,
		    "%s: %.200s", why, text);
	}
	free(line);
	return status;
}

static void
take(const char *text)
{
	cr_assert(
	    convert_bytes(text, strlen(text)) == 0, "%.200s: %s", text, convert_reason(converter));
}

static void
refused(const char *text, int status, const char *reason)
{
	int got = convert_bytes(text, strlen(text));

	cr_assert(got == status && strstr(convert_reason(converter), reason) != NULL,
	    "%.200s: %d %s", text, got, convert_reason(converter));
}

static bool
is_text(struct span span, const char *text)
{
	return span.length == strlen(text) && memcmp(span.data, text, span.length) == 0;
}

static bool
has_attribute(const char *name, enum json_type type, const char *text)
{
	struct json_value value;

	return envelope_find_attribute(&envelope, name, strlen(name), &value) &&
	    value.type == type && is_text(value.raw, text);
}

static void
check_group(const char *text, const char *group)
{
	take(text);
	cr_assert(is_text(envelope.group, group), "%s", text);
}

Test(publisher_convert, group_is_the_first_usable_field)
{
	check_group("{\"account\":\"A\",\"customer_id\":\"C\"}", "C");
	check_group("{\"account\":\"A\",\"customer_id\":\"\"}", "A");
	check_group("{\"account\":\"A\",\"customer_id\":null}", "A");
	check_group("{\"customer_id\":\"C\",\"message_group_id\":\"G\"}", "G");
	check_group("{\"customer_id\":\"C\",\"message_group_id\":null}", "C");
	check_group("{\"customer\\u005fid\":\"C\\u0041\"}", "CA");
}

Test(publisher_convert, what_cannot_be_a_message_is_refused)
{
	char line[512];

	refused("{\"customer_id\":\"C\"", 400, "invalid JSON");
	refused("[1]", 400, "object");
	refused("{\"customer_id\":\"C\"} x", 400, "");
	refused("{\"customer_id\":\"C\",\"customer\\u005fid\":\"D\"}", 400, "twice");
	refused("{\"customer_id\":\"\\ud800\"}", 400, "");
	refused("{}", 400,
	    "no group: message_group_id is missing, customer_id is missing, account is missing");
	refused("{\"customer_id\":\"\",\"account\":null}", 400,
	    "no group: message_group_id is missing, customer_id is empty, account is null");
	refused("{\"customer_id\":\"a\\u0000b\"}", 400, "customer_id: has a NUL in it");
	refused("{\"customer_id\":\"C\",\"message_id\":\"\"}", 400, "message_id: empty");
	refused(
	    "{\"customer_id\":\"C\",\"message_id\":null}", 400, "message_id: null, not a string");
	snprintf(line, sizeof(line), "{\"customer_id\":\"%0129d\"}", 0);
	refused(line, 400, "customer_id");
	snprintf(
	    line, sizeof(line), "{\"customer_id\":\"%0128d\",\"message_id\":\"%0128d\"}", 0, 0);
	take(line);
}

/* A field of a wrong type is refused as such: neither skipped, nor reported as missing. */
Test(publisher_convert, what_is_there_and_is_no_string_is_refused_as_what_it_is)
{
	static const char *const values[][2] = {
		{ "7", "a number, not a string: write it in double quotes" },
		{ "0", "a number" },
		{ "-1.5e3", "a number" },
		{ "true", "a boolean, not a string" },
		{ "false", "a boolean" },
		{ "[]", "an array" },
		{ "[\"C\"]", "an array" },
		{ "{}", "an object" },
	};
	static const char *const fields[] = { "message_group_id", "customer_id", "account",
		"message_id" };
	char line[256], words[128];

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		for (size_t field = 0; field < 4; field++) {
			/* Fields of higher rank are absent; fields of lower rank are present and
			 * good. */
			snprintf(line, sizeof(line), "{%s%s\"%s\":%s}",
			    field < 1 ? "\"customer_id\":\"C\"," : "",
			    field != 2 && field > 0
				? (field == 3 ? "\"customer_id\":\"C\"," : "\"account\":\"A\",")
				: "",
			    fields[field], values[i][0]);
			snprintf(words, sizeof(words), "%s: %s", fields[field], values[i][1]);
			refused(line, 400, words);
		}
}

Test(publisher_convert, message_id_deduplicates_else_the_content)
{
	take("{\"customer_id\":\"C\",\"message_id\":\"m\\u0031\"}");
	cr_assert(is_text(envelope.message_id, "m1") && is_text(envelope.dedup_id, "m1"));
	cr_assert(!envelope.dedup_is_hash);
	take("{\"customer_id\":\"C\"}");
	cr_assert(envelope.dedup_is_hash && envelope.dedup_id.length == 32);
	cr_assert(envelope.message_id.length == 36);
}

Test(publisher_convert, control_topic_has_one_group_and_no_content_deduplication)
{
	topic.control = true;
	take("{\"action\":\"stop\",\"customer_id\":\"C\"}");
	cr_assert(is_text(envelope.group, "control"));
	cr_assert(envelope.dedup_id.length == envelope.message_id.length &&
		memcmp(envelope.dedup_id.data, envelope.message_id.data, 36) == 0,
	    "what is sent again must not be obeyed twice");
	take("{\"action\":\"stop\",\"message_id\":\"m\"}");
	cr_assert(is_text(envelope.dedup_id, "m"));
}

Test(publisher_convert, attributes_are_strings_numbers_and_booleans)
{
	take("{\"customer_id\":\"C\",\"s\":\"a\\nb\",\"\\u006e\":-1.50e3,\"t\":true,\"f\":false,"
	     "\"z\":null,\"o\":{\"x\":1},\"l\":[1],\"\":\"empty\"}");
	cr_assert(envelope.attribute_count == 6, "%u", envelope.attribute_count);
	cr_assert(has_attribute("s", JSON_STRING, "a\nb"));
	cr_assert(has_attribute("n", JSON_NUMBER, "-1.50e3"));
	cr_assert(has_attribute("t", JSON_BOOL, "true") && has_attribute("f", JSON_BOOL, "false"));
	cr_assert(has_attribute("", JSON_STRING, "empty"));
}

Test(publisher_convert, long_and_too_many_attributes_are_left_out)
{
	static char line[300000];
	int length;

	snprintf(line, sizeof(line), "{\"customer_id\":\"C\",\"x\":\"%01025d\",\"y\":\"%01024d\"}",
	    0, 0);
	take(line);
	cr_assert(envelope.attribute_count == 2);

	length = sprintf(line, "{\"customer_id\":\"C\"");
	for (int i = 0; i < 300; i++)
		length += sprintf(line + length, ",\"a%d\":%d", i, i);
	sprintf(line + length, "}");
	take(line);
	cr_assert(envelope.attribute_count == ENVELOPE_ATTRIBUTES);

	/* Escaped attributes must be copied; the envelope stays within its bounds. */
	length = sprintf(line, "{\"customer_id\":\"C\"");
	for (int i = 0; i < 200; i++)
		length += sprintf(line + length, ",\"a%d\":\"\\n%01000d\"", i, i);
	sprintf(line + length, "}");
	take(line);
}

Test(publisher_convert, a_notification_is_unwrapped_once_and_its_attributes_win)
{
	take("{\"Type\":\"Notification\",\"MessageId\":\"outer\",\"Message\":"
	     "\"{\\\"customer_id\\\":\\\"C\\\",\\\"kind\\\":\\\"body\\\",\\\"n\\\":1}\","
	     "\"MessageAttributes\":{\"kind\":{\"Type\":\"String\",\"Value\":\"sns\"},"
	     "\"price\":{\"Type\":\"Number\",\"Value\":\"12.5\"},"
	     "\"blob\":{\"Type\":\"Binary\",\"Value\":\"AAAA\"},"
	     "\"esc\\u0061pe\":{\"Value\":\"a\\tb\",\"Type\":\"Str\\u0069ng\"}}}");
	cr_assert(is_text(envelope.body, "{\"customer_id\":\"C\",\"kind\":\"body\",\"n\":1}"));
	cr_assert(has_attribute("kind", JSON_STRING, "sns"));
	cr_assert(has_attribute("price", JSON_NUMBER, "12.5"));
	cr_assert(has_attribute("escape", JSON_STRING, "a\tb"));
	cr_assert(envelope.attribute_count == 5, "%u", envelope.attribute_count);
	take("{\"Type\":\"Notification\",\"Message\":\"{\\\"customer_id\\\":\\\"C\\\","
	     "\\\"Type\\\":\\\"Notification\\\",\\\"Message\\\":\\\"{}\\\"}\"}");
	cr_assert(is_text(
	    envelope.body, "{\"customer_id\":\"C\",\"Type\":\"Notification\",\"Message\":\"{}\"}"));
	refused("{\"Type\":\"Notification\",\"Message\":\"hello\"}", 400,
	    "Message: invalid JSON at byte 1: a value expected");
}

/* Converts a line of the largest length: `head`, x's, `tail`; its texts are unescaped more than
 * once. */
static void
check_longest(const char *head, const char *tail)
{
	char *line = malloc(INPUT_LINE_BYTES);

	memset(line, 'x', INPUT_LINE_BYTES);
	memcpy(line, head, strlen(head));
	memcpy(line + INPUT_LINE_BYTES - strlen(tail), tail, strlen(tail));
	cr_assert(convert_bytes(line, INPUT_LINE_BYTES) != 0);
	free(line);
}

Test(publisher_convert, the_longest_lines_stay_within_the_memory_for_them)
{
	check_longest("{\"Type\":\"Notification\",\"Message\":\"\\n", "\"}");
	check_longest(
	    "{\"Type\":\"Notification\",\"Message\":\"{\\\"message_group_id\\\":\\\"\\\\n",
	    "\\\"}\"}");
	check_longest("{\"message_id\":\"m\",\"customer_id\":\"\\n", "\"}");
	check_longest("{\"Message\":\"{}\",\"Type\":\"\\n", "\"}");
}

Test(publisher_convert, a_body_over_the_limit_is_413)
{
	int most = ENVELOPE_BODY_BYTES - (int)strlen("{\"customer_id\":\"C\",\"x\":\"\"}");
	char *line = malloc(ENVELOPE_BODY_BYTES + 64);

	sprintf(line, "{\"customer_id\":\"C\",\"x\":\"%0*d\"}", most, 0);
	take(line);
	sprintf(line, "{\"customer_id\":\"C\",\"x\":\"%0*d\"}", most + 1, 0);
	refused(line, 413, "max_message_size");
	free(line);
}

Test(publisher_convert, traceparent_is_kept_or_made)
{
	static const char given[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
	char line[256], text[TRACE_TEXT_BYTES];

	snprintf(line, sizeof(line), "{\"customer_id\":\"C\",\"traceparent\":\"%s\"}", given);
	take(line);
	trace_format(envelope.trace, text);
	cr_assert(strcmp(text, given) == 0, "%s", text);
	take("{\"customer_id\":\"C\",\"traceparent\":\"00-nonsense\"}");
	trace_format(envelope.trace, text);
	cr_assert(strcmp(text, given) != 0);
}
