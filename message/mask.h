/*
 * mask - a message's body for a person to read, without its account numbers.
 *
 *   under a key              masked is
 *   account_number           every string and number: all but its last four digits
 *   that has "account" in it every string and number that is 5 to 17 digits: all but the last four
 *
 * "Under" is at any depth: {"account": {"id": "12345678"}} is masked too. Keys are compared unescaped and
 * in any case. A number becomes a string. All else stays byte for byte as it is.
 */
#ifndef HEADGATE_MESSAGE_MASK_H
#define HEADGATE_MESSAGE_MASK_H

#include "message/json.h"

/* Most bytes that a body of this length takes when it is masked: a number gets quotes. */
static inline size_t
mask_capacity(size_t length)
{
	return 2 * length + 2;
}

/* Writes the body masked to out, which has room for mask_capacity(length) bytes; JSON_PADDING bytes behind
 * the body must be readable. Returns JSON_OK with *written; otherwise why the body is no JSON object: then
 * it cannot be told where account numbers are in it, and nothing of it may be shown. */
enum json_error mask_body(
    struct json_reader *, const char *body, size_t length, char *out, size_t *written);

/* Where it cannot be told: every run of five digits and more but for its last four, in place. */
void mask_digits(char *text, size_t length);

#endif
