/*
 * Salvage of damaged logs: the result must be whole to a router, and contain all undamaged messages
 * and nothing else. The other logs must stay unchanged.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log/reader.h"
#include "log/salvage.h"
#include "tests/unit/made_logs.h"

enum { SEQUENCES = 1 + BATCHES * PER_BATCH };

#define SALVAGED(name) \
	Test(log_salvage, name, .init = make_logs, .fini = remove_logs, .timeout = 2400)

/* Salvages each damaged log of the two; fills *salvage for the last one. Returns the number of
 * damaged logs. */
static unsigned
salvage_all(struct log_salvage *salvage)
{
	char aside[128], error[2 * LOG_ERROR_BYTES];
	unsigned done = 0;

	snprintf(aside, sizeof(aside), "%s/damaged", made_dir());
	for (int i = 0; i < 2; i++) {
		struct found *found = look(); /* anew, as each command does */
		int rc;

		if (found->audits[i].bad_count > 0) {
			rc = log_salvage(salvage, &found->audits[i], &found->decision, aside,
			    i == PAYMENTS ? "pay" : "acc", error, sizeof(error));
			cr_assert(rc == 0, "%s", error);
			done++;
		}
		forget(found);
	}
	return done;
}

static int
note_message(void *context, const struct log_frame *frame, uint64_t position)
{
	(void)position;
	cr_assert(frame->sequence < SEQUENCES, "sequence %lu", frame->sequence);
	((bool *)context)[frame->sequence] = true;
	return 0;
}

/* Marks the sequences that a reader finds. */
static void
read_waiting(int log, bool waiting[SEQUENCES])
{
	struct log_reader reader = { .message = note_message, .context = waiting };
	int rc;

	memset(waiting, 0, SEQUENCES * sizeof(*waiting));
	rc = log_reader_run(&reader, dir_of(log));
	cr_assert(rc == 0, "%s", reader.error);
}

/* Both logs must be whole, and their ends consistent. */
static void
check_whole(const char *what, uint64_t at)
{
	char error[LOG_ERROR_BYTES] = "";
	struct found *found = look();

	for (int i = 0; i < 2; i++) {
		cr_assert(found->audits[i].bad_count == 0, "%s %lu: %s", what, at,
		    found->audits[i].bad[0].what);
		cr_assert(
		    scan_strictly(i, error, sizeof(error)) == 0, "%s %lu: %s", what, at, error);
	}
	forget(found);
}

/* After damage at one place, each message that waited before must wait afterwards, or be reported
 * missing. */
static void
check_salvage(const char *what, uint64_t at, const bool before[SEQUENCES])
{
	struct found *found = look();
	const struct log_audit *audit = &found->audits[PAYMENTS];
	bool expected[SEQUENCES], after[SEQUENCES];
	struct log_salvage salvage;
	uint64_t next = audit->head.next_sequence, left = 0;

	memcpy(expected, before, sizeof(expected));
	for (size_t i = 0; i < audit->missing_count; i++)
		for (uint64_t s = audit->missing[i].first; s <= audit->missing[i].last; s++)
			expected[s] = false;
	forget(found);
	cr_assert(salvage_all(&salvage) == 1, "%s %lu: one is damaged", what, at);
	check_whole(what, at);
	read_waiting(PAYMENTS, after);
	for (uint64_t s = 1; s < SEQUENCES; s++) {
		cr_assert(!expected[s] || after[s], "%s %lu: %lu is lost", what, at, s);
		left += after[s];
	}
	cr_assert(
	    salvage.waiting == left, "%s %lu: %lu wait, said %lu", what, at, left, salvage.waiting);
	cr_assert(salvage.next_sequence > next + UINT32_MAX, "%s %lu: far above", what, at);
	cr_assert(salvage_all(&salvage) == 0, "%s %lu: once is enough", what, at);
}

static uint64_t
last_segment(void)
{
	uint64_t number = 0;

	while (access(file_of(PAYMENTS, number + 1), F_OK) == 0)
		number++;
	return number;
}

SALVAGED(any_changed_byte_costs_one_message_at_most)
{
	uint64_t last = last_segment();

	for (uint64_t number = 1; number <= last; number++) {
		for (uint64_t at = number; at < 65536; at += at < 192 ? 41 : 2221) {
			bool before[SEQUENCES];
			struct found *found;
			bool bad;

			remove_logs();
			make_logs();
			if (access(file_of(PAYMENTS, number), F_OK) != 0)
				break; /* not made before the router's end */
			read_waiting(PAYMENTS, before);
			flip(PAYMENTS, number, at);
			found = look();
			bad = found->audits[PAYMENTS].bad_count > 0;
			cr_assert(found->audits[PAYMENTS].missing_total <= 1, "byte %lu", at);
			forget(found);
			if (bad)
				check_salvage("byte", at, before);
		}
	}
}

