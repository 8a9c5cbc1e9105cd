#include "log/audit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/ids.h"
#include "log/key.h"

/* Makes room for one more element in an array. `size` is the size of an element, bytes. */
static int
reserve(void **array, size_t *capacity, size_t count, size_t size)
{
	size_t more = *capacity ? 2 * *capacity : 16;
	void *bigger;

	if (count < *capacity)
		return 0;
	bigger = realloc(*array, more * size);
	if (bigger == NULL)
		return -ENOMEM;
	*array = bigger;
	*capacity = more;
	return 0;
}

static int
note_bad(struct log_audit *audit, uint64_t number, const char *suffix, uint64_t offset,
    uint64_t end, const char *what)
{
	void *array = audit->bad;
	struct log_bad *bad;
	int rc = reserve(&array, &audit->bad_capacity, audit->bad_count, sizeof(*bad));

	audit->bad = array;
	if (rc != 0)
		return rc;
	bad = &audit->bad[audit->bad_count++];
	*bad = (struct log_bad){ .offset = offset, .end = end, .what = what };
	snprintf(bad->file, sizeof(bad->file), "%016" PRIx64 "%s", number, suffix);
	return 0;
}

static int
see_bad_header(void *context, uint64_t number, uint64_t offset, uint64_t end, const char *what)
{
	return note_bad(context, number, ".log", offset, end, what);
}

static int
see_bad(void *context, size_t i, uint64_t offset, uint64_t end)
{
	struct log_audit *audit = context;

	return note_bad(audit, audit->list.segments[i].number, ".log", offset, end, "damaged");
}

/* For scans that read a segment again: read_messages() reports each bad place once. */
static int
ignore_bad(void *context, size_t i, uint64_t offset, uint64_t end)
{
	(void)context, (void)i, (void)offset, (void)end;
	return 0;
}

int
log_audit_open(struct log_audit *audit, const char *dir, struct log_decision *decision)
{
	struct log_visitor visitor = { .batch = log_decision_add, .context = decision };
	int rc;

	*audit = (struct log_audit){ 0 };
	settled_init(&audit->settled, 0);
	rc = log_list_survey(
	    &audit->list, dir, see_bad_header, audit, audit->error, sizeof(audit->error));
	if (rc != 0)
		return rc;
	log_scan_init(&audit->scan, &audit->list, audit->error, sizeof(audit->error));
	audit->scan.bad = ignore_bad;
	audit->scan.bad_context = audit;
	rc = log_scan_tail(&audit->scan, decision != NULL ? &visitor : NULL, &audit->tail);
	log_scan_free(&audit->scan); /* many logs are open at a time: their images are too much */
	return rc;
}

void
log_audit_close(struct log_audit *audit)
{
	settled_free(&audit->settled);
	log_tail_free(&audit->tail);
	log_scan_free(&audit->scan);
	log_list_close(&audit->list);
	free(audit->bad);
	free(audit->received);
	free(audit->missing);
	free(audit->contents);
}

bool
log_audit_is_freed(const struct log_audit *audit, size_t i)
{
	return audit->has_base && i < audit->base_segment &&
	    audit->list.segments[i].end_sequence == 0;
}

/*
 * Settlements and all other facts except messages: the checkpoint, and the frames behind.
 */

static int
see_settled(struct log_audit *audit, const struct log_frame *frame)
{
	const struct log_settled *range = (const void *)(frame + 1);
	int64_t added = 0;

	for (size_t n = frame->length / sizeof(*range); n > 0 && added >= 0; n--, range++) {
		added = settled_add_range(&audit->settled, range->first, range->count);
		if (added > 0)
			log_count(&audit->totals, range, (uint64_t)added);
	}
	return added < 0 ? (int)added : 0;
}

static int
see_reserved(struct log_audit *audit, const struct log_reserved *reserved)
{
	int64_t added = settled_add_range(
	    &audit->settled, reserved->skipped, reserved->from - reserved->skipped);

	audit->head.reserved = reserved->end;
	if (audit->head.next_sequence < reserved->from)
		audit->head.next_sequence = reserved->from;
	return added < 0 ? (int)added : 0;
}

