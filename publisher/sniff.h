/*
 * sniff - decides by a source's beginning whether the source is lines of JSON in UTF-8.
 *
 * A source is refused as a whole, with one error instead of one per line, if the beginning is (1)
 * text in another encoding, (2) compressed or other binary data, or (3) a JSON value over several
 * lines. A beginning that may be one bad line before good lines is accepted; the line is refused
 * later.
 */
#ifndef HEADGATE_PUBLISHER_SNIFF_H
#define HEADGATE_PUBLISHER_SNIFF_H

#include <stdbool.h>
#include <stddef.h>

enum { SNIFF_BYTES = 64 << 10 }; /* so many bytes always yield a verdict */

enum sniff_verdict { SNIFF_LINES, SNIFF_MORE, SNIFF_REFUSED };

/* text: the source's first `length` bytes; ended: the whole source. SNIFF_LINES: the caller skips
 * *mark bytes, a byte order mark. SNIFF_MORE: undecided; never if `ended`. SNIFF_REFUSED: *why
 * names the kind of data and a remedy. */
enum sniff_verdict sniff(
    const char *text, size_t length, bool ended, size_t *mark, const char **why);

#endif
