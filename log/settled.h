/*
 * settled - which sequences of a queue are settled.
 *
 * All sequences up to *through* are settled, none above *highest* is. Between them the set is kept in
 * chunks of 512 sequences, and only a chunk that has an unsettled one needs memory: one message left
 * over from yesterday costs 72 bytes, however many came after it.
 *
 *      1 ......... through | chunk |  (none)  | chunk | chunk |  highest ...
 *      all settled           holes   all settled  holes          none settled
 */
#ifndef HEADGATE_LOG_SETTLED_H
#define HEADGATE_LOG_SETTLED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SETTLED_CHUNK_BITS = 512, SETTLED_CHUNK_WORDS = SETTLED_CHUNK_BITS / 64 };

/* The sequences [base, base + 512); bit i of words[] is set when base + i is settled. Bits above
 * highest are clear. Stands like this in a checkpoint (log/format.h). */
struct settled_chunk {
	uint64_t base; /* a multiple of 512 */
	uint64_t words[SETTLED_CHUNK_WORDS];
};
_Static_assert(sizeof(struct settled_chunk) == 72, "disk layout");

struct settled {
	uint64_t low_watermark; /* every sequence <= this is settled */
	uint64_t highest;       /* highest settled, >= through */
	/* Sorted by base. A full one may be among them until it is swept out. */
	struct settled_chunk *chunks;
	size_t count, capacity;
	size_t full;  /* chunks that are full */
	size_t found; /* where the last search ended */
};

void settled_init(struct settled *, uint64_t low_watermark);
void settled_free(struct settled *);

/* Returns 1 when it was not settled before, 0 when it was, -ENOMEM. */
int settled_add(struct settled *, uint64_t sequence);
/* The same for [first, first + count). Returns how many were new, or -ENOMEM. */
int64_t settled_add_range(struct settled *, uint64_t first, uint64_t count);
bool settled_has(const struct settled *, uint64_t sequence);

/* How many of [first, end) are not settled. */
uint64_t settled_count_live(const struct settled *, uint64_t first, uint64_t end);

/* Copies up to max chunks that have an unsettled sequence, in order, from the one with this base on.
 * Returns how many. */
size_t settled_copy_chunks(
    const struct settled *, uint64_t base, struct settled_chunk *chunks, size_t max);

/* Puts back what a checkpoint holds: first the two numbers, then the chunks in order, then the end. All
 * between the numbers counts as settled until its chunk is put back. Chunks may be newer than the numbers:
 * what was settled meanwhile is not put back above highest, and moves through. Returns 0, -EINVAL when it
 * makes no sense, -ENOMEM. */
int settled_restore(struct settled *, uint64_t low_watermark, uint64_t highest);
int settled_restore_chunk(struct settled *, const struct settled_chunk *);
void settled_restore_end(struct settled *);

#endif
