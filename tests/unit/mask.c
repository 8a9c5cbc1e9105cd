/*
 * Masked bodies.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message/mask.h"

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

TestSuite(mask, .init = setup, .fini = teardown);

/* Masks a copy that ends with the padding, into mask_capacity() bytes, so that ASan finds accesses
 * beyond. */
static enum json_error
mask(const char *body, size_t length, char **out, size_t *written)
{
	char *copy = calloc(1, length + JSON_PADDING);
	enum json_error error;

	*out = malloc(mask_capacity(length));
	memcpy(copy, body, length);
	error = mask_body(reader, copy, length, *out, written);
	free(copy);
	return error;
}

static void
expect(const char *body, const char *want)
{
	size_t written = 0;
	char *out;
	enum json_error error = mask(body, strlen(body), &out, &written);

	cr_assert(error == JSON_OK, "%s: %s", body, json_error_text(error));
	cr_assert(written == strlen(want) && memcmp(out, want, written) == 0,
	    "%s: wanted %s, got %.*s", body, want, (int)written, out);
	free(out);
}

Test(mask, what_has_no_account_number_stays_as_it_is)
{
	expect("{}", "{}");
	expect(
	    " { \"a\" : [ 1.50 , \"\\u00e9\\n\" ] }\n", " { \"a\" : [ 1.50 , \"\\u00e9\\n\" ] }\n");
	expect("{\"routing_number\":\"123456789\"}", "{\"routing_number\":\"123456789\"}");
	expect("{\"account_type\":\"checking\",\"account\":null}",
	    "{\"account_type\":\"checking\",\"account\":null}");
}

Test(mask, an_account_number_keeps_its_last_four_digits)
{
	expect("{\"account_number\":\"12345678\",\"a\":1}",
	    "{\"account_number\":\"****5678\",\"a\":1}");
	expect("{\"a\":1,\"account_number\" : \"12345678901234567\"}",
	    "{\"a\":1,\"account_number\" : \"*************4567\"}");
	expect("{\"account_number\":\"12-3456-78\"}", "{\"account_number\":\"*****56*78\"}");
	expect("{\"account_number\":\"DE89 3704 0044 0532 0130 00\"}",
	    "{\"account_number\":\"**********************30*00\"}");
	expect("{\"account_number\":\"none\"}", "{\"account_number\":\"****\"}");
	expect("{\"account_number\":\"\"}", "{\"account_number\":\"\"}");
	expect("{\"Account_Number\":\"12345678\"}", "{\"Account_Number\":\"****5678\"}");
}

Test(mask, numbers_become_strings)
{
	expect("{\"account_number\":12345678}", "{\"account_number\":\"****5678\"}");
	expect("{\"account_number\": -1.5e3 }", "{\"account_number\": \"*1*5*3\" }");
	expect("{\"account_number\":[1,2]}", "{\"account_number\":[\"1\",\"2\"]}");
	expect("{\"accountNo\":12345678}", "{\"accountNo\":\"****5678\"}");
	expect("{\"account_balance\":12345.67}", "{\"account_balance\":12345.67}");
}

Test(mask, other_keys_with_account_in_them)
{
	expect("{\"payer_account\":\"12345\"}", "{\"payer_account\":\"*2345\"}");
	expect("{\"ACCOUNTID\":\"12345678901234567\"}", "{\"ACCOUNTID\":\"*************4567\"}");
	expect("{\"account\":\"1234\"}", "{\"account\":\"1234\"}");
	expect("{\"account\":\"123456789012345678\"}", "{\"account\":\"123456789012345678\"}");
	expect("{\"account\":\"12345x\"}", "{\"account\":\"12345x\"}");
	expect("{\"accoun\":\"123456\"}", "{\"accoun\":\"123456\"}");
}

Test(mask, escapes_hide_nothing)
{
	expect("{\"\\u0061ccount\\u005fnumber\":\"12345678\"}",
	    "{\"\\u0061ccount\\u005fnumber\":\"****5678\"}");
	expect("{\"account_number\":\"1234567\\u0038\"}", "{\"account_number\":\"****5678\"}");
	expect("{\"account\":\"\\u0031\\u0032\\u0033\\u0034\\u0035\"}", "{\"account\":\"*2345\"}");
	expect("{\"account_number\":\"\\\"\\ud83d\\ude00\"}", "{\"account_number\":\"*****\"}");
}

Test(mask, at_any_depth)
{
	expect(
	    "{\"a\":{\"b\":[{\"account_number\":\"12345678\"},{\"account_number\":\"87654321\"}]}}",
	    "{\"a\":{\"b\":[{\"account_number\":\"****5678\"},{\"account_number\":\"****4321\"}]}"
	    "}");
	expect("{\"account\":{\"id\":\"12345678\",\"name\":\"C\"},\"z\":\"12345678\"}",
	    "{\"account\":{\"id\":\"****5678\",\"name\":\"C\"},\"z\":\"12345678\"}");
	expect("{\"account_number\":{\"x\":{\"y\":\"12-34567\"}},\"b\":[\"12345678\"]}",
	    "{\"account_number\":{\"x\":{\"y\":\"****4567\"}},\"b\":[\"12345678\"]}");
	expect("{\"accounts\":[[\"12345678\"],[[\"12345679\"]]]}",
	    "{\"accounts\":[[\"****5678\"],[[\"****5679\"]]]}");
	expect("{\"a\":{\"account_number\":\"12345678\",\"account_number\":\"12345679\"}}",
	    "{\"a\":{\"account_number\":\"****5678\",\"account_number\":\"****5679\"}}");
}

Test(mask, what_is_no_object_is_not_shown)
{
	static const char *const bodies[] = { "", "12345678", "[\"12345678\"]",
		"{\"account_number\":\"12345678\"", "{\"account_number\":\"12345678\"} x",
		"{\"account_number\":\"12345678\",\"a\":tru}", "{'account_number':'12345678'}",
		"{\"account_number\":\"12345678\xff\"}",
		"{\"account_number\":\"12345678\",\"account_number\":\"87654321\"}",
		"account_number=12345678" };

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		size_t written = 4711;
		char *out;

		cr_assert(
		    mask(bodies[i], strlen(bodies[i]), &out, &written) != JSON_OK, "%s", bodies[i]);
		cr_assert(written == 4711, "nothing is written");
		free(out);
	}
}

/* The densest array of numbers: mask_capacity() must suffice. */
Test(mask, a_long_array_of_numbers)
{
	enum { COUNT = 10000 };
	char *body = malloc(2 * COUNT + 64), *out;
	size_t length, written;

	strcpy(body, "{\"account_number\":[1");
	length = strlen(body);
	for (int i = 0; i < COUNT; i++) {
		body[length++] = ',';
		body[length++] = '1';
	}
	strcpy(body + length, "]}");
	length += 2;
	cr_assert(mask(body, length, &out, &written) == JSON_OK, "masked");
	cr_assert(written == length + 2 * (COUNT + 1), "%zu bytes", written);
	free(body);
	free(out);
}
