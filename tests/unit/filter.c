#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "router/filter.h"

/* True if the filter matches a message with these string attributes: name, value, ..., NULL. */
static bool
matches(const struct filter *filter, const char *const *texts)
{
	struct envelope_attribute_source attributes[8];
	struct envelope_source source = {
		.head = {
			.topic = 1,
			.group = { "g", 1 },
			.message_id = { "m", 1 },
			.body = { "{}", 2 },
		},
		.attributes = attributes,
	};
	struct envelope envelope;
	char bytes[512];
	long length;

	for (; texts[0] != NULL; texts += 2)
		attributes[source.count++] = (struct envelope_attribute_source){
			.name = { texts[0], strlen(texts[0]) },
			.text = { texts[1], strlen(texts[1]) },
			.type = JSON_STRING,
		};
	length = envelope_pack(bytes, sizeof(bytes), &source);
	cr_assert(length > 0, "pack");
	cr_assert(envelope_open(&envelope, bytes, (size_t)length, 1000, NULL) == 0, "open");
	return filter_match(filter, &envelope);
}

Test(filter, exact_values)
{
	const char *payment[] = { "type", "payment", NULL }, *refund[] = { "type", "refund", NULL };
	const char *near[] = { "type", "payment ", NULL }, *upper[] = { "type", "Payment", NULL };
	const char *none[] = { "other", "payment", NULL };
	struct filter *filter;
	char error[256];

	cr_assert(filter_compile(&filter, "{\"type\": [\"payment\", \"refu\\u006ed\"]}", error,
		      sizeof(error)) == 0,
	    "%s", error);
	cr_expect(matches(filter, payment), "payment");
	cr_expect(matches(filter, refund), "refund, written with an escape");
	cr_expect(!matches(filter, near), "a blank behind");
	cr_expect(!matches(filter, upper), "another case");
	cr_expect(!matches(filter, none), "another name");
	filter_free(filter);
}

Test(filter, all_names_must_match)
{
	const char *both[] = { "b", "2", "a", "1", NULL }, *one[] = { "a", "1", NULL };
	struct filter *filter;
	char error[256];

	cr_assert(
	    filter_compile(&filter, "{\"a\":[\"1\"],\"b\":[\"2\"]}", error, sizeof(error)) == 0,
	    "%s", error);
	cr_expect(matches(filter, both), "both");
	cr_expect(!matches(filter, one), "one of them");
	filter_free(filter);
}

Test(filter, no_policy_takes_everything)
{
	const char *nothing[] = { NULL };
	struct filter *filter;
	char error[256];

	cr_assert(filter_compile(&filter, NULL, error, sizeof(error)) == 0, "%s", error);
	cr_expect(matches(filter, nothing), "everything");
	filter_free(filter);
}

Test(filter, what_is_not_known_is_refused_by_name)
{
	static const char *const policies[][2] = {
		{ "{\"a\": [{\"prefix\": \"x\"}]}", "operator \"prefix\" is not supported yet" },
		{ "{\"$or\": []}", "not supported yet" },
		{ "{\"a\": [1]}", "only strings" },
		{ "{\"a\": \"x\"}", "array" },
		{ "{\"a\": []}", "empty" },
		{ "{}", "empty policy" },
		{ "[]", "not a JSON object" },
		{ "{\"a\": [\"x\"]", "invalid JSON at byte 12: it ends too early" },
		{ "", "invalid JSON" },
	};
	struct filter *filter;
	char error[256];

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		cr_expect(filter_compile(&filter, policies[i][0], error, sizeof(error)) == -EINVAL,
		    "%s", policies[i][0]);
		cr_expect(strstr(error, policies[i][1]) != NULL, "%s: %s", policies[i][0], error);
	}
}

/* No attribute is as long, so the value could never match. */
Test(filter, a_value_longer_than_any_attribute_is_refused)
{
	struct filter *filter;
	char policy[2048], error[256];

	snprintf(policy, sizeof(policy), "{\"a\": [\"%01024d\"]}", 0);
	cr_assert(filter_compile(&filter, policy, error, sizeof(error)) == 0, "%s", error);
	filter_free(filter);
	snprintf(policy, sizeof(policy), "{\"a\": [\"%01025d\"]}", 0);
	cr_assert(filter_compile(&filter, policy, error, sizeof(error)) == -EINVAL);
	cr_assert(strstr(error, "1024 bytes") != NULL, "%s", error);
}
