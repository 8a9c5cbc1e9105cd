/*
 * text - pieces of what is printed: times, and bytes that others wrote.
 */
#ifndef HEADGATE_CTL_TEXT_H
#define HEADGATE_CTL_TEXT_H

#include <stddef.h>
#include <stdint.h>

enum { TEXT_TIME_BYTES = 40, TEXT_AGE_BYTES = 32 };

/* 90061 s is "1d 1h"; two units are enough for a person. */
void text_age(char text[TEXT_AGE_BYTES], double seconds);
/* CLOCK_REALTIME as local time: "2026-11-20 23:59:59". */
void text_time(char text[TEXT_TIME_BYTES], uint64_t ns);

/* Print to stdout: a JSON string; a JSON time, UTC with milliseconds, or null when it is 0; and text for a
 * terminal, in which nothing moves the cursor or changes a colour. */
void text_put_json(const char *data, size_t length);
void text_put_json_time(uint64_t ns);
void text_put_safe(const char *data, size_t length);
/* The same in place, for what is printed elsewhere; it gets no longer. */
void text_make_safe(char *text);

/* Columns that text_put_safe() fills, if each character fills one. */
size_t text_width(const char *data, size_t length);

#endif
