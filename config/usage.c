#include "config/usage.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "config/config.h"
#include "config/suggest.h"

#define DAY_NS UINT64_C(86400000000000)

enum { NAME_BYTES = 64, LIST_BYTES = 256 };

/* Lists the options that begin with `name`. Returns their number. */
static unsigned
list_options(char list[LIST_BYTES], const struct option *options, const char *name)
{
	unsigned count = 0;

	list[0] = '\0';
	for (; options->name != NULL; options++) {
		size_t end = strlen(list);

		if (strncmp(options->name, name, strlen(name)) != 0)
			continue;
		snprintf(
		    list + end, LIST_BYTES - end, "%s--%s", count > 0 ? ", " : "", options->name);
		count++;
	}
	return count;
}

/* word: --NAME or --NAME=VALUE, as typed. */
static _Noreturn void
usage_long_error(const char *word, const struct option *options, const char *help)
{
	int length = (int)strcspn(word, "=");
	char name[NAME_BYTES], list[LIST_BYTES];
	struct suggestion meant = { .word = name };
	unsigned begin;

	snprintf(name, sizeof(name), "%.*s", length - 2, word + 2);
	begin = list_options(list, options, name);
	if (begin > 1)
		errx(EX_USAGE, "%.*s: which one: %s?", length, word, list);
	if (begin == 1)
		errx(EX_USAGE, "%.*s takes no value; see: %s", length, word, help);
	for (; options->name != NULL; options++)
		suggest_consider(&meant, options->name);
	errx(EX_USAGE, "%.*s: no such option%s%s%s see: %s", length, word,
	    meant.best != NULL ? "; did you mean --" : "", meant.best != NULL ? meant.best : "",
	    meant.best != NULL ? "? Or" : ";", help);
}

static _Noreturn void
usage_error(int problem, char **argv, const struct option *options, const char *help)
{
	const char *word = argv[optind - 1];

	if (problem == ':')
		errx(EX_USAGE, "%s needs a value; see: %s", word, help);
	if (strncmp(word, "--", 2) == 0)
		usage_long_error(word, options, help);
	errx(EX_USAGE, "-%c: no such option; see: %s", optopt, help);
}

int
usage_next(int argc, char **argv, const char *letters, const struct option *options,
    const char *may_be_empty, const char *help)
{
	int value, index = -1; /* unchanged by a short option */

	opterr = 0;
	value = getopt_long(argc, argv, letters, options, &index);
	if (value == '?' || value == ':')
		usage_error(value, argv, options, help);
	if (value == -1 || optarg == NULL || optarg[0] != '\0')
		return value;
	if (index < 0)
		errx(EX_USAGE, "-%c: its value is empty; see: %s", value, help);
	if (may_be_empty == NULL || strcmp(options[index].name, may_be_empty) != 0)
		errx(EX_USAGE, "--%s: its value is empty; see: %s", options[index].name, help);
	return value;
}

void
usage_duration(const char *option, const char *text, uint64_t *ns)
{
	int rc = config_parse_duration(text, ns);

	if (rc == -ERANGE)
		errx(EX_USAGE, "%s %s: too long: at most %" PRIu64 "d", option, text,
		    UINT64_MAX / DAY_NS);
	if (rc != 0)
		errx(EX_USAGE, "%s %s: seconds, or with ms, s, m, h, d", option, text);
}
