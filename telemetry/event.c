#include "telemetry/event.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "base/clock.h"
#include "message/json.h"
#include "telemetry/sink.h"

enum {
	LINE_BYTES = 4096, /* PIPE_BUF: a pipe takes a line whole or not at all */
	VALUE_BYTES = 1024,
	QUEUE_BYTES = 64, /* with NUL; as a queue's name */
	LIMITS = 1024,
	BURST_LINES = 200 /* at once */
};

#define LINE_NS UINT64_C(50000000) /* after a burst */
#define TICK_NS UINT64_C(1000000000)

static const char *const severity_names[] = {
	[EVENT_DEBUG] = "debug",
	[EVENT_INFO] = "info",
	[EVENT_WARN] = "warn",
	[EVENT_ERROR] = "error",
};

static const char *service = "headgate";
static bool verbose, readable;
static uint64_t dropped; /* lines since the last written one */

/* The limit of an event per queue: a token bucket with BURST_LINES tokens, refilled every
 * LINE_NS. */
static struct limit {
	const char *name; /* NULL: unused */
	char queue[QUEUE_BYTES];
	uint64_t spent_ns;   /* time at which the bucket will be full again */
	uint64_t suppressed; /* and not yet reported */
} limits[LIMITS];
static uint64_t suppressed; /* by all limits */

/* The parent reports its own lost lines, so the child must not. */
static void
forget(void)
{
	dropped = suppressed = 0;
	for (unsigned i = 0; i < LIMITS; i++)
		limits[i].suppressed = 0;
}

void
event_init(const char *program, bool be_verbose)
{
	service = program;
	verbose = be_verbose;
	readable = sink_is_terminal();
	pthread_atfork(NULL, NULL, forget);
}

/* A line under construction; a field that does not fit is left out. */
struct line {
	char text[LINE_BYTES];
	size_t length;
	bool full; /* something did not fit */
};

static void
add(struct line *line, const char *text, size_t length)
{
	if (length < sizeof(line->text) - line->length - 2) { /* room for the end */
		memcpy(line->text + line->length, text, length);
		line->length += length;
	} else {
		line->full = true;
	}
}

static void
add_text(struct line *line, const char *text)
{
	add(line, text, strlen(text));
}

/* The largest length, at most `length`, that cuts no UTF-8 character of the text. */
static size_t
whole(const char *text, size_t length)
{
	size_t start = length;

	while (start > 0 && length - start < 3 && ((unsigned char)text[start] & 0xc0) == 0x80)
		start--;
	return start;
}

/* Adds a quoted value, cut to VALUE_BYTES. */
static void
add_quoted(struct line *line, const char *text)
{
	char quoted[VALUE_BYTES + 2];
	size_t length = strnlen(text, VALUE_BYTES + 1);
	long n;

	if (length > VALUE_BYTES)
		length = whole(text, VALUE_BYTES);
	/* Escapes lengthen the value up to six times, so shortens the text until the result
	 * fits. */
	while ((n = json_quote(quoted, sizeof(quoted), text, length)) < 0 && length > 0)
		length = whole(text, length - length / 8 - 1);
	if (n >= 0)
		add(line, quoted, (size_t)n);
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

/* True for a word of printable ASCII without quotes. */
static bool
is_word(const char *text)
{
	size_t length = 0;

	for (; text[length] != '\0' && length <= VALUE_BYTES; length++)
		if (text[length] <= ' ' || text[length] > '~' || text[length] == '"' ||
		    text[length] == '\\')
			return false;
	return length > 0 && length <= VALUE_BYTES;
}

/* On a terminal, words need no quotes. */
static void
add_value(struct line *line, const char *text)
{
	if (readable && is_word(text))
		add_text(line, text);
	else
		add_quoted(line, text);
}

static void
add_number(struct line *line, const char *name, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	add_name(line, name);
	add_text(line, text);
}

static void
add_fields(struct line *line, va_list fields)
{
	const char *name;

	while ((name = va_arg(fields, const char *)) != NULL) {
		size_t before = line->length;
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
			add_number(line, name + 2, va_arg(fields, uint64_t));
			break;
		case 'd':
			snprintf(number, sizeof(number), "%d", va_arg(fields, int));
			add_name(line, name + 2);
			add_text(line, number);
			break;
		default: /* unknown type: the other arguments cannot be read */
			return;
		}
		if (line->full)
			line->length = before; /* a name without its value would be no JSON */
		line->full = false;
	}
}

/* The value of "s:queue", or "". Other values may come from peers, in any number, so do not count
 * for limits. */
