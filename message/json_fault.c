#include "message/json_fault.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char too_deep[] = "nested deeper than 32 levels";
_Static_assert(JSON_DEPTH == 32, "the words say so");

/* What may come next. */
enum expected { VALUE, VALUE_OR_END, KEY, KEY_OR_END, COLON, COMMA_OR_END, NOTHING };

struct scanner {
	const char *text, *at, *end;
	enum expected expected;
	unsigned depth;
	bool is_object[JSON_DEPTH]; /* per open container: an object, or an array */
	struct json_fault fault;    /* kind NONE until a fault is found */
};

static bool
fault_at(struct scanner *s, const char *at, const char *what)
{
	s->fault = (struct json_fault){
		.kind = at == s->end ? JSON_FAULT_CUT : JSON_FAULT_BAD,
		.at = (size_t)(at - s->text),
		.what = at == s->end ? "it ends too early" : what,
	};
	return false;
}

static bool
in_object(const struct scanner *s)
{
	return s->depth > 0 && s->is_object[s->depth - 1];
}

static const char *
expected_text(const struct scanner *s)
{
	switch (s->expected) {
	case VALUE:
		return "a value expected";
	case VALUE_OR_END:
		return "a value or ']' expected";
	case KEY:
		return "a key in double quotes expected";
	case KEY_OR_END:
		return "a key in double quotes or '}' expected";
	case COLON:
		return "':' expected";
	case COMMA_OR_END:
		return in_object(s) ? "',' or '}' expected" : "',' or ']' expected";
	case NOTHING:
		break;
	}
	return "something behind the end of the JSON text";
}

static void
value_ended(struct scanner *s)
{
	s->expected = s->depth > 0 ? COMMA_OR_END : NOTHING;
}

static bool
is_digit(const struct scanner *s)
{
	return s->at < s->end && *s->at >= '0' && *s->at <= '9';
}

static bool
scan_digits(struct scanner *s)
{
	if (!is_digit(s))
		return fault_at(s, s->at, "a digit expected");
	while (is_digit(s))
		s->at++;
	return true;
}

static bool
scan_number(struct scanner *s)
{
	if (*s->at == '-')
		s->at++;
	if (s->at < s->end && *s->at == '0') {
		s->at++;
		if (is_digit(s))
			return fault_at(s, s->at, "a number with a zero in front");
	} else if (!scan_digits(s)) {
		return false;
	}
	if (s->at < s->end && *s->at == '.') {
		s->at++;
		if (!scan_digits(s))
			return false;
	}
	if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
		s->at++;
		if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
			s->at++;
		if (!scan_digits(s))
			return false;
	}
	value_ended(s);
	return true;
}

static bool
scan_word(struct scanner *s, const char *word)
{
	for (; *word != '\0'; word++, s->at++)
		if (s->at == s->end || *s->at != *word)
			return fault_at(s, s->at, "neither true, false nor null");
	value_ended(s);
	return true;
}

static bool
scan_hex(struct scanner *s, unsigned *value)
{
	static const char digits[] = "0123456789abcdefABCDEF";

	*value = 0;
	for (int i = 0; i < 4; i++, s->at++) {
		const char *digit =
		    s->at < s->end && *s->at != '\0' ? strchr(digits, *s->at) : NULL;

		if (digit == NULL)
			return fault_at(s, s->at, "a hexadecimal digit expected");
		*value = *value * 16 +
		    (unsigned)(digit - digits < 16 ? digit - digits : digit - digits - 6);
	}
	return true;
}

/* s->at points to the u of \u. */
static bool
scan_unicode(struct scanner *s)
{
	const char *begin = s->at - 1;
	unsigned high, low;

	s->at++;
	if (!scan_hex(s, &high))
		return false;
	if (high < 0xd800 || high > 0xdfff)
		return true;
	if (high >= 0xdc00)
		return fault_at(s, begin, "half of a surrogate pair");
	for (const char *c = "\\u"; *c != '\0'; c++, s->at++) {
		if (s->at == s->end)
			return fault_at(s, s->at, NULL);
		if (*s->at != *c)
			return fault_at(s, begin, "half of a surrogate pair");
	}
	if (!scan_hex(s, &low))
		return false;
	return (low >= 0xdc00 && low <= 0xdfff) || fault_at(s, begin, "half of a surrogate pair");
}

static bool
scan_escape(struct scanner *s)
{
	s->at++;
	if (s->at == s->end)
		return fault_at(s, s->at, NULL);
	if (*s->at == 'u')
		return scan_unicode(s);
	if (*s->at == '\0' || strchr("\"\\/bfnrt", *s->at) == NULL)
		return fault_at(s, s->at, "a bad escape");
	s->at++;
	return true;
}

/* A character beyond ASCII. The second byte's range depends on the first (RFC 3629, section 4). */
static bool
scan_utf8(struct scanner *s)
{
	const unsigned char *begin = (const unsigned char *)s->at;
	unsigned char low = 0x80, high = 0xbf;
	int more = *begin >= 0xf0 ? 3 : *begin >= 0xe0 ? 2 : 1;

	if (*begin < 0xc2 || *begin > 0xf4)
		return fault_at(s, s->at, "bad UTF-8");
	switch (*begin) {
	case 0xe0:
		low = 0xa0;
		break;
	case 0xed:
		high = 0x9f; /* above: surrogates */
		break;
	case 0xf0:
		low = 0x90;
		break;
	case 0xf4:
		high = 0x8f;
		break;
	default:
		break;
	}
	s->at++;
	for (; more > 0; more--, s->at++, low = 0x80, high = 0xbf)
		if (s->at == s->end || (unsigned char)*s->at < low || (unsigned char)*s->at > high)
			return fault_at(
			    s, s->at == s->end ? s->end : (const char *)begin, "bad UTF-8");
	return true;
}

