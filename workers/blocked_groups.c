#include "workers/blocked_groups.h"

#include <stdlib.h>
#include <string.h>

enum { CAPACITY_MIN = 64 };

/* Index of the first hash that is not lower. */
static size_t
find_group(const struct blocked_groups *groups, uint64_t hash)
{
	size_t low = 0, high = groups->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (groups->hash[middle] < hash)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool
blocked_groups_has(const struct blocked_groups *groups, uint64_t hash)
{
	size_t i = find_group(groups, hash);

	return i < groups->count && groups->hash[i] == hash;
}

bool
blocked_groups_add(struct blocked_groups *groups, uint64_t hash)
{
	size_t i = find_group(groups, hash);

	if (i < groups->count && groups->hash[i] == hash)
		return true;
	if (groups->count == groups->capacity) {
		size_t more = groups->capacity ? 2 * groups->capacity : CAPACITY_MIN;
		uint64_t *bigger = realloc(groups->hash, more * sizeof(*bigger));

		if (bigger == NULL)
			return false;
		groups->hash = bigger;
		groups->capacity = more;
	}
	memmove(
	    groups->hash + i + 1, groups->hash + i, (groups->count - i) * sizeof(*groups->hash));
	groups->hash[i] = hash;
	groups->count++;
	return true;
}

void
blocked_groups_remove(struct blocked_groups *groups, uint64_t hash)
{
	size_t i = find_group(groups, hash);

	if (i == groups->count || groups->hash[i] != hash)
		return;
	groups->count--;
	memmove(
	    groups->hash + i, groups->hash + i + 1, (groups->count - i) * sizeof(*groups->hash));
}

void
blocked_groups_free(struct blocked_groups *groups)
{
	free(groups->hash);
	*groups = (struct blocked_groups){ .count = 0 };
}
