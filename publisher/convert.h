/*
 * convert - turns a line of input into the parts of an envelope, or refuses the line.
 */
#ifndef HEADGATE_PUBLISHER_CONVERT_H
#define HEADGATE_PUBLISHER_CONVERT_H

#include <stdint.h>

#include "message/envelope.h"
#include "publisher/topic.h"

enum {
	/* Room for attributes that are not plain text in the body, so are copied into the envelope.
	 * Attributes beyond are left out. Ids and encoding need the rest of
	 * ENVELOPE_OVERHEAD_BYTES. */
	CONVERT_INLINE_BYTES = 48 << 10
};

struct converter;

/* NULL without memory. */
struct converter *convert_new(void);
void convert_free(struct converter *);

/* Converts `line`: at most INPUT_LINE_BYTES, followed by JSON_PADDING readable bytes. published_ns:
 * CLOCK_REALTIME. Returns 0 with *source filled; its spans point into the line and the converter,
 * and are valid until the next call. Otherwise returns the refusal's status, 400 or 413;
 * convert_reason() has the reason. */
int convert_line(struct converter *, const struct topic_settings *, struct span line,
    uint64_t published_ns, struct envelope_source *source);
const char *convert_reason(const struct converter *);

#endif
