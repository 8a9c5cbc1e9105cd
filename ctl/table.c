#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "ctl/table.h"

#include <err.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "ctl/text.h"

enum { GAP = 2, GAP_SMALL = 1, NAME_WIDTH_MIN = 8, NUMBER_WIDTH_MIN = 7 };

struct cell {
	char *text;
	const char *colour;
	uint64_t number; /* of a number's cell */
	bool is_number;
};

struct table {
	const struct table_column *columns;
	struct cell *cells;
	size_t count, capacity;
	unsigned column_count;
	unsigned width[32];
	unsigned gap;
	bool is_short; /* numbers are */
};

struct table *
table_new(const struct table_column *columns, unsigned count)
{
	struct table *table = calloc(1, sizeof(*table));

	if (table == NULL || count > sizeof(table->width) / sizeof(table->width[0]))
		errx(EX_OSERR, "a table of %u columns", count);
	table->columns = columns;
	table->column_count = count;
	table->gap = GAP;
	return table;
}

static void
add(struct table *table, struct cell cell)
{
	if (table->count == table->capacity) {
		table->capacity = table->capacity == 0 ? 64 : 2 * table->capacity;
		table->cells = reallocarray(table->cells, table->capacity, sizeof(*table->cells));
	}
	if (table->cells == NULL || cell.text == NULL)
		err(EX_OSERR, "a table");
	table->cells[table->count++] = cell;
}

void
table_coloured(struct table *table, const char *text, const char *colour)
{
	char *copy = strdup(text);

	if (copy != NULL)
		text_make_safe(copy);
	add(table, (struct cell){ .text = copy, .colour = colour });
}

void
table_text(struct table *table, const char *text)
{
	table_coloured(table, text, "");
}

void
table_number(struct table *table, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	add(table,
	    (struct cell){
		.text = strdup(text), .colour = "", .number = number, .is_number = true });
}

void
table_shorten(char text[TABLE_SHORT_BYTES], uint64_t number)
{
	static const char units[] = " kMGTPE";
	unsigned unit = 0;
	uint64_t rest = 0;

	for (; number >= 1000 && units[unit + 1] != '\0'; unit++) {
		rest = number % 1000;
		number /= 1000;
	}
	if (unit == 0)
		snprintf(text, TABLE_SHORT_BYTES, "%u", (unsigned)(number % 1000));
	else if (number < 100)
		snprintf(text, TABLE_SHORT_BYTES, "%u.%u%c", (unsigned)number,
		    (unsigned)(rest / 100), units[unit]);
	else
		snprintf(text, TABLE_SHORT_BYTES, "%u%c", (unsigned)number, units[unit]);
}

/* The widths that are needed. Returns that of a row. */
static unsigned
measure(struct table *table)
{
	unsigned total = table->gap * (table->column_count - 1);

	for (unsigned c = 0; c < table->column_count; c++)
		table->width[c] = (unsigned)strlen(table->columns[c].title);
	for (size_t i = 0; i < table->count; i++) {
		const char *text = table->cells[i].text;
		unsigned width = (unsigned)text_width(text, strlen(text));

		if (width > table->width[i % table->column_count])
			table->width[i % table->column_count] = width;
	}
	for (unsigned c = 0; c < table->column_count; c++)
		total += table->width[c];
	return total;
}

static void
shorten_numbers(struct table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		struct cell *cell = &table->cells[i];
		char text[TABLE_SHORT_BYTES];

		if (!cell->is_number || strlen(cell->text) < NUMBER_WIDTH_MIN)
			continue;
		table_shorten(text, cell->number);
		strcpy(cell->text, text); /* it is shorter */
	}
}

/* Takes from the widest name until the row fits, or no name can give more. */
static void
shorten_names(struct table *table, unsigned total, unsigned limit)
{
	while (total > limit) {
		unsigned widest = table->column_count;

		for (unsigned c = 0; c < table->column_count; c++)
			if (table->columns[c].kind == TABLE_NAME &&
			    table->width[c] > NAME_WIDTH_MIN &&
			    (widest == table->column_count ||
				table->width[c] > table->width[widest]))
				widest = c;
		if (widest == table->column_count)
			return;
		table->width[widest]--;
		total--;
	}
}

static void
fit(struct table *table, unsigned limit)
{
	unsigned total = measure(table);

	if (limit == 0 || total <= limit)
		return;
	shorten_numbers(table);
	total = measure(table);
	if (total > limit) {
		table->gap = GAP_SMALL;
		total = measure(table);
	}
	shorten_names(table, total, limit);
}

/* So many characters of it; a sign at the end of one that is cut off. */
static void
put_text(const char *text, unsigned width)
{
	size_t length = strlen(text), end = 0;
	unsigned columns = 0;

	if (text_width(text, length) <= width) {
		fputs(text, stdout);
		return;
	}
	while (end < length && (columns < width - 1 || ((unsigned char)text[end] & 0xc0) == 0x80)) {
		columns += end + 1 < length && ((unsigned char)text[end + 1] & 0xc0) != 0x80;
		end++;
	}
	fwrite(text, 1, end, stdout);
	putchar('~');
}

static void
put_cell(const struct table *table, unsigned c, const char *text, const char *colour)
{
	unsigned filled = (unsigned)text_width(text, strlen(text)), width = table->width[c];
	unsigned pad = filled < width ? width - filled : 0;
	bool right = table->columns[c].kind == TABLE_NUMBER;
	bool last = c + 1 == table->column_count;

	printf("%*s%s", right ? (int)pad : 0, "", colour);
	put_text(text, width);
	printf("%s%*s", colour[0] != '\0' ? "\033[0m" : "",
	    (right || last ? 0 : (int)pad) + (last ? 0 : (int)table->gap), "");
	if (last)
		putchar('\n');
}

void
table_print(struct table *table, unsigned width)
{
	fit(table, width);
	for (unsigned c = 0; c < table->column_count; c++)
		put_cell(table, c, table->columns[c].title, "");
	for (size_t i = 0; i < table->count; i++) {
		put_cell(table, (unsigned)(i % table->column_count), table->cells[i].text,
		    table->cells[i].colour);
		free(table->cells[i].text);
	}
	free(table->cells);
	free(table);
}