SALVAGED(what_a_short_file_has_left_is_kept)
{
	static const off_t lengths[] = { 0, 4096, 5000, 20000, 40001, 60000 };
	uint64_t last = last_segment();

	for (uint64_t number = 1; number <= last; number++)
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			bool before[SEQUENCES];

			remove_logs();
			make_logs();
			read_waiting(PAYMENTS, before);
			if (truncate(file_of(PAYMENTS, number), lengths[i]) != 0)
				break;
			/* Messages of the cut end cannot be known as missing. */
			for (uint64_t s = 1; number >= last - 1 && s < SEQUENCES; s++)
				before[s] = false;
			check_salvage("cut at", (uint64_t)lengths[i], before);
		}
}

SALVAGED(a_missing_file_is_left_out)
{
	for (uint64_t number = 1; number + 2 < last_segment(); number++) {
		bool before[SEQUENCES];
		struct found *found;
		bool bad;

		remove_logs();
		make_logs();
		read_waiting(PAYMENTS, before);
		cr_assert(unlink(file_of(PAYMENTS, number)) == 0, "unlink");
		found = look();
		bad = found->audits[PAYMENTS].bad_count > 0;
		forget(found);
		if (bad)
			check_salvage("file", number, before);
	}
}

/* Flips a byte in the first message of a batch shortly before the log's last batch. */
static void
damage_below(int log)
{
	struct found *found = look();
	const struct log_audit *audit = &found->audits[log];
	const struct log_segment *segment = &audit->list.segments[audit->tail.segment];
	uint64_t number = segment->number;

	forget(found);
	flip(log, number, LOG_HEADER_BYTES + 20);
}

static void
tear_last(int log)
{
	struct found *found = look();
	const struct log_audit *audit = &found->audits[log];
	const struct log_segment *segment = &audit->list.segments[audit->tail.segment];
	uint64_t number = segment->number, at = audit->tail.last_start - segment->position;

	cr_assert(at > LOG_HEADER_BYTES + 100, "the segment has more than one batch");
	forget(found);
	flip(log, number, at + 50);
}

/* The last batch is in both logs. */
SALVAGED(a_batch_that_counts_is_not_cut_from_the_other_log)
{
	for (int log = 0; log < 2; log++) {
		struct log_salvage salvage;
		struct found *found;

		remove_logs();
		make_logs();
		damage_below(log);
		cr_assert(salvage_all(&salvage) == 1, "one is damaged");
		check_whole("log", (uint64_t)log);
		found = look();
		for (unsigned i = 0; i < 2; i++)
			cr_assert(found->audits[i].torn_bytes == 0, "nothing is cut from %u", i);
		cr_assert(found->decision.complete && found->decision.highest == BATCHES,
		    "batch %lu", found->decision.highest);
		forget(found);
	}
}

/* The last batch is torn in one log, and one of the logs is damaged before. The batch must stay
 * cut. */
SALVAGED(a_batch_that_is_torn_in_one_log_stays_cut_from_all)
{
	for (int torn = 0; torn < 2; torn++)
		for (int log = 0; log < 2; log++) {
			struct log_salvage salvage;
			struct found *found;
			uint64_t next[2];

			remove_logs();
			make_logs();
			tear_last(torn);
			found = look();
			for (int i = 0; i < 2; i++) {
				next[i] = found->audits[i].head.next_sequence;
				cr_assert(found->audits[i].torn_bytes > 0, "cut from %d", i);
			}
			forget(found);
			damage_below(log);
			cr_assert(salvage_all(&salvage) == 1, "one is damaged");
			check_whole("torn", (uint64_t)torn);
			found = look();
			cr_assert(found->audits[!log].head.next_sequence == next[!log],
			    "torn in %d, salvaged %d: %lu of %lu", torn, log,
			    found->audits[!log].head.next_sequence, next[!log]);
			cr_assert(found->audits[!log].torn_bytes > 0 || torn != log,
			    "still cut from the other");
			cr_assert(found->audits[log].list.log_id != 0, "it has its id");
			forget(found);
		}
}

