#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message/json_fault.h"
#include "tests/unit/mutate.h"

static struct json_reader *reader;

static void
setup(void)
{
	reader = json_reader_new(1 << 20);
}

static void
teardown(void)
{
	json_reader_free(reader);
}

TestSuite(json, .init = setup, .fini = teardown);

static int
ignore(void *context, const struct json_field *field)
{
	(void)context;
	(void)field;
	return 0;
}

/* Walks a copy in an allocation that ends with the padding, so that ASan finds a read beyond. */
static enum json_error
walk(
    const char *text, size_t length, int (*field)(void *, const struct json_field *), void *context)
{
	char *copy = calloc(1, length + JSON_PADDING);
	enum json_error rc;

	memcpy(copy, text, length);
	rc = json_walk(reader, copy, length, field, context);
	free(copy);
	return rc;
}

struct expectation {
	const char *text;
	enum json_error error;
};

static const struct expectation table[] = {
	{ "{}", JSON_OK },
	{ " { \"a\" : 1 } \n", JSON_OK },
	{ "{\"a\":[1,2,{\"b\":null}],\"c\":true,\"d\":false}", JSON_OK },
	{ "{\"a\":-0.5e+10,\"b\":0,\"c\":1E400,\"d\":123456789012345678901234567890}", JSON_OK },
	{ "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"}", JSON_OK },
	{ "{\"a\":\"\xc3\xa9\xf0\x9f\x98\x80\"}", JSON_OK },
	{ "{\"a\":{\"x\":1},\"b\":{\"x\":1}}", JSON_OK },
	{ "", JSON_SYNTAX },
	{ "   ", JSON_SYNTAX },
	{ "{", JSON_SYNTAX },
	{ "{\"a\"", JSON_SYNTAX },
	{ "{\"a\":", JSON_SYNTAX },
	{ "{\"a\":1", JSON_SYNTAX },
	{ "{\"a\":1,}", JSON_SYNTAX },
	{ "{,}", JSON_SYNTAX },
	{ "{\"a\" 1}", JSON_SYNTAX },
	{ "{a:1}", JSON_SYNTAX },
	{ "{'a':1}", JSON_SYNTAX },
	{ "{\"a\":[1,]}", JSON_SYNTAX },
	{ "{\"a\":[1 2]}", JSON_SYNTAX },
	{ "{\"a\":[1}", JSON_SYNTAX },
	{ "{\"a\":01}", JSON_SYNTAX },
	{ "{\"a\":+1}", JSON_SYNTAX },
	{ "{\"a\":1.}", JSON_SYNTAX },
	{ "{\"a\":.5}", JSON_SYNTAX },
	{ "{\"a\":1e}", JSON_SYNTAX },
	{ "{\"a\":-}", JSON_SYNTAX },
	{ "{\"a\":01x}", JSON_SYNTAX },
	{ "{\"a\":NaN}", JSON_SYNTAX },
	{ "{\"a\":tru}", JSON_SYNTAX },
	{ "{\"a\":nul}", JSON_SYNTAX },
	{ "{\"a\":truex}", JSON_SYNTAX },
	{ "{\"a\":[tru]}", JSON_SYNTAX },
	{ "{\"a\":{\"b\":01}}", JSON_SYNTAX },
	{ "{\"a\":\"x\ny\"}", JSON_SYNTAX },
	{ "{\"a\":\"x", JSON_SYNTAX },
	{ "{\"a\":1 /* c */}", JSON_SYNTAX },
	{ "{\"a\":\"\\q\"}", JSON_ENCODING },
	{ "{\"a\":\"\\ud800\"}", JSON_ENCODING },
	{ "{\"a\":\"\\ud800\\u0041\"}", JSON_ENCODING },
	{ "{\"a\":\"\\udc00\"}", JSON_ENCODING },
	{ "{\"a\":[\"\\ud800\"]}", JSON_ENCODING },
	{ "{\"\\ud800\":1}", JSON_ENCODING },
	{ "{\"a\":\"\\u12\"}", JSON_ENCODING },
	{ "{\"a\":\"\xff\"}", JSON_ENCODING },
	{ "{\"a\":\"\xc0\xaf\"}", JSON_ENCODING },
	{ "{\"a\":\"\xed\xa0\x80\"}", JSON_ENCODING },
	{ "{\"a\":\"\xf4\x90\x80\x80\"}", JSON_ENCODING },
	{ "{\"a\":\"\xc3\"}", JSON_ENCODING },
	{ "[]", JSON_NOT_OBJECT },
	{ "1", JSON_NOT_OBJECT },
	{ "\"x\"", JSON_NOT_OBJECT },
	{ "null", JSON_NOT_OBJECT },
	{ "{\"a\":1,\"a\":2}", JSON_DUPLICATE_KEY },
	{ "{\"a\":1,\"\\u0061\":2}", JSON_DUPLICATE_KEY },
	{ "{}{}", JSON_TRAILING },
	{ "{} x", JSON_TRAILING },
	{ "{\"a\":1}]", JSON_TRAILING },
};