static int
see_received(struct log_audit *audit, const struct log_frame *frame)
{
	const struct log_received *received = (const void *)(frame + 1);
	int rc = 0;

	for (size_t n = frame->length / sizeof(*received); rc == 0 && n > 0; n--, received++) {
		void *array = audit->received;
		size_t i = 0;

		while (
		    i < audit->received_count && audit->received[i].sequence < received->sequence)
			i++;
		if (i < audit->received_count &&
		    audit->received[i].sequence == received->sequence) {
			audit->received[i] = *received;
			continue;
		}
		rc = reserve(
		    &array, &audit->received_capacity, audit->received_count, sizeof(*received));
		audit->received = array;
		if (rc != 0)
			break;
		memmove(&audit->received[i + 1], &audit->received[i],
		    (audit->received_count++ - i) * sizeof(*received));
		audit->received[i] = *received;
	}
	return rc;
}

static int
see_fact(void *context, const struct log_frame *frame, uint64_t position)
{
	struct log_audit *audit = context;

	(void)position;
	switch (frame->type) {
	case LOG_MESSAGE:
	case LOG_TRANSFERRED:
		if (frame->sequence >= audit->head.next_sequence)
			audit->head.next_sequence = frame->sequence + 1;
		return 0;
	case LOG_SETTLED:
		return see_settled(audit, frame);
	case LOG_RESERVED:
		return see_reserved(audit, (const void *)(frame + 1));
	case LOG_RECEIVED:
		return see_received(audit, frame);
	case LOG_STATE:
		memcpy(&audit->state, frame + 1, sizeof(audit->state));
		audit->has_state = true;
		return 0;
	case LOG_CLOCK:
		memcpy(&audit->clock,
		    (const char *)(frame + 1) + frame->length - sizeof(audit->clock),
		    sizeof(audit->clock));
		return 0;
	default:
		return 0;
	}
}

static void
drop_settled_receives(struct log_audit *audit)
{
	size_t kept = 0;

	for (size_t i = 0; i < audit->received_count; i++)
		if (!settled_has(&audit->settled, audit->received[i].sequence))
			audit->received[kept++] = audit->received[i];
	audit->received_count = kept;
}

/* Ends a scan at the first message. *first is the sequence of the message, or else of the first
 * settlement. */
static int
find_first(void *context, const struct log_frame *frame, uint64_t position)
{
	const struct log_settled *range = (const void *)(frame + 1);
	uint64_t *first = context;

	(void)position;
	if (frame->type == LOG_SETTLED && *first == 0)
		*first = range->first;
	if (!log_is_message(frame))
		return 0;
	*first = frame->sequence;
	return 1;
}

/* Without a checkpoint, sequences below the first message are unknown and count as settled. */
static int
do_without_base(struct log_audit *audit)
{
	const struct log_segment *last = &audit->list.segments[audit->tail.segment];
	uint64_t first = 0;
	struct log_visitor visitor = { .frame = find_first, .context = &first };
	int rc = 0;

	for (size_t i = 0; rc == 0 && i <= audit->tail.segment; i++)
		rc = log_scan_segment(&audit->scan, i, &visitor, NULL);
	if (rc < 0)
		return rc;
	settled_init(&audit->settled, first > 0 ? first - 1 : 0);
	return note_bad(audit, last->number, ".log", LOG_HEADER_BYTES, LOG_HEADER_BYTES,
	    "no checkpoint is whole: what was before the first message that is left is not known");
}

static int
read_base(struct log_audit *audit)
{
	struct log_base base;
	int rc = log_scan_base(&audit->scan, audit->tail.segment, &base);

	audit->has_base = rc == 0;
	if (rc == -EBADMSG)
		return do_without_base(audit);
	if (rc != 0)
		return rc;
	settled_free(&audit->settled);
	audit->base_segment = base.segment;
	audit->settled = base.settled;
	audit->head = base.head;
	audit->totals = base.totals;
	return 0;
}

static int
read_facts(struct log_audit *audit)
{
	struct log_visitor visitor = { .frame = see_fact, .context = audit };
	int rc = read_base(audit);

	for (size_t i = audit->base_segment; rc == 0 && i <= audit->tail.segment; i++)
		rc = log_scan_segment(&audit->scan, i, &visitor, NULL);
	drop_settled_receives(audit);
	if (audit->tail.clock_ns > audit->head.clock_ns)
		audit->head.clock_ns = audit->tail.clock_ns;
	if (audit->settled.highest >= audit->head.next_sequence)
		audit->head.next_sequence = audit->settled.highest + 1;
	if (audit->registered.next_sequence > audit->head.next_sequence)
		audit->head.next_sequence = audit->registered.next_sequence;
	return rc;
}