/* The last batch of accounts proves the batch before in payments, which is damaged at its end. */
SALVAGED(a_batch_that_another_log_proves_is_salvaged)
{
	bool before[SEQUENCES], after[SEQUENCES];
	struct log_salvage salvage;
	unsigned lost = 0;

	remove_logs();
	make_so_many(BATCHES - 2);
	read_waiting(PAYMENTS, before);
	tear_last(PAYMENTS);
	cr_assert(salvage_all(&salvage) == 1, "it is damage");
	check_whole("proved", 0);
	read_waiting(PAYMENTS, after);
	for (uint64_t s = 1; s < SEQUENCES; s++)
		lost += before[s] && !after[s];
	cr_assert(lost == 1, "the message that was damaged, and no other: %u", lost);
}

SALVAGED(two_damaged_logs_are_salvaged_one_after_the_other)
{
	struct log_salvage salvage;

	damage_below(PAYMENTS);
	damage_below(ACCOUNTS);
	cr_assert(salvage_all(&salvage) == 2, "both");
	check_whole("both", 0);
}

/* No header with the log's id is left. */
SALVAGED(a_log_without_any_whole_header_gets_a_new_id)
{
	uint64_t last = last_segment(), old_id;
	bool before[SEQUENCES], after[SEQUENCES];
	struct found *found = look();
	struct log_salvage salvage;

	old_id = found->audits[PAYMENTS].list.log_id;
	forget(found);
	read_waiting(PAYMENTS, before);
	for (uint64_t number = 1; number <= last; number++)
		flip(PAYMENTS, number, 100);
	cr_assert(salvage_all(&salvage) == 1 && salvage.new_id, "salvaged");
	check_whole("headers", 0);
	read_waiting(PAYMENTS, after);
	cr_assert(memcmp(before, after, sizeof(before)) == 0, "all that waited waits");
	found = look();
	cr_assert(found->audits[PAYMENTS].list.log_id != old_id, "another id");
	forget(found);
}

/* No checkpoint with the settled messages of the missing segments is left. */
SALVAGED(without_any_checkpoint_all_that_is_left_is_kept)
{
	uint64_t last = last_segment(), first;
	bool before[SEQUENCES], after[SEQUENCES];
	struct log_salvage salvage;
	struct found *found;

	cr_assert(last >= 4, "%lu segments", last);
	read_waiting(PAYMENTS, before);
	for (uint64_t number = 1; number <= 2; number++) /* segment 2 has settlements */
		cr_assert(unlink(file_of(PAYMENTS, number)) == 0, "unlink");
	for (uint64_t number = 3; number <= last; number++)
		flip(PAYMENTS, number, LOG_HEADER_BYTES + sizeof(struct log_frame) + 8);
	found = look();
	first = found->audits[PAYMENTS].first_sequence;
	cr_assert(first > 1 && !found->audits[PAYMENTS].has_base, "from %lu", first);
	cr_assert(found->audits[PAYMENTS].missing_total == 0, "the messages before are unknown");
	forget(found);
	cr_assert(salvage_all(&salvage) == 1, "salvaged");
	check_whole("checkpoints", 0);
	read_waiting(PAYMENTS, after);
	for (uint64_t s = 1; s < SEQUENCES; s++)
		cr_assert(!before[s] || s < first || after[s], "%lu is lost", s);
}

/* A preallocated segment's reused file still contains an older part of the log. */
SALVAGED(what_a_file_held_before_does_not_count)
{
	uint64_t last = last_segment();
	bool before[SEQUENCES], after[SEQUENCES];
	struct log_salvage salvage;
	char command[512], from[256];

	read_waiting(PAYMENTS, before);
	snprintf(from, sizeof(from), "%s", file_of(PAYMENTS, 1));
	snprintf(command, sizeof(command), "cp %s %s", from, file_of(PAYMENTS, last + 1));
	cr_assert(system(command) == 0, "%s", command);
	flip(PAYMENTS, last + 1, 100);
	cr_assert(salvage_all(&salvage) == 1, "its header is damaged");
	check_whole("stale", 0);
	read_waiting(PAYMENTS, after);
	cr_assert(memcmp(before, after, sizeof(before)) == 0, "nothing waits again");
}

/* A salvaged log loses its only checkpoint, and with the checkpoint all sequences assigned
 * since. */
