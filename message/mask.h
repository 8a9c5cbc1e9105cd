/*
 * mask - hides account numbers in a message's body before people see the body.
 *
 *   below a key                masked, but for the last four digits
 *   account_number             every string and number
 *   that contains "account"    every string and number of 5 to 17 digits and nothing else
 *
 * "Below" means at any depth: {"account": {"id": "12345678"}} is masked too. Keys are unescaped,
 * and compared without regard to case. A masked number becomes a string. The rest of the body keeps
 * its bytes.
 */
#ifndef HEADGATE_MESSAGE_MASK_H
#define HEADGATE_MESSAGE_MASK_H

#include "message/json.h"

/* Longest masked body for a body of `length` bytes: masked numbers get quotes. */
static inline size_t
mask_capacity(size_t length)
{
	return 2 * length + 2;
}

/* Writes the masked body to `out`, which has mask_capacity(length) bytes. JSON_PADDING bytes behind
 * the body must be readable. Returns JSON_OK with *written. Any other result means that account
 * numbers could not be found, so the caller must not show any part of the body. */
enum json_error mask_body(
    struct json_reader *, const char *body, size_t length, char *out, size_t *written);

/* For text of unknown structure: masks, in place, every run of five digits or more but for the last
 * four digits. */
void mask_digits(char *text, size_t length);

#endif
