/*
 * event - one line for each thing that happened, on standard error or in a log file (telemetry/sink.h).
 *
 * On a terminal readable text, elsewhere one JSON object a line with timestamp, severity, event,
 * service and the fields given. Events are named in the man page of the program that writes them.
 * Account numbers never go in here.
 */
#ifndef HEADGATE_TELEMETRY_EVENT_H
#define HEADGATE_TELEMETRY_EVENT_H

#include <stdbool.h>
#include <stdint.h>

enum event_severity { EVENT_DEBUG, EVENT_INFO, EVENT_WARN, EVENT_ERROR };

/* program: its name; verbose: EVENT_DEBUG is written too. Call once, early, behind what telemetry/sink.h has for
 * the place that lines go to. */
void event_init(const char *program, bool verbose);

/* Writes one event: its name (lower case, dots), then pairs: a field's name and its value, ended by
 * NULL. The value's kind is in the name's first character: "s:" text (NULL: left out), "u:" uint64_t,
 * "d:" int. For instance
 *     event(EVENT_INFO, "queue.opened", "s:queue", name, "u:depth", depth, NULL);
 * The line goes out with one write(2), which waits for nobody: a line that cannot be written is dropped, and log.dropped
 * has the number of those. Of one event of one queue ("s:queue") at most 200 lines are written at once, and 20 a second
 * after that, unless verbose: peers can repeat what they do as fast as they like. log.suppressed has the number of the
 * others. */
void event(enum event_severity, const char *name, ...);

/* Report what was dropped or suppressed, and a log file that could not be opened anew. event_tick() may be called as
 * often as one likes, and does so once a second; event_flush() does so at once, for the end of a process. A child of
 * fork() begins with nothing to report. */
void event_tick(void);
void event_flush(void);

#endif
