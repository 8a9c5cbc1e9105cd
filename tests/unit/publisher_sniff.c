/*
 * Kinds of sources, by their beginning: the verdict must not depend on the sizes of reads.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "publisher/sniff.h"

TestSuite(publisher_sniff, .timeout = 6000);

/* why NULL: accepted, with a byte order mark of `mark` bytes. */
struct expectation {
	const char *text;
	size_t length, mark;
	const char *why;
};

#define BYTES(literal) literal, sizeof(literal) - 1

static const struct expectation table[] = {
	{ BYTES(""), 0, NULL },
	{ BYTES("\n\n"), 0, NULL },
	{ BYTES("{\"a\":1}"), 0, NULL },
	{ BYTES("{\"a\":1}\n{\"b\":2}\n"), 0, NULL },
	{ BYTES("\xef\xbb\xbf{\"a\":1}\n"), 3, NULL },
	{ BYTES("\xef\xbb\xbf"), 3, NULL },
	{ BYTES("\xef\xbb"), 0, NULL },
	{ BYTES("hello\nworld\n"), 0, NULL },
	{ BYTES("\xc3\xa9\n"), 0, NULL },
	{ BYTES("caf\xe9\n{\"a\":1}\n"), 0, NULL },
	/* Bad lines among good ones. */
	{ BYTES("{\"a\":1\n{\"b\":2}\n"), 0, NULL },
	{ BYTES("{\"a\":\n{\"b\":2}\n{\"c\":3}\n"), 0, NULL },
	{ BYTES("{\"a\":[\n{\"b\":2}\n"), 0, NULL },
	{ BYTES("{\n{\"b\":2}\n"), 0, NULL },
	{ BYTES("{\"a\":\"x\n{\"b\":2}\n"), 0, NULL },
	{ BYTES("{\"a\":\"\0\"}\n{\"b\":2}\n"), 0, NULL },
	{ BYTES("{\"a\":1,\n"), 0, NULL },
	{ BYTES("[1,2]\n{\"b\":2}\n"), 0, NULL },
	{ BYTES("[\n"), 0, NULL },
	{ BYTES("[1\n{\"b\":2}\n"), 0, NULL },
	/* A value over several lines. */
	{ BYTES("{\n  \"a\": 1\n}\n"), 0, "jq -c ." },
	{ BYTES("{\r\n  \"a\": {\r\n    \"b\": [\r\n"), 0, "jq -c ." },
	{ BYTES("\n {\n}\n"), 0, "jq -c ." },
	{ BYTES("\xef\xbb\xbf{\n  \"a\": 1\n}\n"), 3, "jq -c ." },
	{ BYTES("{ \"a\": 1,\n\n  \"b\": 2 }"), 0, "jq -c ." },
	{ BYTES("[\n  {\n    \"a\": 1\n"), 0, "jq -c '.[]'" },
	{ BYTES("[{\"a\":1},\n{\"b\":2},\n{\"c\":3}]\n"), 0, "jq -c '.[]'" },
	{ BYTES("[\n{\"a\":1}\n,{\"b\":2}\n]"), 0, "jq -c '.[]'" },
	/* Other encodings. */
	{ BYTES("\xff\xfe{\0\"\0a\0"), 0, "iconv -f UTF-16 " },
	{ BYTES("\xfe\xff\0{\0\"\0a"), 0, "iconv -f UTF-16 " },
	{ BYTES("\xff\xfe\0\0{\0\0\0"), 0, "iconv -f UTF-32 " },
	{ BYTES("{\0\"\0a\0\"\0:\0001\0}\0\n\0"), 0, "iconv -f UTF-16LE" },
	{ BYTES("\0{\0\"\0a\0\"\0:\0001\0}\0\n"), 0, "iconv -f UTF-16BE" },
	{ BYTES("{\0\0\0\"\0\0\0"), 0, "iconv -f UTF-32LE" },
	{ BYTES("\0\0\0{\0\0\0\""), 0, "iconv -f UTF-32BE" },
	{ BYTES("\r\0\n\0{\0\"\0"), 0, "iconv -f UTF-16LE" },
	/* Compressed and other binary data. */
	{ BYTES("\x1f\x8b\x08\0\0\0\0\0\0\x03"), 0, "gzip -dc" },
	{ BYTES("BZh91AY&SY"), 0, "bzip2 -dc" },
	{ BYTES("\xfd\x37zXZ\0\0\x04"), 0, "xz -dc" },
	{ BYTES("\x28\xb5\x2f\xfd\x24\0"), 0, "zstd -dc" },
	{ BYTES("\x04\x22\x4d\x18\x64@"), 0, "lz4 -dc" },
	{ BYTES("PK\x03\x04\x14\0"), 0, "unzip -p" },
	{ BYTES("\x7f"
		"ELF\x02\x01\x01\0\0\0"),
	    0, "binary" },
	{ BYTES("\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), 0, "binary" },
	{ BYTES("\xff\xd8\xff\xe0\0\x10JFIF"), 0, "binary" },
	{ BYTES("SQLite format 3\0\x10\0"), 0, "binary" },
	{ BYTES("\x82\xa1"
		"a\x01"),
	    0, "binary" },
};

static bool
is_expected(
    const struct expectation *wanted, enum sniff_verdict verdict, size_t mark, const char *why)
{
	if (wanted->why == NULL)
		return verdict == SNIFF_LINES && mark == wanted->mark;
	return verdict == SNIFF_REFUSED && strstr(why, wanted->why) != NULL;
}

/* Sniffs a copy in an allocation of its exact length, so that ASan finds a read beyond. */
static enum sniff_verdict
sniff_copy(const char *text, size_t length, bool ended, size_t *mark, const char **why)
{
	char *copy = malloc(length + !length);
	enum sniff_verdict verdict;

	memcpy(copy, text, length);
	verdict = sniff(copy, length, ended, mark, why);
	free(copy);
	return verdict;
}

Test(publisher_sniff, what_is_no_lines_is_named)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const char *why = "lines";
		size_t mark;
		enum sniff_verdict verdict =
		    sniff_copy(table[i].text, table[i].length, true, &mark, &why);

		cr_expect(is_expected(&table[i], verdict, mark, why), "%zu: %s: %d, %s", i,
		    table[i].text, verdict, why);
	}
}

