/*
 * Damages logs of the router's writer in all ways. The audit must find the same faults as the scan,
 * and name the lost messages.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/made_logs.h"

enum { VERSION_BYTES = 12 /* of a header: the first bytes */ };

#define AUDITED(name) Test(log_audit, name, .init = make_logs, .fini = remove_logs, .timeout = 1200)

AUDITED(a_whole_log_is_whole)
{
	struct found *found = look();
	const struct log_audit *pay = &found->audits[PAYMENTS];

	cr_assert(pay->bad_count == 0 && found->audits[ACCOUNTS].bad_count == 0, "whole");
	cr_assert(pay->list.count >= 3, "segments: %zu", pay->list.count);
	cr_assert(pay->waiting == WAITING, "waiting %lu", pay->waiting);
	cr_assert(pay->head.next_sequence == PAYMENT_BATCHES * PER_BATCH + 1, "next %lu",
	    pay->head.next_sequence);
	cr_assert(pay->totals.done == PAYMENT_BATCHES * PER_BATCH - WAITING, "done %lu",
	    pay->totals.done);
	cr_assert(pay->first_sequence == 1, "first %lu", pay->first_sequence);
	cr_assert(pay->missing_total == 0 && pay->torn_bytes == 0, "nothing missing");
	forget(found);
}

/* The audit must find no bad place, or one that contains the byte. Each message must be settled,
 * present or missing. */
static void
look_after_flip(uint64_t number, uint64_t offset, unsigned *caught)
{
	char error[LOG_ERROR_BYTES] = "", place[64], name[LOG_FILE_BYTES];
	int strict = scan_strictly(PAYMENTS, error, sizeof(error));
	struct found *found = look();
	const struct log_audit *audit = &found->audits[PAYMENTS];
	bool named = false;

	snprintf(name, sizeof(name), "%016lx.log", number);
	for (size_t i = 0; i < audit->bad_count; i++) {
		const struct log_bad *bad = &audit->bad[i];

		snprintf(place, sizeof(place), "%s: offset %lu:", bad->file, bad->offset);
		named |= strstr(error, place) != NULL;
		cr_assert(
		    strcmp(bad->file, name) == 0 && bad->offset <= offset && offset < bad->end,
		    "segment %lu, byte %lu: said of %s: %lu to %lu: %s", number, offset, bad->file,
		    bad->offset, bad->end, bad->what);
	}
	cr_assert(strict == 0 || audit->bad_count > 0, "segment %lu, byte %lu: %s", number, offset,
	    error);
	cr_assert(strict == 0 || named || offset < VERSION_BYTES, "segment %lu, byte %lu: %s",
	    number, offset, error);
	cr_assert(audit->waiting + audit->missing_total + audit->torn_bytes >= WAITING,
	    "segment %lu, byte %lu: waiting %lu, missing %lu", number, offset, audit->waiting,
	    audit->missing_total);
	cr_assert(audit->missing_total <= 1, "segment %lu, byte %lu: missing %lu", number, offset,
	    audit->missing_total);
	cr_assert(found->audits[ACCOUNTS].bad_count == 0, "the other log is whole");
	*caught += audit->bad_count > 0;
	forget(found);
}

AUDITED(each_changed_byte_is_harmless_or_named)
{
	unsigned caught = 0, tried = 0;

	for (uint64_t number = 1; access(file_of(PAYMENTS, number), F_OK) == 0; number++) {
		uint64_t size = size_of(PAYMENTS, number);

		for (uint64_t at = number; at < size; at += at < 192 ? 5 : 149) {
			flip(PAYMENTS, number, at);
			look_after_flip(number, at, &caught);
			flip(PAYMENTS, number, at);
			tried++;
		}
	}
	/* Many bytes are padding, or behind the end. */
	cr_assert(caught > tried / 4, "%u of %u", caught, tried);
}

