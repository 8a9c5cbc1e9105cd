#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/made_logs.h"

#include "base/container_of.h"
#include "router/journal/writer.h"

static char base[64];
static size_t body_bytes;

struct made { /* a log under construction */
	struct writer writer;
	struct settled settled;
	uint64_t next_sequence, segment_messages;
	unsigned flying;
};

static struct io *io;
static struct made made[2];

const char *
dir_of(int log)
{
	static char dirs[2][80];

	snprintf(dirs[log], sizeof(dirs[log]), "%s/%s", base, log == PAYMENTS ? "pay" : "acc");
	return dirs[log];
}

static struct made *
made_of(struct writer *writer)
{
	return CONTAINER_OF(writer, struct made, writer);
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

/* Does as checkpoint_begin() does. */
static void
begin_segment(struct writer *writer)
{
	struct made *log = made_of(writer);
	struct log_checkpoint head = {
		.next_sequence = log->next_sequence,
		.published = log->next_sequence - 1,
		.low_watermark = log->settled.low_watermark,
		.highest = log->settled.highest,
	};
	/* Messages are settled in order here. */
	struct log_totals totals = { .done = log->settled.low_watermark };
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
	put(log, LOG_UNSETTLED, 0, 0, chunks, n * sizeof(*chunks));
	put(log, LOG_TOTALS, 0, 0, &totals, sizeof(totals));
}

static uint64_t
some_bytes(const struct writer *writer)
{
	(void)writer;
	return 1000;
}

static void
nothing(struct writer *writer)
{
	(void)writer;
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
	cr_assert(writer->preallocated.error == 0, "next segment: %s",
	    strerror(-writer->preallocated.error));
}

static const struct writer_events events = {
	.switched = begin_segment,
	.checkpoint_bytes = some_bytes,
	.settlement_bytes = some_bytes,
	.durable_done = durable,
	.next_done = ready,
	.disk_full = nothing,
};

static void
open_made(int i)
{
	struct made *log = &made[i];

	*log = (struct made){ .next_sequence = 1 };
	settled_init(&log->settled, 0);
	log->writer.events = &events;
	cr_assert(mkdir(dir_of(i), 0700) == 0, "%s", dir_of(i));
	cr_assert(
	    writer_open(&log->writer, io, dir_of(i), strrchr(dir_of(i), '/') + 1, NULL, 0, 0) == 0,
	    "open");
	log->writer.batch = 1;
	begin_segment(&log->writer);
}

/* Waits until a whole batch fits. Called before the batch's first frame, as a begun batch would
 * have to be closed before the wait. */
static void
wait_room(struct made *log)
{
	int rc;

	while ((rc = writer_room(&log->writer, (PER_BATCH + 1) * BODY_BYTES)) == 0)
		cr_assert(io->operations->run(io, 1000000000) == 0, "run");
	cr_assert(rc == 1, "room: %d", rc);
}

/* Appends messages, and settles all but the newest. */
static void
fill(struct made *log)
{
	static const char body[BODY_BYTES] = "a body, and zeros";
	struct log_settled range = { .first = log->settled.low_watermark + 1, .status = 200 };

	wait_room(log);
	for (int i = 0; i < PER_BATCH; i++) {
		put(log, LOG_MESSAGE, 0, log->next_sequence++, body, body_bytes);
		log->segment_messages++;
	}
	if (log->next_sequence <= range.first + WAITING)
		return;
	range.count = (uint32_t)(log->next_sequence - WAITING - range.first);
	settled_add_range(&log->settled, range.first, range.count);
	put(log, LOG_SETTLED, 0, 0, &range, sizeof(range));
}

/* Commits a batch to all logs with appended frames. */
static void
commit(uint64_t batch)
{
	static uint64_t previous[2], previous_count;
	uint64_t ids[4];
	struct log_commit end = {
		.previous = batch - 1,
		.barrier = batch - 1,
		.synced = 1,
		.clock_ns = batch * 1000000000,
	};

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

void
make_with_bodies(uint64_t batches, size_t bytes)
{
	body_bytes = bytes;
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

void
make_so_many(uint64_t batches)
{
	make_with_bodies(batches, BODY_BYTES);
}

void
make_logs(void)
{
	make_so_many(BATCHES);
}

const char *
made_dir(void)
{
	return base;
}

void
remove_logs(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", base);
	cr_assert(system(command) == 0, "%s", command);
}

/*
 * The audit's results.
 */

struct found *
look(void)
{
	struct found *found = calloc(1, sizeof(*found));

	for (int i = 0; i < 2; i++) {
		int rc = log_audit_open(&found->audits[i], dir_of(i), &found->decision);

		cr_assert(rc == 0, "%s: %d", found->audits[i].error, rc);
		found->logs[i].log_id = found->audits[i].list.log_id;
		found->logs[i].tail = &found->audits[i].tail;
	}
	found->decision.logs = found->logs;
	found->decision.count = 2;
	log_decision_make(&found->decision);
	for (unsigned i = 0; i < 2; i++) {
		int rc = log_audit_read(&found->audits[i], &found->decision, i);

		cr_assert(rc == 0, "%s: %d", found->audits[i].error, rc);
	}
	return found;
}

void
forget(struct found *found)
{
	log_audit_close(&found->audits[0]);
	log_audit_close(&found->audits[1]);
	log_decision_free(&found->decision);
	free(found);
}

int
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

const char *
file_of(int log, uint64_t number)
{
	static char path[LOG_PATH_BYTES];

	log_segment_path(path, dir_of(log), number);
	return path;
}

void
flip(int log, uint64_t number, uint64_t offset)
{
	int fd = open(file_of(log, number), O_RDWR | O_CLOEXEC);
	uint8_t byte;

	cr_assert(fd >= 0 && pread(fd, &byte, 1, (off_t)offset) == 1, "read");
	byte ^= 0x10;
	cr_assert(pwrite(fd, &byte, 1, (off_t)offset) == 1, "write");
	close(fd);
}

uint64_t
size_of(int log, uint64_t number)
{
	struct stat st;

	cr_assert(stat(file_of(log, number), &st) == 0, "stat");
	return (uint64_t)st.st_size;
}
