#include "workers/service.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "message/json_fault.h"

void
service_time(char text[32])
{
	struct timespec now;
	struct tm tm;
	size_t length;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	length = strftime(text, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + length, 32 - length, ".%03ldZ", now.tv_nsec / 1000000);
}

void
service_answer(struct outcome *outcome, int status, const char *reason)
{
	outcome->status = status;
	strlcpy(outcome->reason, reason, sizeof(outcome->reason));
}

void
service_not_json(struct outcome *outcome, const struct service_context *context, struct span body,
    enum json_error error)
{
	outcome->status = 400;
	json_fault_describe(context->reader, body.data, body.length, error, outcome->reason,
	    sizeof(outcome->reason));
}

void
service_missing(struct outcome *outcome, const char *field)
{
	outcome->status = 400;
	snprintf(outcome->reason, sizeof(outcome->reason), "Missing required field: %s", field);
}

void
service_invalid(struct outcome *outcome, const char *field)
{
	outcome->status = 400;
	snprintf(outcome->reason, sizeof(outcome->reason), "Invalid %s format", field);
}

bool
service_is_missing(const struct json_value *value)
{
	return value->type == 0 || value->type == JSON_NULL ||
	    (value->type == JSON_STRING && value->raw.length == 0);
}

bool
service_has_text(const struct json_value *value)
{
	return value->type == JSON_STRING && value->raw.length > 0;
}

bool
service_may_have_text(const struct json_value *value)
{
	return value->type == 0 || value->type == JSON_NULL || value->type == JSON_STRING;
}

bool
service_contains(struct span text, const char *word)
{
	size_t length = strlen(word);

	for (size_t i = 0; i + length <= text.length; i++)
		if (strncasecmp(text.data + i, word, length) == 0)
			return true;
	return false;
}

int
service_fault(const struct service_context *context, struct span customer_id)
{
	if (!context->config->fault_markers)
		return 0;
	if (service_contains(customer_id, "ERROR400"))
		return 400;
	return service_contains(customer_id, "ERROR500") ? 500 : 0;
}

void
service_print_text(FILE *out, const char *name, struct span text)
{
	char *quoted;
	long length;

	if (text.data == NULL)
		return;
	quoted = malloc(6 * text.length + 2);
	if (quoted == NULL)
		return;
	length = json_quote(quoted, 6 * text.length + 2, text.data, text.length);
	fprintf(out, ",\"%s\":%.*s", name, (int)length, quoted);
	free(quoted);
}

void
service_bind_text(sqlite3_stmt *statement, int index, struct span text)
{
	if (text.data != NULL)
		sqlite3_bind_text(statement, index, text.data, (int)text.length, SQLITE_STATIC);
	else
		sqlite3_bind_null(statement, index);
}

char *
service_put_hex(char *to, uint64_t value)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		*to++ = "0123456789ABCDEF"[value >> shift & 15];
	*to = '\0';
	return to;
}

char *
service_put_decimal(char *to, uint64_t value)
{
	char digits[20];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + value % 10);
	while ((value /= 10) > 0);
	while (n > 0)
		*to++ = digits[--n];
	*to = '\0';
	return to;
}

struct service_scratch *
service_scratch_begin(size_t capacity)
{
	static struct service_scratch scratch;

	if (scratch.capacity < capacity) {
		free(scratch.data);
		scratch.data = malloc(capacity);
		scratch.capacity = scratch.data ? capacity : 0;
	}
	scratch.used = 0;
	return &scratch;
}

struct span
service_text(struct service_scratch *scratch, const struct json_value *value)
{
	char *at = scratch->data + scratch->used;
	long length;

	if (value->type != JSON_STRING)
		return (struct span){ 0 };
	if (!value->escaped)
		return value->raw;
	length = json_unescape(value, at, scratch->capacity - scratch->used);
	if (length < 0)
		return (struct span){ 0 };
	scratch->used += (size_t)length;
	return (struct span){ .data = at, .length = (size_t)length };
}
