/*
 * amount - money from JSON text, exactly, in whole cents.
 */
#ifndef HEADGATE_WORKERS_AMOUNT_H
#define HEADGATE_WORKERS_AMOUNT_H

#include <stdint.h>

#include "message/json.h"

enum { AMOUNT_DIGITS = 15 }; /* an amount is below 10^15 cents */

/* Reads a JSON number ("150.75", "1e2") exactly, without floating point. Returns 0 with *cents set;
 * -EDOM for zero; -EINVAL for a text that is no JSON number, and for a value that is negative, not
 * a whole number of cents, or too large. */
int amount_parse(struct span text, int64_t *cents);

/* The fees of a payment, in cents: 2.5 % above 100.00, rounded half up to the cent; else 0. */
int64_t amount_fees(int64_t cents);

#endif
