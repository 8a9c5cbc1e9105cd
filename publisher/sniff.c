#include "publisher/sniff.h"

#include <string.h>

#include "message/json_fault.h"

enum { BINARY_BYTES = 512 };

/* First bytes of data that is no UTF-8 text. A magic that begins with another one stands before
 * it. */
#define UTF(name, from) name ", not UTF-8: convert it with iconv -f " from " -t UTF-8"
static const struct magic {
	const char *bytes;
	size_t length;
	const char *why;
} magics[] = {
	{ "\xff\xfe\0\0", 4, UTF("UTF-32", "UTF-32") },
	{ "\0\0\xfe\xff", 4, UTF("UTF-32", "UTF-32") },
	{ "\xff\xfe", 2, UTF("UTF-16", "UTF-16") },
	{ "\xfe\xff", 2, UTF("UTF-16", "UTF-16") },
	{ "\x1f\x8b", 2, "compressed with gzip: unpack it first, with gzip -dc" },
	{ "BZh", 3, "compressed with bzip2: unpack it first, with bzip2 -dc" },
	{ "\xfd\x37zXZ", 6, "compressed with xz: unpack it first, with xz -dc" },
	{ "\x28\xb5\x2f\xfd", 4, "compressed with zstd: unpack it first, with zstd -dc" },
	{ "\x04\x22\x4d\x18", 4, "compressed with lz4: unpack it first, with lz4 -dc" },
	{ "PK\3\4", 4, "a zip archive: unpack it first, with unzip -p" },
};

/* JSON begins with two ASCII characters. Without a byte order mark, the places of zeros among the
 * first four bytes therefore tell the encoding (RFC 4627, section 3). */
static const struct {
	const char *zeros;
	const char *why;
} encodings[] = {
	{ "000x", UTF("UTF-32", "UTF-32BE") },
	{ "x000", UTF("UTF-32", "UTF-32LE") },
	{ "0x0x", UTF("UTF-16", "UTF-16BE") },
	{ "x0x0", UTF("UTF-16", "UTF-16LE") },
};

static const char binary[] = "binary data, not lines of JSON";
static const char array[] =
    "a JSON array, not lines of JSON: make a line of each element with jq -c '.[]'";
static const char object[] = "a JSON object over several lines: make one line of each with jq -c .";
static const char mark_bytes[] = "\xef\xbb\xbf";

static bool
begins_with(const char *text, size_t length, const char *bytes, size_t count)
{
	return length >= count && memcmp(text, bytes, count) == 0;
}

/* True if the text is shorter than `bytes` and equal so far. */
static bool
may_begin_with(const char *text, size_t length, const char *bytes, size_t count)
{
	return length < count && memcmp(text, bytes, length) == 0;
}

/* White space of JSON but the newline, and the other blanks that main.c skips. */
static bool
is_blank(char c)
{
	return c != '\0' && strchr(" \t\r\v\f", c) != NULL;
}

static enum sniff_verdict
sniff_magic(const char *text, size_t length, bool ended, const char **why)
{
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
		const struct magic *magic = &magics[i];

		*why = magic->why;
		if (begins_with(text, length, magic->bytes, magic->length))
			return SNIFF_REFUSED;
		if (!ended && may_begin_with(text, length, magic->bytes, magic->length))
			return SNIFF_MORE;
	}
	return SNIFF_LINES;
}

static enum sniff_verdict
sniff_zeros(const char *text, size_t length, bool ended, const char **why)
{
	if (length < 4 && !ended)
		return memchr(text, '\0', length) != NULL ? SNIFF_MORE : SNIFF_LINES;
	for (size_t i = 0; i < sizeof(encodings) / sizeof(encodings[0]); i++) {
		const char *zeros = encodings[i].zeros;
		size_t n = 0;

		while (n < length && n < 4 && (text[n] == '\0') == (zeros[n] == '0'))
			n++;
		*why = encodings[i].why;
		if (n == 4)
			return SNIFF_REFUSED;
	}
	return SNIFF_LINES;
}

