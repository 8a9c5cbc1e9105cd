#include "router/queue/expiry.h"

#include <string.h>

#include "router/journal/writer.h"
#include "router/queue/counters.h"
#include "router/queue/subscription.h"

static bool
tick_retention(struct queue *queue)
{
	return retention_tick(&queue->retention, router_clock_ns(queue->router),
	    control_word_state(subscription_word(queue)) == CONTROL_RUNNING,
	    counters_read(&queue->control->counters.depth));
}

void
expiry_append(struct queue *queue, bool all)
{
	struct log_clock marks[RETENTION_MARKS + 1];
	struct log_frame *frame;
	size_t n;

	tick_retention(queue); /* no message that is there is younger than this */
	n = all ? queue->retention.count : 0;
	memcpy(marks, queue->retention.marks, n * sizeof(*marks));
	marks[n] = (struct log_clock){
		.clock_ns = queue->retention.clock_ns,
		.end_sequence = queue->next_sequence,
	};
	retention_mark(&queue->retention, &marks[n++]);
	frame = writer_begin(&queue->writer, LOG_CLOCK, (uint32_t)(n * sizeof(*marks)));
	memcpy(frame + 1, marks, n * sizeof(*marks));
	writer_finish(&queue->writer, frame);
	queue->router->batch.dirty = true;
}

void
expiry_tick(struct queue *queue)
{
	if (tick_retention(queue) &&
	    writer_room_for_state(&queue->writer, sizeof(struct log_clock)) == 1)
		expiry_append(queue, false);
}
