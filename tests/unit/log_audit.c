/*
 * Two logs that the router's writer made, with batches in one of them or both, are damaged in every way: the
 * audit finds what the scan finds, and says what is lost.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log/audit.h"
#include "router/writer.h"

enum {
	BATCHES = 42, /* the last is of both logs */
	PER_BATCH = 3,
	PAYMENT_BATCHES = 34,
	BODY_BYTES = 1500,
	WAITING = 30,       /* messages that are not settled */
	VERSION_BYTES = 12, /* of a header, from its first on */
	PAYMENTS = 0,
	ACCOUNTS = 1
};

static char base[64];

struct made { /* a log while it is written */
	struct writer writer;
	struct settled settled;
	uint64_t next_sequence, segment_messages;
	unsigned flying;
};

static struct io *io;
static struct made made[2];

static const char *
dir_of(int log)
{
	static char dirs[2][80];

	snprintf(dirs[log], sizeof(dirs[log]), "%s/%s", base, log == PAYMENTS ? "pay" : "acc");
	return dirs[log];
}

static struct made *
made_of(struct writer *writer)
{
	return (void *)((char *)writer - offsetof(struct made, writer));
}

static void
put(struct made *log, enum log_type type, uint8_t flags, uint64_t sequence, const void *payload,
    size_t length)
{
	struct log_frame *frame;

	cr_assert(writer_room(&log->writer, length) == 1, "room");
	frame = writer_begin(&log->writer, type, (uint32_t)length);
	frame->flags |= flags;
	frame->sequence = sequence;
	memcpy(frame + 1, payload, length);
	writer_finish(&log->writer, frame);
}

/* As queue_segment_begun() does it. */
static void
begin_segment(struct writer *writer)
{
	struct made *log = made_of(writer);
	struct log_checkpoint head = {
		.next_sequence = log->next_sequence,
		.published = log->next_sequence - 1,
		.done = log->settled.through, /* here they are settled in order */
		.through = log->settled.through,
		.highest = log->settled.highest,
	};
	struct settled_chunk chunks[8];
	size_t n = settled_copy_chunks(&log->settled, 0, chunks, 8);

	if (writer->old_count > 0) {
		struct log_segment *last = &writer->old[writer->old_count - 1];

		last->end_sequence = log->next_sequence;
		last->messages = log->segment_messages;
	}
	writer->active.segment.first_sequence = log->next_sequence;
	log->segment_messages = 0;
	put(log, LOG_CHECKPOINT, 0, 0, &head, sizeof(head));
	for (size_t i = 0; i < writer->old_count; i++) {
		const struct log_segment *old = &writer->old[i];
		struct log_segment_entry entry = {
			.number = old->number,
			.last_number = old->last_number,
			.first_sequence = old->first_sequence,
			.end_sequence = old->end_sequence,
			.messages = old->messages,
			.data_bytes = old->data_bytes,
		};

		put(log, LOG_SEGMENTS, 0, 0, &entry, sizeof(entry));
	}
	put(log, LOG_UNSETTLED, LOG_FLAG_LAST, 0, chunks, n * sizeof(*chunks));
}

static void
durable(struct writer *writer, int result)
{
	cr_assert(result == 0, "write: %s", strerror(-result));
	made_of(writer)->flying--;
}

static void
ready(struct writer *writer)
{
	cr_assert(writer->next_error == 0, "next segment: %s", strerror(-writer->next_error));
}

static void
open_made(int i)
{
	struct made *log = &made[i];

	*log = (struct made){ .next_sequence = 1 };
	settled_init(&log->settled, 0);
	log->writer.switched = begin_segment;
	log->writer.durable_done = durable;
	log->writer.next_done = ready;
	cr_assert(mkdir(dir_of(i), 0700) == 0, "%s", dir_of(i));
	cr_assert(writer_open(&log->writer, io, dir_of(i), "queue", NULL, 0, 0) == 0, "open");
	log->writer.batch = 1;
	begin_segment(&log->writer);
}

