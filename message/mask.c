#include "message/mask.h"

#include <stdlib.h>
#include <string.h>

enum { SHOWN_DIGITS = 4, DIGITS_MIN = 5, DIGITS_MAX = 17 };

/* Follows from the keys above a value. Higher values mask more. */
enum secrecy {
	OPEN = 0,
	DIGITS_ONLY, /* mask strings and numbers of digits and nothing else */
	ANYTHING     /* mask all strings and numbers */
};

struct container {
	struct span raw;
	enum secrecy secrecy;
};

struct mask {
	struct container *containers; /* not yet walked */
	struct json_value *edits;     /* values to mask */
	size_t container_count, container_capacity, edit_count, edit_capacity;
	enum secrecy secrecy; /* of the container being walked */
	bool no_memory;
};

static void *
grow(void *array, size_t count, size_t *capacity, size_t size)
{
	size_t more = *capacity ? 2 * *capacity : 16;
	void *bigger;

	if (count < *capacity)
		return array;
	bigger = reallocarray(array, more, size);
	if (bigger != NULL)
		*capacity = more;
	return bigger;
}

static bool
push_container(struct mask *mask, struct span raw, enum secrecy secrecy)
{
	void *bigger = grow(mask->containers, mask->container_count, &mask->container_capacity,
	    sizeof(*mask->containers));

	if (bigger == NULL)
		return false;
	mask->containers = bigger;
	mask->containers[mask->container_count++] =
	    (struct container){ .raw = raw, .secrecy = secrecy };
	return true;
}

static bool
push_edit(struct mask *mask, const struct json_value *value)
{
	void *bigger =
	    grow(mask->edits, mask->edit_count, &mask->edit_capacity, sizeof(*mask->edits));

	if (bigger == NULL)
		return false;
	mask->edits = bigger;
	mask->edits[mask->edit_count++] = *value;
	return true;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_account_number(const struct json_value *value)
{
	char text[DIGITS_MAX];
	long length = json_unescape(value, text, sizeof(text)); /* -ENOBUFS: too long */

	if (length < DIGITS_MIN)
		return false;
	for (long i = 0; i < length; i++)
		if (!is_digit(text[i]))
			return false;
	return true;
}

static enum secrecy
secrecy_of(struct span name)
{
	static const char number[] = "account_number", any[] = "account";

	if (name.length == sizeof(number) - 1 &&
	    strncasecmp(name.data, number, sizeof(number) - 1) == 0)
		return ANYTHING;
	for (size_t i = 0; i + sizeof(any) - 1 <= name.length; i++)
		if (strncasecmp(name.data + i, any, sizeof(any) - 1) == 0)
			return DIGITS_ONLY;
	return OPEN;
}

static int
look_at(void *context, struct span name, const struct json_value *value)
{
	struct mask *mask = context;
	enum secrecy secrecy = secrecy_of(name);
	bool good = true;

	if (secrecy < mask->secrecy)
		secrecy = mask->secrecy;
	if (value->type == JSON_OBJECT || value->type == JSON_ARRAY)
		good = push_container(mask, value->raw, secrecy);
	else if ((value->type == JSON_STRING || value->type == JSON_NUMBER) &&
	    (secrecy == ANYTHING || (secrecy == DIGITS_ONLY && is_account_number(value))))
		good = push_edit(mask, value);
	mask->no_memory = !good;
	return good ? 0 : 1;
}

static int
look_at_field(void *context, const struct json_field *field)
{
	return look_at(context, field->name, &field->value);
}

static int
compare_edits(const void *a, const void *b)
{
	const char *x = ((const struct json_value *)a)->raw.data;
	const char *y = ((const struct json_value *)b)->raw.data;

	return x < y ? -1 : x > y;
}

/* Writes a value, unescaped, with all but the last digits as asterisks. Never longer than raw. */
static size_t
write_masked(char *out, const struct json_value *value)
{
	long length = json_unescape(value, out, value->raw.length);
	unsigned shown = 0;

	for (long i = length; i-- > 0;) {
		if (is_digit(out[i]) && shown < SHOWN_DIGITS)
			shown++;
		else
			out[i] = '*';
	}
	return length > 0 ? (size_t)length : 0;
}

static size_t
write_all(const struct mask *mask, const char *body, size_t length, char *out)
{
	const char *at = body;
	char *to = out;

	for (size_t i = 0; i < mask->edit_count; i++) {
		const struct json_value *value = &mask->edits[i];

		to = mempcpy(to, at, (size_t)(value->raw.data - at));
		at = value->raw.data + value->raw.length;
		if (value->type == JSON_NUMBER)
			*to++ = '"';
		to += write_masked(to, value);
		if (value->type == JSON_NUMBER)
			*to++ = '"';
	}
	to = mempcpy(to, at, (size_t)(body + length - at));
	return (size_t)(to - out);
}

/* Walks all containers below the top level, one after the other: json_each() does not nest. */
static enum json_error
look_below(struct mask *mask, struct json_reader *reader)
{
	enum json_error error = JSON_OK;

	while (error == JSON_OK && mask->container_count > 0) {
		struct container container = mask->containers[--mask->container_count];

		mask->secrecy = container.secrecy;
		error = json_each(reader, container.raw, look_at, mask);
	}
	return error;
}

enum json_error
mask_body(struct json_reader *reader, const char *body, size_t length, char *out, size_t *written)
{
	struct mask mask = { .secrecy = OPEN };
	enum json_error error = json_walk(reader, body, length, look_at_field, &mask);

	if (error == JSON_OK)
		error = look_below(&mask, reader);
	if (error == JSON_OK) {
		if (mask.edit_count > 0)
			qsort(mask.edits, mask.edit_count, sizeof(*mask.edits), compare_edits);
		*written = write_all(&mask, body, length, out);
	}
	free(mask.containers);
	free(mask.edits);
	return mask.no_memory ? JSON_NO_MEMORY : error;
}

void
mask_digits(char *text, size_t length)
{
	for (size_t at = 0; at < length;) {
		size_t end = at;

		while (end < length && text[end] >= '0' && text[end] <= '9')
			end++;
		if (end - at >= DIGITS_MIN)
			memset(text + at, '*', end - at - SHOWN_DIGITS);
		at = end + 1;
	}
}
