/* The appending side of a log, by itself. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "router/writer.h"

enum { BODY_BYTES = 4000 };

static char dir[64];
static struct io *io;
static struct writer writer;
static unsigned flying;
static int written; /* -errno of the batch that ended last */

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

static void
begin(void)
{
	strcpy(dir, "/tmp/hg-writer-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL && io_poll_create(&io) == 0, "%s", dir);
	writer = (struct writer){
		.switched = nothing,
		.checkpoint_bytes = some_bytes,
		.settlement_bytes = some_bytes,
		.durable_done = batch_written,
		.disk_full = nothing,
		.next_done = nothing,
	};
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
	struct log_batch_end batch_end = { .logs = 1 };

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

/* Its segment takes no more, the next one is gathered already, and its place on disk holds zeros still. */
Test(writer, nobody_reads_a_batch_that_is_on_its_way, .init = begin, .fini = end, .timeout = 60)
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
	cr_expect(writer_find(&writer, last, &readable) == NULL, "and may not be read");
	cr_expect(writer_find(&writer, last - 8, &readable) == &writer.old[0] && readable == last,
	    "what is before it may");
	land();
	cr_expect(writer_find(&writer, last, &readable) == &writer.old[0] && readable > last,
	    "then it may, too");
}
