#include "message/trace.h"

#include <errno.h>
#include <string.h>

#include "message/random.h"

enum { ID_BYTES = 16, PARENT_BYTES = 8 };

/* The specification allows lower case only. */
static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int
parse_hex(const char *text, uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static int
all_zero(const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i] != 0)
			return 0;
	return 1;
}

int
trace_parse(struct span text, uint8_t trace[ENVELOPE_TRACE_BYTES])
{
	const char *at = text.data;
	uint8_t version;

	if (text.length < TRACE_TEXT_BYTES - 1 || at[2] != '-' || at[35] != '-' || at[52] != '-' ||
	    parse_hex(at, &version, 1) != 0 || version == 0xff)
		return -EINVAL;
	/* Version 00 ends with the flags. A later version may append fields, after a dash. */
	if (version == 0 ? text.length != TRACE_TEXT_BYTES - 1
			 : text.length > TRACE_TEXT_BYTES - 1 && at[TRACE_TEXT_BYTES - 1] != '-')
		return -EINVAL;
	if (parse_hex(at + 3, trace, ID_BYTES) != 0 ||
	    parse_hex(at + 36, trace + ID_BYTES, PARENT_BYTES) != 0 ||
	    parse_hex(at + 53, trace + ID_BYTES + PARENT_BYTES, 1) != 0)
		return -EINVAL;
	return all_zero(trace, ID_BYTES) || all_zero(trace + ID_BYTES, PARENT_BYTES) ? -EINVAL : 0;
}

void
trace_make(uint8_t trace[ENVELOPE_TRACE_BYTES])
{
	uint64_t words[3];

	do {
		for (int i = 0; i < 3; i++)
			words[i] = random_next();
	} while ((words[0] | words[1]) == 0 || words[2] == 0);
	memcpy(trace, words, sizeof(words));
	trace[ENVELOPE_TRACE_BYTES - 1] = 1; /* sampled */
}

void
trace_format(const uint8_t trace[ENVELOPE_TRACE_BYTES], char text[TRACE_TEXT_BYTES])
{
	static const char hex[] = "0123456789abcdef";
	char *at = text;

	*at++ = '0';
	*at++ = '0';
	for (int i = 0; i < ENVELOPE_TRACE_BYTES; i++) {
		if (i == 0 || i == ID_BYTES || i == ID_BYTES + PARENT_BYTES)
			*at++ = '-';
		*at++ = hex[trace[i] >> 4];
		*at++ = hex[trace[i] & 15];
	}
	*at = '\0';
}
