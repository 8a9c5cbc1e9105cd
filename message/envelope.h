/*
 * envelope - a message as it goes through sockets, logs and rings.
 *
 * A msgpack array of 8 (https://github.com/msgpack/msgpack/blob/master/spec.md):
 *
 *   0  topic        uint: envelope_topic_id() of the topic's name, 32 bit
 *   1  group        text
 *   2  dedup id     text, bin (32: SHA-256 of the body), or nil: not deduplicated
 *   3  message id   text
 *   4  published    uint: nanoseconds since 1970, UTC
 *   5  trace        bin (25: trace id 16, parent span id 8, flags 1), or nil
 *   6  attributes   map of text to text | bool | [text]: string, boolean, and number (its JSON text)
 *   7  body         str: the JSON text exactly as it was published
 *
 * text is a str, or the array [offset, length] of uints when the same bytes stand in the body; so an
 * id is on the wire once. A number attribute is an array of one text, to tell it from a string.
 *
 * envelope_open() checks everything, bounded, before anybody else reads a byte, and gives spans that
 * point into the envelope's own bytes. It never allocates.
 */
#ifndef HEADGATE_MESSAGE_ENVELOPE_H
#define HEADGATE_MESSAGE_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message/json.h"

enum {
	ENVELOPE_ID_BYTES = 128,         /* longest group, message id, deduplication id */
	ENVELOPE_BODY_BYTES = 256 << 10, /* default max_message_size */
	ENVELOPE_BODY_BYTES_MAX = 1 << 20,
	ENVELOPE_OVERHEAD_BYTES = 64 << 10, /* most that all but the body may take */
	ENVELOPE_ATTRIBUTES = 256, /* most attributes; more are left out by the publisher */
	ENVELOPE_ATTRIBUTE_BYTES = 1 << 10, /* longest value of one; others are left out likewise */
	ENVELOPE_TRACE_BYTES = 25
};

struct envelope {
	uint32_t topic;
	struct span group, dedup_id, message_id; /* dedup_id.data NULL: not deduplicated */
	bool dedup_is_hash;                      /* dedup_id is a SHA-256 */
	uint64_t published_ns;
	const uint8_t *trace; /* ENVELOPE_TRACE_BYTES, or NULL */
	struct span body;
	struct span attributes; /* the encoded map: read with envelope_attribute() */
	uint32_t attribute_count;
};

/* What a topic's name is on the wire and on disk. */
uint32_t envelope_topic_id(const char *name);

/* Checks and opens length bytes at data. Returns 0, or -EBADMSG with *why (if not NULL) a constant
 * text that names what is wrong. max_body bounds the body. */
int envelope_open(
    struct envelope *, const void *data, size_t length, size_t max_body, const char **why);

/* Attributes one by one: *position starts at 0. Returns true while there is one. Only on what
 * envelope_open() accepted. value->type is JSON_STRING (raw = its value, unescaped already),
 * JSON_NUMBER (raw = its text) or JSON_BOOL (raw = "true" or "false"). */
bool envelope_attribute(
    const struct envelope *, size_t *position, struct span *name, struct json_value *value);
/* Finds one by name. False when it is not there. */
bool envelope_find_attribute(
    const struct envelope *, const char *name, size_t name_length, struct json_value *value);

/* Packing into a fixed buffer, in msgpack-c's bytes; never allocates. */
struct envelope_attribute_source {
	struct span name, text; /* text: value unescaped, number's text */
	enum json_type type;    /* JSON_STRING, JSON_NUMBER, JSON_BOOL */
	bool value;             /* of a JSON_BOOL */
};
struct envelope_source {
	struct envelope head; /* attributes and attribute_count unused */
	const struct envelope_attribute_source *attributes;
	size_t count;
};
/* Packs *source; spans that lie inside source->head.body become [offset, length]. Returns the length
 * written, or -ENOBUFS when capacity is too small. */
long envelope_pack(void *buffer, size_t capacity, const struct envelope_source *source);

#endif
