/*
 * text - formats times, and prints text of others safely.
 */
#ifndef HEADGATE_CTL_TEXT_H
#define HEADGATE_CTL_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include <stdbool.h>

enum { TEXT_TIME_BYTES = 40, TEXT_AGE_BYTES = 32, TEXT_COUNT_BYTES = 96 };

/* Seconds between two times of one clock; 0 if then_ns is 0 or later than now_ns. */
double text_seconds(uint64_t then_ns, uint64_t now_ns);
/* Writes an age in at most two units: 90061 s as "1d 1h". */
void text_age(char text[TEXT_AGE_BYTES], double seconds);
/* Writes a time of CLOCK_REALTIME as local time with its zone, "2026-11-20 23:59:59 +01:00"; 0 as
 * "-". */
void text_time(char text[TEXT_TIME_BYTES], uint64_t ns);
/* Writes "1 message", "2 messages". Returns `text`. */
const char *text_count(
    char text[TEXT_COUNT_BYTES], uint64_t count, const char *one, const char *many);

/* True if stdout is a terminal with cursor movement and colours. */
bool text_is_screen(void);
/* True if in addition the user allows colours (NO_COLOR). */
bool text_has_colours(void);
/* Columns of a line: the terminal's, at least 80; without a terminal 80. wide: 0, no limit. */
unsigned text_columns(bool wide);

/* Print to stdout: a JSON string; a JSON time (UTC, milliseconds; 0 as null); and text for a
 * terminal, with all characters replaced that would move the cursor or change a colour. */
void text_put_json(const char *data, size_t length);
void text_put_json_time(uint64_t ns);
void text_put_safe(const char *data, size_t length);
/* As text_put_safe(), to allocated memory. Ends the program without memory. */
char *text_safe(const char *data, size_t length);
/* As text_put_safe(), in place. */
void text_make_safe(char *text);

/* Columns that text_put_safe() fills: 0 for a combining character, 2 for a wide one. Needs a UTF-8
 * locale, as main() has set. */
size_t text_width(const char *data, size_t length);
/* Bytes of the longest prefix that fills at most `columns` columns. Sets *filled to the filled
 * columns. */
size_t text_fit(const char *data, size_t length, size_t columns, size_t *filled);

#endif
