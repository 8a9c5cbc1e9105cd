#include "log/settled.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BITS_MIN = 1024, WORD_BITS = 64 };

void
settled_init(struct settled *set, uint64_t through)
{
	*set = (struct settled){ .through = through, .highest = through };
}

void
settled_free(struct settled *set)
{
	free(set->words);
	settled_init(set, 0);
}

static uint64_t *
word_of(const struct settled *set, uint64_t sequence)
{
	return &set->words[(sequence & (set->bits - 1)) / WORD_BITS];
}

static uint64_t
mask_of(uint64_t sequence)
{
	return 1ull << (sequence % WORD_BITS);
}

bool
settled_has(const struct settled *set, uint64_t sequence)
{
	if (sequence <= set->through)
		return true;
	if (sequence > set->highest)
		return false;
	return *word_of(set, sequence) & mask_of(sequence);
}

/* Makes the circle cover (through, sequence]. */
static int
cover(struct settled *set, uint64_t sequence)
{
	struct settled bigger = *set;

	/* One word is kept free, so that the words at both ends are never the same one. */
	if (sequence - set->through + WORD_BITS <= set->bits)
		return 0;
	bigger.bits = set->bits ? set->bits : BITS_MIN;
	while (bigger.bits < sequence - set->through + WORD_BITS) {
		if (bigger.bits > UINT64_MAX / 4)
			return -ENOMEM;
		bigger.bits *= 2;
	}
	bigger.words = calloc(bigger.bits / WORD_BITS, sizeof(*bigger.words));
	if (bigger.words == NULL)
		return -ENOMEM;
	for (uint64_t s = set->through + 1; s <= set->highest; s++)
		if (settled_has(set, s))
			*word_of(&bigger, s) |= mask_of(s);
	free(set->words);
	*set = bigger;
	return 0;
}

/* Moves through over what is settled and clears the bits it leaves behind. */
static void
advance(struct settled *set)
{
	while (set->through < set->highest) {
		uint64_t next = set->through + 1;
		uint64_t *word = word_of(set, next);

		if (next % WORD_BITS == 0 && *word == UINT64_MAX &&
		    set->highest - set->through >= WORD_BITS) {
			*word = 0;
			set->through += WORD_BITS;
		} else if (*word & mask_of(next)) {
			*word &= ~mask_of(next);
			set->through = next;
		} else {
			return;
		}
	}
}

int
settled_add(struct settled *set, uint64_t sequence)
{
	if (settled_has(set, sequence))
		return 0;
	if (sequence == set->through + 1 && set->highest == set->through) {
		set->through = set->highest = sequence;
		return 1;
	}
	if (cover(set, sequence) != 0)
		return -ENOMEM;
	*word_of(set, sequence) |= mask_of(sequence);
	if (sequence > set->highest)
		set->highest = sequence;
	if (sequence == set->through + 1)
		advance(set);
	return 1;
}

int64_t
settled_add_range(struct settled *set, uint64_t first, uint64_t count)
{
	int64_t added = 0;
	int rc;

	if (first == set->through + 1 && set->highest == set->through) {
		set->through = set->highest = first + count - 1;
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

int
settled_skip(struct settled *set, uint64_t sequence)
{
	if (sequence <= set->through)
		return 0;
	if (sequence >= set->highest) {
		if (set->words != NULL)
			memset(set->words, 0, set->bits / 8);
		set->through = set->highest = sequence;
		return 0;
	}
	for (uint64_t s = set->through + 1; s <= sequence; s++)
		if (settled_add(set, s) < 0)
			return -ENOMEM;
	return 0;
}
