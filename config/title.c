#include "config/title.h"

#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* The kernel stores arguments and environment in one block. It shows all arguments as the command
 * line; or, if the last byte of the arguments is no longer NUL, the block up to the first NUL. */
static char *start;        /* of the block; NULL before title_begin() */
static size_t whole_bytes; /* of the block */
static char *command;      /* the arguments, joined by blanks */

static char *
copy(const char *text)
{
	char *own = strdup(text);

	if (own == NULL)
		err(EX_OSERR, "arguments");
	return own;
}

/* Replaces each string by a copy. Advances *end over strings that follow without a gap. */
static void
move_strings(char **strings, char **end)
{
	for (; *strings != NULL; strings++) {
		if (*strings == *end)
			*end += strlen(*strings) + 1;
		*strings = copy(*strings);
	}
}

static void
move_environment(char **end)
{
	size_t count = 0;
	char **own;

	while (environ != NULL && environ[count] != NULL)
		count++;
	own = calloc(count + 1, sizeof(*own));
	if (own == NULL)
		err(EX_OSERR, "environment");
	for (size_t i = 0; i < count; i++)
		own[i] = environ[i];
	move_strings(own, end);
	environ = own;
}

static char *
join(int argc, char **argv)
{
	size_t length = 1;
	char *line;

	for (int i = 0; i < argc; i++)
		length += strlen(argv[i]) + 1;
	line = calloc(1, length);
	if (line == NULL)
		err(EX_OSERR, "arguments");
	for (int i = 0; i < argc; i++) {
		strlcat(line, argv[i], length);
		if (i + 1 < argc)
			strlcat(line, " ", length);
	}
	return line;
}

void
title_begin(int argc, char **argv)
{
	char *end = argv[0], *slash;

	if (argc < 1 || argv[0] != program_invocation_name)
		return; /* a part of argv: the caller may keep pointers to other arguments */
	command = join(argc, argv);
	start = argv[0];
	move_strings(argv, &end);
	move_environment(&end);
	whole_bytes = (size_t)(end - start);
	program_invocation_name = argv[0];
	slash = strrchr(argv[0], '/');
	program_invocation_short_name = slash != NULL ? slash + 1 : argv[0];
}

/* Writes as much of the environment back as fits, for programs that read /proc/PID/environ; ours:
 * HEADGATE_* first. */
static size_t
put_environment(size_t at, bool ours)
{
	for (char **variable = environ; *variable != NULL; variable++) {
		size_t bytes = strlen(*variable) + 1;

		if ((strncmp(*variable, "HEADGATE_", 9) == 0) != ours || at + bytes > whole_bytes)
			continue;
		memcpy(start + at, *variable, bytes);
		at += bytes;
	}
	return at;
}

void
title_set(const char *instance, const char *role)
{
	size_t length;
	int n;

	if (start == NULL || whole_bytes == 0)
		return;
	n = snprintf(
	    start, whole_bytes, "%s [%s]%s%s", command, instance, role[0] != '\0' ? " " : "", role);
	length = n < 0 ? 0 : (size_t)n < whole_bytes ? (size_t)n : whole_bytes - 1;
	memset(start + length, 0, whole_bytes - length);
	put_environment(put_environment(length + 1, true), false);
}
