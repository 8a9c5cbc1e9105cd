/*
 * table - text in columns, as wide as what stands in them, on a line of limited width.
 *
 * Where the rows are wider than the limit, first numbers are printed in thousands, millions and so on, then the gaps
 * get smaller, and only then names are shortened.
 */
#ifndef HEADGATE_CTL_TABLE_H
#define HEADGATE_CTL_TABLE_H

#include <stdint.h>
#include <stdio.h>

enum table_kind { TABLE_TEXT, TABLE_NAME /* may be shortened */, TABLE_NUMBER /* to the right */ };

struct table_column {
	const char *title;
	enum table_kind kind;
};

struct table;

/* Ends the program when there is no memory. */
struct table *table_new(const struct table_column *, unsigned columns);
/* The next cell, row by row. colour: an escape sequence in front of it, or "". */
void table_text(struct table *, const char *text);
void table_coloured(struct table *, const char *text, const char *colour);
void table_number(struct table *, uint64_t number);
/* Prints it to stdout, with the titles, and frees it. width: columns of a line at most; 0: any. */
void table_print(struct table *, unsigned width);

/* 12345678 is "12.3M", in at most 5 bytes and NUL. */
enum { TABLE_SHORT_BYTES = 8 };
void table_shorten(char text[TABLE_SHORT_BYTES], uint64_t number);

#endif
