#include "config/text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES = 1 << 20, NAMES = 64, DEPTH = 3 };

static const char byte_order_mark[] = "\xef\xbb\xbf"; /* skipped */

static int
read_all(int fd, char *text, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = read(fd, text + done, length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	text[done] = '\0';
	if (strlen(text) != done)
		return -EILSEQ;
	if (strncmp(text, byte_order_mark, strlen(byte_order_mark)) == 0)
		memset(text, ' ', strlen(byte_order_mark));
	return 0;
}

int
text_read_file(const char *path, char **text)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int rc = 0;

	*text = NULL;
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) != 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode))
		rc = S_ISDIR(st.st_mode) ? -EISDIR : -ENOTSUP;
	else if (st.st_size > FILE_BYTES)
		rc = -EFBIG;
	else if ((*text = malloc((size_t)st.st_size + 1)) == NULL)
		rc = -ENOMEM;
	else
		rc = read_all(fd, *text, (size_t)st.st_size);
	close(fd);
	if (rc != 0) {
		free(*text);
		*text = NULL;
	}
	return rc;
}

struct name {
	const char *at;
	size_t length;
};

struct scanner {
	char *at;
	int line;
	int depth; /* of sections */
	bool in_list;
	int open_line[DEPTH]; /* first line of each open section */
	struct name names[DEPTH][NAMES];
	size_t name_count[DEPTH];
	struct name last; /* the last identifier */
	char *why;
	size_t why_bytes;
};

static int
fail(struct scanner *scanner, const char *what, struct name name)
{
	snprintf(scanner->why, scanner->why_bytes, "%s%.*s", what, (int)name.length,
	    name.length ? name.at : "");
	return -EINVAL;
}

/* Refuses ${NAME}, which libconfuse replaces from the environment: each program would read another
 * configuration. */
static int
refuse_variable(struct scanner *scanner)
{
	return fail(scanner,
	    "${ outside single quotes: a configuration has no variables; write the text in single "
	    "quotes",
	    (struct name){ 0 });
}

static int
skip_string(struct scanner *scanner)
{
	char quote = *scanner->at++;

	for (; *scanner->at != '\0' && *scanner->at != quote; scanner->at++) {
		if (quote == '"' && strncmp(scanner->at, "${", 2) == 0)
			return refuse_variable(scanner);
		if (*scanner->at == '\\' && scanner->at[1] != '\0')
			scanner->at++;
		if (*scanner->at == '\n')
			scanner->line++;
	}
	if (*scanner->at == '\0')
		return fail(scanner, "a quote is not closed", (struct name){ 0 });
	scanner->at++;
	return 0;
}

/* Blanks the text up to and including `end`, or to the end of the text; newlines stay. */
static int
blank_comment(struct scanner *scanner, const char *end)
{
	size_t end_length = strlen(end);

	while (*scanner->at != '\0' && strncmp(scanner->at, end, end_length) != 0) {
		if (*scanner->at == '\n')
			scanner->line++;
		else
			*scanner->at = ' ';
		scanner->at++;
	}
	if (*end == '\n')
		return 0;
	if (*scanner->at == '\0')
		return fail(scanner, "a comment is not closed", (struct name){ 0 });
	memset(scanner->at, ' ', end_length);
	return 0;
}

static int
note_setting(struct scanner *scanner)
{
	size_t *count = &scanner->name_count[scanner->depth];
	struct name *names = scanner->names[scanner->depth];

	if (scanner->last.length == 0)
		return fail(scanner, "no name in front of '='", (struct name){ 0 });
	for (size_t i = 0; i < *count; i++)
		if (names[i].length == scanner->last.length &&
		    memcmp(names[i].at, scanner->last.at, names[i].length) == 0)
			return fail(scanner, "set twice in one section: ", scanner->last);
	if (*count == NAMES)
		return fail(scanner, "too many settings in one section", (struct name){ 0 });
	names[(*count)++] = scanner->last;
	return 0;
}

static int
open_brace(struct scanner *scanner, bool after_equals)
{
	if (scanner->in_list)
		return fail(scanner, "a list in a list", (struct name){ 0 });
	if (after_equals) {
		scanner->in_list = true;
		return 0;
	}
	if (scanner->depth == DEPTH - 1)
		return fail(scanner, "a section too deep in others", (struct name){ 0 });
	scanner->depth++;
	scanner->open_line[scanner->depth] = scanner->line;
	scanner->name_count[scanner->depth] = 0;
	return 0;
}

static int
close_brace(struct scanner *scanner)
{
	if (scanner->in_list)
		scanner->in_list = false;
	else if (scanner->depth == 0)
		return fail(scanner, "a brace closes nothing", (struct name){ 0 });
	else
		scanner->depth--;
	return 0;
}

static int
read_word(struct scanner *scanner)
{
	scanner->last.at = scanner->at;
	while (*scanner->at != '\0' && !isspace((unsigned char)*scanner->at) &&
	    strchr("{}=+,'\"#", *scanner->at) == NULL)
		scanner->at++;
	scanner->last.length = (size_t)(scanner->at - scanner->last.at);
	if (scanner->last.length == 0)
		scanner->at++;
	else if (*scanner->at == '{' && scanner->at[-1] == '$')
		return refuse_variable(scanner);
	return 0;
}

/* Scans one token. *after_equals: the previous token was "=". */
static int
scan_token(struct scanner *scanner, bool *after_equals)
{
	bool was_equals = *after_equals;
	char c = *scanner->at;

	if (c == '\n')
		scanner->line++;
	if (isspace((unsigned char)c)) {
		scanner->at++;
		return 0;
	}
	if (c == '#' || (c == '/' && scanner->at[1] == '/'))
		return blank_comment(scanner, "\n");
	if (c == '/' && scanner->at[1] == '*')
		return blank_comment(scanner, "*/");
	*after_equals = false;
	switch (c) {
	case '\'':
	case '"':
		return skip_string(scanner);
	case '{':
		scanner->at++;
		return open_brace(scanner, was_equals);
	case '}':
		scanner->at++;
		return close_brace(scanner);
	case '=':
		scanner->at++;
		*after_equals = true;
		return note_setting(scanner);
	default:
		return read_word(scanner);
	}
}

int
text_prepare(char *text, int *line, char *why, size_t why_bytes)
{
	struct scanner scanner = { .at = text, .line = 1, .why = why, .why_bytes = why_bytes };
	bool after_equals = false;
	int rc = 0;

	while (rc == 0 && *scanner.at != '\0')
		rc = scan_token(&scanner, &after_equals);
	*line = scanner.line;
	if (rc == 0 && (scanner.depth > 0 || scanner.in_list)) {
		*line = scanner.depth > 0 ? scanner.open_line[scanner.depth] : scanner.line;
		rc = fail(&scanner, "a brace is not closed", (struct name){ 0 });
	}
	return rc;
}

int
text_line_of(char *text, const char *setting)
{
	struct scanner scanner = { .at = text, .line = 1 };
	const struct name *last = &scanner.last;
	bool after_equals = false;

	while (*scanner.at != '\0' && scan_token(&scanner, &after_equals) == 0)
		if (after_equals && scanner.depth == 0 && last->length == strlen(setting) &&
		    memcmp(last->at, setting, last->length) == 0)
			return scanner.line;
	return 0;
}