Test(json, accepts_and_refuses_as_the_table_says)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		enum json_error got = walk(table[i].text, strlen(table[i].text), ignore, NULL);

		cr_expect(table[i].error == JSON_OK ? got == JSON_OK : got != JSON_OK, "%s: %s",
		    table[i].text, json_error_text(got));
		if (table[i].error != JSON_SYNTAX && table[i].error != JSON_ENCODING &&
		    table[i].error != JSON_TRAILING)
			cr_expect(got == table[i].error, "%s: %s, not %s", table[i].text,
			    json_error_text(got), json_error_text(table[i].error));
	}
}

/* The description of a text's fault, from a copy that ends with its padding. */
static const char *
describe(const char *text, size_t length)
{
	static char words[256];
	char *copy = calloc(1, length + JSON_PADDING);
	enum json_error error;

	memcpy(copy, text, length);
	error = json_walk(reader, copy, length, ignore, NULL);
	json_fault_describe(reader, copy, length, error, words, sizeof(words));
	free(copy);
	return words;
}

Test(json, the_byte_that_is_wrong_is_named)
{
	static const char *const faults[][2] = {
		{ "{\"a\":1,}", "invalid JSON at byte 8: a key in double quotes expected" },
		{ "{,}", "invalid JSON at byte 2: a key in double quotes or '}' expected" },
		{ "{\"a\" 1}", "invalid JSON at byte 6: ':' expected" },
		{ "{\"a\":}", "invalid JSON at byte 6: a value expected" },
		{ "{\"a\":1 \"b\":2}", "invalid JSON at byte 8: ',' or '}' expected" },
		{ "{\"a\":[1}", "invalid JSON at byte 8: ',' or ']' expected" },
		{ "{'a':1}", "invalid JSON at byte 2: a key in double quotes or '}' expected" },
		{ "{\"a\":01}", "invalid JSON at byte 7: a number with a zero in front" },
		{ "{\"a\":1.}", "invalid JSON at byte 8: a digit expected" },
		{ "{\"a\":tru}", "invalid JSON at byte 9: neither true, false nor null" },
		{ "{\"a\":\"x\ny\"}", "invalid JSON at byte 8: a control character in a string" },
		{ "{\"a\":\"\\q\"}", "invalid JSON at byte 8: a bad escape" },
		{ "{\"a\":\"\\u12x4\"}", "invalid JSON at byte 11: a hexadecimal digit expected" },
		{ "{\"a\":\"\\ud800\"}", "invalid JSON at byte 7: half of a surrogate pair" },
		{ "{\"a\":\"\\udc00\"}", "invalid JSON at byte 7: half of a surrogate pair" },
		{ "{\"a\":\"b\xff\"}", "invalid JSON at byte 8: bad UTF-8" },
		{ "{\"a\":\"b\xc3\"}", "invalid JSON at byte 8: bad UTF-8" },
		{ "{\"a\":1", "invalid JSON at byte 7: it ends too early" },
		{ "{\"a\":\"x", "invalid JSON at byte 8: it ends too early" },
		{ "{} x", "invalid JSON at byte 4: something behind the end of the JSON text" },
		{ " {\"a\":1,\"\\u0061\":2}", "the same key twice, again at byte 9" },
		{ "[1]",
		    "not a JSON object but an array: make a line of each element with jq -c "
		    "'.[]'" },
		{ "7", "not a JSON object" },
		{ "hello", "invalid JSON at byte 1: a value expected" },
		{ "\xef\xbb\xbf{}",
		    "invalid JSON at byte 1: a byte order mark, which may only stand where the "
		    "input "
		    "begins" },
		{ "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
		    "not a JSON object but an array: make a line of each element with jq -c "
		    "'.[]'" },
	};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		const char *words = describe(faults[i][0], strlen(faults[i][0]));

		cr_expect(strcmp(words, faults[i][1]) == 0, "%s\n   %s\nnot %s", faults[i][0],
		    words, faults[i][1]);
	}
	/* 33 levels, each a key and a brace. */
	{
		char text[512];
		size_t n = 0;

		for (int i = 0; i < 33; i++)
			n += (size_t)sprintf(text + n, "{\"a\":");
		cr_expect(
		    strcmp(describe(text, n), "at byte 161: nested deeper than 32 levels") == 0,
		    "%s", describe(text, n));
	}
}

