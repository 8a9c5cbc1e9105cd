#include "router/queue/index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MARK_BYTES = 256 << 10 }; /* a mark for at least this much of the log */

int
index_add(struct queue *queue, uint64_t position, uint64_t sequence, uint64_t time_ns)
{
	if (queue->mark_count > 0 &&
	    position - queue->marks[queue->mark_count - 1].position < MARK_BYTES)
		return 0;
	if (queue->mark_count == queue->mark_capacity) {
		size_t more = queue->mark_capacity ? 2 * queue->mark_capacity : 64;
		void *bigger = realloc(queue->marks, more * sizeof(*queue->marks));

		if (bigger == NULL)
			return -ENOMEM;
		queue->marks = bigger;
		queue->mark_capacity = more;
	}
	queue->marks[queue->mark_count++] =
	    (struct mark){ .position = position, .sequence = sequence, .time_ns = time_ns };
	return 0;
}

size_t
index_find(const struct queue *queue, uint64_t sequence)
{
	size_t low = 0, high = queue->mark_count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (queue->marks[middle].sequence <= sequence)
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
	return queue->mark_count == 0 ? queue->writer.durable
				      : queue->marks[index_first(queue)].position;
}

void
index_drop(struct queue *queue)
{
	size_t drop = queue->mark_count ? index_first(queue) : 0;

	if (drop < 64 || drop < queue->mark_count / 2)
		return;
	queue->mark_count -= drop;
	memmove(queue->marks, queue->marks + drop, queue->mark_count * sizeof(*queue->marks));
}

void
index_move(struct queue *queue, uint64_t from, uint64_t to, uint64_t sequence)
{
	struct mark first = { .position = from + LOG_HEADER_BYTES, .sequence = sequence };
	size_t kept = 0;
	bool placed = false;

	for (size_t i = 0; i < queue->mark_count; i++) {
		const struct mark mark = queue->marks[i];

		if (mark.position < from || mark.position >= to) {
			queue->marks[kept++] = mark;
		} else if (!placed) {
			first.time_ns = mark.time_ns;
			queue->marks[kept++] = first;
			placed = true;
		}
	}
	queue->mark_count = kept;
}
