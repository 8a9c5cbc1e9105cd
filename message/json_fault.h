/*
 * json_fault - where a text is no JSON, and why, in words for a person.
 *
 * json.h says whether a text is good; this looks once more at one that is not, byte by byte. Both
 * must agree on what is good: tests/unit/json.c compares them.
 */
#ifndef HEADGATE_MESSAGE_JSON_FAULT_H
#define HEADGATE_MESSAGE_JSON_FAULT_H

#include "message/json.h"

enum json_fault_kind {
	JSON_FAULT_NONE, /* one whole JSON value, and blanks around it */
	JSON_FAULT_CUT,  /* good so far, and not at its end: more text could make it whole */
	JSON_FAULT_BAD   /* nothing behind it could make it good */
};

struct json_fault {
	enum json_fault_kind kind;
	size_t at;        /* offset of the first byte that is wrong; length for CUT */
	const char *what; /* "',' or '}' expected", ...; NULL for NONE */
};

/* Looks for the first fault of a text that should be one JSON value of any type. */
struct json_fault json_fault_find(const char *text, size_t length);

/* Words about a text that json_walk() of this reader has just refused with this error; bytes are
 * counted from 1: "invalid JSON at byte 17: ',' or '}' expected". */
void json_fault_describe(const struct json_reader *, const char *text, size_t length,
    enum json_error, char *words, size_t capacity);

/* "a string", "an array", ... */
const char *json_type_text(enum json_type);

#endif
