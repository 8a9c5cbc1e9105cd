/*
 * Lines from files and pipes: none is split, none is lost, and none waits for a full buffer.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "publisher/input.h"
#include "tests/unit/mutate.h"

static char names[4][32];
static char *files[4];

static void
make_file(int index, const char *bytes, size_t length)
{
	int fd;

	strcpy(names[index], "/tmp/publisher-input-XXXXXX");
	fd = mkstemp(names[index]);
	cr_assert(fd >= 0 && write(fd, bytes, length) == (ssize_t)length);
	close(fd);
	files[index] = names[index];
}

static void
remove_files(void)
{
	for (int i = 0; i < 4; i++)
		if (names[i][0] != '\0')
			unlink(names[i]);
}

TestSuite(publisher_input, .fini = remove_files, .timeout = 300);

/* Reads until the next line is there. False at the end of the input. */
static bool
next(struct input *input, struct input_line *line)
{
	for (;;) {
		switch (input_peek(input, line)) {
		case INPUT_LINE:
			return true;
		case INPUT_END:
			return false;
		case INPUT_MORE:
			cr_assert(input_read(input) == 0);
		}
	}
}

static void
expect(struct input *input, const char *source, uint64_t number, const char *text, const char *end)
{
	struct input_line line;

	cr_assert(next(input, &line), "an end instead of %s", text);
	cr_assert(
	    line.text.length == strlen(text) && memcmp(line.text.data, text, line.text.length) == 0,
	    "%.*s instead of %s", (int)line.text.length, line.text.data, text);
	cr_assert(line.number == number && strcmp(line.end, end) == 0 && line.refusal == NULL &&
	    line.first);
	cr_assert(strcmp(line.source, source) == 0);
	input_advance(input);
}

Test(publisher_input, files_are_read_in_turn_and_lines_numbered_in_each)
{
	struct input_line line;
	struct input *input;

	make_file(0, "one\n\nthree", 10);
	make_file(1, "", 0);
	make_file(2, "a\n", 2);
	input = input_new(files, 3);
	expect(input, names[0], 1, "one", "\n");
	expect(input, names[0], 2, "", "\n");
	expect(input, names[0], 3, "three", "");
	expect(input, names[2], 1, "a", "\n");
	cr_assert(!next(input, &line));
	input_free(input);
}

Test(publisher_input, peek_shows_the_same_line_until_it_is_taken)
{
	struct input *input;
	struct input_line a, b;

	make_file(0, "x\ny\n", 4);
	input = input_new(files, 1);
	cr_assert(next(input, &a) && input_peek(input, &b) == INPUT_LINE);
	cr_assert(a.text.data == b.text.data && a.number == b.number);
	input_advance(input);
	expect(input, names[0], 2, "y", "\n");
	input_free(input);
}

Test(publisher_input, a_missing_file_is_named)
{
	static char missing[] = "/nonexistent/file";
	struct input_line line;
	struct input *input;

	files[0] = missing;
	input = input_new(files, 1);
	cr_assert(input_peek(input, &line) == INPUT_MORE && input_read(input) == -ENOENT);
	cr_assert(strcmp(input_source(input), missing) == 0);
	input_free(input);
}

Test(publisher_input, what_a_pipe_gives_can_be_taken_at_once)
{
	static char name[] = "-";
	struct input_line line;
	struct input *input;
	int ends[2];

	files[0] = name;
	cr_assert(pipe(ends) == 0 && dup2(ends[0], STDIN_FILENO) == STDIN_FILENO);
	input = input_new(files, 1);
	cr_assert(write(ends[1], "one\ntw", 6) == 6);
	expect(input, "stdin", 1, "one", "\n");
	cr_assert(input_peek(input, &line) == INPUT_MORE && input_fd(input) == STDIN_FILENO);
	cr_assert(write(ends[1], "o\n", 2) == 2);
	expect(input, "stdin", 2, "two", "\n");
	close(ends[1]);
	cr_assert(!next(input, &line));
	input_free(input);
}

/* Lines of all lengths around the size of a read must arrive as written. */
Test(publisher_input, lines_are_whole_wherever_a_read_ends)
{
	size_t capacity = 8 * INPUT_CHUNK_BYTES, used = 0, at = 0;
	char *bytes = malloc(capacity);
	struct input_line line;
	struct input *input;
	unsigned seed = 1;

	while (used < capacity - 70000) {
		size_t length = (seed = seed * 1103515245 + 12345) % 70000;

		memset(bytes + used, 'a' + (int)(length % 26), length);
		used += length;
		bytes[used++] = '\n';
	}
	make_file(0, bytes, used);
	input = input_new(files, 1);
	while (next(input, &line)) {
		cr_assert(memcmp(bytes + at, line.text.data, line.text.length) == 0);
		cr_assert(bytes[at + line.text.length] == '\n');
		at += line.text.length + 1;
		input_advance(input);
	}
	cr_assert(at == used);
	input_free(input);
	free(bytes);
}

