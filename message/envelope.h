/*
 * envelope - a message's encoding in sockets, logs and rings.
 *
 * A msgpack array of 8 (https://github.com/msgpack/msgpack/blob/master/spec.md):
 *
 *   0  topic        uint: envelope_topic_id() of the topic's name, 32 bit
 *   1  group        text
 *   2  dedup id     text, bin (32 bytes: SHA-256 of the body), or nil: not deduplicated
 *   3  message id   text
 *   4  published    uint: nanoseconds since 1970, UTC
 *   5  trace        bin (25 bytes: trace id 16, parent span id 8, flags 1), or nil
 *   6  attributes   map from text to string, boolean or number:
 *                   string: text; boolean: bool; number: array of one text, the number's JSON text
 *   7  body         str: the JSON text exactly as published
 *
 * `text` is either a str, or an array [offset, length] of two uints that refers to bytes of the
 * body. An id that was taken from the body is therefore sent and stored once.
 *
 * A reader calls envelope_open() before any other access. envelope_open() checks all of an
 * envelope, bounded by its length, and never allocates. The spans in struct envelope point into the
 * envelope's own bytes.
 */
#ifndef HEADGATE_MESSAGE_ENVELOPE_H
#define HEADGATE_MESSAGE_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message/json.h"

enum {
	ENVELOPE_ID_BYTES = 128,         /* longest group, message id or deduplication id */
	ENVELOPE_BODY_BYTES = 256 << 10, /* default max_message_size */
	ENVELOPE_BODY_BYTES_MAX = 1 << 20,
	ENVELOPE_OVERHEAD_BYTES = 64 << 10, /* longest envelope without its body */
	/* The publisher leaves out attributes beyond these two bounds. */
	ENVELOPE_ATTRIBUTES = 256,          /* most attributes of a message */
	ENVELOPE_ATTRIBUTE_BYTES = 1 << 10, /* longest value of an attribute */
	ENVELOPE_TRACE_BYTES = 25
};

struct envelope {
	uint32_t topic;
	struct span group, dedup_id, message_id; /* dedup_id.data NULL: not deduplicated */
	bool dedup_is_hash;                      /* dedup_id is the body's SHA-256 */
	uint64_t published_ns;
	const uint8_t *trace; /* ENVELOPE_TRACE_BYTES, or NULL */
	struct span body;
	struct span attributes; /* the encoded map: read with envelope_attribute() */
	uint32_t attribute_count;
};

/* The topic's id on the wire and on disk: the lower half of XXH3_64bits(), 1 if that half is 0. */
uint32_t envelope_topic_id(const char *name);

/* Checks and opens `length` bytes at `data`, with at most max_body bytes of body. Returns 0, or
 * -EBADMSG with *why (if `why` is not NULL) set to a constant text that names the fault. */
int envelope_open(
    struct envelope *, const void *data, size_t length, size_t max_body, const char **why);

/* Iterates over the attributes of an opened envelope: *position starts at 0. False behind the last
 * attribute. value->type and value->raw: JSON_STRING, the unescaped value; JSON_NUMBER, the
 * number's text; JSON_BOOL, "true" or "false". */
bool envelope_attribute(
    const struct envelope *, size_t *position, struct span *name, struct json_value *value);
/* Finds the attribute `name` of an opened envelope, with *value as above. False if absent. */
bool envelope_find_attribute(
    const struct envelope *, const char *name, size_t name_length, struct json_value *value);

struct envelope_attribute_source {
	struct span name, text; /* text: a string's unescaped value, or a number's JSON text */
	enum json_type type;    /* JSON_STRING, JSON_NUMBER or JSON_BOOL */
	bool value;             /* JSON_BOOL: the value */
};
struct envelope_source {
	struct envelope head; /* `attributes` and `attribute_count` are unused */
	const struct envelope_attribute_source *attributes;
	size_t count;
};
/* Packs *source into a fixed buffer; never allocates. Spans inside source->head.body become
 * references. At most 65,535 attributes; the trace is ENVELOPE_TRACE_BYTES long, a dedup id that is
 * a hash 32. Returns the length written, or -ENOBUFS if `capacity` is too small. */
long envelope_pack(void *buffer, size_t capacity, const struct envelope_source *source);

#endif
