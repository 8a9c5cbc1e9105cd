#include "ctl/table.h"

#include <err.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "ctl/text.h"

enum {
	GAP = 2,
	GAP_SMALL = 1,
	NUMBER_WIDTH_MIN = 7,
	NAME_WIDTH_MIN = 8,
	PAGE_ROWS = 1000,
	UNDER_INDENT = 4
};

struct cell {
	char *text;
	const char *colour;
	char *under;     /* last cell of a row: the line below the row; NULL: none */
	uint64_t number; /* value, if is_number */
	bool is_number;
};

struct table {
	const struct table_column *columns;
	struct cell *cells;
	size_t count, capacity;
	unsigned column_count;
	unsigned width[32];
	unsigned limit, indent, gap;
	bool has_titles; /* the titles have been printed */
};

struct table *
table_new(const struct table_column *columns, unsigned count, unsigned width, unsigned indent)
{
	struct table *table = calloc(1, sizeof(*table));

	if (table == NULL || count > sizeof(table->width) / sizeof(table->width[0]))
		errx(EX_OSERR, "a table of %u columns", count);
	table->columns = columns;
	table->column_count = count;
	table->limit = width > indent ? width - indent : 0;
	table->indent = indent;
	table->gap = GAP;
	return table;
}

static void
add_cell(struct table *table, struct cell cell)
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
	add_cell(table, (struct cell){ .text = copy, .colour = colour });
}

void
table_text(struct table *table, const char *text)
{
	table_coloured(table, text, "");
}

void
table_bytes(struct table *table, const char *text, size_t length)
{
	add_cell(table,
	    (struct cell){ .text = text_safe(text, text != NULL ? length : 0), .colour = "" });
}

void
table_under(struct table *table, const char *text, size_t length)
{
	char *safe = text_safe(text, text != NULL ? length : 0);

	if (table->count > 0)
		table->cells[table->count - 1].under = safe;
}

void
table_number(struct table *table, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	add_cell(table,
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

static unsigned
width_of(const char *text)
{
	return (unsigned)text_width(text, strlen(text));
}

static unsigned
row_width(const struct table *table)
{
	unsigned total = table->gap * (table->column_count - 1);

	for (unsigned c = 0; c < table->column_count; c++)
		total += table->width[c];
	return total;
}

/* Computes the columns' widths. Returns the width of a row. */
static unsigned
measure(struct table *table)
{
	for (unsigned c = 0; c < table->column_count; c++)
		table->width[c] = width_of(table->columns[c].title);
	for (size_t i = 0; i < table->count; i++) {
		unsigned width = width_of(table->cells[i].text);

		if (width > table->width[i % table->column_count])
			table->width[i % table->column_count] = width;
	}
	return row_width(table);
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
		strcpy(cell->text, text); /* never longer than the number */
	}
}

/* Shortens the widest name column, until a row fits or all are at their minimum. */
static void
shorten_names(struct table *table)
{
	for (unsigned total = row_width(table); total > table->limit; total--) {
		unsigned *widest = NULL;

		for (unsigned c = 0; c < table->column_count; c++)
			if (table->columns[c].kind == TABLE_NAME &&
			    table->width[c] > NAME_WIDTH_MIN &&
			    (widest == NULL || table->width[c] > *widest))
				widest = &table->width[c];
		if (widest == NULL)
			return;
		--*widest;
	}
}

static void
fit(struct table *table)
{
	if (measure(table) <= table->limit || table->limit == 0)
		return;
	shorten_numbers(table);
	if (measure(table) > table->limit)
		table->gap = GAP_SMALL;
	shorten_names(table);
}

/* Prints at most `width` columns of the text; a cut text ends with "~". */
static void
put_text(const char *text, unsigned width)
{
	size_t length = strlen(text), end, filled;

	if (text_width(text, length) <= width) {
		fputs(text, stdout);
		return;
	}
	end = text_fit(text, length, width - 1, &filled);
	fwrite(text, 1, end, stdout);
	printf("%*s~", (int)(width - 1 - filled), ""); /* a blank if a wide character did not fit */
}

static void
put_cell(const struct table *table, unsigned c, const struct cell *cell)
{
	unsigned filled = width_of(cell->text), width = table->width[c];
	int pad = filled < width ? (int)(width - filled) : 0;
	bool right = table->columns[c].kind == TABLE_NUMBER;
	bool last = c + 1 == table->column_count;

	if (c == 0)
		printf("%*s", (int)table->indent, "");
	printf("%*s%s", right ? pad : 0, "", cell->colour);
	put_text(cell->text, width);
	if (cell->colour[0] != '\0')
		fputs("\033[0m", stdout);
	if (!last)
		printf("%*s", (right ? 0 : pad) + (int)table->gap, "");
	else
		putchar('\n');
}

void
table_flush(struct table *table)
{
	fit(table);
	for (unsigned c = 0; c < table->column_count && !table->has_titles; c++) {
		char title[32];

		strlcpy(title, table->columns[c].title, sizeof(title));
		put_cell(table, c, &(struct cell){ .text = title, .colour = "" });
	}
	table->has_titles = true;
	for (size_t i = 0; i < table->count; i++) {
		struct cell *cell = &table->cells[i];

		put_cell(table, (unsigned)(i % table->column_count), cell);
		if (cell->under != NULL)
			printf("%*s%s\n", UNDER_INDENT, "", cell->under);
		free(cell->under);
		free(cell->text);
	}
	table->count = 0;
}

void
table_row_done(struct table *table)
{
	if (table->count >= (size_t)PAGE_ROWS * table->column_count)
		table_flush(table);
}

void
table_free(struct table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		free(table->cells[i].under);
		free(table->cells[i].text);
	}
	free(table->cells);
	free(table);
}