SALVAGED(a_second_salvage_goes_on_above_the_first)
{
	struct log_salvage first, second;
	bool before[SEQUENCES], after[SEQUENCES];
	struct log_segment last;
	struct found *found;

	damage_below(PAYMENTS);
	cr_assert(salvage_all(&first) == 1, "salvaged");
	read_waiting(PAYMENTS, before);
	found = look();
	last = found->audits[PAYMENTS].list.segments[found->audits[PAYMENTS].tail.segment];
	forget(found);
	cr_assert(last.number > 1 && unlink(file_of(PAYMENTS, last.number)) == 0, "unlink");
	cr_assert(salvage_all(&second) == 1, "salvaged again");
	check_whole("again", 0);
	cr_assert(second.next_sequence > first.next_sequence, "%lu, then %lu", first.next_sequence,
	    second.next_sequence);
	read_waiting(PAYMENTS, after);
	for (uint64_t s = 1; s < SEQUENCES; s++)
		cr_assert(!before[s] || after[s], "%lu is lost", s);
}

/* A log without any readable byte is replaced by an empty log. */
SALVAGED(a_log_of_which_nothing_is_left_is_begun_anew)
{
	uint64_t last = last_segment();
	bool after[SEQUENCES];
	struct log_salvage salvage;

	for (uint64_t number = 1; number <= last; number++)
		cr_assert(truncate(file_of(PAYMENTS, number), 100) == 0, "truncate");
	cr_assert(salvage_all(&salvage) == 1 && salvage.new_id, "salvaged");
	check_whole("anew", 0);
	read_waiting(PAYMENTS, after);
	for (uint64_t s = 1; s < SEQUENCES; s++)
		cr_assert(!after[s], "%lu", s);
}

/*
 * A segment above the largest allowed size.
 */

enum { MANY_BATCHES = 400, MANY_BYTES = 1 << 20, FROM = 2, TO = 20 };

struct merged { /* messages of several segments, copied as the compactor copies live messages */
	uint8_t bytes[MANY_BYTES];
	uint64_t end, first_sequence, end_sequence, messages, batch;
};

static struct log_frame *
merge_frame(struct merged *merged, const struct log_frame *header, const void *payload)
{
	struct log_frame *frame = (void *)(merged->bytes + merged->end);

	cr_assert(merged->end + log_frame_bytes(header->length) < MANY_BYTES, "room");
	*frame = *header;
	frame->flags = merged->end == LOG_HEADER_BYTES ? LOG_FLAG_FIRST : 0;
	frame->batch = merged->batch;
	frame->salt = 0x5a17;
	if (payload != NULL)
		memcpy(frame + 1, payload, frame->length);
	log_frame_set_checksums(frame);
	merged->end += log_frame_bytes(frame->length);
	return frame;
}

static int
merge_message(void *context, const struct log_frame *frame, uint64_t position)
{
	struct merged *merged = context;

	(void)position;
	if (!log_is_message(frame))
		return 0;
	if (merged->messages++ == 0) {
		merged->batch = frame->batch;
		merged->first_sequence = frame->sequence;
	}
	merged->end_sequence = frame->sequence + 1;
	merge_frame(merged, frame, frame + 1);
	return 0;
}

static void
end_merged(struct merged *merged, const struct log_list *list, const struct log_segment *first,
    const struct log_segment *last)
{
	struct {
		struct log_commit end;
		uint64_t log_id;
	} payload = { { .batch = merged->batch,
			  .clock_ns = merged->batch * 1000000000,
			  .start = first->position + LOG_HEADER_BYTES,
			  .logs = 1 },
		list->log_id };
	struct log_frame end = { .type = LOG_COMMIT, .length = sizeof(payload) };
	struct log_frame pad = { .type = LOG_PAD };
	struct log_segment_header header = {
		.log_id = list->log_id,
		.number = first->number,
		.last_number = last->number,
		.salt = 0x5a17,
		.position = first->position,
		.span = last->position + last->span - first->position,
		.first_sequence = merged->first_sequence,
		.end_sequence = merged->end_sequence,
		.messages = merged->messages,
		.end_clock_ns = payload.end.clock_ns,
	};

	merge_frame(merged, &end, &payload);
	pad.length = (uint32_t)(2 * LOG_BLOCK_BYTES - merged->end % LOG_BLOCK_BYTES - sizeof(pad));
	merge_frame(merged, &pad, NULL);
	header.size = header.data_bytes = merged->end;
	memcpy(header.queue, list->queue, sizeof(header.queue));
	log_segment_header_set_checksum(&header);
	memcpy(merged->bytes, &header, sizeof(header));
}

