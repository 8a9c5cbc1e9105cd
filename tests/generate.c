/*
 * generate - NDJSON of the utility mix: 30 % bank accounts, 70 % payments, the same for the same seed.
 *
 * Each customer's messages of one kind count up, in due_date (payments) and account_type (accounts), so
 * that a store tells by itself whether it has them all and in order.
 */
#include <err.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "tests/random.h"

static uint64_t state;

static uint64_t
number(const char *option, const char *text)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (*end != '\0' || end == text)
		errx(EX_USAGE, "-%s %s: not a number", option, text);
	return value;
}

int
main(int argc, char **argv)
{
	uint64_t count = 1000, customers = 10000, seed = 1, padding = 0;
	uint32_t *accounts, *payments;
	int option;

	while ((option = getopt(argc, argv, "n:c:s:b:")) != -1) {
		if (option == 'n')
			count = number("n", optarg);
		else if (option == 'c')
			customers = number("c", optarg);
		else if (option == 's')
			seed = number("s", optarg);
		else if (option == 'b' && number("b", optarg) <= 100000)
			padding = number("b", optarg);
		else
			errx(EX_USAGE,
			    "usage: generate [-n count] [-c customers] [-s seed] [-b padding]");
	}
	if (customers == 0 || optind < argc)
		errx(EX_USAGE, "usage: generate [-n count] [-c customers] [-s seed] [-b padding]");
	state = seed;
	accounts = calloc(customers, sizeof(*accounts));
	payments = calloc(customers, sizeof(*payments));
	if (accounts == NULL || payments == NULL)
		errx(EX_OSERR, "out of memory");
	for (uint64_t i = 0; i < count; i++) {
		uint64_t customer = random_next(&state) % customers;

		if (random_next(&state) % 10 < 3)
			printf("{\"message_id\":\"%016" PRIx64 "-%" PRIu64 "\","
			       "\"customer_id\":\"CUST-%06" PRIu64 "\","
			       "\"transaction_type\":\"bank_account_setup\","
			       "\"routing_number\":\"123456789\",\"account_number\":\"%010" PRIu64
			       "\",\"account_type\":\"%08u\",\"source\":\"utility-portal-web\"",
			    seed, i, customer, random_next(&state) % 10000000000u,
			    ++accounts[customer]);
		else
			printf("{\"message_id\":\"%016" PRIx64 "-%" PRIu64 "\","
			       "\"customer_id\":\"CUST-%06" PRIu64 "\","
			       "\"transaction_type\":\"payment\",\"amount\":%" PRIu64 ".%02" PRIu64
			       ",\"payment_method\":\"bank_account\",\"bill_type\":\"electricity\","
			       "\"due_date\":\"%08u\",\"currency\":\"USD\"",
			    seed, i, customer, 1 + random_next(&state) % 900,
			    random_next(&state) % 100, ++payments[customer]);
		if (padding > 0)
			printf(",\"memo\":\"%0*d\"", (int)padding, 0);
		puts("}");
	}
	if (fflush(stdout) != 0)
		err(EX_IOERR, "stdout");
	free(accounts);
	free(payments);
	return 0;
}
