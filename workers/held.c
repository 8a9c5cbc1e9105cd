#include "workers/held.h"

#include <stdlib.h>
#include <string.h>

enum { CAPACITY_MIN = 64 };

/* Index of the first that is not lower. */
static size_t
find(const struct held *held, uint64_t hash)
{
	size_t low = 0, high = held->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (held->hash[middle] < hash)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool
held_has(const struct held *held, uint64_t hash)
{
	size_t i = find(held, hash);

	return i < held->count && held->hash[i] == hash;
}

bool
held_add(struct held *held, uint64_t hash)
{
	size_t i = find(held, hash);

	if (i < held->count && held->hash[i] == hash)
		return true;
	if (held->count == held->capacity) {
		size_t more = held->capacity ? 2 * held->capacity : CAPACITY_MIN;
		uint64_t *bigger = realloc(held->hash, more * sizeof(*bigger));

		if (bigger == NULL)
			return false;
		held->hash = bigger;
		held->capacity = more;
	}
	memmove(held->hash + i + 1, held->hash + i, (held->count - i) * sizeof(*held->hash));
	held->hash[i] = hash;
	held->count++;
	return true;
}

void
held_remove(struct held *held, uint64_t hash)
{
	size_t i = find(held, hash);

	if (i == held->count || held->hash[i] != hash)
		return;
	held->count--;
	memmove(held->hash + i, held->hash + i + 1, (held->count - i) * sizeof(*held->hash));
}

void
held_free(struct held *held)
{
	free(held->hash);
	*held = (struct held){ .count = 0 };
}
