/*
 * input - files and standard input, one after another, as numbered lines.
 *
 * A line ends with a newline, or a carriage return and a newline. It is never split, but one longer
 * than INPUT_LINE_BYTES is handed out in pieces, so that it is never held whole. So is a source that
 * is refused by its beginning (publisher/sniff.h), as if it were one line. A byte order mark at the
 * beginning of a source is passed over. What one read(2) gave can be taken at once: nothing waits
 * for a full buffer.
 *
 *	input_peek()  INPUT_LINE  use it, then input_advance()
 *	              INPUT_MORE  wait until input_fd() is readable (-1: no need to), then input_read()
 *	              INPUT_END   nothing comes any more
 */
#ifndef HEADGATE_PUBLISHER_INPUT_H
#define HEADGATE_PUBLISHER_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message/json.h"

enum {
	INPUT_LINE_BYTES =
	    2 << 20, /* longest line: 1 MiB of body, and as much again for its wrapping */
	INPUT_CHUNK_BYTES = 256 << 10 /* most that one read(2) takes */
};

enum input_result { INPUT_LINE, INPUT_MORE, INPUT_END };

struct input_line {
	const char *source; /* name for messages; lives as long as the input */
	uint64_t number;    /* in its source, from 1 */
	struct span text;   /* without its end; JSON_PADDING readable bytes follow */
	const char *end;    /* "\n", "\r\n", or "", "\r" where the source ends with it */
	const char *refusal; /* not NULL: text is a piece of what is refused for this reason */
	uint16_t status;     /* of the refusal: 413 a line too long, 400 all of the source */
	bool first;          /* piece of it; set for a whole line, too */
};

struct input;

/* names: count of them, "-" is standard input; they are used as long as the input lives. Returns
 * NULL when there is no memory. */
struct input *input_new(char *const *names, size_t count);
void input_free(struct input *);

/* Shows the next line, without taking it. line->text is valid until the next input_read(). */
enum input_result input_peek(struct input *, struct input_line *line);
void input_advance(struct input *);
/* Takes the line, and all that the source has behind it without reading that. */
void input_skip_source(struct input *);

/* Opens the source, reads once from it, or goes on to the next one. Returns 0, or -errno. */
int input_read(struct input *);
int input_fd(const struct input *);

/* What the source is called that is read, or could not be. */
const char *input_source(const struct input *);

#endif