/* json_walk() and json_fault_find() accept the same grammar. json_walk() refuses more: texts that
 * are no objects, and duplicate keys. */
Test(json, who_refuses_and_who_names_the_byte_agree, .timeout = 6000)
{
	static char text[MUTATED_BYTES + 1];

	mutate_seed("JSON_SEED", 20261130);
	for (int i = 0; i < 100000; i++) {
		size_t length = mutate_line(text);
		enum json_error error = walk(text, length, ignore, NULL);
		struct json_fault fault = json_fault_find(text, length);

		if (error == JSON_OK)
			cr_assert(fault.kind == JSON_FAULT_NONE, "%d: %.*s: %zu %s", i, (int)length,
			    text, fault.at, fault.what);
		else if (error != JSON_NOT_OBJECT && error != JSON_DUPLICATE_KEY)
			cr_assert(fault.kind != JSON_FAULT_NONE, "%d: %.*s: %s", i, (int)length,
			    text, json_error_text(error));
		cr_assert(fault.at <= length);
	}
}

Test(json, every_truncation_is_refused)
{
	const char text[] = "{\"a\":[1,{\"b\":\"\\u00e9\xc3\xa9\"}],\"c\":-1.5e3,\"d\":null}";

	for (size_t length = 0; length < sizeof(text) - 1; length++) {
		cr_assert(walk(text, length, ignore, NULL) != JSON_OK, "%zu bytes", length);
		cr_assert(json_fault_find(text, length).kind == JSON_FAULT_CUT, "%zu", length);
	}
	cr_assert(walk(text, sizeof(text) - 1, ignore, NULL) == JSON_OK, "all of it");
}

static enum json_error
nested(unsigned depth)
{
	static char text[1024];
	size_t n = 0;

	for (unsigned i = 0; i < depth; i++) {
		memcpy(text + n, "{\"a\":", 5);
		n += 5;
	}
	text[n++] = '1';
	memset(text + n, '}', depth);
	return walk(text, n + depth, ignore, NULL);
}

Test(json, nesting_of_32_is_the_limit)
{
	cr_assert(nested(32) == JSON_OK, "32: %s", json_error_text(nested(32)));
	cr_assert(nested(33) == JSON_TOO_DEEP, "33: %s", json_error_text(nested(33)));
	cr_assert(nested(100) == JSON_TOO_DEEP, "100: %s", json_error_text(nested(100)));
}

static int
remember(void *context, const struct json_field *field)
{
	char *at = (char *)context + strlen(context);

	sprintf(at, "%.*s=%d:%.*s%s;", (int)field->name.length, field->name.data,
	    (int)field->value.type, (int)field->value.raw.length, field->value.raw.data,
	    field->value.escaped ? "!" : "");
	return 0;
}

Test(json, fields_are_given_as_they_stand)
{
	const char text[] =
	    "{ \"s\" : \"x y\" , \"e\":\"a\\nb\", \"n\" : 1.50 ,\"o\": {\"k\" : [1, 2]"
	    " } , \"l\":[ ] , \"t\": true , \"z\" :null}";
	char seen[512] = "";

	cr_assert(walk(text, sizeof(text) - 1, remember, seen) == JSON_OK, "good");
	cr_assert(strcmp(seen,
		      "s=4:x y;e=4:a\\nb!;n=3:1.50;o=6:{\"k\" : [1, 2] };l=5:[ ];t=2:true;"
		      "z=1:null;") == 0,
	    "%s", seen);
}

