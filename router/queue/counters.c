#include "router/queue/counters.h"

#include <errno.h>

#include "router/journal/segments.h"
#include "router/journal/space.h"
#include "router/queue/index.h"
#include "router/queue/lookup.h"

static uint64_t
share(uint64_t bytes, uint64_t left, uint64_t messages)
{
	return messages == 0 ? 0 : (uint64_t)((__uint128_t)bytes * left / messages);
}

static uint64_t
unsettled_bytes(const struct queue *queue)
{
	const struct writer *writer = &queue->writer;
	uint64_t bytes = 0, left;

	for (size_t i = 0; i < writer->old_count; i++) {
		const struct log_segment *segment = &writer->old[i];

		left = settled_count_live(
		    &queue->settled, segment->first_sequence, segment->end_sequence);
		bytes += share(segment->data_bytes, left, segment->messages);
	}
	left = settled_count_live(
	    &queue->settled, writer->active.segment.first_sequence, queue->next_sequence);
	return bytes +
	    share(writer->end - writer->active.segment.position, left, queue->checkpoint.messages);
}

static enum control_refusal
refusal(const struct queue *queue)
{
	const struct queue *dead = &queue->router->queues[queue->config->dead_letter_queue];
	int rc = space_shortage(&queue->writer);

	if (queue->room.over_max_bytes)
		return CONTROL_MAX_BYTES;
	if (rc == -ESTALE)
		return CONTROL_FILES_GONE;
	if (rc != 0)
		return io_is_full(rc) ? CONTROL_DISK_FULL : CONTROL_LOG_FAILS;
	return dead != queue && space_shortage(&dead->writer) != 0 ? CONTROL_DEAD_LETTERS_FULL
								   : CONTROL_TAKES;
}

void
counters_publish_groups(struct queue *queue)
{
	struct control_counters *counters = &queue->control->counters;

	atomic_store_explicit(&counters->blocked_groups, queue->groups.count, memory_order_relaxed);
	atomic_store_explicit(&counters->parked, queue->groups.parked, memory_order_relaxed);
}

void
counters_publish(struct queue *queue)
{
	struct control_counters *counters = &queue->control->counters;
	uint64_t published = atomic_load_explicit(&counters->published, memory_order_relaxed);
	uint64_t ended = atomic_load_explicit(&counters->done, memory_order_relaxed) +
	    atomic_load_explicit(&counters->failed, memory_order_relaxed);
	uint64_t head = queue->settled.low_watermark + 1, oldest;
	bool again;

	atomic_store_explicit(&counters->depth, published - ended, memory_order_relaxed);
	atomic_store_explicit(
	    &counters->log_bytes, segments_bytes(&queue->writer), memory_order_relaxed);
	counters_publish_groups(queue);
	queue->room.over_max_bytes =
	    queue->config->max_bytes > 0 && unsettled_bytes(queue) >= queue->config->max_bytes;
	atomic_store_explicit(&queue->control->refuses, refusal(queue), memory_order_relaxed);
	index_drop(queue);
	if (published == ended || queue->index.count == 0) {
		atomic_store_explicit(&counters->oldest_ns, 0, memory_order_relaxed);
		queue->lookup.oldest = 0;
	} else if (head != queue->lookup.oldest) {
		oldest = lookup_oldest_ns(queue, head, &again);
		atomic_store_explicit(&counters->oldest_ns, oldest, memory_order_relaxed);
		queue->lookup.oldest = again ? 0 : head;
	}
}
