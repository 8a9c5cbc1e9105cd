/* The writer of a log, alone. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "router/journal/segments.h"
#include "router/journal/writer.h"

enum { BODY_BYTES = 4000 };

static char dir[64];
static struct io *io;
static struct writer writer;
static unsigned flying;
static int written; /* -errno of the last batch */

static void
nothing(struct writer *of)
{
	(void)of;
}

static uint64_t
some_bytes(const struct writer *of)
{
	(void)of;
	return 1000;
}

static void
batch_written(struct writer *of, int result)
{
	(void)of;
	written = result;
	flying--;
}

static const struct writer_events events = {
	.switched = nothing,
	.checkpoint_bytes = some_bytes,
	.settlement_bytes = some_bytes,
	.durable_done = batch_written,
	.disk_full = nothing,
	.next_done = nothing,
};

static void
begin(void)
{
	strcpy(dir, "/tmp/hg-writer-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL && io_poll_create(&io) == 0, "%s", dir);
	writer = (struct writer){ .events = &events };
	cr_assert(writer_open(&writer, io, dir, "queue", NULL, 0, 0) == 0, "open");
	writer.batch = 1;
}

static void
end(void)
{
	char command[128];

	writer_close(&writer);
	io->operations->destroy(io);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	cr_assert(system(command) == 0, "%s", command);
}

static void
run(void)
{
	cr_assert(io->operations->run(io, 1000000000) == 0, "run");
}

static void
append(void)
{
	struct log_frame *frame = writer_begin(&writer, LOG_MESSAGE, BODY_BYTES);

	memset(frame + 1, 'x', BODY_BYTES);
	frame->sequence = writer.end;
	writer_finish(&writer, frame);
}

static void
commit(void)
{
	struct log_commit batch_end = { .logs = 1 };

	flying++;
	writer_commit(&writer, &batch_end, &writer.log_id);
	writer.batch++;
}

static void
land(void)
{
	while (flying > 0)
		run();
	cr_assert(written == 0, "write: %s", strerror(-written));
	writer_batch_durable(&writer);
}

/* The segment is sealed, the next one is being gathered, and its place on disk still holds
 * zeros. */
Test(writer, nobody_reads_a_batch_that_is_on_its_way, .init = begin, .fini = end, .timeout = 600)
{
	uint64_t last = 0, readable;
	int rc;

	while (writer.old_count == 0) {
		rc = writer_room(&writer, BODY_BYTES);
		cr_assert(rc >= 0, "room: %s", strerror(-rc));
		if (writer.old_count > 0)
			break;
		if (rc == 1) {
			land();
			last = writer.end;
			append();
			commit();
		} else {
			run(); /* the next segment is made */
		}
	}
	cr_assert(last != 0 && flying == 1, "the last batch is on its way");
	cr_expect(segments_find(&writer, last, &readable) == NULL, "and may not be read");
	cr_expect(segments_find(&writer, last - 8, &readable) == &writer.old[0] && readable == last,
	    "what is before it may");
	land();
	cr_expect(segments_find(&writer, last, &readable) == &writer.old[0] && readable > last,
	    "then it may, too");
}

/*
 * The tail, in the shipped proportion to a segment.
 */

/* Appends until at most `left` bytes of the segment are free, the next segment is preallocated, and
 * no write is in flight. */
static void
fill_up_to(uint64_t left)
{
	const struct log_segment *active = &writer.active.segment;

	while (writer.preallocated.state != PREALLOCATION_READY ||
	    active->position + active->span - writer.end > left) {
		if (writer_room(&writer, BODY_BYTES) == 1 && flying == 0) {
			append();
			commit();
		}
		if (active->position + active->span - writer.end > left)
			land();
		else
			run();
	}
	land();
	cr_assert(writer.old_count == 0, "in the first segment");
}

/* The space left free for ids nearly equals the tail, so the next segment begins at the batch's
 * place in the tail. */
Test(writer, no_segment_begins_over_a_batch_that_is_on_its_way, .init = begin, .fini = end,
    .timeout = 600)
{
	uint8_t *before = malloc(WRITER_TAIL_BYTES);

	fill_up_to(WRITER_TAIL_BYTES - LOG_HEADER_BYTES);
	writer.active.ids_bytes = WRITER_TAIL_BYTES / 2;
	append();
	commit();
	memcpy(before, writer.tail, WRITER_TAIL_BYTES);
	writer.active.ids_bytes = WRITER_TAIL_BYTES;
	cr_expect(writer_room(&writer, BODY_BYTES) == 0 && writer.old_count == 0,
	    "not while it is there");
	cr_expect(
	    memcmp(before, writer.tail, WRITER_TAIL_BYTES) == 0, "nothing was placed anywhere");
	land();
	cr_expect(writer_room(&writer, BODY_BYTES) == 1 && writer.old_count == 1, "but then");
	free(before);
}

Test(writer, the_router_ends_rather_than_overwrite_a_batch, .init = begin, .fini = end,
    .timeout = 600, .exit_code = EX_SOFTWARE)
{
	append();
	commit();
	for (int frames = 0; frames < WRITER_TAIL_BYTES / BODY_BYTES; frames++)
		append(); /* without asking for room */
}

Test(writer, the_router_ends_rather_than_write_behind_a_segment, .init = begin, .fini = end,
    .timeout = 600, .exit_code = EX_SOFTWARE)
{
	fill_up_to(2 * BODY_BYTES + WRITER_RESERVE_BYTES);
	for (int frames = 0; frames < 8; frames++)
		append();
}

Test(writer, what_changed_on_its_way_is_noticed, .init = begin, .fini = end, .timeout = 600,
    .exit_code = EX_SOFTWARE)
{
	writer.paranoid = true;
	append();
	commit();
	writer.tail[writer.in_flight.start % WRITER_TAIL_BYTES + sizeof(struct log_frame)] ^= 1;
	land();
}

/* Writes nothing: the test plays the disk. */
static struct io_request *asked;

static void
only_ask(struct io *of, int fd, const void *buffer, size_t length, int64_t offset,
    struct io_request *request)
{
	(void)of, (void)fd, (void)buffer, (void)length, (void)offset;
	asked = request;
}

Test(writer, a_write_that_ends_within_a_block_is_not_tried_for_ever, .init = begin, .fini = end,
    .timeout = 60)
{
	const struct io_operations operations = { .write = only_ask };
	struct io narrow = { .operations = &operations };

	writer.io = &narrow;
	append();
	append();
	commit();
	asked->done(asked, LOG_BLOCK_BYTES);
	cr_expect(flying == 1, "the rest is written");
	asked->done(asked, LOG_BLOCK_BYTES / 2);
	cr_expect(flying == 0 && written == -EFBIG, "and has no room: %d", written);
}
