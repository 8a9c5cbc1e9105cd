/*
 * json - the one place where JSON text is read. A C interface over simdjson (json.cc).
 *
 * json_walk() checks a whole text strictly (RFC 8259, UTF-8, no lone surrogates, nothing behind the
 * value) and hands the top-level fields to a callback as they stand in the text: nothing is copied
 * and no number is converted. json_reader is one parser with its buffers; a thread has one.
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
	JSON_PADDING = 64, /* readable bytes that must follow every text handed in */
	JSON_DEPTH = 32    /* deepest nesting that is taken */
};

enum json_type { JSON_NULL = 1, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* A piece of text. Not terminated. */
struct span {
	const char *data;
	size_t length;
};

struct json_value {
	enum json_type type;
	struct span
	    raw; /* as it stands in the text: a string's without its quotes, no blanks around */
	bool escaped; /* a string that has a backslash: json_unescape() gives its value */
};

struct json_field {
	struct span
	    name; /* unescaped; when the text has escapes in it, valid until the next field */
	struct json_value value;
};

/* Why a text is refused. */
enum json_error {
	JSON_OK = 0,
	JSON_SYNTAX,        /* no JSON */
	JSON_ENCODING,      /* bad UTF-8 or a lone surrogate */
	JSON_TOO_DEEP,      /* nested deeper than JSON_DEPTH */
	JSON_NOT_OBJECT,    /* JSON, but not an object */
	JSON_DUPLICATE_KEY, /* a key twice in the top-level object */
	JSON_TRAILING,      /* something behind the value */
	JSON_NO_MEMORY,
	JSON_STOPPED /* the callback said so */
};

/* Words for a person: "invalid JSON", ... Never NULL. */
const char *json_error_text(enum json_error);

struct json_reader;
struct json_reader *json_reader_new(size_t capacity); /* longest text, bytes; NULL: no memory */
void json_reader_free(struct json_reader *);

/* Walks one object strictly, every value in it, and calls field for each top-level member, in
 * order. The callback returns 0 to go on; anything else ends the walk with JSON_STOPPED.
 * JSON_PADDING bytes behind text + length must be readable. Anything invalid anywhere in the text
 * is found, but fields may have been reported before it was: act on them only after JSON_OK. */
enum json_error json_walk(struct json_reader *, const char *text, size_t length,
    int (*field)(void *context, const struct json_field *), void *context);

/* After JSON_DUPLICATE_KEY: offset in the text of the key that comes a second time. */
size_t json_duplicate_at(const struct json_reader *, const char *text);

/* Picks members of the top-level object by name in one strict walk. values[i].type is 0 when
 * names[i] is absent. Names in the text are compared unescaped. */
enum json_error json_pick(struct json_reader *, const char *text, size_t length,
    const char *const names[], size_t count, struct json_value values[]);

/* Iterates over an array or object value, e.g. one found by json_walk(), whose raw text is again
 * followed by readable bytes: for each element calls item with its name (empty in an array). */
enum json_error json_each(struct json_reader *, struct span container,
    int (*item)(void *context, struct span name, const struct json_value *), void *context);

/* Value of a string: copies it unescaped to buffer (capacity bytes, not terminated). Returns its
 * length, or -ENOBUFS, or -EILSEQ. Without escapes it is a plain copy. */
long json_unescape(const struct json_value *, char *buffer, size_t capacity);

/* Writes s as a JSON string with its quotes, escaping what must be, and what a terminal would obey:
 * C1 controls, line separators and marks of direction. Bytes that are no UTF-8 become U+FFFD. At
 * most 6 * length + 2 bytes are written. Returns the length written, or -ENOBUFS. */
long json_quote(char *buffer, size_t capacity, const char *s, size_t length);

#ifdef __cplusplus
}
#endif

#endif
