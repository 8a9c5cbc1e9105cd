/*
 * trace - W3C trace context, https://www.w3.org/TR/trace-context/, in its binary form: trace id 16
 * bytes, parent id 8, flags 1 (ENVELOPE_TRACE_BYTES).
 */
#ifndef HEADGATE_MESSAGE_TRACE_H
#define HEADGATE_MESSAGE_TRACE_H

#include <stdint.h>

#include "message/envelope.h"

enum { TRACE_TEXT_BYTES = 56 }; /* of a traceparent, with the terminating NUL */

/* Reads a traceparent. Returns 0 or -EINVAL (the caller then makes a new one). */
int trace_parse(struct span text, uint8_t trace[ENVELOPE_TRACE_BYTES]);
/* Makes a new, sampled one. */
void trace_make(uint8_t trace[ENVELOPE_TRACE_BYTES]);
void trace_format(const uint8_t trace[ENVELOPE_TRACE_BYTES], char text[TRACE_TEXT_BYTES]);

#endif