/* Until a batch fits: before anything of it is there, or it would have to be closed first. */
static void
wait_room(struct made *log)
{
	int rc;

	while ((rc = writer_room(&log->writer, (PER_BATCH + 1) * BODY_BYTES)) == 0)
		cr_assert(io->operations->run(io, 1000000000) == 0, "run");
	cr_assert(rc == 1, "room: %d", rc);
}

/* Messages of so many bytes, and settles all but the newest. */
static void
fill(struct made *log)
{
	static const char body[BODY_BYTES] = "a body, and zeros";
	struct log_settled range = { .first = log->settled.through + 1, .status = 200 };

	wait_room(log);
	for (int i = 0; i < PER_BATCH; i++) {
		put(log, LOG_MESSAGE, 0, log->next_sequence++, body, sizeof(body));
		log->segment_messages++;
	}
	if (log->next_sequence <= range.first + WAITING)
		return;
	range.count = (uint32_t)(log->next_sequence - WAITING - range.first);
	settled_add_range(&log->settled, range.first, range.count);
	put(log, LOG_SETTLED, 0, 0, &range, sizeof(range));
}

/* The batch goes into those logs that have something to write. */
static void
commit(uint64_t batch)
{
	static uint64_t previous[2], previous_count;
	uint64_t ids[4];
	struct log_batch_end end = { .previous = batch - 1, .clock_ns = batch * 1000000000 };

	if (batch == 1)
		previous_count = 0;
	for (int i = 0; i < 2; i++)
		if (writer_touched(&made[i].writer))
			ids[end.logs++] = made[i].writer.log_id;
	memcpy(ids + end.logs, previous, previous_count * sizeof(*ids));
	end.previous_logs = (uint32_t)previous_count;
	memcpy(previous, ids, end.logs * sizeof(*ids));
	previous_count = end.logs;
	for (int i = 0; i < 2; i++) {
		struct writer *writer = &made[i].writer;

		if (writer_touched(writer)) {
			made[i].flying++;
			writer_commit(writer, &end, ids);
		}
	}
	while (made[0].flying + made[1].flying > 0)
		cr_assert(io->operations->run(io, 1000000000) == 0, "run");
	for (int i = 0; i < 2; i++) {
		writer_batch_durable(&made[i].writer);
		made[i].writer.batch = batch + 1;
	}
}

/* Payments have each batch but every fifth, accounts each third: so some are in both, some in one. */
static void
make_so_many(uint64_t batches)
{
	strcpy(base, "/tmp/hg-audit-XXXXXX");
	cr_assert(mkdtemp(base) != NULL, "mkdtemp");
	cr_assert(io_poll_create(&io) == 0, "poll");
	open_made(PAYMENTS);
	open_made(ACCOUNTS);
	for (uint64_t batch = 1; batch <= batches; batch++) {
		if (batch % 5 != 0)
			fill(&made[PAYMENTS]);
		if (batch % 3 == 0)
			fill(&made[ACCOUNTS]);
		if (batch % 5 == 0 && batch % 3 != 0)
			fill(&made[ACCOUNTS]);
		commit(batch);
	}
	for (int i = 0; i < 2; i++) {
		writer_close(&made[i].writer);
		settled_free(&made[i].settled);
	}
	io->operations->destroy(io);
}

static void
make_logs(void)
{
	make_so_many(BATCHES);
}

static void
remove_logs(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", base);
	cr_assert(system(command) == 0, "%s", command);
}

/*
 * What is said of them.
 */

struct found {
	struct log_audit audits[2];
	struct log_judge_log logs[2];
	struct log_judge judge;
};

static struct found *
look(void)
{
	struct found *found = calloc(1, sizeof(*found));

	for (int i = 0; i < 2; i++) {
		int rc = log_audit_open(&found->audits[i], dir_of(i), &found->judge);

		cr_assert(rc == 0, "%s: %d", found->audits[i].error, rc);
		found->logs[i].log_id = found->audits[i].list.log_id;
		found->logs[i].tail = &found->audits[i].tail;
	}
	found->judge.logs = found->logs;
	found->judge.count = 2;
	log_judge_decide(&found->judge);
	for (unsigned i = 0; i < 2; i++) {
		int rc = log_audit_read(&found->audits[i], &found->judge, i);

		cr_assert(rc == 0, "%s: %d", found->audits[i].error, rc);
	}
	return found;
}

