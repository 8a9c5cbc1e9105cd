#include "ctl/text.h"

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include "message/json.h"

enum { COLUMNS_MIN = 80 };

double
text_seconds(uint64_t then_ns, uint64_t now_ns)
{
	return then_ns == 0 || then_ns > now_ns ? 0 : (double)(now_ns - then_ns) / 1e9;
}

void
text_age(char text[TEXT_AGE_BYTES], double seconds)
{
	unsigned long s = seconds > 0 ? (unsigned long)seconds : 0;

	if (s < 60)
		snprintf(text, TEXT_AGE_BYTES, "%lus", s);
	else if (s < 3600)
		snprintf(text, TEXT_AGE_BYTES, "%lum %lus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(text, TEXT_AGE_BYTES, "%luh %lum", s / 3600, s % 3600 / 60);
	else
		snprintf(text, TEXT_AGE_BYTES, "%lud %luh", s / 86400, s % 86400 / 3600);
}

void
text_time(char text[TEXT_TIME_BYTES], uint64_t ns)
{
	time_t seconds = (time_t)(ns / 1000000000);
	struct tm tm;

	char zone[8];

	if (ns == 0) {
		strlcpy(text, "-", TEXT_TIME_BYTES); /* unknown */
		return;
	}
	localtime_r(&seconds, &tm);
	strftime(zone, sizeof(zone), "%z", &tm); /* +0130 */
	strftime(text, TEXT_TIME_BYTES, "%Y-%m-%d %H:%M:%S ", &tm);
	snprintf(text + strlen(text), TEXT_TIME_BYTES - strlen(text), "%.3s:%.2s", zone, zone + 3);
}

const char *
text_count(char text[TEXT_COUNT_BYTES], uint64_t count, const char *one, const char *many)
{
	snprintf(text, TEXT_COUNT_BYTES, "%" PRIu64 " %s", count, count == 1 ? one : many);
	return text;
}

bool
text_is_screen(void)
{
	const char *terminal = getenv("TERM");

	return isatty(STDOUT_FILENO) && terminal != NULL && terminal[0] != '\0' &&
	    strcmp(terminal, "dumb") != 0;
}

bool
text_has_colours(void)
{
	const char *no_color = getenv("NO_COLOR");

	return text_is_screen() && (no_color == NULL || no_color[0] == '\0');
}

unsigned
text_columns(bool wide)
{
	struct winsize size;

	if (wide)
		return 0;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > COLUMNS_MIN)
		return size.ws_col;
	return COLUMNS_MIN;
}

void
text_put_json(const char *data, size_t length)
{
	size_t capacity = 6 * length + 2;
	char *quoted = malloc(capacity);
	long n;

	if (quoted == NULL)
		err(EX_OSERR, "text of %zu bytes", length);
	n = json_quote(quoted, capacity, data, length);
	fwrite(quoted, 1, n > 0 ? (size_t)n : 0, stdout);
	free(quoted);
}

void
text_put_json_time(uint64_t ns)
{
	time_t seconds = (time_t)(ns / 1000000000);
	char text[TEXT_TIME_BYTES];
	struct tm tm;

	if (ns == 0) {
		fputs("null", stdout);
		return;
	}
	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	printf("\"%s.%03uZ\"", text, (unsigned)(ns / 1000000 % 1000));
}

/* The bytes, 1 to 4, of the UTF-8 character at the beginning, with its code point; 0 for invalid
 * bytes. */
static size_t
read_character(const char *data, size_t length, uint32_t *code)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char first = (unsigned char)data[0];
	size_t n = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

	if (n == 0 || n > length || first >= 0xf8)
		return 0;
	*code = n == 1 ? first : first & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if (((unsigned char)data[i] & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | ((unsigned char)data[i] & 0x3f);
	}
	return *code >= least[n] ? n : 0;
}

/* True for characters that move the cursor, change a colour, end a line, or change the direction of
 * text. */
static bool
is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200e ||
	    code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
	    (code >= 0x2066 && code <= 0x2069);
}

/* Bytes of the next character. *instead: the character to show instead; 0: none. */
static size_t
next_character(const char *data, size_t length, char *instead)
{
	uint32_t code = 0;
	size_t n = read_character(data, length, &code);

	*instead = '\0';
	if (n == 0 || is_control(code))
		*instead = data[0] == '\n' || data[0] == '\t' ? ' ' : '?';
	return n > 0 ? n : 1;
}

void
text_put_safe(const char *data, size_t length)
{
	char instead;

	for (size_t i = 0, n; i < length; i += n) {
		n = next_character(data + i, length - i, &instead);
		if (instead != '\0')
			putchar(instead);
		else
			fwrite(data + i, 1, n, stdout);
	}
}

/* `to` may equal `data`, as the result is never longer. Returns its length. */
static size_t
make_safe(char *to, const char *data, size_t length)
{
	size_t end = 0;
	char instead;

	for (size_t i = 0, n; i < length; i += n) {
		n = next_character(data + i, length - i, &instead);
		if (instead != '\0')
			to[end++] = instead;
		else
			for (size_t k = 0; k < n; k++)
				to[end++] = data[i + k];
	}
	return end;
}

void
text_make_safe(char *text)
{
	text[make_safe(text, text, strlen(text))] = '\0';
}

char *
text_safe(const char *data, size_t length)
{
	char *safe = malloc(length + 1);

	if (safe == NULL)
		err(EX_OSERR, "text of %zu bytes", length);
	safe[make_safe(safe, data, length)] = '\0';
	return safe;
}

size_t
text_fit(const char *data, size_t length, size_t columns, size_t *filled)
{
	size_t end = 0, n;

	for (*filled = 0; end<length; end += n> 0 ? n : 1) {
		uint32_t code = 0;
		int width;

		n = read_character(data + end, length - end, &code);
		width = n == 0 || is_control(code) ? 1 : wcwidth((wchar_t)code);
		if (width < 0) /* a character unknown to the C library */
			width = 1;
		if (*filled + (size_t)width > columns)
			break;
		*filled += (size_t)width;
	}
	return end;
}

size_t
text_width(const char *data, size_t length)
{
	size_t filled;

	text_fit(data, length, SIZE_MAX, &filled);
	return filled;
}