static const char *
queue_of(va_list fields)
{
	const char *name, *text;

	while ((name = va_arg(fields, const char *)) != NULL) {
		if (name[0] == 's') {
			text = va_arg(fields, const char *);
			if (strcmp(name, "s:queue") == 0)
				return text != NULL ? text : "";
		} else if (name[0] == 'u') {
			(void)va_arg(fields, uint64_t);
		} else if (name[0] == 'd') {
			(void)va_arg(fields, int);
		} else {
			break;
		}
	}
	return "";
}

/* Events beyond the table share one entry. */
static struct limit *
limit_of(const char *name, const char *queue)
{
	uint64_t hash = XXH3_64bits_withSeed(queue, strlen(queue), XXH3_64bits(name, strlen(name)));
	struct limit *limit;

	for (unsigned i = 0; i < LIMITS; i++) {
		limit = &limits[(hash + i) % LIMITS];
		if (limit->name == NULL) {
			limit->name = name;
			strlcpy(limit->queue, queue, sizeof(limit->queue));
		}
		if (strcmp(limit->name, name) == 0 &&
		    strncmp(limit->queue, queue, QUEUE_BYTES - 1) == 0)
			return limit;
	}
	return &limits[hash % LIMITS];
}

/* True if the limit allows another line of this event. */
static bool
within_limit(const char *name, va_list fields)
{
	uint64_t now_ns = clock_monotonic_ns();
	struct limit *limit = limit_of(name, queue_of(fields));

	if (limit->spent_ns < now_ns)
		limit->spent_ns = now_ns;
	if (limit->spent_ns - now_ns > (BURST_LINES - 1) * LINE_NS) {
		limit->suppressed++;
		suppressed++;
		return false;
	}
	limit->spent_ns += LINE_NS;
	return true;
}

static void
begin_line(struct line *line, enum event_severity severity, const char *name)
{
	line->length = 0;
	line->full = false;
	if (!readable)
		add_text(line, "{\"timestamp\":\"");
	add_timestamp(line);
	if (readable) {
		add_text(line, " ");
		add_text(line, severity_names[severity]);
		add_text(line, " ");
		add_text(line, name);
	} else {
		add_text(line, "\",\"severity\":\"");
		add_text(line, severity_names[severity]);
		add_text(line, "\",\"event\":");
		add_quoted(line, name);
		add_text(line, ",\"service\":");
		add_quoted(line, service);
	}
}

static bool
write_line(struct line *line)
{
	if (!readable)
		line->text[line->length++] = '}';
	line->text[line->length++] = '\n';
	return sink_write(line->text, line->length);
}

/* True if no line was dropped, or the report was written. */
static bool
say_dropped(void)
{
	struct line line;

	if (dropped == 0)
		return true;
	begin_line(&line, EVENT_WARN, "log.dropped");
	add_number(&line, "lines", dropped);
	if (!write_line(&line))
		return false;
	dropped = 0;
	return true;
}

/* The report goes to the old file, which is still in use. */
static void
say_not_reopened(void)
{
	const char *path;
	int why = sink_not_reopened(&path);
	struct line line;

	if (why == 0)
		return;
	begin_line(&line, EVENT_ERROR, "log.not_reopened");
	add_name(&line, "file");
	add_value(&line, path);
	add_name(&line, "error");
	add_value(&line, strerror(why));
	if (!write_line(&line))
		dropped++;
}

static void
say_suppressed(struct limit *limit)
{
	struct line line;

	begin_line(&line, EVENT_WARN, "log.suppressed");
	add_name(&line, "of");
	add_value(&line, limit->name);
	if (limit->queue[0] != '\0') {
		add_name(&line, "queue");
		add_value(&line, limit->queue);
	}
	add_number(&line, "lines", limit->suppressed);
	if (!say_dropped() || !write_line(&line))
		return; /* at the next tick */
	suppressed -= limit->suppressed;
	limit->suppressed = 0;
}

void
event_flush(void)
{
	say_not_reopened();
	(void)say_dropped();
	for (unsigned i = 0; i < LIMITS && suppressed > 0; i++)
		if (limits[i].suppressed > 0)
			say_suppressed(&limits[i]);
}

void
event_tick(void)
{
	static uint64_t ticked_ns;
	uint64_t now_ns = clock_monotonic_ns();

	if (now_ns - ticked_ns < TICK_NS)
		return;
	ticked_ns = now_ns;
	event_flush();
}

void
event(enum event_severity severity, const char *name, ...)
{
	struct line line;
	va_list fields;
	bool within;

	if (severity == EVENT_DEBUG && !verbose)
		return;
	va_start(fields, name);
	within = verbose || within_limit(name, fields);
	va_end(fields);
	if (!within)
		return;
	begin_line(&line, severity, name);
	va_start(fields, name);
	add_fields(&line, fields);
	va_end(fields);
	say_not_reopened();
	if (!say_dropped() || !write_line(&line))
		dropped++;
}
