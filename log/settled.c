#include "log/settled.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void
settled_init(struct settled *set, uint64_t low_watermark)
{
	*set = (struct settled){ .low_watermark = low_watermark, .highest = low_watermark };
}

void
settled_free(struct settled *set)
{
	free(set->chunks);
	settled_init(set, 0);
}

static uint64_t
base_of(uint64_t sequence)
{
	return sequence & ~(uint64_t)(SETTLED_CHUNK_BITS - 1);
}

static bool
is_full(const struct settled_chunk *chunk)
{
	uint64_t all = UINT64_MAX;

	for (int i = 0; i < SETTLED_CHUNK_WORDS; i++)
		all &= chunk->words[i];
	return all == UINT64_MAX;
}

static bool
has_bit(const struct settled_chunk *chunk, uint64_t sequence)
{
	return chunk->words[(sequence - chunk->base) / 64] >> (sequence % 64) & 1;
}

static void
set_bit(struct settled_chunk *chunk, uint64_t sequence)
{
	chunk->words[(sequence - chunk->base) / 64] |= 1ull << (sequence % 64);
}

/* Index of the first chunk whose base is not below base. */
static size_t
lower_bound(const struct settled *set, uint64_t base)
{
	size_t low = 0, high = set->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (set->chunks[middle].base < base)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Index of the chunk that covers a sequence; set->count: no chunk does. */
static size_t
find(const struct settled *set, uint64_t sequence)
{
	uint64_t base = base_of(sequence);
	size_t i = set->found;

	if (i >= set->count || set->chunks[i].base != base)
		i = lower_bound(set, base);
	return i < set->count && set->chunks[i].base == base ? i : set->count;
}

bool
settled_has(const struct settled *set, uint64_t sequence)
{
	size_t i;

	if (sequence <= set->low_watermark)
		return true;
	if (sequence > set->highest)
		return false;
	i = find(set, sequence);
	return i == set->count || has_bit(&set->chunks[i], sequence);
}

static int
append(struct settled *set, const struct settled_chunk *chunk)
{
	if (set->count == set->capacity) {
		size_t more = set->capacity ? 2 * set->capacity : 16;
		void *bigger = realloc(set->chunks, more * sizeof(*set->chunks));

		if (bigger == NULL)
			return -ENOMEM;
		set->chunks = bigger;
		set->capacity = more;
	}
	set->chunks[set->count++] = *chunk;
	return 0;
}

/*
 * Appends chunks up to the chunk of a sequence above highest. The first new chunk is
 *	1. the chunk of the low watermark's successor, if the set has no hole and so no chunk;
 *	2. else the chunk behind the last chunk, if the last chunk covers highest;
 *	3. else the chunk behind highest, if highest ends a chunk: a full chunk, swept away;
 *	4. else the chunk of highest.
 * Sequences of a new chunk up to highest are settled.
 */
static int
cover(struct settled *set, uint64_t sequence)
{
	uint64_t base =
	    base_of(set->low_watermark == set->highest ? set->low_watermark + 1 : set->highest);
	int rc;

	if (set->count > 0 && base <= set->chunks[set->count - 1].base)
		base = set->chunks[set->count - 1].base + SETTLED_CHUNK_BITS;
	else if (set->low_watermark != set->highest &&
	    set->highest - base == SETTLED_CHUNK_BITS - 1)
		base += SETTLED_CHUNK_BITS;
	for (; base <= sequence; base += SETTLED_CHUNK_BITS) {
		struct settled_chunk chunk = { .base = base };

		for (uint64_t s = base; s <= set->highest; s++)
			set_bit(&chunk, s);
		rc = append(set, &chunk);
		if (rc != 0)
			return rc;
		if (base > UINT64_MAX - SETTLED_CHUNK_BITS)
			break;
	}
	return 0;
}

/* First unsettled sequence of a chunk with a hole. */
static uint64_t
first_hole(const struct settled_chunk *chunk)
{
	int i = 0;

	while (chunk->words[i] == UINT64_MAX)
		i++;
	return chunk->base + (uint64_t)i * 64 + (uint64_t)__builtin_ctzll(~chunk->words[i]);
}

/* Moves the low watermark to the first hole, and drops the full chunks in front. Without a hole the
 * low watermark is highest, and no chunk stays. */
static void
advance(struct settled *set)
{
	size_t i = 0;

	while (i < set->count && is_full(&set->chunks[i]))
		i++;
	set->low_watermark = i < set->count ? first_hole(&set->chunks[i]) - 1 : set->highest;
	if (set->low_watermark >= set->highest) {
		set->low_watermark = set->highest;
		set->count = set->full = 0;
		return;
	}
	if (i == 0)
		return;
	set->full -= i;
	set->count -= i;
	memmove(set->chunks, set->chunks + i, set->count * sizeof(*set->chunks));
}

/* Drops full chunks: sequences between the low watermark and highest without a chunk are settled
 * anyway. settled_add() sweeps when most chunks are full, so a sweep costs a constant per added
 * sequence. */
static void
sweep(struct settled *set)
{
	size_t kept = 0;

	for (size_t i = 0; i < set->count; i++)
		if (!is_full(&set->chunks[i]))
			set->chunks[kept++] = set->chunks[i];
	set->count = kept;
	set->full = 0;
}

int
settled_add(struct settled *set, uint64_t sequence)
{
	size_t i;

	if (settled_has(set, sequence))
		return 0;
	if (sequence == set->low_watermark + 1 && set->highest == set->low_watermark) {
		set->low_watermark = set->highest = sequence;
		return 1;
	}
	if (sequence > set->highest && cover(set, sequence) != 0)
		return -ENOMEM;
	/* A chunk exists: cover() made one, and an unsettled sequence below highest has one. */
	i = find(set, sequence);
	set_bit(&set->chunks[i], sequence);
	set->found = i;
	if (sequence > set->highest)
		set->highest = sequence;
	set->full += is_full(&set->chunks[i]);
	if (sequence == set->low_watermark + 1)
		advance(set);
	else if (set->full > 64 && set->full > set->count / 2)
		sweep(set);
	return 1;
}

int64_t
settled_add_range(struct settled *set, uint64_t first, uint64_t count)
{
	int64_t added = 0;
	int rc;

	if (first == set->low_watermark + 1 && set->highest == set->low_watermark) {
		set->low_watermark = set->highest = first + count - 1;
		return (int64_t)count;
	}
	for (uint64_t s = first; s < first + count; s++) {
		rc = settled_add(set, s);
		if (rc < 0)
			return rc;
		added += rc;
	}
	return added;
}

/* Number of clear bits in [from, to) of a chunk. */
static uint64_t
count_clear(const struct settled_chunk *chunk, uint64_t from, uint64_t to)
{
	uint64_t clear = 0;

	while (from < to) {
		unsigned shift = from % 64;
		uint64_t n = 64 - shift < to - from ? 64 - shift : to - from;
		uint64_t bits = ~chunk->words[from / 64] >> shift;

		if (n < 64)
			bits &= (1ull << n) - 1;
		clear += (uint64_t)__builtin_popcountll(bits);
		from += n;
	}
	return clear;
}

uint64_t
settled_count_live(const struct settled *set, uint64_t first, uint64_t end)
{
	uint64_t live = 0;

	if (first <= set->low_watermark)
		first = set->low_watermark + 1;
	if (first >= end)
		return 0;
	if (end > set->highest + 1) { /* nothing above highest is settled */
		live = end - (first > set->highest + 1 ? first : set->highest + 1);
		end = set->highest + 1;
	}
	if (first >= end)
		return live;
	for (size_t i = lower_bound(set, base_of(first));
	     i < set->count && set->chunks[i].base < end; i++) {
		const struct settled_chunk *chunk = &set->chunks[i];
		uint64_t from = first > chunk->base ? first - chunk->base : 0;
		uint64_t to = end - chunk->base;

		live += count_clear(chunk, from, to < SETTLED_CHUNK_BITS ? to : SETTLED_CHUNK_BITS);
	}
	return live;
}

size_t
settled_copy_chunks(
    const struct settled *set, uint64_t base, struct settled_chunk *chunks, size_t max)
{
	size_t n = 0;

	for (size_t i = lower_bound(set, base); i < set->count && n < max; i++)
		if (!is_full(&set->chunks[i]))
			chunks[n++] = set->chunks[i];
	return n;
}

int
settled_restore(struct settled *set, uint64_t low_watermark, uint64_t highest)
{
	settled_free(set);
	if (highest < low_watermark || highest == UINT64_MAX)
		return -EINVAL;
	set->low_watermark = low_watermark;
	set->highest = highest;
	return 0;
}

int
settled_restore_chunk(struct settled *set, const struct settled_chunk *chunk)
{
	struct settled_chunk copy = *chunk;
	uint64_t above = set->highest - chunk->base + 1;

	if (chunk->base % SETTLED_CHUNK_BITS != 0 || chunk->base > set->highest ||
	    chunk->base + SETTLED_CHUNK_BITS - 1 <= set->low_watermark || is_full(chunk) ||
	    (set->count > 0 && chunk->base <= set->chunks[set->count - 1].base))
		return -EINVAL;
	/* The chunk may be newer than `highest`, the number of the checkpoint. */
	for (uint64_t bit = above; bit < SETTLED_CHUNK_BITS; bit++)
		copy.words[bit / 64] &= ~(1ull << bit % 64);
	return append(set, &copy);
}

void
settled_restore_end(struct settled *set)
{
	advance(set);
}
