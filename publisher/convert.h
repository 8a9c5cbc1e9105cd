/*
 * convert - a line of input becomes what is packed into an envelope, or is refused.
 */
#ifndef HEADGATE_PUBLISHER_CONVERT_H
#define HEADGATE_PUBLISHER_CONVERT_H

#include <stdint.h>

#include "message/envelope.h"
#include "publisher/topic.h"

enum {
	/* Attributes that are not plain text in the body take room in the envelope. When they would
	 * take more than this the rest of them is left out; ids and encoding need the remainder. */
	CONVERT_INLINE_BYTES = 48 << 10
};

struct converter;

struct converter *convert_new(void);
void convert_free(struct converter *);

/* Reads line, at most INPUT_LINE_BYTES and followed by JSON_PADDING readable bytes. Returns 0 with
 * *source filled; what it points to stands in the line and in the converter, until the next call.
 * Otherwise the status of the refusal, 400 or 413, and convert_reason() says why. */
int convert_line(struct converter *, const struct topic_settings *, struct span line,
    uint64_t published_ns, struct envelope_source *source);
const char *convert_reason(const struct converter *);

#endif
