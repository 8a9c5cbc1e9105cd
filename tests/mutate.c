/*
 * mutate [-n count] [-s seed] - prints payments and bank accounts, one a line, of which most went
 * wrong: values of other types, bytes, truncation, nesting. On stderr: how many lines are not
 * blank. The first one is good.
 */
#include <err.h>
#include <stdbool.h>
#include <sysexits.h>
#include <unistd.h>

#include "tests/unit/mutate.h"

static size_t
make_line(char *line, unsigned long i)
{
	unsigned long id = i > 0 && mutate_below(20) == 0 ? i - 1 : i; /* now and then twice */
	size_t length;

	if (mutate_below(2) == 0)
		length = (size_t)sprintf(line,
		    "{\"message_id\":\"m-%lu\",\"customer_id\":\"C-%u\",\"transaction_type\":"
		    "\"payment\","
		    "\"amount\":%u.%02u,\"payment_method\":\"card\",\"account_number\":"
		    "\"12345678\","
		    "\"due_date\":\"2026-01-01\",\"currency\":\"USD\"}",
		    id, mutate_below(20), mutate_below(1000), mutate_below(100));
	else
		length = (size_t)sprintf(line,
		    "{\"message_id\":\"m-%lu\",\"customer_id\":\"C-%u\",\"transaction_type\":"
		    "\"bank_account_setup\",\"routing_number\":\"123456789\",\"account_number\":"
		    "\"%010u\",\"account_type\":\"checking\"}",
		    id, mutate_below(20), mutate_below(1000000));
	for (unsigned changes = i == 0 ? 0 : mutate_below(4); changes > 0; changes--) {
		line[length] = '\0';
		length = mutate_once(line, length);
	}
	return length;
}

static unsigned
count_lines(const char *text, size_t length)
{
	unsigned count = 0;
	bool blank = true;

	for (size_t i = 0; i < length; i++) {
		if (text[i] == '\n') {
			count += !blank;
			blank = true;
		} else if (text[i] == '\0' || strchr(" \t\r\v\f", text[i]) == NULL) {
			blank = false;
		}
	}
	return count;
}

int
main(int argc, char **argv)
{
	static char line[MUTATED_BYTES + 2];
	unsigned long count = 1000;
	unsigned lines = 0;
	int option;

	while ((option = getopt(argc, argv, "n:s:")) != -1) {
		if (option == 'n')
			count = strtoul(optarg, NULL, 10);
		else if (option == 's')
			mutate_state = strtoull(optarg, NULL, 10);
		else
			errx(EX_USAGE, "usage: mutate [-n count] [-s seed]");
	}
	for (unsigned long i = 0; i < count; i++) {
		size_t length = make_line(line, i);

		line[length++] = '\n';
		lines += count_lines(line, length);
		fwrite(line, 1, length, stdout);
	}
	if (fflush(stdout) != 0)
		err(EX_IOERR, "stdout");
	fprintf(stderr, "%u\n", lines);
	return 0;
}