Test(publisher_sniff, a_trickle_has_the_same_verdict)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		for (size_t length = 0; length <= table[i].length; length++) {
			const char *why = "lines";
			size_t mark;
			enum sniff_verdict verdict =
			    sniff_copy(table[i].text, length, false, &mark, &why);

			cr_expect(
			    verdict == SNIFF_MORE || is_expected(&table[i], verdict, mark, why),
			    "%zu, %zu bytes: %s: %d, %s", i, length, table[i].text, verdict, why);
		}
}

static enum sniff_verdict
sniff_long(char first, char rest)
{
	char *text = malloc(SNIFF_BYTES);
	enum sniff_verdict verdict;
	const char *why;
	size_t mark;

	memset(text, rest, SNIFF_BYTES);
	text[0] = first;
	verdict = sniff_copy(text, SNIFF_BYTES, false, &mark, &why);
	free(text);
	return verdict;
}

Test(publisher_sniff, nothing_is_waited_for_beyond_its_bound)
{
	cr_assert(sniff_long('{', ' ') == SNIFF_LINES);
	cr_assert(sniff_long(' ', ' ') == SNIFF_LINES);
	cr_assert(sniff_long('x', 'x') == SNIFF_LINES);
	cr_assert(sniff_long('[', '1') == SNIFF_REFUSED);
}

/* A source that begins with a good line is accepted, whatever follows. */
Test(publisher_sniff, a_good_first_line_is_enough)
{
	static const char first[] = "{\"a\":1}\n";
	char text[64];

	memcpy(text, first, sizeof(first) - 1);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t length = table[i].length < 40 ? table[i].length : 40, mark;
		const char *why;

		memcpy(text + sizeof(first) - 1, table[i].text, length);
		cr_expect(
		    sniff_copy(text, sizeof(first) - 1 + length, true, &mark, &why) == SNIFF_LINES,
		    "%zu", i);
	}
}
