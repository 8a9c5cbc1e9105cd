#include "config/command.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "config/paths.h"

/* True if single quotes suffice: no control characters, and no bytes beyond ASCII. */
static bool
is_printable(const char *text)
{
	while (*text >= 0x20 && *text < 0x7f)
		text++;
	return *text == '\0';
}

static void
put_quoted(char *to, size_t capacity, const char *text)
{
	static const char quote[] = "'\\''";
	size_t end = (size_t)snprintf(to, capacity, "'");

	for (; *text != '\0' && end + sizeof(quote) < capacity; text++)
		if (*text == '\'')
			end += strlcpy(to + end, quote, capacity - end);
		else
			to[end++] = *text;
	snprintf(to + end, capacity - end, "'");
}

/* Writes a printf(1), which each shell has. Command substitution cuts newlines at the end; the last
 * character of IFS is one. bash expands '!' on a terminal even within quotes. */
static void
put_printf(char *to, size_t capacity, const char *text)
{
	static const char newline[] = "${IFS#??}";
	size_t length = strlen(text), end = (size_t)snprintf(to, capacity, "\"$(printf '");
	size_t newlines = 0;

	while (newlines < length && text[length - 1 - newlines] == '\n')
		newlines++;
	for (size_t i = 0; i < length - newlines && end + sizeof("\\000')\"") <= capacity; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x20 || c >= 0x7f || strchr("'\\%!", c) != NULL)
			end += (size_t)snprintf(to + end, capacity - end, "\\%03o", c);
		else
			to[end++] = (char)c;
	}
	end += strlcpy(to + end, "')", capacity - end);
	for (; newlines > 0 && end + sizeof(newline) < capacity; newlines--)
		end += strlcpy(to + end, newline, capacity - end);
	snprintf(to + end, capacity - end, "\"");
}

void
command_word(char *to, size_t capacity, const char *text)
{
	static const char plain[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-";
	size_t length = strlen(text);

	if (length > 0 && strspn(text, plain) == length)
		snprintf(to, capacity, "%s", text);
	else if (is_printable(text))
		put_quoted(to, capacity, text);
	else
		put_printf(to, capacity, text);
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

/* " NAME PATH", or "" for a path of NULL, in allocated memory; NULL without memory. */
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

/* The value as a word, in allocated memory; "" if paths_resolve() does not use the value. NULL
 * without memory. */
static char *
variable_word(const char *name)
{
	const char *value = getenv(name);
	size_t capacity;
	char *word;

	if (value == NULL || value[0] != '/')
		return strdup("");
	capacity = COMMAND_WORD_BYTES(strlen(value));
	word = malloc(capacity);
	if (word != NULL)
		command_word(word, capacity, value);
	return word;
}

/* "XDG_RUNTIME_DIR=DIR XDG_STATE_HOME=DIR ", in allocated memory; NULL without memory. */
static char *
dirs_words(void)
{
	char *run = variable_word("XDG_RUNTIME_DIR"), *state = variable_word("XDG_STATE_HOME");
	char *both = NULL;

	if (run == NULL || state == NULL ||
	    asprintf(&both, "XDG_RUNTIME_DIR=%s XDG_STATE_HOME=%s ", run, state) < 0)
		both = NULL;
	free(run);
	free(state);
	return both;
}

/* "HEADGATE_ENVIRONMENT=NAME ", or "" if it is not set, in allocated memory; NULL without memory. */
static char *
environment_word(void)
{
	const char *name = getenv("HEADGATE_ENVIRONMENT");
	char word[COMMAND_WORD_BYTES(CONFIG_NAME_BYTES)], *both;

	if (name == NULL || name[0] == '\0')
		return strdup("");
	command_word(word, sizeof(word), name);
	return asprintf(&both, "HEADGATE_ENVIRONMENT=%s ", word) < 0 ? NULL : both;
}

char *
command_env(const struct config_options *options)
{
	bool by_variables = geteuid() != 0 && paths_base(options->base_dir) == NULL;
	char *environment = environment_word(), *dirs = NULL, *both = NULL;

	dirs = by_variables ? dirs_words() : strdup("");
	if (environment != NULL && dirs != NULL &&
	    asprintf(&both, "%s%s%s", environment[0] || dirs[0] ? "env " : "", dirs, environment) <
		0)
		both = NULL;
	free(dirs);
	free(environment);
	return both;
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
