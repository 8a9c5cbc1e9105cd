/*
 * json_fault - the place and the reason of a fault in a JSON text, for people.
 *
 * simdjson (json.h) reports no position. This scanner reads a refused text again, byte by byte.
 * Both must accept the same texts; tests/unit/json.c compares them.
 */
#ifndef HEADGATE_MESSAGE_JSON_FAULT_H
#define HEADGATE_MESSAGE_JSON_FAULT_H

#include "message/json.h"

enum json_fault_kind {
	JSON_FAULT_NONE, /* one whole JSON value with blanks around */
	JSON_FAULT_CUT,  /* the beginning of JSON: more text could complete the value */
	JSON_FAULT_BAD   /* no JSON, whatever follows */
};

struct json_fault {
	enum json_fault_kind kind;
	size_t at;        /* offset of the first wrong byte; CUT: the text's length */
	const char *what; /* "',' or '}' expected", ...; NONE: NULL */
};

/* The first fault of a text that should be one JSON value of any type. */
struct json_fault json_fault_find(const char *text, size_t length);

/* Describes a fault as "invalid JSON at byte 17: ',' or '}' expected", with bytes counted from 1,
 * in `capacity` bytes with a NUL. The text must be the last one of this reader's json_walk(), and
 * `error` its result. */
void json_fault_describe(const struct json_reader *, const char *text, size_t length,
    enum json_error, char *words, size_t capacity);

/* "a string", "an array", ... */
const char *json_type_text(enum json_type);

#endif