Test(json, many_keys_are_told_apart, .timeout = 200)
{
	enum { N = 20000 };
	char *text = malloc(N * 16 + 64);
	size_t n = 0;

	text[n++] = '{';
	for (int i = 0; i < N; i++)
		n += (size_t)sprintf(text + n, "\"k%d\":%d,", i, i);
	n += (size_t)sprintf(text + n, "\"last\":0}");
	cr_assert(walk(text, n, ignore, NULL) == JSON_OK, "all different");
	n -= strlen("\"last\":0}");
	n += (size_t)sprintf(text + n, "\"k7\":0}");
	cr_assert(walk(text, n, ignore, NULL) == JSON_DUPLICATE_KEY, "k7 twice");
	free(text);
}

Test(json, picks_by_name)
{
	const char text[] = "{\"amount\":1.5,\"am\":2,\"x\":{\"amount\":3}}"
			    "                    "
			    "                                            ";
	const char *names[] = { "amount", "missing", "x" };
	struct json_value values[3];

	cr_assert(json_pick(reader, text, strlen(text) - 64, names, 3, values) == JSON_OK, "good");
	cr_assert(values[0].type == JSON_NUMBER && values[0].raw.length == 3, "amount");
	cr_assert(values[1].type == 0, "missing");
	cr_assert(values[2].type == JSON_OBJECT, "x");
}

/* A name with a NUL inside must not equal the name before the NUL, and must not be compared beyond
 * the end of the constant. */
Test(json, a_name_that_goes_on_behind_a_zero_is_another_name)
{
	static const size_t lengths[] = { 1, 9, 24, 40, 255, 5000, 60000, 900000 };
	const char *const names[] = { "amount" };

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		char *text = calloc(1, lengths[i] + 128);
		struct json_value value;
		size_t n = (size_t)sprintf(text, "{\"amount\":1,\"amount\\u0000");

		memset(text + n, 'x', lengths[i]);
		n += lengths[i];
		n += (size_t)sprintf(text + n, "\":5}");
		cr_assert(json_pick(reader, text, n, names, 1, &value) == JSON_OK, "%zu", n);
		cr_assert(value.raw.length == 1 && value.raw.data[0] == '1', "%zu: %.*s",
		    lengths[i], (int)value.raw.length, value.raw.data);
		free(text);
	}
}

Test(json, quotes_and_unescapes)
{
	char buffer[64];
	struct json_value value = { .type = JSON_STRING, .escaped = true };
	long n;

	n = json_quote(buffer, sizeof(buffer), "a\"\\\n\x7f\xff\xc3\xa9", 8);
	cr_assert(n > 0 && n < 64, "length %ld", n);
	buffer[n] = '\0';
	cr_assert(
	    strcmp(buffer, "\"a\\\"\\\\\\u000a\\u007f\xef\xbf\xbd\xc3\xa9\"") == 0, "%s", buffer);
	cr_assert(json_quote(buffer, 3, "abc", 3) == -ENOBUFS, "too small");
	/* U+009B begins a terminal's command, U+202E changes the direction. U+00A0 and U+2027 are
	 * text. */
	n = json_quote(buffer, sizeof(buffer),
	    "\xc2\x9b\xe2\x80\xae\xe2\x81\xa6\xd8\x9c\xe2\x80\xa8\xc2\xa0\xe2\x80\xa7", 18);
	cr_assert(n > 0 && n < 64, "length %ld", n);
	buffer[n] = '\0';
	cr_assert(
	    strcmp(buffer, "\"\\u009b\\u202e\\u2066\\u061c\\u2028\xc2\xa0\xe2\x80\xa7\"") == 0,
	    "%s", buffer);
	value.raw = (struct span){ "\\u00e9\\ud83d\\ude00\\n", 20 };
	n = json_unescape(&value, buffer, sizeof(buffer));
	cr_assert(n == 7 && memcmp(buffer, "\xc3\xa9\xf0\x9f\x98\x80\n", 7) == 0, "%ld", n);
	value.raw = (struct span){ "\\ud800", 6 };
	cr_assert(json_unescape(&value, buffer, sizeof(buffer)) == -EILSEQ, "lone surrogate");
	cr_assert(json_unescape(&value, buffer, 0) == -EILSEQ, "also without room");
}
