/*
 * json - reads all JSON of the project. A C interface over simdjson (json.cc).
 *
 * json_walk() checks a whole text strictly: RFC 8259, UTF-8, no lone surrogates, nothing behind the
 * value. A callback gets the top-level fields as spans of the text. No value is copied, and no
 * number is converted. A json_reader is one parser with its buffers, for one thread.
 */
#ifndef HEADGATE_MESSAGE_JSON_H
#define HEADGATE_MESSAGE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
	JSON_PADDING = 64, /* readable bytes behind every text, for simdjson's wide loads */
	JSON_DEPTH = 32    /* deepest nesting accepted */
};

enum json_type { JSON_NULL = 1, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* A piece of text. Not terminated. */
struct span {
	const char *data;
	size_t length;
};

struct json_value {
	enum json_type type;
	struct span raw; /* in the text; without a string's quotes, without blanks around */
	bool escaped;    /* a string with a backslash; json_unescape() yields the value */
};

struct json_field {
	struct span name; /* unescaped; a name with escapes is valid until the next field only */
	struct json_value value;
};

enum json_error {
	JSON_OK = 0,
	JSON_SYNTAX,        /* no JSON */
	JSON_ENCODING,      /* bad UTF-8, a bad escape or a lone surrogate */
	JSON_TOO_DEEP,      /* nested deeper than JSON_DEPTH */
	JSON_NOT_OBJECT,    /* JSON, but not an object */
	JSON_DUPLICATE_KEY, /* a key twice in the top-level object */
	JSON_TRAILING,      /* text behind the value */
	JSON_NO_MEMORY,
	JSON_STOPPED /* the callback ended the walk */
};

/* A text for people: "invalid JSON", ... Never NULL. */
const char *json_error_text(enum json_error);

struct json_reader;
/* capacity: the longest text, bytes. NULL without memory. */
struct json_reader *json_reader_new(size_t capacity);
void json_reader_free(struct json_reader *);

/* Walks one object strictly, all of its values at every depth, and calls `field` for each top-level
 * member, in order. The callback returns 0 to go on; any other value ends the walk with
 * JSON_STOPPED. JSON_PADDING bytes behind text + length must be readable. Fields may be reported
 * before a fault further on is found, so the caller acts on fields only after JSON_OK. */
enum json_error json_walk(struct json_reader *, const char *text, size_t length,
    int (*field)(void *context, const struct json_field *), void *context);

/* After JSON_DUPLICATE_KEY: offset in the text of the key's second occurrence. */
size_t json_duplicate_at(const struct json_reader *, const char *text);

/* Picks members of the top-level object by name in one strict walk. values[i].type is 0 if names[i]
 * is absent. Names of the text are unescaped before the comparison. No name may be "". */
enum json_error json_pick(struct json_reader *, const char *text, size_t length,
    const char *const names[], size_t count, struct json_value values[]);

/* Walks an array or object, as found by json_walk(), and calls `item` for each element, with the
 * element's name ("" in an array). JSON_PADDING bytes behind the container must be readable. May be
 * called from a callback of json_walk(), but not from one of json_each(). */
enum json_error json_each(struct json_reader *, struct span container,
    int (*item)(void *context, struct span name, const struct json_value *), void *context);

/* Copies a string's value, unescaped and without a NUL, into `capacity` bytes. Returns the length,
 * -ENOBUFS if `capacity` is too small, or -EILSEQ for a bad escape. */
long json_unescape(const struct json_value *, char *buffer, size_t capacity);

/* Writes `s` as a JSON string in quotes: at most 6 * length + 2 bytes. Beyond the characters for
 * which JSON demands escapes, those that a terminal obeys are escaped: C1 controls, line separators
 * and direction marks. A byte that is no UTF-8 becomes U+FFFD. Returns the length written, or
 * -ENOBUFS. */
long json_quote(char *buffer, size_t capacity, const char *s, size_t length);

#ifdef __cplusplus
}
#endif

#endif
