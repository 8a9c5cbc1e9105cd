/*
 * mutate - lines of JSON with random faults, by a seed.
 */
#ifndef HEADGATE_TESTS_UNIT_MUTATE_H
#define HEADGATE_TESTS_UNIT_MUTATE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MUTATED_BYTES = 16 << 10 }; /* longest mutated line */

static uint64_t mutate_state;

static inline unsigned
mutate_below(size_t n)
{
	mutate_state = mutate_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)((mutate_state >> 33) % n);
}

/* Sets the seed from the environment, else to `fallback`, and prints the seed for a repetition. */
static inline void
mutate_seed(const char *variable, uint64_t fallback)
{
	const char *given = getenv(variable);

	mutate_state = given != NULL ? strtoull(given, NULL, 10) : fallback;
	printf("# %s=%llu\n", variable, (unsigned long long)mutate_state);
	fflush(stdout);
}

static inline size_t
mutate_insert(char *line, size_t length, size_t at, const char *bytes, size_t count)
{
	if (length + count > MUTATED_BYTES)
		return length;
	memmove(line + at + count, line + at, length - at);
	memcpy(line + at, bytes, count);
	return length + count;
}

static inline size_t
mutate_remove(char *line, size_t length, size_t at, size_t count)
{
	memmove(line + at, line + at + count, length - at - count);
	return length - count;
}

/* A random place for a value: behind one of the line's colons. */
static inline size_t
mutate_value_at(const char *line, size_t length)
{
	size_t colons = 0, which;

	for (size_t i = 0; i < length; i++)
		colons += line[i] == ':';
	which = colons > 0 ? mutate_below(colons) : 0;
	for (size_t i = 0; i < length; i++)
		if (line[i] == ':' && which-- == 0)
			return i + 1;
	return mutate_below(length + 1);
}

/* Applies one random change. Returns the new length. */
static inline size_t
mutate_once(char *line, size_t length)
{
	static const char *const values[] = { "7", "0", "-0.0", "1e999", "null", "true", "[]", "{}",
		"\"\"", "\"\\ud800\"", "\"\\u0000\"", "\"\\ud83d\\ude00\"",
		"123456789012345678901234567890", "01", "+1", "NaN", "'x'", "{\"a\":{\"a\":1}}",
		"[1,[2,[3]]]" };
	static const char *const pieces[] = { "{", "}", "[", "]", "\"", ",", ":", "\\", "\r",
		"\r\n", "\n", " ", "\t", "\v", "\xef\xbb\xbf", "\xff", "\xc3", "\xe2\x80\xae",
		"\x01", "//", "\xed\xa0\x80" };
	size_t at = mutate_below(length + 1), count;
	char many[2048];

	switch (mutate_below(9)) {
	case 0: /* another byte */
		if (at < length)
			line[at] = (char)mutate_below(256);
		return length;
	case 1: {
		const char *piece = pieces[mutate_below(sizeof(pieces) / sizeof(pieces[0]))];

		return mutate_insert(line, length, at, piece, strlen(piece));
	}
	case 2: { /* another value in front of one, or in its place if that is short */
		const char *value = values[mutate_below(sizeof(values) / sizeof(values[0]))];

		at = mutate_value_at(line, length);
		count = strcspn(line + at, ",}");
		if (at + count <= length && mutate_below(4) > 0)
			length = mutate_remove(line, length, at, count);
		return mutate_insert(line, length, at, value, strlen(value));
	}
	case 3: /* cut off */
		return at;
	case 4:
		count = mutate_below(length - at + 1);
		return mutate_remove(line, length, at, count);
	case 5: /* a piece of the line, repeated */
		count = mutate_below(length - at + 1);
		if (count > sizeof(many))
			count = sizeof(many);
		memcpy(many, line + at, count);
		return mutate_insert(line, length, mutate_below(length + 1), many, count);
	case 6: /* deep nesting, closed or not */
		count = 1 + mutate_below(40);
		memset(many, '[', count);
		memset(many + count, ']', count);
		return mutate_insert(line, length, mutate_value_at(line, length), many,
		    mutate_below(2) ? count : 2 * count);
	case 7: /* a number too large for any type */
		count = 1 + mutate_below(sizeof(many));
		memset(many, '0' + (int)mutate_below(10), count);
		return mutate_insert(line, length, at, many, count);
	default: {
		char nothing = '\0';

		return mutate_insert(line, length, at, &nothing, 1);
	}
	}
}

/* Writes a good line with up to four changes. `line` has MUTATED_BYTES + 1 bytes. Returns the
 * length. */
static inline size_t
mutate_line(char *line)
{
	static const char *const bases[] = {
		"{\"customer_id\":\"C-1\",\"transaction_type\":\"payment\",\"amount\":12.50,"
		"\"message_id\":\"m-1\"}",
		"{\"message_group_id\":\"G\",\"a\":[1,{\"b\":\"\\u00e9\xc3\xa9\"}],\"n\":-1.5e3,"
		"\"z\":null,\"t\":true}",
		" { \"customer_id\" : \"\\ud83d\\ude00\" , \"pad\" : \"0123456789\" } ",
		"{\"Type\":\"Notification\",\"Message\":\"{\\\"customer_id\\\":\\\"C\\\",\\\"x\\\":"
		"\\\"\\\\n\\\"}\","
		"\"MessageAttributes\":{\"kind\":{\"Type\":\"String\",\"Value\":\"v\"},"
		"\"n\":{\"Type\":\"Number\",\"Value\":\"1\"}}}",
		"[{\"customer_id\":\"C\"}]",
		"",
	};
	size_t length;

	strcpy(line, bases[mutate_below(sizeof(bases) / sizeof(bases[0]))]);
	length = strlen(line);
	for (unsigned changes = mutate_below(5); changes > 0; changes--) {
		line[length] = '\0';
		length = mutate_once(line, length);
	}
	return length;
}

#endif