/* True if the first line, which is neither object nor array, contains something else than text. */
static bool
is_binary(const char *line, size_t length)
{
	unsigned char first = (unsigned char)line[0];
	struct json_fault fault;
	char quoted[1 + 4 + 1] = "\"";

	if (memchr(line, '\0', length < BINARY_BYTES ? length : BINARY_BYTES) != NULL)
		return true;
	if (first < 0x80)
		return first < 0x20 || first == 0x7f;
	memcpy(quoted + 1, line, length < 4 ? length : 4);
	fault = json_fault_find(quoted, strlen(quoted));
	return fault.kind == JSON_FAULT_BAD && fault.at == 1;
}

struct line {
	const char *text;
	size_t length;
	bool whole;
};

/* The first line from `at` that is not blank; length 0: none so far. */
static struct line
next_line(const char *at, const char *end, bool ended)
{
	const char *newline;

	while (at < end && (is_blank(*at) || *at == '\n'))
		at++;
	newline = memchr(at, '\n', (size_t)(end - at));
	return (struct line){
		.text = at,
		.length = (size_t)((newline != NULL ? newline : end) - at),
		.whole = newline != NULL || ended,
	};
}

/* Refuses a source whose first line begins an object or array that goes on in the next line. A
 * first line that was cut off is no such beginning if the next line begins a new object: good lines
 * may follow, so the cut line alone is refused later. */
static enum sniff_verdict
sniff_value(struct line first, const char *end, bool ended, const char **why)
{
	struct line next = next_line(first.text + first.length, end, ended);
	bool is_array = first.text[0] == '[';
	size_t both = (size_t)(next.text + next.length - first.text);

	*why = is_array ? array : object;
	if (json_fault_find(first.text, first.length).kind != JSON_FAULT_CUT)
		return SNIFF_LINES;
	if (!next.whole)
		return SNIFF_MORE;
	if (next.length == 0 || (next.text[0] == '{' && !is_array))
		return SNIFF_LINES;
	return json_fault_find(first.text, both).kind == JSON_FAULT_BAD ? SNIFF_LINES
									: SNIFF_REFUSED;
}

static enum sniff_verdict
sniff_lines(const char *text, size_t length, bool ended, const char **why)
{
	const char *end = text + length;
	struct line first = next_line(text, end, ended);

	if (first.length == 0)
		return ended ? SNIFF_LINES : SNIFF_MORE;
	if (first.text[0] == '{' || first.text[0] == '[')
		return first.whole ? sniff_value(first, end, ended, why) : SNIFF_MORE;
	*why = binary;
	if (is_binary(first.text, first.length))
		return SNIFF_REFUSED;
	return first.whole || first.length >= BINARY_BYTES ? SNIFF_LINES : SNIFF_MORE;
}

enum sniff_verdict
sniff(const char *text, size_t length, bool ended, size_t *mark, const char **why)
{
	enum sniff_verdict verdict;

	*mark = 0;
	if (!ended && may_begin_with(text, length, mark_bytes, strlen(mark_bytes)))
		return SNIFF_MORE;
	if (begins_with(text, length, mark_bytes, strlen(mark_bytes)))
		*mark = strlen(mark_bytes);
	verdict = sniff_magic(text, length, ended, why);
	if (verdict == SNIFF_LINES)
		verdict = sniff_zeros(text, length, ended, why);
	if (verdict == SNIFF_LINES)
		verdict = sniff_lines(text + *mark, length - *mark, ended, why);
	/* A first line of SNIFF_BYTES without a verdict may be a long message, unless an array. */
	if (verdict == SNIFF_MORE && length >= SNIFF_BYTES) {
		struct line first = next_line(text + *mark, text + length, ended);

		*why = array;
		verdict = first.length > 0 && first.text[0] == '[' ? SNIFF_REFUSED : SNIFF_LINES;
	}
	return verdict;
}