static void
forget(struct found *found)
{
	log_audit_close(&found->audits[0]);
	log_audit_close(&found->audits[1]);
	log_judge_free(&found->judge);
	free(found);
}

/* Is the log whole to those who end at the first bad place? Then 0; else error names it. */
static int
scan_strictly(int log, char *error, size_t error_bytes)
{
	struct log_visitor nobody = { .context = NULL };
	struct log_tail tail;
	struct log_list list;
	struct log_base found;
	struct log_scan scan;
	int rc = log_list_open(&list, dir_of(log), error, error_bytes);

	if (rc != 0)
		return rc;
	log_scan_init(&scan, &list, error, error_bytes);
	rc = log_scan_tail(&scan, NULL, &tail);
	if (rc == 0) {
		rc = log_scan_base(&scan, tail.segment, &found);
		if (rc == 0)
			settled_free(&found.settled);
		for (size_t i = 0; rc == 0 && i <= tail.segment; i++)
			rc = log_scan_segment(&scan, i, &nobody, NULL);
		log_tail_free(&tail);
	}
	log_scan_free(&scan);
	log_list_close(&list);
	return rc;
}

static const char *
file_of(int log, uint64_t number)
{
	static char path[LOG_PATH_BYTES];

	log_segment_path(path, dir_of(log), number);
	return path;
}

static void
flip(int log, uint64_t number, uint64_t offset)
{
	int fd = open(file_of(log, number), O_RDWR | O_CLOEXEC);
	uint8_t byte;

	cr_assert(fd >= 0 && pread(fd, &byte, 1, (off_t)offset) == 1, "read");
	byte ^= 0x10;
	cr_assert(pwrite(fd, &byte, 1, (off_t)offset) == 1, "write");
	close(fd);
}

static uint64_t
size_of(int log, uint64_t number)
{
	struct stat st;

	cr_assert(stat(file_of(log, number), &st) == 0, "stat");
	return (uint64_t)st.st_size;
}

#define AUDITED(name) Test(log_audit, name, .init = make_logs, .fini = remove_logs, .timeout = 120)

AUDITED(a_whole_log_is_whole)
{
	struct found *found = look();
	const struct log_audit *pay = &found->audits[PAYMENTS];

	cr_assert(pay->bad_count == 0 && found->audits[ACCOUNTS].bad_count == 0, "whole");
	cr_assert(pay->list.count >= 3, "segments: %zu", pay->list.count);
	cr_assert(pay->waiting == WAITING, "waiting %lu", pay->waiting);
	cr_assert(pay->head.next_sequence == PAYMENT_BATCHES * PER_BATCH + 1, "next %lu",
	    pay->head.next_sequence);
	cr_assert(
	    pay->head.done == PAYMENT_BATCHES * PER_BATCH - WAITING, "done %lu", pay->head.done);
	cr_assert(pay->first_sequence == 1, "first %lu", pay->first_sequence);
	cr_assert(pay->missing_total == 0 && pay->torn_bytes == 0, "nothing missing");
	forget(found);
}

/* No bad place, or one with the byte in it; and each message is settled, there, or missing. */
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
	cr_assert(caught > tried / 2, "%u of %u", caught, tried);
}

AUDITED(a_short_file_is_named_and_what_it_had_is_missing)
{
	static const uint64_t lengths[] = { 0, 100, 4096, 4136, 5000, 20000, 40001 };
	uint64_t last = 0, missing = UINT64_MAX;

	while (access(file_of(PAYMENTS, last + 1), F_OK) == 0)
		last++;
	/* Of a segment whose messages are not settled; what is behind it stays. */
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

	if (first <= audit->settled.through)
		first = audit->settled.through + 1;
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

/* The last batch is one of accounts and payments: torn in one of them, it is cut from both. */
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

/* Payments' last batch is known to the one behind it, which is of accounts. */
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
