#include "router/queue/index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRY_BYTES = 256 << 10 }; /* an entry for at least this much of the log */

int
index_add(struct queue *queue, uint64_t position, uint64_t sequence, uint64_t time_ns)
{
	if (queue->index.count > 0 &&
	    position - queue->index.entries[queue->index.count - 1].position < ENTRY_BYTES)
		return 0;
	if (queue->index.count == queue->index.capacity) {
		size_t more = queue->index.capacity ? 2 * queue->index.capacity : 64;
		void *bigger = realloc(queue->index.entries, more * sizeof(*queue->index.entries));

		if (bigger == NULL)
			return -ENOMEM;
		queue->index.entries = bigger;
		queue->index.capacity = more;
	}
	queue->index.entries[queue->index.count++] =
	    (struct index_entry){ .position = position, .sequence = sequence, .time_ns = time_ns };
	return 0;
}

size_t
index_find(const struct queue *queue, uint64_t sequence)
{
	size_t low = 0, high = queue->index.count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (queue->index.entries[middle].sequence <= sequence)
			low = middle;
		else
			high = middle;
	}
	return low;
}

size_t
index_first(const struct queue *queue)
{
	return index_find(queue, queue->settled.low_watermark + 1);
}

uint64_t
index_first_position(const struct queue *queue)
{
	return queue->index.count == 0 ? queue->writer.durable
				       : queue->index.entries[index_first(queue)].position;
}

void
index_drop(struct queue *queue)
{
	size_t drop = queue->index.count ? index_first(queue) : 0;

	if (drop < 64 || drop < queue->index.count / 2)
		return;
	queue->index.count -= drop;
	memmove(queue->index.entries, queue->index.entries + drop,
	    queue->index.count * sizeof(*queue->index.entries));
}

void
index_move(struct queue *queue, uint64_t from, uint64_t to, uint64_t sequence)
{
	struct index_entry first = { .position = from + LOG_HEADER_BYTES, .sequence = sequence };
	size_t kept = 0;
	bool placed = false;

	for (size_t i = 0; i < queue->index.count; i++) {
		const struct index_entry entry = queue->index.entries[i];

		if (entry.position < from || entry.position >= to) {
			queue->index.entries[kept++] = entry;
		} else if (!placed) {
			first.time_ns = entry.time_ns;
			queue->index.entries[kept++] = first;
			placed = true;
		}
	}
	queue->index.count = kept;
}
