#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "ctl/text.h"

#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

#include "message/json.h"

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

	localtime_r(&seconds, &tm);
	strftime(text, TEXT_TIME_BYTES, "%Y-%m-%d %H:%M:%S", &tm);
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

/* A control character? Those of one byte, and U+0080 to U+009F, which are two in UTF-8. */
static bool
is_control(const char *data, size_t length, size_t i)
{
	unsigned char c = (unsigned char)data[i];

	return c < 0x20 || c == 0x7f ||
	    (c == 0xc2 && i + 1 < length && ((unsigned char)data[i + 1] & 0xe0) == 0x80);
}

void
text_put_safe(const char *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (!is_control(data, length, i))
			putchar(data[i]);
		else if (data[i] == '\n' || data[i] == '\t')
			putchar(' ');
		else
			putchar('?');
		if ((unsigned char)data[i] == 0xc2 && is_control(data, length, i))
			i++;
	}
}

size_t
text_width(const char *data, size_t length)
{
	size_t width = 0;

	for (size_t i = 0; i < length; i++)
		width += ((unsigned char)data[i] & 0xc0) != 0x80;
	return width;
}