/* s->at points to the opening quote. */
static bool
scan_string(struct scanner *s)
{
	s->at++;
	while (s->at < s->end && *s->at != '"') {
		unsigned char c = (unsigned char)*s->at;

		if (c < 0x20)
			return fault_at(s, s->at, "a control character in a string");
		if (c == '\\' ? !scan_escape(s) : c >= 0x80 && !scan_utf8(s))
			return false;
		s->at += c != '\\' && c < 0x80;
	}
	if (s->at == s->end)
		return fault_at(s, s->at, NULL);
	s->at++;
	return true;
}

static bool
open_container(struct scanner *s, bool is_object)
{
	if (s->depth == JSON_DEPTH)
		return fault_at(s, s->at, too_deep);
	s->is_object[s->depth++] = is_object;
	s->expected = is_object ? KEY_OR_END : VALUE_OR_END;
	s->at++;
	return true;
}

static bool
close_container(struct scanner *s, bool is_object)
{
	bool may_end =
	    s->expected == COMMA_OR_END || s->expected == (is_object ? KEY_OR_END : VALUE_OR_END);

	if (!may_end || in_object(s) != is_object)
		return fault_at(s, s->at, expected_text(s));
	s->depth--;
	value_ended(s);
	s->at++;
	return true;
}

static bool
scan_value(struct scanner *s)
{
	switch (*s->at) {
	case '{':
	case '[':
		return open_container(s, *s->at == '{');
	case '"':
		value_ended(s);
		return scan_string(s);
	case 't':
		return scan_word(s, "true");
	case 'f':
		return scan_word(s, "false");
	case 'n':
		return scan_word(s, "null");
	case '-':
	case '0':
	case '1':
	case '2':
	case '3':
	case '4':
	case '5':
	case '6':
	case '7':
	case '8':
	case '9':
		return scan_number(s);
	default:
		return fault_at(s, s->at, expected_text(s));
	}
}

static bool
is_byte_order_mark(const struct scanner *s)
{
	return s->end - s->at >= 3 && memcmp(s->at, "\xef\xbb\xbf", 3) == 0;
}

/* s->at points to a byte that is no blank. */
static bool
scan_token(struct scanner *s)
{
	char c = *s->at;

	if (is_byte_order_mark(s))
		return fault_at(
		    s, s->at, "a byte order mark, which may only stand where the input begins");
	if (c == '}' || c == ']')
		return close_container(s, c == '}');
	switch (s->expected) {
	case VALUE:
	case VALUE_OR_END:
		return scan_value(s);
	case KEY:
	case KEY_OR_END:
		if (c != '"')
			break;
		s->expected = COLON;
		return scan_string(s);
	case COLON:
		if (c != ':')
			break;
		s->expected = VALUE;
		s->at++;
		return true;
	case COMMA_OR_END:
		if (c != ',')
			break;
		s->expected = in_object(s) ? KEY : VALUE;
		s->at++;
		return true;
	case NOTHING:
		break;
	}
	return fault_at(s, s->at, expected_text(s));
}

struct json_fault
json_fault_find(const char *text, size_t length)
{
	struct scanner s = { .text = text, .at = text, .end = text + length };

	for (;;) {
		while (s.at < s.end && *s.at != '\0' && strchr(" \t\r\n", *s.at) != NULL)
			s.at++;
		if (s.at == s.end) {
			if (s.expected != NOTHING)
				(void)fault_at(&s, s.at, NULL);
			return s.fault;
		}
		if (!scan_token(&s))
			return s.fault;
	}
}

const char *
json_type_text(enum json_type type)
{
	static const char *const texts[] = {
		[JSON_NULL] = "null",
		[JSON_BOOL] = "a boolean",
		[JSON_NUMBER] = "a number",
		[JSON_STRING] = "a string",
		[JSON_ARRAY] = "an array",
		[JSON_OBJECT] = "an object",
	};

	return type >= JSON_NULL && type <= JSON_OBJECT ? texts[type] : "nothing";
}

static bool
is_array(const char *text, size_t length)
{
	size_t i = 0;

	while (i < length && text[i] != '\0' && strchr(" \t\r\n", text[i]) != NULL)
		i++;
	return i < length && text[i] == '[';
}

void
json_fault_describe(const struct json_reader *reader, const char *text, size_t length,
    enum json_error error, char *words, size_t capacity)
{
	struct json_fault fault = { .kind = JSON_FAULT_NONE };

	switch (error) {
	case JSON_DUPLICATE_KEY:
		snprintf(words, capacity, "%s, again at byte %zu", json_error_text(error),
		    json_duplicate_at(reader, text) + 1);
		return;
	case JSON_NOT_OBJECT:
		snprintf(words, capacity, "%s%s", json_error_text(error),
		    is_array(text, length)
			? " but an array: make a line of each element with jq -c '.[]'"
			: "");
		return;
	case JSON_SYNTAX:
	case JSON_ENCODING:
	case JSON_TOO_DEEP:
	case JSON_TRAILING:
		fault = json_fault_find(text, length);
		break;
	default:
		break;
	}
	if (fault.kind == JSON_FAULT_NONE)
		snprintf(words, capacity, "%s", json_error_text(error));
	else
		snprintf(words, capacity, "%sat byte %zu: %s",
		    fault.what == too_deep ? "" : "invalid JSON ", fault.at + 1, fault.what);
}
