/*
 * text - pieces of what is printed: times, and bytes that others wrote.
 */
#ifndef HEADGATE_CTL_TEXT_H
#define HEADGATE_CTL_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include <stdbool.h>

enum { TEXT_TIME_BYTES = 40, TEXT_AGE_BYTES = 32, TEXT_COUNT_BYTES = 96 };

/* Seconds between two times of one clock; 0 when that went back meanwhile, or then is 0. */
double text_seconds(uint64_t then_ns, uint64_t now_ns);
/* 90061 s is "1d 1h"; two units are enough for a person. */
void text_age(char text[TEXT_AGE_BYTES], double seconds);
/* CLOCK_REALTIME as local time, with its zone: "2026-11-20 23:59:59 +01:00"; 0 is "-". */
void text_time(char text[TEXT_TIME_BYTES], uint64_t ns);
/* "1 message", "2 messages". Returns text. */
const char *text_count(
    char text[TEXT_COUNT_BYTES], uint64_t count, const char *one, const char *many);

/* Can stdout move its cursor, and show colours? Not a file, nor a terminal that is dumb. */
bool text_is_screen(void);
/* That, and the user has nothing against colours (NO_COLOR). */
bool text_has_colours(void);
/* Columns of a line: the terminal's, but at least 80, which is also what there is without one; 0, no limit, when it is
 * to be wide. */
unsigned text_columns(bool wide);

/* Print to stdout: a JSON string; a JSON time, UTC with milliseconds, or null when it is 0; and text for a
 * terminal, in which nothing moves the cursor or changes a colour. */
void text_put_json(const char *data, size_t length);
void text_put_json_time(uint64_t ns);
void text_put_safe(const char *data, size_t length);
/* The same as a new text, for free(3). Ends the program when there is no memory. */
char *text_safe(const char *data, size_t length);
/* The same in place, for what is printed elsewhere; it gets no longer. */
void text_make_safe(char *text);

/* Columns that text_put_safe() fills: none for a character that combines with the one before it, two for a wide one. main()
 * has set a locale in which characters are UTF-8. */
size_t text_width(const char *data, size_t length);
/* Bytes of the longest beginning that fills no more than so many columns. *filled: how many it fills. */
size_t text_fit(const char *data, size_t length, size_t columns, size_t *filled);

#endif
