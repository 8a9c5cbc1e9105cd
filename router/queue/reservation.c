#include "router/queue/reservation.h"

#include <errno.h>
#include <string.h>

#include "router/journal/writer.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

/* What closes a batch: a promise of sequences, a frame of nothing, the end, and a pad of up to two blocks. */
_Static_assert(4 * sizeof(struct log_frame) + sizeof(struct log_reserved) +
	    sizeof(struct log_commit) + LOG_LOGS_MAX * sizeof(uint64_t) + 2 * LOG_HEADER_BYTES <=
	WRITER_RESERVE_BYTES,
    "what writer_commit() and reservation_log() append");

int
reservation_skip(struct queue *queue)
{
	uint64_t first = queue->next_sequence, end = queue->reservation.end;
	int64_t added;

	if (end <= first)
		return 0;
	added = settled_add_range(&queue->settled, first, end - first);
	if (added < 0)
		return (int)added;
	event(EVENT_INFO, "log.sequences_skipped", "s:queue", queue->config->name, "u:first", first,
	    "u:count", end - first, NULL);
	queue->reservation.skipped = first;
	queue->next_sequence = queue->reservation.skipped_end = end;
	return 0;
}

/* A router that ends by itself takes its promise back: the next one need not skip anything. And it writes what it
 * skipped itself, or those would be sequences that are missing. */
bool
reservation_ends(const struct queue *queue)
{
	return queue->router->stopping &&
	    (queue->reservation.end > queue->next_sequence || queue->reservation.skipped != 0);
}

void
reservation_log(struct queue *queue)
{
	bool more = queue->writer.cached && queue->next_sequence > queue->reservation.end;
	struct log_reserved reserved;
	struct log_frame *frame;

	if (!reservation_ends(queue) &&
	    !(writer_touched(&queue->writer) && (more || queue->reservation.skipped != 0)))
		return;
	reserved.from =
	    queue->reservation.skipped != 0 ? queue->reservation.skipped_end : queue->next_sequence;
	reserved.skipped =
	    queue->reservation.skipped != 0 ? queue->reservation.skipped : reserved.from;
	reserved.end = queue->next_sequence;
	if (queue->writer.cached && !queue->router->stopping)
		reserved.end += RESERVATION_SEQUENCES;
	frame = writer_begin(&queue->writer, LOG_RESERVED, sizeof(reserved));
	memcpy(frame + 1, &reserved, sizeof(reserved));
	writer_finish(&queue->writer, frame);
	CRASH_POINT("reserved.appended");
	queue->reservation.end = reserved.end;
	queue->reservation.skipped = 0;
	queue->router->batch.synced = true;
}
