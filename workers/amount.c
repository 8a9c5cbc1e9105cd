#include "workers/amount.h"

#include <errno.h>
#include <stdbool.h>

enum { CENT_DIGITS = 2, FEE_FREE_CENTS = 10000, FEE_NUMERATOR = 25, FEE_DENOMINATOR = 1000 };

/* Digits of a text shift the exponent by at most the text's length, which is far less. So an
 * exponent beyond this limit is out of range, whatever the digits. */
static const int64_t exponent_limit = INT64_C(1) << 40;

struct cursor {
	const char *next, *end;
};

/* value * 10^exponent, without zeros at either end of value. `digits` is the length of value;
 * digits beyond AMOUNT_DIGITS are counted and not kept. */
struct decimal {
	uint64_t value;
	int64_t digits, exponent;
	int64_t zeros; /* zeros read behind value: at its end, unless another digit follows */
};

static bool
at_digit(const struct cursor *cursor)
{
	return cursor->next < cursor->end && *cursor->next >= '0' && *cursor->next <= '9';
}

static bool
take(struct cursor *cursor, char c)
{
	if (cursor->next == cursor->end || *cursor->next != c)
		return false;
	cursor->next++;
	return true;
}

static void
push_digit(struct decimal *decimal, unsigned digit)
{
	if (digit == 0) {
		decimal->zeros += decimal->digits > 0;
		return;
	}
	for (; decimal->zeros > 0; decimal->zeros--)
		if (decimal->digits++ < AMOUNT_DIGITS)
			decimal->value *= 10;
	if (decimal->digits++ < AMOUNT_DIGITS)
		decimal->value = decimal->value * 10 + digit;
}

/* Returns the number of digits read. */
static int64_t
take_digits(struct cursor *cursor, struct decimal *decimal)
{
	const char *start = cursor->next;

	for (; at_digit(cursor); cursor->next++)
		push_digit(decimal, (unsigned)(*cursor->next - '0'));
	return cursor->next - start;
}

static bool
take_exponent(struct cursor *cursor, int64_t *exponent)
{
	bool negative = take(cursor, '-');

	if (!negative)
		take(cursor, '+');
	if (!at_digit(cursor))
		return false;
	for (*exponent = 0; at_digit(cursor); cursor->next++)
		if (*exponent < exponent_limit)
			*exponent = *exponent * 10 + (*cursor->next - '0');
	if (negative)
		*exponent = -*exponent;
	return true;
}

/* Reads a number without its sign: the grammar of RFC 8259, section 6. */
static bool
take_number(struct cursor *cursor, struct decimal *decimal)
{
	const char *start = cursor->next;
	int64_t integer = take_digits(cursor, decimal), fraction = 0;

	if (integer == 0 || (integer > 1 && *start == '0'))
		return false;
	if (take(cursor, '.')) {
		fraction = take_digits(cursor, decimal);
		if (fraction == 0)
			return false;
	}
	if ((take(cursor, 'e') || take(cursor, 'E')) && !take_exponent(cursor, &decimal->exponent))
		return false;
	decimal->exponent += decimal->zeros - fraction;
	return cursor->next == cursor->end;
}

int
amount_parse(struct span text, int64_t *cents)
{
	struct cursor cursor = { text.data, text.data + text.length };
	struct decimal decimal = { 0 };
	bool negative = take(&cursor, '-');
	int64_t shift;

	if (!take_number(&cursor, &decimal))
		return -EINVAL;
	if (decimal.digits == 0)
		return -EDOM;
	shift = decimal.exponent + CENT_DIGITS;
	if (negative || shift < 0 || decimal.digits + shift > AMOUNT_DIGITS)
		return -EINVAL;
	for (; shift > 0; shift--)
		decimal.value *= 10;
	*cents = (int64_t)decimal.value;
	return 0;
}

int64_t
amount_fees(int64_t cents)
{
	if (cents <= FEE_FREE_CENTS)
		return 0;
	return (cents * FEE_NUMERATOR + FEE_DENOMINATOR / 2) / FEE_DENOMINATOR;
}
