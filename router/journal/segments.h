/*
 * segments - the old segments of a log: which of them has a position, and how their disk is freed.
 */
#ifndef HEADGATE_ROUTER_JOURNAL_SEGMENTS_H
#define HEADGATE_ROUTER_JOURNAL_SEGMENTS_H

#include "router/journal/types.h"

/* Where a reader that came to position goes on: there, or at the next segment's first batch when this
 * one's data ends there or is gone. */
uint64_t segments_position(const struct writer *, uint64_t position);
/* Segment that holds such a position on disk (NULL: none); *end is how far it may be read: to where its data
 * ends, or what is durable. */
const struct log_segment *segments_find(const struct writer *, uint64_t position, uint64_t *end);
/* Number of bytes of all segments. */
uint64_t segments_bytes(const struct writer *);

/* Gives back the disk of count old segments from index on, or puts replacement (which has the place of
 * the first already) where they were. Returns 0, or -errno: some files are left over. */
int segments_free(
    struct writer *, size_t index, size_t count, const struct log_segment *replacement);
/* Gives back the blocks behind the data of an old segment: as many as its ids take. Returns 0 or -errno. */
int segments_punch(const struct writer *, size_t index);

#endif
