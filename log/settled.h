/*
 * settled - the set of settled sequences of a queue.
 *
 * All sequences up to the *low watermark* are settled; no sequence above *highest* is settled.
 * Between the two numbers the set has chunks of 512 sequences, and only a chunk with an unsettled
 * sequence takes memory: one live message from yesterday costs 72 bytes, however many settled
 * messages came after.
 *
 *      1 ... low watermark | chunk |   (none)    | chunk | chunk |  highest ...
 *      all settled         | holes | all settled | holes | holes |  none settled
 */
#ifndef HEADGATE_LOG_SETTLED_H
#define HEADGATE_LOG_SETTLED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SETTLED_CHUNK_BITS = 512, SETTLED_CHUNK_WORDS = SETTLED_CHUNK_BITS / 64 };

/* Sequences [base, base + 512). Bit i of words[] is set if base + i is settled. Bits above highest
 * are clear. Also the payload of UNSETTLED frames (log/format.h). */
struct settled_chunk {
	uint64_t base; /* a multiple of 512 */
	uint64_t words[SETTLED_CHUNK_WORDS];
};
_Static_assert(sizeof(struct settled_chunk) == 72, "disk layout");

struct settled {
	uint64_t low_watermark; /* every sequence up to here is settled */
	uint64_t highest;       /* highest settled sequence, >= low_watermark */
	/* Sorted by base. Full chunks stay until the next sweep. */
	struct settled_chunk *chunks;
	size_t count, capacity;
	size_t full;  /* number of full chunks */
	size_t found; /* index of the chunk found last: a hint */
};

void settled_init(struct settled *, uint64_t low_watermark);
void settled_free(struct settled *);

/* Returns 1: newly settled; 0: settled before; or -ENOMEM. */
int settled_add(struct settled *, uint64_t sequence);
/* Adds [first, first + count). Returns the number of newly settled sequences, or -ENOMEM. */
int64_t settled_add_range(struct settled *, uint64_t first, uint64_t count);
bool settled_has(const struct settled *, uint64_t sequence);

/* Number of sequences in [first, end) that are not settled. */
uint64_t settled_count_live(const struct settled *, uint64_t first, uint64_t end);

/* Copies up to max chunks with an unsettled sequence, in order, from `base` on. Returns the number
 * of copied chunks. */
size_t settled_copy_chunks(
    const struct settled *, uint64_t base, struct settled_chunk *chunks, size_t max);

/*
 * Restores the set of a checkpoint: first the two numbers, then the chunks in order, then the end.
 * Sequences between the two numbers count as settled until their chunk is restored. A chunk may be
 * newer than the two numbers: settlements above highest are dropped, the others count. Returns 0;
 * -EINVAL: no possible set; or -ENOMEM.
 */
int settled_restore(struct settled *, uint64_t low_watermark, uint64_t highest);
int settled_restore_chunk(struct settled *, const struct settled_chunk *);
/* Moves the low watermark over the restored chunks. */
void settled_restore_end(struct settled *);

#endif