AUDITED(a_short_file_is_named_and_what_it_had_is_missing)
{
	static const uint64_t lengths[] = { 0, 100, 4096, 4136, 5000, 20000, 40001 };
	uint64_t last = 0, missing = UINT64_MAX;

	while (access(file_of(PAYMENTS, last + 1), F_OK) == 0)
		last++;
	/* Cuts a segment with unsettled messages; the segments behind stay. */
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		const struct log_audit *audit;
		struct found *found;
		uint64_t number = last;

		remove_logs();
		make_logs();
		while (truncate(file_of(PAYMENTS, --number), (off_t)lengths[i]) != 0)
			cr_assert(number > 1, "no segment");
		found = look();
		audit = &found->audits[PAYMENTS];
		cr_assert(audit->bad_count > 0, "cut at %lu", lengths[i]);
		cr_assert(scan_strictly(PAYMENTS, (char[LOG_ERROR_BYTES]){ 0 }, 4000) != 0,
		    "cut at %lu", lengths[i]);
		cr_assert(audit->waiting + audit->missing_total >= WAITING,
		    "cut at %lu: waiting %lu, missing %lu", lengths[i], audit->waiting,
		    audit->missing_total);
		cr_assert(audit->missing_total <= missing, "the longer, the fewer are missing");
		missing = audit->missing_total;
		forget(found);
	}
}

AUDITED(a_missing_file_is_noticed_by_what_is_missing)
{
	struct found *found = look();
	const struct log_audit *audit = &found->audits[PAYMENTS];
	struct log_segment gone = audit->list.segments[audit->tail.segment - 1];
	uint64_t first = gone.first_sequence, waiting;

	if (first <= audit->settled.low_watermark)
		first = audit->settled.low_watermark + 1;
	waiting = audit->waiting;
	cr_assert(first < gone.end_sequence, "it has some that wait");
	forget(found);
	cr_assert(unlink(file_of(PAYMENTS, gone.number)) == 0, "unlink");
	found = look();
	audit = &found->audits[PAYMENTS];
	cr_assert(audit->bad_count > 0, "noticed");
	cr_assert(audit->missing_count == 1 && audit->missing[0].first == first &&
		audit->missing[0].last == gone.end_sequence - 1,
	    "missing %lu to %lu, not %lu to %lu", audit->missing[0].first, audit->missing[0].last,
	    first, gone.end_sequence - 1);
	cr_assert(audit->waiting + audit->missing_total == waiting, "the others are there");
	forget(found);
}

/* The last batch is in both logs. Torn in one log, the batch is cut from both. */
AUDITED(a_torn_batch_is_no_damage_and_is_cut_from_all_logs)
{
	struct found *found = look();
	uint64_t next[2] = { found->audits[0].head.next_sequence,
		found->audits[1].head.next_sequence };
	const struct log_audit *accounts = &found->audits[ACCOUNTS];
	const struct log_segment *last = &accounts->list.segments[accounts->tail.segment];
	uint64_t number = last->number, at = accounts->tail.last_start - last->position;

	forget(found);
	flip(ACCOUNTS, number, at + 100);
	found = look();
	for (int i = 0; i < 2; i++)
		cr_assert(found->audits[i].bad_count == 0, "%s", found->audits[i].bad[0].what);
	cr_assert(found->audits[ACCOUNTS].torn_bytes > PER_BATCH * BODY_BYTES, "torn");
	cr_assert(found->audits[ACCOUNTS].head.next_sequence == next[ACCOUNTS] - PER_BATCH, "cut");
	cr_assert(found->audits[PAYMENTS].head.next_sequence == next[PAYMENTS] - PER_BATCH, "too");
	cr_assert(found->audits[PAYMENTS].torn_bytes > PER_BATCH * BODY_BYTES, "from both");
	forget(found);
}

/* The next batch, in accounts, proves the last batch of payments. */
AUDITED(a_batch_that_another_log_proves_is_damage_when_torn)
{
	uint64_t number, at, waiting;
	const struct log_audit *pay;
	struct found *found;

	remove_logs();
	make_so_many(BATCHES - 2);
	found = look();
	pay = &found->audits[PAYMENTS];
	number = pay->list.segments[pay->tail.segment].number;
	at = pay->tail.last_start - pay->list.segments[pay->tail.segment].position;
	waiting = pay->waiting;
	forget(found);
	flip(PAYMENTS, number, at + 100);
	found = look();
	pay = &found->audits[PAYMENTS];
	cr_assert(pay->bad_count == 1 && pay->bad[0].offset == at, "%zu places, at %lu",
	    pay->bad_count, pay->bad[0].offset);
	cr_assert(pay->torn_bytes == 0, "nobody may cut it");
	cr_assert(pay->waiting + pay->missing_total >= waiting, "all are told of");
	forget(found);
}