/* Writes bytes to a pipe in random pieces, by the seed, and reads meanwhile. The lines must equal
 * those of a file with the same bytes. */
static void
check_pieces(const char *bytes, size_t length)
{
	static char stdin_name[] = "-";
	char *const only[] = { stdin_name };
	struct input *whole, *pieces;
	struct input_line a, b;
	size_t written = 0;
	int ends[2];

	make_file(0, bytes, length);
	whole = input_new(files, 1);
	cr_assert(pipe2(ends, O_CLOEXEC) == 0 && dup2(ends[0], STDIN_FILENO) == STDIN_FILENO);
	close(ends[0]);
	pieces = input_new(only, 1);
	while (next(whole, &a)) {
		while (input_peek(pieces, &b) == INPUT_MORE) {
			size_t some = 1 + mutate_below(40);

			some = some < length - written ? some : length - written;
			if (input_fd(pieces) >= 0 && some > 0)
				cr_assert(write(ends[1], bytes + written, some) == (ssize_t)some);
			else if (input_fd(pieces) >= 0 && ends[1] >= 0) {
				close(ends[1]);
				ends[1] = -1;
			}
			written += input_fd(pieces) >= 0 ? some : 0;
			cr_assert(input_read(pieces) == 0);
		}
		cr_assert(input_peek(pieces, &b) == INPUT_LINE, "line %llu is missing",
		    (unsigned long long)a.number);
		cr_assert(a.number == b.number && (a.refusal == NULL) == (b.refusal == NULL));
		/* A refused source arrives in other pieces. */
		if (a.refusal != NULL)
			break;
		cr_assert(a.text.length == b.text.length &&
		    memcmp(a.text.data, b.text.data, a.text.length) == 0 &&
		    strcmp(a.end, b.end) == 0);
		input_advance(whole);
		input_advance(pieces);
	}
	if (ends[1] >= 0)
		close(ends[1]);
	input_free(whole);
	input_free(pieces);
	remove_files();
}

Test(publisher_input, a_trickle_has_the_lines_of_a_file, .timeout = 6000)
{
	static char bytes[20 * (MUTATED_BYTES + 2)];

	mutate_seed("INPUT_SEED", 20261130);
	for (int round = 0; round < 300; round++) {
		size_t length = 0;

		for (unsigned lines = mutate_below(20); lines > 0; lines--) {
			length += mutate_line(bytes + length);
			length += strlen(strcpy(bytes + length, mutate_below(3) ? "\n" : "\r\n"));
		}
		check_pieces(bytes, length);
	}
}

static void
check_too_long(size_t length, bool newline)
{
	char *bytes = malloc(length + 3);
	struct input_line line;
	size_t at = 0;
	struct input *input;
	bool ended = false;

	for (size_t i = 0; i < length; i++)
		bytes[i] = (char)('a' + i % 23);
	memcpy(bytes + length, "\nz\n", 3);
	make_file(0, bytes, length + (newline ? 3 : 0));
	input = input_new(files, 1);
	while (at < length && next(input, &line)) {
		cr_assert(line.status == 413 && line.number == 1 && line.first == (at == 0));
		cr_assert(memcmp(bytes + at, line.text.data, line.text.length) == 0);
		at += line.text.length;
		ended = line.end[0] != '\0';
		input_advance(input);
	}
	cr_assert(at == length);
	/* The newline may be a piece of its own. */
	if (newline && !ended) {
		cr_assert(
		    next(input, &line) && line.status == 413 && !line.first && line.end[0] == '\n');
		input_advance(input);
	}
	if (newline)
		expect(input, names[0], 2, "z", "\n");
	cr_assert(!next(input, &line));
	input_free(input);
	free(bytes);
	remove_files();
}

Test(publisher_input, a_line_too_long_comes_in_pieces_and_the_next_is_whole)
{
	static const size_t lengths[] = { INPUT_LINE_BYTES + 1,
		INPUT_LINE_BYTES + INPUT_CHUNK_BYTES, 2 * INPUT_LINE_BYTES,
		3 * INPUT_LINE_BYTES + 17 };

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		check_too_long(lengths[i], true);
		check_too_long(lengths[i], false);
	}
}

Test(publisher_input, the_longest_line_is_one_line)
{
	char *bytes = malloc(INPUT_LINE_BYTES + 1);
	struct input_line line;
	struct input *input;

	memset(bytes, 'x', INPUT_LINE_BYTES);
	bytes[INPUT_LINE_BYTES] = '\n';
	make_file(0, bytes, INPUT_LINE_BYTES + 1);
	input = input_new(files, 1);
	cr_assert(
	    next(input, &line) && line.refusal == NULL && line.text.length == INPUT_LINE_BYTES);
	input_free(input);
	free(bytes);
}

