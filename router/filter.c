#include "router/filter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message/json_fault.h"

enum { RULES = 32, VALUES = 150 }; /* the most that SNS takes is 5 names and 150 values */

struct text {
	char *data;
	size_t length;
};

struct rule {
	struct text name;
	struct text *values;
	size_t count;
};

struct filter {
	struct rule rules[RULES];
	size_t count; /* 0: takes everything */
};

struct compiler {
	struct filter *filter;
	struct json_reader *reader;
	char *error;
	size_t error_bytes;
	int rc;
};

static int
fail(struct compiler *compiler, int rc, const char *what, struct span name)
{
	snprintf(compiler->error, compiler->error_bytes, "\"%.*s\": %s", (int)name.length,
	    name.data, what);
	compiler->rc = rc;
	return 1;
}

static bool
copy_text(struct text *to, const char *data, size_t length)
{
	to->data = malloc(length + 1);
	if (to->data == NULL)
		return false;
	memcpy(to->data, data, length);
	to->data[length] = '\0';
	to->length = length;
	return true;
}

/* A string's value, unescaped. */
static bool
copy_value(struct text *to, const struct json_value *value)
{
	long length;

	if (!copy_text(to, value->raw.data, value->raw.length))
		return false;
	length = json_unescape(value, to->data, to->length);
	if (length >= 0)
		to->length = (size_t)length;
	return length >= 0;
}

static int
name_operator(void *context, struct span name, const struct json_value *value)
{
	(void)value;
	snprintf(
	    context, 64, "operator \"%.*s\" is not supported yet", (int)name.length, name.data);
	return 1;
}

static int
add_value(void *context, struct span unused, const struct json_value *value)
{
	struct compiler *compiler = context;
	struct rule *rule = &compiler->filter->rules[compiler->filter->count - 1];
	struct span name = { rule->name.data, rule->name.length };
	char what[64] = "an empty operator";

	(void)unused;
	if (value->type == JSON_OBJECT) {
		struct json_reader *reader = json_reader_new(value->raw.length);

		if (reader != NULL)
			json_each(reader, value->raw, name_operator, what);
		json_reader_free(reader);
		return fail(compiler, -EINVAL, what, name);
	}
	if (value->type != JSON_STRING)
		return fail(compiler, -EINVAL, "only strings can be matched yet", name);
	if (rule->count == VALUES)
		return fail(compiler, -EINVAL, "more than 150 values", name);
	if (!copy_value(&rule->values[rule->count++], value))
		return fail(compiler, -ENOMEM, "out of memory", name);
	if (rule->values[rule->count - 1].length > ENVELOPE_ATTRIBUTE_BYTES)
		return fail(
		    compiler, -EINVAL, "a value longer than the 1024 bytes of an attribute", name);
	return 0;
}

static int
add_rule(void *context, const struct json_field *field)
{
	struct compiler *compiler = context;
	struct filter *filter = compiler->filter;
	struct rule *rule;

	if (field->name.length > 0 && field->name.data[0] == '$')
		return fail(compiler, -EINVAL, "this operator is not supported yet", field->name);
	if (field->value.type != JSON_ARRAY)
		return fail(compiler, -EINVAL, "must have an array of values", field->name);
	if (filter->count == RULES)
		return fail(compiler, -EINVAL, "more than 32 names", field->name);
	rule = &filter->rules[filter->count++];
	rule->values = calloc(VALUES, sizeof(*rule->values));
	if (rule->values == NULL || !copy_text(&rule->name, field->name.data, field->name.length))
		return fail(compiler, -ENOMEM, "out of memory", field->name);
	if (json_each(compiler->reader, field->value.raw, add_value, compiler) != JSON_OK)
		return 1; /* add_value() said why */
	if (rule->count == 0)
		return fail(compiler, -EINVAL, "an empty array matches nothing", field->name);
	return 0;
}

static int
compile(struct compiler *compiler, const char *policy)
{
	size_t length = strlen(policy);
	char *padded = calloc(1, length + JSON_PADDING);
	enum json_error error;

	if (padded == NULL)
		return -ENOMEM;
	memcpy(padded, policy, length);
	error = json_walk(compiler->reader, padded, length, add_rule, compiler);
	if (error == JSON_OK && compiler->filter->count == 0)
		snprintf(compiler->error, compiler->error_bytes,
		    "an empty policy: leave it out to take everything");
	else if (error != JSON_OK && error != JSON_STOPPED)
		json_fault_describe(compiler->reader, padded, length, error, compiler->error,
		    compiler->error_bytes);
	free(padded);
	if (error == JSON_STOPPED)
		return compiler->rc;
	return error == JSON_OK && compiler->filter->count > 0 ? 0 : -EINVAL;
}

int
filter_compile(struct filter **filter, const char *policy, char *error, size_t error_bytes)
{
	struct compiler compiler = { .error = error, .error_bytes = error_bytes };
	int rc = 0;

	*filter = NULL;
	snprintf(error, error_bytes, "out of memory");
	compiler.filter = calloc(1, sizeof(*compiler.filter));
	compiler.reader = json_reader_new(policy ? strlen(policy) : 0);
	if (compiler.filter == NULL || compiler.reader == NULL)
		rc = -ENOMEM;
	else if (policy != NULL)
		rc = compile(&compiler, policy);
	json_reader_free(compiler.reader);
	if (rc == 0)
		*filter = compiler.filter;
	else
		filter_free(compiler.filter);
	return rc;
}

static bool
rule_matches(const struct rule *rule, const struct envelope *envelope)
{
	struct json_value value;

	if (!envelope_find_attribute(envelope, rule->name.data, rule->name.length, &value) ||
	    value.type != JSON_STRING)
		return false;
	for (size_t i = 0; i < rule->count; i++)
		if (rule->values[i].length == value.raw.length &&
		    memcmp(rule->values[i].data, value.raw.data, value.raw.length) == 0)
			return true;
	return false;
}

bool
filter_match(const struct filter *filter, const struct envelope *envelope)
{
	for (size_t i = 0; i < filter->count; i++)
		if (!rule_matches(&filter->rules[i], envelope))
			return false;
	return true;
}

void
filter_free(struct filter *filter)
{
	if (filter == NULL)
		return;
	for (size_t i = 0; i < filter->count; i++) {
		for (size_t k = 0; k < filter->rules[i].count; k++)
			free(filter->rules[i].values[k].data);
		free(filter->rules[i].values);
		free(filter->rules[i].name.data);
	}
	free(filter);
}
