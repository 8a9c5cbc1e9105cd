#include "ctl/files.h"

#include <dirent.h>
#include <err.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "ctl/table.h"
#include "ctl/text.h"

enum { NAME_DIGITS = 16, INDENT = 4 };

struct file {
	const char *name, *role;
	struct stat st;
	const struct log_contents *contents; /* NULL: a file without messages */
};

/* The index of a segment in the list; list->count if absent. */
static size_t
find_segment(const struct log_list *list, uint64_t number)
{
	size_t i = 0;

	while (i < list->count && list->segments[i].number != number)
		i++;
	return i;
}

static bool
is_leftover(const struct log_list *list, uint64_t number)
{
	for (size_t i = 0; i < list->leftover_count; i++)
		if (list->leftovers[i] == number)
			return true;
	return false;
}

static void
describe_segment(struct file *file, const struct log_audit *audit)
{
	uint64_t number = strtoull(file->name, NULL, 16);
	size_t i = find_segment(&audit->list, number);

	if (i == audit->list.count) {
		file->role = is_leftover(&audit->list, number) ? "freed" : "damaged";
		return;
	}
	file->contents = &audit->contents[i];
	if (log_audit_is_freed(audit, i))
		file->role = "freed";
	else if (i >= audit->tail.segment)
		file->role = i == audit->tail.segment ? "active" : "preallocated";
	else
		file->role =
		    log_segment_is_compacted(&audit->list.segments[i]) ? "compacted" : "sealed";
}

static void
describe(struct file *file, const struct log_audit *audit)
{
	const char *suffix = file->name + strspn(file->name, "0123456789abcdef");

	file->role = "not of the log";
	if (suffix != file->name + NAME_DIGITS)
		return;
	if (strcmp(suffix, ".log") == 0)
		describe_segment(file, audit);
	else if (strcmp(suffix, ".ids") == 0)
		file->role = "ids";
	else if (strcmp(suffix, ".free") == 0)
		file->role = "kept";
	else if (strcmp(suffix, ".log.new") == 0 || strcmp(suffix, ".ids.new") == 0)
		file->role = "not finished";
}

static uint64_t
disk_bytes(const struct file *file)
{
	return (uint64_t)file->st.st_blocks * 512;
}

static void
print_json(const char *queue, const struct file *file)
{
	fputs("{\"queue\":", stdout);
	text_put_json(queue, strlen(queue));
	fputs(",\"name\":", stdout);
	text_put_json(file->name, strlen(file->name));
	printf(",\"role\":\"%s\",\"bytes\":%" PRIu64 ",\"disk_bytes\":%" PRIu64, file->role,
	    (uint64_t)file->st.st_size, disk_bytes(file));
	if (file->contents != NULL)
		printf(",\"first_sequence\":%" PRIu64 ",\"last_sequence\":%" PRIu64
		       ",\"messages\":%" PRIu64 ",\"live\":%" PRIu64,
		    file->contents->first_sequence, file->contents->last_sequence,
		    file->contents->messages, file->contents->live);
	puts("}");
}

static const struct table_column columns[] = {
	{ "FILE", TABLE_NAME },
	{ "WHAT", TABLE_TEXT },
	{ "FIRST", TABLE_NUMBER },
	{ "LAST", TABLE_NUMBER },
	{ "MESSAGES", TABLE_NUMBER },
	{ "LIVE", TABLE_NUMBER },
	{ "BYTES", TABLE_NUMBER },
	{ "ON DISK", TABLE_NUMBER },
};

static void
add_number(struct table *table, uint64_t number, bool is_known)
{
	if (is_known)
		table_number(table, number);
	else
		table_text(table, "-");
}

static void
add_row(struct table *table, const struct file *file)
{
	static const struct log_contents none;
	const struct log_contents *contents = file->contents != NULL ? file->contents : &none;

	table_text(table, file->name);
	table_text(table, file->role);
	add_number(table, contents->first_sequence, contents->messages > 0);
	add_number(table, contents->last_sequence, contents->messages > 0);
	add_number(table, contents->messages, file->contents != NULL);
	add_number(table, contents->live, file->contents != NULL);
	table_number(table, (uint64_t)file->st.st_size);
	table_number(table, disk_bytes(file));
}

static int
is_not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

void
files_print(const struct ctl *ctl, const char *queue, const struct log_audit *audit)
{
	struct dirent **entries;
	int count = scandir(audit->list.dir, &entries, is_not_hidden, alphasort);
	struct table *table = table_new(
	    columns, sizeof(columns) / sizeof(columns[0]), text_columns(ctl->wide), INDENT);

	if (count < 0)
		err(EX_OSERR, "%s", audit->list.dir);
	for (int i = 0; i < count; i++) {
		struct file file = { .name = entries[i]->d_name };
		char path[LOG_PATH_BYTES + NAME_MAX + 2];

		snprintf(path, sizeof(path), "%s/%s", audit->list.dir, file.name);
		describe(&file, audit);
		if (lstat(path, &file.st) != 0)
			err(EX_OSERR, "%s", path);
		if (ctl->json)
			print_json(queue, &file);
		else
			add_row(table, &file);
		free(entries[i]);
	}
	free(entries);
	if (!ctl->json)
		table_flush(table);
	table_free(table);
}