/* The limit is for the text: the end of the line does not count. */
Test(publisher_input, a_line_of_the_longest_text_may_end_with_a_carriage_return)
{
	static const struct {
		size_t length;
		const char *end;
		bool taken;
	} lines[] = {
		{ INPUT_LINE_BYTES, "\r\n", true },
		{ INPUT_LINE_BYTES, "\r", true },
		{ INPUT_LINE_BYTES + 1, "\r\n", false },
		{ INPUT_LINE_BYTES + 1, "\n", false },
		{ INPUT_LINE_BYTES, "\r\r\n", false },
	};
	char *bytes = malloc(INPUT_LINE_BYTES + 8);

	memset(bytes, 'x', INPUT_LINE_BYTES + 8);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct input_line line;
		struct input *input;

		strcpy(bytes + lines[i].length, lines[i].end);
		make_file(0, bytes, lines[i].length + strlen(lines[i].end));
		bytes[lines[i].length + strlen(lines[i].end)] = 'x';
		input = input_new(files, 1);
		cr_assert(next(input, &line));
		cr_expect((line.refusal == NULL) == lines[i].taken, "line %zu", i);
		if (lines[i].taken)
			cr_expect(line.text.length == lines[i].length &&
				strcmp(line.end, lines[i].end) == 0,
			    "line %zu", i);
		input_free(input);
		remove_files();
		for (size_t k = 0; k < 4; k++)
			bytes[INPUT_LINE_BYTES + k] = 'x';
	}
	free(bytes);
}

Test(publisher_input, carriage_returns_belong_to_the_end_of_a_line)
{
	struct input_line line;
	struct input *input;

	make_file(0, "one\r\n\r\ntwo\rtwo\r\r\nlast\r", 22);
	input = input_new(files, 1);
	expect(input, names[0], 1, "one", "\r\n");
	expect(input, names[0], 2, "", "\r\n");
	expect(input, names[0], 3, "two\rtwo\r", "\r\n");
	expect(input, names[0], 4, "last", "\r");
	cr_assert(!next(input, &line));
	input_free(input);
}

Test(publisher_input, each_source_may_begin_with_a_mark)
{
	struct input_line line;
	struct input *input;

	make_file(0, "\xef\xbb\xbfone\n\xef\xbb\xbftwo\n", 14);
	make_file(1, "\xef\xbb\xbf", 3);
	make_file(2, "\xef\xbb\xbfthree", 8);
	input = input_new(files, 3);
	expect(input, names[0], 1, "one", "\n");
	expect(input, names[0], 2, "\xef\xbb\xbftwo", "\n");
	expect(input, names[2], 1, "three", "");
	cr_assert(!next(input, &line));
	input_free(input);
}

Test(publisher_input, a_mark_that_comes_in_pieces_is_passed_over)
{
	static const char text[] = "\xef\xbb\xbf{}\n";
	static char stdin_name[] = "-";
	char *const only[] = { stdin_name };
	struct input_line line;
	struct input *input;
	int ends[2];

	cr_assert(pipe2(ends, O_CLOEXEC) == 0 && dup2(ends[0], STDIN_FILENO) == STDIN_FILENO);
	input = input_new(only, 1);
	cr_assert(input_read(input) == 0);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		cr_assert(input_peek(input, &line) == INPUT_MORE, "%zu", i);
		cr_assert(write(ends[1], text + i, 1) == 1 && input_read(input) == 0);
	}
	expect(input, "stdin", 1, "{}", "\n");
	close(ends[1]);
	cr_assert(!next(input, &line));
	input_free(input);
}

Test(publisher_input, a_refused_source_is_one_line_and_the_next_source_is_read)
{
	static const char pretty[] = "{\n\"a\": 1\n}\n";
	struct input_line line;
	struct input *input;

	make_file(0, pretty, strlen(pretty));
	make_file(1, "one\n", 4);
	input = input_new(files, 2);
	cr_assert(next(input, &line));
	cr_assert(line.status == 400 && strstr(line.refusal, "jq -c .") != NULL && line.first);
	cr_assert(line.number == 1 && line.text.length == strlen(pretty));
	cr_assert(memcmp(line.text.data, pretty, line.text.length) == 0);
	input_advance(input);
	expect(input, names[1], 1, "one", "\n");
	cr_assert(!next(input, &line));
	input_free(input);
}

Test(publisher_input, a_refused_source_need_not_be_read_to_its_end)
{
	size_t length = INPUT_LINE_BYTES + 4 * INPUT_CHUNK_BYTES;
	char *bytes = calloc(1, length);
	struct input_line line;
	struct input *input;

	memcpy(bytes, "\x1f\x8b", 2);
	make_file(0, bytes, length);
	make_file(1, "one\n", 4);
	input = input_new(files, 2);
	cr_assert(next(input, &line) && line.status == 400);
	input_skip_source(input);
	expect(input, names[1], 1, "one", "\n");
	cr_assert(!next(input, &line));
	input_free(input);
	free(bytes);
}
