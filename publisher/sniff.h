/*
 * sniff - is a source what is read here, lines of JSON in UTF-8? Judged by how it begins.
 *
 * What is something else is refused as a whole, with one error, and not line by line: text in
 * another encoding, compressed or other binary data, and one JSON value that is spread over several
 * lines. Whatever may be a bad line among good ones is left to be refused as a line.
 */
#ifndef HEADGATE_PUBLISHER_SNIFF_H
#define HEADGATE_PUBLISHER_SNIFF_H

#include <stdbool.h>
#include <stddef.h>

enum { SNIFF_BYTES = 64 << 10 }; /* that are enough for a verdict */

enum sniff_verdict { SNIFF_LINES, SNIFF_MORE, SNIFF_REFUSED };

/* text: the source from its first byte as far as it was read, all of it when ended is set. LINES:
 * *mark is the length of a byte order mark, to be passed over. MORE: not known yet, never at the
 * end. REFUSED: *why says what it is and what to do. */
enum sniff_verdict sniff(
    const char *text, size_t length, bool ended, size_t *mark, const char **why);

#endif
