/*
 * A router in this process, with small segments: the compactor must leave a valid log.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log/reader.h"
#include "router/core.h"
#include "router/journal/segments.h"
#include "router/journal/writer.h"
#include "router/open.h"
#include "router/queue/checkpoint.h"
#include "router/queue/queue.h"
#include "router/upkeep/compactor.h"
#include "telemetry/event.h"

enum { DEADLINE_S = 300, GIVEN_UP_S = 5, STEP_NS = 1000000, SHORT = 300, LONG = 20000, EVERY = 130 };

static char dir[64];
static struct config config;
static struct io *io;
static struct router router;
static struct queue *const queue = &router.queues[0];

static void
open_router(void)
{
	char error[LOG_ERROR_BYTES] = "";

	cr_assert(io_poll_create(&io) == 0, "poll");
	cr_assert(router_open(&router, io, &config, error, sizeof(error)) == 0, "%s", error);
}

static void
close_router(void)
{
	router_close(&router);
	io->operations->destroy(io);
}

static void
begin(void)
{
	const struct config_options options = { .base_dir = dir };
	char error[LOG_ERROR_BYTES] = "";

	event_init("test", true);
	strcpy(dir, "/tmp/hg-compactor-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL, "mkdtemp");
	cr_assert(config_load(&config, &options, error, sizeof(error)) == 0 &&
		config_make_dirs(&config, error, sizeof(error)) == 0,
	    "%s", error);
	open_router();
}

static void
end(void)
{
	char command[128];

	config_free(&config);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert(system(command) == 0, "%s", command);
}

#define COMPACTOR(name) Test(compactor, name, .init = begin, .fini = end, .timeout = 1200)

static time_t
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void
step(time_t began, const char *what)
{
	cr_assert(now_s() - began < DEADLINE_S, "%s", what);
	cr_assert(router_step(&router, STEP_NS) == 0, "the router fails");
}

static void
publish(size_t length)
{
	static const char body[LONG];
	time_t began = now_s();

	while (writer_room_for_message(&queue->writer, length) != 1)
		step(began, "there is room");
	queue_append(queue, body, length, 0);
	router.batch.dirty = true;
}

static bool
is_long(uint64_t sequence)
{
	return sequence % EVERY == 0;
}

/* Publishes, and waits until all messages are durable. */
static void
publish_so_many(uint64_t messages)
{
	time_t began = now_s();

	for (uint64_t n = messages; n > 0; n--)
		publish(is_long(queue->next_sequence) ? LONG : SHORT);
	while (!router_idle(&router) ||
	    queue->logged.durable.checkpoint != queue->writer.active.segment.number)
		step(began, "all is durable");
}

static void
settle_short(void)
{
	for (uint64_t sequence = 1; sequence < queue->next_sequence; sequence++)
		if (!is_long(sequence))
			cr_assert(queue_settle(queue, sequence, 200) >= 0, "memory");
}

static int
see_message(void *context, const struct log_frame *frame, uint64_t position)
{
	(void)position;
	cr_assert(!settled_has(&queue->settled, frame->sequence), "sequence %lu", frame->sequence);
	++*(uint64_t *)context;
	return 0;
}

/* A reader must find all live messages, and a new router must start with the log. */
static void
check_log(void)
{
	uint64_t count = 0, next = queue->next_sequence;
	uint64_t left = settled_count_live(&queue->settled, 1, next);
	struct log_reader reader = { .message = see_message, .context = &count };

	cr_assert(log_reader_run(&reader, queue->writer.dir) == 0, "%s", reader.error);
	cr_assert(count == left, "%lu of %lu are left", count, left);
	close_router();
	open_router();
	cr_assert(queue->next_sequence == next, "up to %lu, not %lu", queue->next_sequence, next);
	cr_assert(settled_count_live(&queue->settled, 1, next) == left, "as before");
}

static void
check_sizes(void)
{
	for (size_t i = 0; i < queue->writer.old_count; i++)
		cr_assert(queue->writer.old[i].size <= LOG_SEGMENT_BYTES_LIMIT,
		    "a segment has %lu bytes", queue->writer.old[i].size);
}

/* Each segment keeps few live messages, which are long. */
COMPACTOR(no_move_makes_more_than_a_reader_accepts)
{
	enum { MESSAGES = 40 * EVERY };
	time_t began = now_s();
	uint64_t before;

	publish_so_many(MESSAGES);
	before = segments_bytes(&queue->writer);
	cr_assert(before > 5 * (uint64_t)LOG_SEGMENT_BYTES_LIMIT / 2, "%lu bytes", before);
	settle_short();
	while (segments_bytes(&queue->writer) > before / 2) {
		check_sizes();
		step(began, "the disk of what is settled comes back");
	}
	check_sizes();
	check_log();
	close_router();
}

/* Publishes until (1) no long message fits into the active segment, (2) all messages are durable,
 * and (3) the next segment is preallocated. */
static void
fill_segment(void)
{
	const struct writer *writer = &queue->writer;
	time_t began = now_s();

	do {
		publish_so_many(10);
	} while (writer->end + LONG + WRITER_RESERVE_BYTES <=
	    writer->active.segment.position + writer->active.segment.span);
	while (writer->preallocated.state != PREALLOCATION_READY)
		step(began, "the next segment is ready");
}

/* Publishes until the batch has room for a settlement and one piece of the checkpoint, not for
 * two. */
static void
fill_batch(void)
{
	const struct writer *writer = &queue->writer;
	uint64_t piece = log_frame_bytes(CHECKPOINT_PIECE * sizeof(struct settled_chunk));
	uint64_t leave = log_frame_bytes(sizeof(struct log_settled)) + piece + 16;
	uint64_t left;

	while ((left = WRITER_GATHER_BYTES - (writer->end - writer->sealed)) > leave + LONG)
		publish(LONG / 2);
	publish(left - leave - sizeof(struct log_frame));
}

/* A segment is freed while the next segment's checkpoint has its entry, and not yet those of all
 * segments. */
COMPACTOR(a_checkpoint_tells_of_each_segment)
{
	const struct writer *writer = &queue->writer;
	time_t began = now_s();
	size_t count;

	publish_so_many(15 * EVERY);
	fill_segment();
	for (uint64_t sequence = 1; sequence < writer->old[0].end_sequence; sequence++)
		cr_assert(queue_settle(queue, sequence, 200) >= 0, "memory");
	while (queue->logged.wanted_settled != queue->logged.settled_count) {
		cr_assert(now_s() - began < DEADLINE_S, "the compactor waits for them");
		compactor_step(router.compactor);
	}
	publish(LONG);
	count = writer->old_count;
	fill_batch();
	cr_assert(count > 4 && queue->checkpoint.open && queue->checkpoint.entry == 0, "new");
	step(began, "one batch");
	cr_assert(
	    queue->checkpoint.open && queue->checkpoint.entry <= CHECKPOINT_PIECE, "one piece");
	/* The compactor waits for one second; on a very busy machine that time may have passed. */
	while (writer->old_count == count && now_s() - began < GIVEN_UP_S) {
		compactor_step(router.compactor);
		io->operations->run(io, STEP_NS);
	}
	while (queue->logged.durable.checkpoint != writer->active.segment.number)
		step(began, "the checkpoint is durable");
	check_log();
	close_router();
}
