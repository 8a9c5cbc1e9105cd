#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "workers/amount.h"

static const struct {
	const char *text;
	int rc;
	int64_t cents;
} table[] = {
	{ "250.75", 0, 25075 },
	{ "1", 0, 100 },
	{ "0.01", 0, 1 },
	{ "1e2", 0, 10000 },
	{ "1E+2", 0, 10000 },
	{ "1.5e-1", 0, 15 },
	{ "100.000", 0, 10000 },
	{ "100.0000000000000000000000000000", 0, 10000 },
	{ "0.00001e5", 0, 100 },
	{ "9999999999999.99", 0, 999999999999999 },
	{ "10000000000000", -EINVAL, 0 },
	{ "1e1000000000000000000000", -EINVAL, 0 },
	{ "1e-1000000000000000000000", -EINVAL, 0 },
	{ "0.001", -EINVAL, 0 },
	{ "1e-3", -EINVAL, 0 },
	{ "-1", -EINVAL, 0 },
	{ "0", -EDOM, 0 },
	{ "0.00", -EDOM, 0 },
	{ "-0", -EDOM, 0 },
	{ "0e99", -EDOM, 0 },
	{ "", -EINVAL, 0 },
	{ " 1", -EINVAL, 0 },
	{ "1 ", -EINVAL, 0 },
	{ "+1", -EINVAL, 0 },
	{ "01", -EINVAL, 0 },
	{ "1.", -EINVAL, 0 },
	{ ".5", -EINVAL, 0 },
	{ "1e", -EINVAL, 0 },
	{ "1e+", -EINVAL, 0 },
	{ "1,5", -EINVAL, 0 },
	{ "0x10", -EINVAL, 0 },
	{ "NaN", -EINVAL, 0 },
};

Test(amount, is_read_exactly)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct span text = { table[i].text, strlen(table[i].text) };
		int64_t cents = 0;
		int rc = amount_parse(text, &cents);

		cr_expect(rc == table[i].rc, "\"%s\": %d, not %d", table[i].text, rc, table[i].rc);
		cr_expect(rc != 0 || cents == table[i].cents, "\"%s\": %lld", table[i].text,
		    (long long)cents);
	}
}

Test(amount, fees_are_rounded_half_up)
{
	static const int64_t fees[][2] = { { 10000, 0 }, { 10001, 250 }, { 15075, 377 },
		{ 25075, 627 }, { 10020, 251 }, { 10019, 250 },
		{ 999999999999999, 25000000000000 } };

	for (size_t i = 0; i < sizeof(fees) / sizeof(fees[0]); i++)
		cr_expect(amount_fees(fees[i][0]) == fees[i][1], "%lld: %lld",
		    (long long)fees[i][0], (long long)amount_fees(fees[i][0]));
}