/*
 * Messages, and missing sequences between them.
 */

/* Adds the unsettled sequences of [first, end) to the missing ranges. Halves a mixed range, so a
 * long range that is settled or missing throughout costs one step. */
static int
note_missing(struct log_audit *audit, uint64_t first, uint64_t end)
{
	uint64_t unsettled = settled_count_live(&audit->settled, first, end);
	uint64_t middle = first + (end - first) / 2;
	struct log_range *before = NULL;
	void *array = audit->missing;
	int rc;

	if (first >= end || unsettled == 0)
		return 0;
	if (unsettled < end - first) {
		rc = note_missing(audit, first, middle);
		return rc == 0 ? note_missing(audit, middle, end) : rc;
	}
	if (audit->missing_count > 0)
		before = &audit->missing[audit->missing_count - 1];
	audit->missing_total += unsettled;
	if (before != NULL && before->last + 1 == first) {
		before->last = end - 1;
		return 0;
	}
	rc = reserve(
	    &array, &audit->missing_capacity, audit->missing_count, sizeof(*audit->missing));
	audit->missing = array;
	if (rc == 0)
		audit->missing[audit->missing_count++] =
		    (struct log_range){ .first = first, .last = end - 1 };
	return rc;
}

/* Goes on to the next message with a valid frame, or to the end of the log. Unsettled sequences in
 * between are missing. If no bad place explains them, a file is missing. */
static int
see_sequence(struct log_audit *audit, uint64_t sequence)
{
	uint64_t missing = audit->missing_total;
	int rc = note_missing(audit, audit->last_sequence + 1, sequence);

	if (rc == 0 && audit->missing_total > missing && audit->bad_count == audit->last_bad_count)
		rc = note_bad(audit, audit->list.segments[audit->current].number, ".log", 0, 0,
		    "messages are missing in front of it that are not settled: a file is missing");
	audit->last_sequence = sequence;
	audit->last_bad_count = audit->bad_count;
	return rc;
}

static void
count_message(struct log_audit *audit, uint64_t sequence)
{
	struct log_contents *contents = &audit->contents[audit->current];

	if (contents->messages++ == 0)
		contents->first_sequence = sequence;
	contents->last_sequence = sequence;
	contents->live += !settled_has(&audit->settled, sequence);
}

static int
see_message(void *context, const struct log_frame *frame, uint64_t position)
{
	struct log_audit *audit = context;

	(void)position;
	if (!log_is_message(frame))
		return 0;
	count_message(audit, frame->sequence);
	if (frame->sequence <= audit->last_sequence)
		return 0;
	if (audit->first_sequence == 0)
		audit->first_sequence = frame->sequence;
	audit->waiting += !settled_has(&audit->settled, frame->sequence);
	return see_sequence(audit, frame->sequence);
}

/* Notes that a durable batch is missing at the end of the log, unless a bad place there is noted
 * already. The scan may have seen none: the end looked empty, or torn. */
static int
note_lost(struct log_audit *audit)
{
	const struct log_segment *last = &audit->list.segments[audit->tail.segment];
	uint64_t offset = audit->lost_at - last->position;
	char file[LOG_FILE_BYTES];

	snprintf(file, sizeof(file), "%016" PRIx64 ".log", last->number);
	for (size_t i = 0; i < audit->bad_count; i++)
		if (audit->bad[i].offset >= offset && strcmp(audit->bad[i].file, file) == 0)
			return 0;
	return note_bad(audit, last->number, ".log", offset, offset, audit->lost);
}

/* Notes a missing file behind the checkpoint, also if all its messages are settled: no file there
 * was freed yet. */
static int
note_missing_file(struct log_audit *audit, size_t i)
{
	if (!audit->has_base || i <= audit->base_segment || log_list_follows(&audit->list, i))
		return 0;
	return note_bad(audit, audit->list.segments[i].number, ".log", 0, 0, LOG_FILE_MISSING);
}

static int
read_messages(struct log_audit *audit)
{
	struct log_visitor visitor = { .frame = see_message, .context = audit };
	int rc = 0;

	audit->scan.bad = see_bad;
	for (size_t i = 0; rc == 0 && i <= audit->tail.segment; i++) {
		audit->current = i;
		rc = note_missing_file(audit, i);
		if (rc == 0 && !log_audit_is_freed(audit, i))
			rc = log_scan_segment(&audit->scan, i, &visitor, NULL);
	}
	audit->scan.bad = ignore_bad;
	if (rc == 0 && audit->lost != NULL)
		rc = note_lost(audit);
	if (rc == 0)
		rc = see_sequence(audit, audit->head.next_sequence);
	audit->head.published = audit->totals.done + audit->totals.failed + audit->waiting;
	return rc;
}