/* Merges the segments FROM to TO of payments into one. */
static void
merge_segments(void)
{
	struct merged *merged = calloc(1, sizeof(*merged));
	struct log_visitor visitor = { .frame = merge_message, .context = merged };
	char error[LOG_ERROR_BYTES] = "";
	struct log_list list;
	struct log_scan scan;
	FILE *file;

	merged->end = LOG_HEADER_BYTES;
	cr_assert(log_list_open(&list, dir_of(PAYMENTS), error, sizeof(error)) == 0, "%s", error);
	cr_assert(list.count > TO, "%zu segments", list.count);
	log_scan_init(&scan, &list, error, sizeof(error));
	for (size_t i = FROM - 1; i < TO; i++)
		cr_assert(log_scan_segment(&scan, i, &visitor, NULL) == 0, "%s", error);
	end_merged(merged, &list, &list.segments[FROM - 1], &list.segments[TO - 1]);
	for (uint64_t number = FROM; number <= TO; number++)
		cr_assert(unlink(file_of(PAYMENTS, number)) == 0, "unlink");
	file = fopen(file_of(PAYMENTS, FROM), "w");
	cr_assert(file != NULL && fwrite(merged->bytes, 1, merged->end, file) == merged->end &&
		fclose(file) == 0,
	    "written");
	cr_assert(merged->end > LOG_SEGMENT_BYTES_LIMIT + LOG_SEGMENT_BYTES_LIMIT / 2,
	    "%lu bytes are too much", merged->end);
	log_scan_free(&scan);
	log_list_close(&list);
	free(merged);
}

static int
sum_message(void *context, const struct log_frame *frame, uint64_t position)
{
	uint64_t *sum = context;

	(void)position;
	if (log_is_message(frame)) {
		sum[0]++;
		sum[1] += frame->sequence;
	}
	return 0;
}

/* Sets sum[] to the number of messages in payments, settled or not, and the sum of their
 * sequences. */
static void
sum_messages(uint64_t sum[2])
{
	struct log_visitor visitor = { .frame = sum_message, .context = sum };
	struct found *found = look();
	struct log_audit *audit = &found->audits[PAYMENTS];

	sum[0] = sum[1] = 0;
	for (size_t i = 0; i <= audit->tail.segment; i++)
		cr_assert(
		    log_scan_segment(&audit->scan, i, &visitor, NULL) == 0, "%s", audit->error);
	forget(found);
}

SALVAGED(a_segment_that_is_too_large_becomes_several)
{
	char error[LOG_ERROR_BYTES] = "";
	uint64_t before[2], after[2], waiting;
	struct log_salvage salvage;
	struct found *found;

	remove_logs();
	make_so_many(MANY_BATCHES);
	sum_messages(before);
	merge_segments();
	cr_assert(
	    scan_strictly(PAYMENTS, error, sizeof(error)) == -EBADMSG, "nobody else reads it");
	found = look();
	waiting = found->audits[PAYMENTS].waiting;
	cr_assert(found->audits[PAYMENTS].bad_count == 1, "it is all that is bad");
	cr_assert(found->audits[PAYMENTS].missing_total == 0 && waiting == WAITING,
	    "nothing is missing, %lu wait", waiting);
	forget(found);
	cr_assert(salvage_all(&salvage) == 1 && salvage.waiting == waiting, "salvaged");
	check_whole("too large", 0);
	sum_messages(after);
	cr_assert(
	    memcmp(before, after, sizeof(before)) == 0, "%lu messages of %lu", after[0], before[0]);
}

/* The salvaged part of a segment, messages and a commit record, may end at a block's end. No
 * padding may follow then, as it would be taken for a batch. */
Test(log_salvage, a_batch_that_ends_with_a_block_has_no_pad, .fini = remove_logs, .timeout = 600)
{
	enum { MESSAGES = 2 * PER_BATCH, BODY = 624 };
	struct log_salvage salvage;
	struct found *found;

	make_with_bodies(2, BODY);
	flip(PAYMENTS, 1, LOG_HEADER_BYTES + sizeof(struct log_frame)); /* in the checkpoint */
	found = look();
	cr_assert(found->audits[PAYMENTS].contents[0].messages == MESSAGES, "all messages");
	cr_assert((MESSAGES * log_frame_bytes(BODY) + log_frame_bytes(log_commit_bytes(1, 0))) %
		    LOG_BLOCK_BYTES ==
		0,
	    "a batch that ends with a block");
	forget(found);
	cr_assert(salvage_all(&salvage) == 1, "one is damaged");
	cr_assert(salvage.waiting == MESSAGES, "%lu wait", salvage.waiting);
	check_whole("salvaged", 0);
}
