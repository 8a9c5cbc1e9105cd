/*
 * input - reads files and standard input, one after another, as numbered lines.
 *
 * A line ends with a newline, or with a carriage return and a newline. Lines are handed out whole,
 * with two exceptions that are handed out in pieces, to bound memory: a line longer than
 * INPUT_LINE_BYTES, and a source refused by its beginning (publisher/sniff.h), which counts as one
 * line. A byte order mark at the beginning of a source is skipped. A line is available as soon as
 * read(2) has returned its end.
 *
 *	input_peek()  INPUT_LINE  use the line, then call input_advance()
 *	              INPUT_MORE  poll input_fd() (-1: do not poll), then call input_read()
 *	              INPUT_END   all sources are exhausted
 */
#ifndef HEADGATE_PUBLISHER_INPUT_H
#define HEADGATE_PUBLISHER_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message/json.h"

enum {
	/* Longest line: 1 MiB of body, and as much again for the escapes and wrapping of SNS. */
	INPUT_LINE_BYTES = 2 << 20,
	INPUT_CHUNK_BYTES = 256 << 10 /* of one read(2) */
};

enum input_result { INPUT_LINE, INPUT_MORE, INPUT_END };

struct input_line {
	const char *source;  /* name of the source; lives as long as the input */
	uint64_t number;     /* in the source, from 1 */
	struct span text;    /* without the line ending; JSON_PADDING readable bytes follow */
	const char *end;     /* "\n", "\r\n"; at the end of a source also "", "\r" */
	const char *refusal; /* reason; NULL: a whole line. Else `text` is a piece */
	uint16_t status;     /* of the refusal: 413 for a line, 400 for a whole source */
	bool first;          /* the first piece, or a whole line */
};

struct input;

/* names: `count` paths, "-" for standard input; must outlive the input. NULL without memory. */
struct input *input_new(char *const *names, size_t count);
void input_free(struct input *);

/* Shows the next line without consuming the line. line->text is valid until the next
 * input_read(). */
enum input_result input_peek(struct input *, struct input_line *line);
/* Consumes the line that input_peek() showed. */
void input_advance(struct input *);
/* Consumes the line that input_peek() showed, and the rest of its source, unread. */
void input_skip_source(struct input *);

/* Does one step: opens the source, reads once, or goes on to the next source. Returns 0 or
 * -errno. */
int input_read(struct input *);
/* The descriptor to poll before input_read(); -1: input_read() will not block. */
int input_fd(const struct input *);

/* The name of the current source; also after an error. */
const char *input_source(const struct input *);

#endif