/* True if the file's ids need a key other than the present one. Ids older than the window need no
 * key: a router ignores the file too. */
static bool
lacks_key(const struct log_audit *audit, const struct log_ids_header *header)
{
	return header->key != audit->key && header->newest_clock_s >= audit->window_begin_s;
}

static int
read_ids_file(struct log_audit *audit, uint64_t number)
{
	struct log_ids_header header;
	struct log_id *ids = NULL;
	int rc = log_ids_read(audit->list.dir, audit->list.log_id, number, &header, &ids);

	if (rc == 0)
		free(ids);
	if (rc == -EBADMSG)
		return note_bad(audit, number, ".ids", 0, 0,
		    "damaged: some ids are not known to the deduplication");
	if (rc == -ESTALE) {
		audit->stale++;
		return note_bad(audit, number, ".ids", 0, 0, LOG_KEY_STALE);
	}
	if (rc != 0 || !lacks_key(audit, &header))
		return rc;
	audit->keyless++;
	return note_bad(audit, number, ".ids", 0, 0,
	    "the dedup.key that it was made with is not there: its ids are not known to the "
	    "deduplication");
}

static int
read_ids(struct log_audit *audit)
{
	uint64_t *numbers;
	size_t count;
	int rc = log_ids_list(audit->list.dir, &numbers, &count);

	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = read_ids_file(audit, numbers[i]);
	free(numbers);
	return rc;
}

/*
 * The audit.
 */

/* Cuts the log at the recovery point, as the next router would. The end of a log that lacks a
 * durable batch is damage instead: torn_from moves behind the active segment. */
static int
apply_decision(struct log_audit *audit, const struct log_decision *decision, unsigned index)
{
	uint64_t torn_end = audit->tail.torn_end, end, lost, later;
	int rc = log_decision_end(decision, index, &audit->scan, &end);

	if (rc != 0)
		return rc;
	if (torn_end < audit->tail.end)
		torn_end = audit->tail.end;
	if (end < audit->tail.end)
		audit->scan.last_batch = decision->recovery_point;
	if (!log_decision_lost(decision, index, &lost, &later)) {
		audit->torn_bytes = torn_end - end;
		audit->torn_unsynced = log_decision_cuts_unsynced(decision, &audit->tail);
		return 0;
	}
	audit->scan.torn_from++;
	audit->lost_at = end;
	audit->lost = later > lost ? "a batch is missing that is in another log, or known to it"
				   : "a batch is missing that was there when the router ended";
	return 0;
}

/* Settles promised sequences without a message, as the next router would. Call after
 * read_messages(): no message is missing there. */
static int
settle_reserved(struct log_audit *audit)
{
	uint64_t next = audit->head.next_sequence, end = audit->head.reserved;
	int64_t added = end > next ? settled_add_range(&audit->settled, next, end - next) : 0;

	if (end > next)
		audit->head.next_sequence = end;
	return added < 0 ? (int)added : 0;
}

int
log_audit_read(struct log_audit *audit, const struct log_decision *decision, unsigned index)
{
	int rc = 0;

	for (size_t i = 0; i < audit->list.count; i++)
		audit->bytes += audit->list.segments[i].size;
	audit->head.next_sequence = 1;
	audit->contents = calloc(audit->list.count + 1, sizeof(*audit->contents));
	if (audit->contents == NULL)
		rc = -ENOMEM;
	if (rc == 0 && audit->list.count > 0)
		rc = apply_decision(audit, decision, index);
	if (rc == 0 && audit->list.count > 0)
		rc = read_facts(audit);
	if (rc == 0 && audit->list.count > 0)
		rc = read_messages(audit);
	log_scan_free(&audit->scan);
	if (rc == 0)
		rc = settle_reserved(audit);
	if (rc == 0)
		rc = read_ids(audit);
	if (rc != 0 && audit->error[0] == '\0')
		snprintf(
		    audit->error, sizeof(audit->error), "%s: %s", audit->list.dir, strerror(-rc));
	return rc;
}
