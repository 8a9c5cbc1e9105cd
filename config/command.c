#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "config/command.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "config/paths.h"

/* In single quotes; with what is not plain ASCII, in the quotes that know escapes, where a shell that does
 * not know them sees quotes, too. */
void
command_word(char *to, size_t capacity, const char *text)
{
	static const char plain[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-";
	size_t length = strlen(text), end = 0;
	bool escapes = false;

	if (length > 0 && strspn(text, plain) == length) {
		snprintf(to, capacity, "%s", text);
		return;
	}
	for (size_t i = 0; i < length; i++)
		escapes |= text[i] == '\'' || text[i] < 0x20 || text[i] >= 0x7f;
	end = (size_t)snprintf(to, capacity, "%s'", escapes ? "$" : "");
	for (size_t i = 0; i < length && end + sizeof("\\000'") <= capacity; i++) {
		unsigned char c = (unsigned char)text[i];

		if (escapes && (c < 0x20 || c >= 0x7f || c == '\'' || c == '\\'))
			end += (size_t)snprintf(to + end, capacity - end, "\\%03o", c);
		else
			to[end++] = (char)c;
	}
	snprintf(to + end, capacity - end, "'");
}

char *
command_absolute(const char *path)
{
	char cwd[PATH_MAX], *absolute;
	bool relative = path[0] != '/' && getcwd(cwd, sizeof(cwd)) != NULL;

	if (asprintf(&absolute, "%s%s%s", relative ? cwd : "", relative ? "/" : "", path) < 0)
		return NULL;
	return absolute;
}

/* " NAME PATH", or "" for NULL. To be freed; NULL: no memory. */
static char *
path_option(const char *name, const char *path)
{
	char *absolute, *word, *option = NULL;
	size_t capacity;

	if (path == NULL)
		return strdup("");
	absolute = command_absolute(path);
	if (absolute == NULL)
		return NULL;
	capacity = COMMAND_WORD_BYTES(strlen(absolute));
	word = malloc(capacity);
	if (word != NULL) {
		command_word(word, capacity, absolute);
		if (asprintf(&option, " %s %s", name, word) < 0)
			option = NULL;
	}
	free(word);
	free(absolute);
	return option;
}

char *
command_options(const struct config_options *options)
{
	char *file = path_option("-c", options->file);
	char *dir = path_option("-D", paths_base(options->base_dir));
	char *both = NULL;

	if (file == NULL || dir == NULL || asprintf(&both, "%s%s", file, dir) < 0)
		both = NULL;
	free(file);
	free(dir);
	return both;
}
