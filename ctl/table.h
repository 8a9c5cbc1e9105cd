/*
 * table - text in columns, as wide as what stands in them, on a line of limited width.
 *
 * Where the rows are wider than the limit, first numbers are printed in thousands, millions and so on, then the gaps
 * get smaller, and only then names are shortened. Prose stands in lines of its own, below a row.
 */
#ifndef HEADGATE_CTL_TABLE_H
#define HEADGATE_CTL_TABLE_H

#include <stddef.h>
#include <stdint.h>

enum table_kind {
	TABLE_TEXT,
	TABLE_NUMBER, /* to the right */
	TABLE_NAME    /* shortened, last of all */
};

struct table_column {
	const char *title;
	enum table_kind kind;
};

struct table;

/* width: columns of a line at most, with the indent in front of it; 0: any. Ends the program when there is no memory. */
struct table *table_new(
    const struct table_column *, unsigned columns, unsigned width, unsigned indent);
/* The next cell, row by row. Nothing in it moves the cursor. colour: an escape sequence in front of it, or "". */
void table_text(struct table *, const char *text);
void table_bytes(struct table *, const char *text, size_t length);
void table_coloured(struct table *, const char *text, const char *colour);
void table_number(struct table *, uint64_t number);
/* A line below the row that is complete. */
void table_under(struct table *, const char *text, size_t length);
/* Prints to stdout what is there: the titles, once, and the rows. */
void table_flush(struct table *);
/* The same when there are many rows, so that they need not all be in memory. */
void table_row_done(struct table *);
void table_free(struct table *);

/* 12345678 is "12.3M", in at most 5 bytes and NUL. */
enum { TABLE_SHORT_BYTES = 8 };
void table_shorten(char text[TABLE_SHORT_BYTES], uint64_t number);

#endif
