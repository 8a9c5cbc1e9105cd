/*
 * trace - W3C trace context, https://www.w3.org/TR/trace-context/, in its binary form: trace id 16
 * bytes, parent id 8, flags 1 (ENVELOPE_TRACE_BYTES).
 */
#ifndef HEADGATE_MESSAGE_TRACE_H
#define HEADGATE_MESSAGE_TRACE_H

#include <stdint.h>

#include "message/envelope.h"

enum { TRACE_TEXT_BYTES = 56 }; /* a traceparent with its terminating NUL */

/* Reads a traceparent header value. Returns 0, or -EINVAL with `trace` undefined; the standard then
 * has the caller start a new trace. */
int trace_parse(struct span text, uint8_t trace[ENVELOPE_TRACE_BYTES]);
/* Starts a new trace: random ids, flag "sampled". */
void trace_make(uint8_t trace[ENVELOPE_TRACE_BYTES]);
/* Writes a traceparent of version 00. */
void trace_format(const uint8_t trace[ENVELOPE_TRACE_BYTES], char text[TRACE_TEXT_BYTES]);

#endif
