#include "log/summary.h"

#include <errno.h>

#include "log/registry.h"
#include "log/scan.h"
#include "log/state.h"
#include "message/envelope.h"

struct reader {
	struct log_summary *summary;
	struct settled settled;
};

static int
read_settled(struct reader *reader, const struct log_frame *frame)
{
	const struct log_settled *range = (const void *)(frame + 1);
	int64_t added = 0;

	for (size_t i = 0; i < frame->length / sizeof(*range) && added >= 0; i++) {
		added = settled_add_range(&reader->settled, range[i].first, range[i].count);
		if (added > 0)
			log_count(&reader->summary->totals, &range[i], (uint64_t)added);
	}
	return added < 0 ? (int)added : 0;
}

static int
read_frame(void *context, const struct log_frame *frame, uint64_t position)
{
	struct reader *reader = context;
	const struct log_state *state = (const void *)(frame + 1);
	const struct log_reserved *reserved = (const void *)(frame + 1);
	int64_t added;

	(void)position;
	switch (frame->type) {
	case LOG_MESSAGE:
	case LOG_TRANSFERRED:
		reader->summary->published++;
		return 0;
	case LOG_SETTLED:
		return read_settled(reader, frame);
	case LOG_RESERVED:
		added = settled_add_range(
		    &reader->settled, reserved->skipped, reserved->from - reserved->skipped);
		return added < 0 ? (int)added : 0;
	case LOG_STATE:
		reader->summary->state_word =
		    control_word((enum control_state)state->state, 0, state->generation);
		log_state_to_detail(state, &reader->summary->detail);
		return 0;
	default:
		return 0;
	}
}

static int
find_oldest(void *context, const struct log_frame *frame, uint64_t position)
{
	struct reader *reader = context;
	struct log_content content;
	struct envelope envelope;

	(void)position;
	if (!log_is_message(frame) || settled_has(&reader->settled, frame->sequence))
		return 0;
	content = log_content(frame);
	if (envelope_open(
		&envelope, content.envelope, content.length, ENVELOPE_BODY_BYTES_MAX, NULL) == 0)
		reader->summary->oldest_ns = envelope.published_ns;
	return 1;
}

static bool
all_settled(const struct reader *reader, const struct log_segment *segment)
{
	return segment->end_sequence != 0 &&
	    settled_count_live(&reader->settled, segment->first_sequence, segment->end_sequence) ==
	    0;
}

/* Reads the checkpoint and the frames behind. Then reads the segments with live messages, for the
 * age of the oldest message. */
static int
read_log(struct log_scan *scan, struct reader *reader)
{
	struct log_visitor visitor = { .frame = read_frame, .context = reader };
	struct log_summary *summary = reader->summary;
	const struct log_list *list = scan->list;
	struct log_registry_end registered;
	struct log_tail tail;
	struct log_base base;
	int rc = log_registry_read_end_of(list, &registered, scan->error, scan->error_bytes);

	if (rc == 0)
		rc = log_scan_tail(scan, NULL, &tail);

	if (rc != 0)
		return rc;
	rc = log_registry_check(
	    list->dir, &registered, tail.last_batch, scan->error, scan->error_bytes);
	if (rc == 0)
		rc = log_scan_base(scan, tail.segment, &base);
	log_tail_free(&tail);
	if (rc != 0)
		return rc;
	reader->settled = base.settled;
	summary->published = base.head.published;
	summary->duplicates = base.head.duplicates;
	summary->totals = base.totals;
	for (size_t i = base.segment; rc == 0 && i <= tail.segment; i++)
		rc = log_scan_segment(scan, i, &visitor, NULL);
	if (rc == 0)
		rc = log_scan_gaps(scan, &base, &reader->settled);
	summary->depth = summary->published - summary->totals.done - summary->totals.failed;
	visitor.frame = find_oldest;
	for (size_t i = 0; rc == 0 && summary->depth > 0 && i <= tail.segment; i++)
		if (!all_settled(reader, &scan->list->segments[i]))
			rc = log_scan_segment(scan, i, &visitor, NULL);
	return rc == 1 ? 0 : rc;
}

int
log_summarize(const char *queue_dir, struct log_summary *summary, char *error, size_t error_bytes)
{
	struct reader reader = { .summary = summary };
	struct log_list list;
	struct log_scan scan;
	int rc;

	*summary = (struct log_summary){ .state_word = control_word(CONTROL_RUNNING, 0, 0) };
	settled_init(&reader.settled, 0);
	rc = log_list_open(&list, queue_dir, error, error_bytes);
	if (rc != 0)
		return rc;
	summary->log_id = list.log_id;
	for (size_t i = 0; i < list.count; i++)
		summary->bytes += list.segments[i].size;
	log_scan_init(&scan, &list, error, error_bytes);
	rc = read_log(&scan, &reader);
	log_scan_free(&scan);
	settled_free(&reader.settled);
	log_list_close(&list);
	return rc;
}
