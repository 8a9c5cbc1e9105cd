#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "telemetry/event.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "message/json.h"

enum { LINE_BYTES = 4096, VALUE_BYTES = 1024 };

static const char *const severity_names[] = {
	[EVENT_DEBUG] = "debug",
	[EVENT_INFO] = "info",
	[EVENT_WARN] = "warn",
	[EVENT_ERROR] = "error",
};

static const char *service = "headgate";
static bool verbose, readable;

void
event_init(const char *program, bool be_verbose)
{
	service = program;
	verbose = be_verbose;
	readable = isatty(STDERR_FILENO);
}

/* A line being put together; what does not fit is left out. */
struct line {
	char text[LINE_BYTES];
	size_t length;
};

static void
add(struct line *line, const char *text, size_t length)
{
	if (length < sizeof(line->text) - line->length - 2) { /* room to end it */
		memcpy(line->text + line->length, text, length);
		line->length += length;
	}
}

static void
add_text(struct line *line, const char *text)
{
	add(line, text, strlen(text));
}

static void
add_quoted(struct line *line, const char *text)
{
	char quoted[6 * VALUE_BYTES + 2];
	long length = json_quote(quoted, sizeof(quoted), text, strnlen(text, VALUE_BYTES));

	if (length > 0)
		add(line, quoted, (size_t)length);
}

/* RFC 3339, UTC, milliseconds. */
static void
add_timestamp(struct line *line)
{
	char text[40];
	struct timespec now;
	struct tm tm;
	size_t length;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	length = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + length, sizeof(text) - length, ".%03ldZ", now.tv_nsec / 1000000);
	add_text(line, text);
}

static void
add_name(struct line *line, const char *name)
{
	if (readable) {
		add_text(line, " ");
		add_text(line, name);
		add_text(line, "=");
	} else {
		add_text(line, ",");
		add_quoted(line, name);
		add_text(line, ":");
	}
}

/* Words are easier to read without quotes where they need none. */
static void
add_value(struct line *line, const char *text)
{
	if (readable && text[0] != '\0' && strcspn(text, " \t\r\n\"\\") == strlen(text))
		add_text(line, text);
	else
		add_quoted(line, text);
}

static void
add_fields(struct line *line, va_list fields)
{
	const char *name;

	while ((name = va_arg(fields, const char *)) != NULL) {
		char number[24];
		const char *text;

		switch (name[0]) {
		case 's':
			text = va_arg(fields, const char *);
			if (text != NULL && text[0] != '\0') {
				add_name(line, name + 2);
				add_value(line, text);
			}
			break;
		case 'u':
			snprintf(number, sizeof(number), "%" PRIu64, va_arg(fields, uint64_t));
			add_name(line, name + 2);
			add_text(line, number);
			break;
		case 'd':
			snprintf(number, sizeof(number), "%d", va_arg(fields, int));
			add_name(line, name + 2);
			add_text(line, number);
			break;
		default: /* the rest cannot be read without knowing its type */
			return;
		}
	}
}

void
event(enum event_severity severity, const char *name, ...)
{
	struct line line = { .length = 0 };
	va_list fields;

	if (severity == EVENT_DEBUG && !verbose)
		return;
	if (!readable)
		add_text(&line, "{\"timestamp\":\"");
	add_timestamp(&line);
	if (readable) {
		add_text(&line, " ");
		add_text(&line, severity_names[severity]);
		add_text(&line, " ");
		add_text(&line, name);
	} else {
		add_text(&line, "\",\"severity\":\"");
		add_text(&line, severity_names[severity]);
		add_text(&line, "\",\"event\":");
		add_quoted(&line, name);
		add_text(&line, ",\"service\":");
		add_quoted(&line, service);
	}
	va_start(fields, name);
	add_fields(&line, fields);
	va_end(fields);
	line.text[line.length++] = readable ? '\n' : '}';
	if (!readable)
		line.text[line.length++] = '\n';
	/* One write, so that the lines of several processes do not mix. Nobody can be told that the
	 * log cannot be written. */
	if (write(STDERR_FILENO, line.text, line.length) < 0)
		return;
}
