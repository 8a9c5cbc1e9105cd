/*
 * amount - money from JSON text, exactly, in whole cents.
 */
#ifndef HEADGATE_WORKERS_AMOUNT_H
#define HEADGATE_WORKERS_AMOUNT_H

#include <stdint.h>

#include "message/json.h"

enum { AMOUNT_DIGITS = 15 }; /* an amount is below 10^15 cents */

/* Reads a JSON number ("150.75", "1e2"): its exact value, in cents, without floating point.
 * Returns 0; -EDOM when the value is zero; -EINVAL when the text is no JSON number, or its value is
 * negative, not a whole number of cents, or too large. */
int amount_parse(struct span text, int64_t *cents);

/* What a payment of so much costs: 2.5 % above 100.00, rounded half up to the cent, else nothing. */
int64_t amount_fees(int64_t cents);

#endif
