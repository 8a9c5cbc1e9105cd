#include "router/tables/received.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

size_t
received_find(const struct received *received, uint64_t sequence)
{
	size_t low = 0, high = received->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (received->counts[middle].sequence < sequence)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int
has(const struct received *received, size_t i, uint64_t sequence)
{
	return i < received->count && received->counts[i].sequence == sequence;
}

uint32_t
received_count(const struct received *received, uint64_t sequence)
{
	size_t i;

	if (received->count == 0)
		return 0;
	i = received_find(received, sequence);
	return has(received, i, sequence) ? received->counts[i].count : 0;
}

int
received_set(struct received *received, uint64_t sequence, uint32_t count)
{
	size_t i = received_find(received, sequence);

	if (has(received, i, sequence)) {
		received->counts[i].count = count;
		return 0;
	}
	if (received->count == received->capacity) {
		size_t more = received->capacity ? 2 * received->capacity : 8;
		void *bigger = realloc(received->counts, more * sizeof(*received->counts));

		if (bigger == NULL)
			return -ENOMEM;
		received->counts = bigger;
		received->capacity = more;
	}
	memmove(received->counts + i + 1, received->counts + i,
	    (received->count - i) * sizeof(*received->counts));
	received->counts[i] = (struct log_received){ .sequence = sequence, .count = count };
	received->count++;
	return 0;
}

void
received_remove(struct received *received, uint64_t sequence)
{
	size_t i = received_find(received, sequence);

	if (!has(received, i, sequence))
		return;
	received->count--;
	memmove(received->counts + i, received->counts + i + 1,
	    (received->count - i) * sizeof(*received->counts));
}

void
received_free(struct received *received)
{
	free(received->counts);
	*received = (struct received){ 0 };
}
