/*
 * Tables of headgatectl, suggestions for misspelt words, and times.
 */
#include <criterion/criterion.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/suggest.h"
#include "ctl/table.h"
#include "ctl/text.h"

static const struct table_column columns[] = {
	{ "NAME", TABLE_NAME },
	{ "WHAT", TABLE_TEXT },
	{ "N", TABLE_NUMBER },
};

/* Prints a table of one row to allocated memory, for free(3). */
static char *
printed(unsigned width, const char *name, const char *what, uint64_t number)
{
	struct table *table = table_new(columns, 3, width, 0);
	FILE *out = stdout;
	char *text = NULL;
	size_t length;

	table_text(table, name);
	table_text(table, what);
	table_number(table, number);
	stdout = open_memstream(&text, &length);
	table_flush(table);
	fclose(stdout);
	stdout = out;
	table_free(table);
	return text;
}

static void
expect(unsigned width, const char *name, const char *what, uint64_t number, const char *wanted)
{
	char *text = printed(width, name, what, number);

	cr_assert(strcmp(text, wanted) == 0, "%u: %s", width, text);
	free(text);
}

Test(table, is_as_wide_as_what_stands_in_it)
{
	expect(80, "q", "x", 7, "NAME  WHAT  N\nq     x     7\n");
	expect(0, "a-long-name", "x", 1234567890,
	    "NAME         WHAT           N\na-long-name  x     1234567890\n");
}

Test(table, wide_characters_fill_two_columns_and_combining_ones_none)
{
	cr_assert(setlocale(LC_CTYPE, "C.UTF-8") != NULL, "C.UTF-8");
	expect(80, "\u65e5\u672c\u8a9e", "x", 7, "NAME    WHAT  N\n\u65e5\u672c\u8a9e  x     7\n");
	expect(80, "q", "\U0001f600\U0001f600\U0001f600", 7,
	    "NAME  WHAT    N\nq     \U0001f600\U0001f600\U0001f600  7\n");
	expect(80, "e\u0301te\u0301", "x", 7, "NAME  WHAT  N\ne\u0301te\u0301   x     7\n");
}

Test(table, names_are_cut_between_wide_characters)
{
	cr_assert(setlocale(LC_CTYPE, "C.UTF-8") != NULL, "C.UTF-8");
	expect(17, "\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e", "x", 7,
	    "NAME       WHAT N\n\u65e5\u672c\u8a9e\u65e5 ~ x    7\n");
}

Test(table, numbers_are_shortened_first_then_gaps_then_names)
{
	expect(26, "a-long-name", "x", 1234567890,
	    "NAME         WHAT     N\na-long-name  x     1.2G\n");
	expect(
	    22, "a-long-name", "x", 1234567890, "NAME        WHAT    N\na-long-name x    1.2G\n");
	expect(20, "a-long-name", "x", 1234567890, "NAME       WHAT    N\na-long-na~ x    1.2G\n");
	expect(1, "a-long-name", "x", 7, "NAME     WHAT N\na-long-~ x    7\n");
}

Test(table, a_name_is_cut_between_characters)
{
	expect(20, "\303\244\303\266\303\274\303\237\303\244\303\266\303\274\303\237xyz", "x",
	    1234567890,
	    "NAME       WHAT    N\n"
	    "\303\244\303\266\303\274\303\237\303\244\303\266\303\274\303\237x~ x    1.2G\n");
}

Test(table, nothing_moves_the_cursor)
{
	expect(80, "a\033[2J\xe2\x80\xae",
	    "b\n\xc2\x9b"
	    "c",
	    1, "NAME    WHAT  N\na?[2J?  b ?c  1\n");
}

Test(table, numbers_in_five_bytes)
{
	static const struct {
		uint64_t number;
		const char *text;
	} cases[] = { { 0, "0" }, { 999, "999" }, { 1000, "1.0k" }, { 99999, "99.9k" },
		{ 100000, "100k" }, { 12345678, "12.3M" }, { 999999999, "999M" },
		{ UINT64_MAX, "18.4E" } };
	char text[TABLE_SHORT_BYTES];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		table_shorten(text, cases[i].number);
		cr_assert(strcmp(text, cases[i].text) == 0, "%s", text);
	}
}

Test(suggest, what_was_probably_meant)
{
	static const char *const words[] = { "status", "start", "stop", "shutdown",
		"payment-processing" };
	static const struct {
		const char *word, *meant;
	} cases[] = { { "sttaus", "status" }, { "statsu", "status" }, { "stp", "stop" },
		{ "shutdwon", "shutdown" }, { "payment-procesing", "payment-processing" },
		{ "pay", "payment-processing" }, { "xyzzy", NULL }, { "", NULL }, { "q", NULL } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct suggestion suggestion = { .word = cases[i].word };

		for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++)
			suggest_consider(&suggestion, words[k]);
		cr_assert((suggestion.best == NULL) == (cases[i].meant == NULL) &&
			(suggestion.best == NULL || strcmp(suggestion.best, cases[i].meant) == 0),
		    "%s: %s", cases[i].word, suggestion.best ? suggestion.best : "none");
	}
}

Test(text, a_clock_that_was_set_back_makes_nothing_old)
{
	char age[TEXT_AGE_BYTES], time[TEXT_TIME_BYTES];

	cr_assert(text_seconds(2000000000, 5000000000) == 3, "three");
	cr_assert(text_seconds(5000000000, 2000000000) == 0, "in the future");
	cr_assert(text_seconds(0, 2000000000) == 0, "not known");
	text_age(age, text_seconds(UINT64_MAX, 1));
	cr_assert(strcmp(age, "0s") == 0, "%s", age);
	text_time(time, 0);
	cr_assert(strcmp(time, "-") == 0, "%s", time);
}

Test(text, times_have_their_zone)
{
	char time[TEXT_TIME_BYTES];

	setenv("TZ", "IST-5:30", 1);
	tzset();
	text_time(time, UINT64_C(1764550670000000000));
	cr_assert(strcmp(time, "2025-12-01 06:27:50 +05:30") == 0, "%s", time);
	setenv("TZ", "UTC0", 1);
	tzset();
	text_time(time, UINT64_C(1764550670000000000));
	cr_assert(strcmp(time, "2025-12-01 00:57:50 +00:00") == 0, "%s", time);
}
