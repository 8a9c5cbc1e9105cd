/*
 * table - prints text in columns as wide as their contents, on lines of limited width.
 *
 * Rows wider than the limit are narrowed in this order: (1) numbers are printed in thousands,
 * millions and so on, (2) gaps shrink, (3) names are shortened. Prose goes to lines of its own,
 * below a row.
 */
#ifndef HEADGATE_CTL_TABLE_H
#define HEADGATE_CTL_TABLE_H

#include <stddef.h>
#include <stdint.h>

enum table_kind {
	TABLE_TEXT,
	TABLE_NUMBER, /* right-aligned; printed in thousands etc. if necessary */
	TABLE_NAME    /* shortened as the last resort */
};

struct table_column {
	const char *title;
	enum table_kind kind;
};

struct table;

/* width: most columns of a line, including the indent; 0: no limit. Ends the program without
 * memory. */
struct table *table_new(
    const struct table_column *, unsigned columns, unsigned width, unsigned indent);
/* Add the next cell, row by row. Control characters are escaped. colour: an escape sequence before
 * the cell, or "". */
void table_text(struct table *, const char *text);
void table_bytes(struct table *, const char *text, size_t length);
void table_coloured(struct table *, const char *text, const char *colour);
void table_number(struct table *, uint64_t number);
/* Adds a line below the last complete row. */
void table_under(struct table *, const char *text, size_t length);
/* Prints the rows so far to stdout, after the titles the first time. */
void table_flush(struct table *);
/* Call after each row: flushes after many rows, so that memory stays bounded. */
void table_row_done(struct table *);
void table_free(struct table *);

/* Writes 12345678 as "12.3M": at most 5 bytes and a NUL. */
enum { TABLE_SHORT_BYTES = 8 };
void table_shorten(char text[TABLE_SHORT_BYTES], uint64_t number);

#endif
