#include "publisher/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "publisher/sniff.h"

enum {
	BUFFER_BYTES = INPUT_LINE_BYTES + 2 * INPUT_CHUNK_BYTES,
	PIPE_BYTES = 1 << 20 /* a pipe of 64 KiB, the default, has less than half the throughput */
};

struct input {
	char *const *names;
	size_t count, current; /* current == count: all sources are exhausted */
	/* State of the source names[current]. */
	int fd;              /* -1: not open */
	bool ended;          /* read(2) has returned 0 */
	bool sniffed;        /* sniff() has decided */
	const char *refusal; /* reason why the whole source is refused; NULL: accepted */
	bool inside;         /* a line handed out in pieces has begun and not ended */
	uint64_t line;       /* number of the last line begun */
	size_t begin, end;   /* of the buffered bytes */
	size_t scanned;      /* no newline in [begin, scanned) */
	struct input_line shown;
	size_t shown_bytes; /* that input_advance() consumes; 0: no line is shown */
	bool shown_whole;   /* the line ends with the shown bytes */
	char *buffer;
};

struct input *
input_new(char *const *names, size_t count)
{
	struct input *input = calloc(1, sizeof(*input));

	if (input == NULL)
		return NULL;
	input->buffer = malloc(BUFFER_BYTES + JSON_PADDING);
	if (input->buffer == NULL) {
		free(input);
		return NULL;
	}
	/* simdjson reads the padding and ignores its contents. Valgrind wants defined bytes. */
	memset(input->buffer + BUFFER_BYTES, 0, JSON_PADDING);
	input->names = names;
	input->count = count;
	input->fd = -1;
	return input;
}

static void
source_close(struct input *input)
{
	if (input->fd > STDIN_FILENO)
		close(input->fd);
	input->fd = -1;
}

void
input_free(struct input *input)
{
	if (input == NULL)
		return;
	source_close(input);
	free(input->buffer);
	free(input);
}

static bool
is_stdin(const char *name)
{
	return strcmp(name, "-") == 0;
}

static const char *
source_name(const char *name)
{
	return is_stdin(name) ? "stdin" : name;
}

const char *
input_source(const struct input *input)
{
	size_t index = input->current < input->count ? input->current : input->count - 1;

	return source_name(input->names[index]);
}

int
input_fd(const struct input *input)
{
	return input->ended ? -1 : input->fd;
}

/* Shows `length` bytes from `begin`. newline: a newline follows. whole: the line ends here. */
static enum input_result
show(struct input *input, size_t length, bool newline, bool whole, struct input_line *line)
{
	bool carriage = whole && length > 0 && input->buffer[input->begin + length - 1] == '\r';
	bool too_long = input->inside || length - carriage > INPUT_LINE_BYTES;

	input->shown = (struct input_line){
		.source = source_name(input->names[input->current]),
		.number = input->line + !input->inside,
		.text = { input->buffer + input->begin, length },
		.end = newline ? "\n" : "",
		.first = !input->inside,
	};
	if (input->refusal != NULL) {
		input->shown.refusal = input->refusal;
		input->shown.status = 400;
	} else if (too_long) {
		input->shown.refusal = "line too long";
		input->shown.status = 413;
	} else if (carriage) {
		input->shown.text.length--;
		input->shown.end = newline ? "\r\n" : "\r";
	}
	input->shown_bytes = length + newline;
	input->shown_whole = whole;
	*line = input->shown;
	return INPUT_LINE;
}

/* False if sniff() needs more bytes. */
static bool
sniff_source(struct input *input)
{
	size_t length = input->end - input->begin, mark;
	const char *why;

	switch (sniff(input->buffer + input->begin, length, input->ended, &mark, &why)) {
	case SNIFF_MORE:
		return false;
	case SNIFF_LINES:
		input->begin += mark;
		input->scanned += mark;
		break;
	case SNIFF_REFUSED:
		input->refusal = why;
		break;
	}
	input->sniffed = true;
	return true;
}

enum input_result
input_peek(struct input *input, struct input_line *line)
{
	const char *begin, *newline;
	size_t left;

	if (input->shown_bytes > 0) {
		*line = input->shown;
		return INPUT_LINE;
	}
	if (input->fd >= 0 && !input->sniffed && !sniff_source(input))
		return INPUT_MORE;
	begin = input->buffer + input->begin;
	left = input->end - input->begin;
	if (input->refusal != NULL && left > 0)
		return show(input, left, false, false, line);
	newline = memchr(input->buffer + input->scanned, '\n', input->end - input->scanned);
	if (newline != NULL)
		return show(input, (size_t)(newline - begin), true, true, line);
	input->scanned = input->end;
	if (input->ended && left > 0)
		return show(input, left, false, true, line);
	if (left > INPUT_LINE_BYTES + 1) /* of these the last may be a carriage return */
		return show(input, left, false, false, line);
	return input->current == input->count ? INPUT_END : INPUT_MORE;
}

void
input_advance(struct input *input)
{
	input->line += input->shown.first;
	input->inside = !input->shown_whole;
	input->begin += input->shown_bytes;
	input->scanned = input->begin;
	input->shown_bytes = 0;
}

void
input_skip_source(struct input *input)
{
	input_advance(input);
	input->begin = input->scanned = input->end;
	input->ended = true;
}

static int
source_open(struct input *input)
{
	const char *name = input->names[input->current];
	int pipe_bytes;

	/* O_NONBLOCK: a FIFO without a writer is polled, as one whose writer says nothing. */
	input->fd = is_stdin(name) ? STDIN_FILENO
				   : open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (input->fd < 0)
		return -errno;
	pipe_bytes = fcntl(input->fd, F_GETPIPE_SZ);
	/* An error (the user's limit for pipes is reached) costs throughput only. */
	if (pipe_bytes > 0 && pipe_bytes < PIPE_BYTES)
		(void)fcntl(input->fd, F_SETPIPE_SZ, PIPE_BYTES);
	return 0;
}

static void
source_next(struct input *input)
{
	source_close(input);
	input->current++;
	input->line = 0;
	input->ended = input->inside = input->sniffed = false;
	input->refusal = NULL;
}

/* Moves the unconsumed bytes to the front if
 * (1) they do not overlap their new place: then the move is cheap, and the next read(2) goes to
 * memory
 *     that is still cached; or
 * (2) less than a chunk is free behind them. */
static void
make_room(struct input *input)
{
	size_t left = input->end - input->begin;

	if (input->begin < left && BUFFER_BYTES - input->end >= INPUT_CHUNK_BYTES)
		return;
	memmove(input->buffer, input->buffer + input->begin, left);
	input->scanned -= input->begin;
	input->begin = 0;
	input->end = left;
}

int
input_read(struct input *input)
{
	ssize_t got;

	if (input->ended) {
		source_next(input);
		return 0;
	}
	/* Returns after open(): the caller polls before the first read, which might block. */
	if (input->fd < 0)
		return source_open(input);
	make_room(input);
	got = read(input->fd, input->buffer + input->end, INPUT_CHUNK_BYTES);
	if (got < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	input->ended = got == 0;
	input->end += (size_t)got;
	return 0;
}
