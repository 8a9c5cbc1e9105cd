/*
 * event - writes events, one per line, to standard error or a log file (telemetry/sink.h).
 *
 * On a terminal an event is readable text; elsewhere a JSON object with timestamp, severity, event,
 * service and the given fields. The man page of each program lists its events. Values must not
 * contain account numbers.
 */
#ifndef HEADGATE_TELEMETRY_EVENT_H
#define HEADGATE_TELEMETRY_EVENT_H

#include <stdbool.h>
#include <stdint.h>

enum event_severity { EVENT_DEBUG, EVENT_INFO, EVENT_WARN, EVENT_ERROR };

/* program: the value of "service". verbose: writes EVENT_DEBUG, too. Call once, after sink_open()
 * or sink_never_wait(). */
void event_init(const char *program, bool verbose);

/* Writes an event: its name (lower case, with dots), then pairs of a field's name and value, then
 * NULL. The prefix of a field's name is the value's type: "s:" text (NULL: the field is left out),
 * "u:" uint64_t, "d:" int. Example:
 *     event(EVENT_INFO, "queue.opened", "s:queue", name, "u:depth", depth, NULL);
 * One write(2) writes the line, and never blocks. A line that cannot be written is dropped;
 * log.dropped reports the number of dropped lines.
 * Per event and queue ("s:queue"), at most 200 lines are written at once, then 20 per second,
 * unless verbose: a peer may repeat its errors without limit. log.suppressed reports the number of
 * other lines. */
void event(enum event_severity, const char *name, ...);

/* Report dropped and suppressed lines, and a log file that could not be opened again. event_tick()
 * may be called at any rate, and reports once a second. event_flush() reports at once, for the end
 * of a process. A child of fork() starts with nothing to report. */
void event_tick(void);
void event_flush(void);

#endif
