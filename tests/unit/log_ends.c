/*
 * Logs whose newest segment had just begun when the router died. The segment has no whole
 * checkpoint, so the segments before are read without index entries. All readers must agree on each
 * damage: the router's scan at its start, status, peek and check.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log/reader.h"
#include "log/summary.h"
#include "tests/unit/made_logs.h"

enum { FIRST_TRY = 26, LAST_TRY = 200, SEGMENT_BYTES = LOG_SEGMENT_MIN };

/* The newest segment of payments, just begun: its only batch is the last of all. */
static uint64_t newest;

static bool
is_just_begun(uint64_t batches)
{
	struct found *found = look();
	const struct log_audit *pay = &found->audits[PAYMENTS];
	const struct log_segment *last = &pay->list.segments[pay->tail.segment];
	bool is = pay->tail.last_batch == batches &&
	    pay->tail.last_start == last->position + LOG_HEADER_BYTES;

	newest = last->number;
	forget(found);
	return is;
}

static void
make_just_begun(void)
{
	for (uint64_t batches = FIRST_TRY; batches < LAST_TRY; batches++) {
		make_so_many(batches);
		if (is_just_begun(batches))
			return;
		remove_logs();
	}
	cr_assert(false, "no number of batches ends with a segment's first");
}

/*
 * The bytes of a file.
 */

static uint8_t image[SEGMENT_BYTES];

static void
load(uint64_t number)
{
	int fd = open(file_of(PAYMENTS, number), O_RDONLY | O_CLOEXEC);

	cr_assert(fd >= 0 && read(fd, image, sizeof(image)) == sizeof(image), "read");
	close(fd);
}

static void
save(uint64_t number)
{
	int fd = open(file_of(PAYMENTS, number), O_WRONLY | O_CLOEXEC);

	cr_assert(fd >= 0 && write(fd, image, sizeof(image)) == sizeof(image), "write");
	close(fd);
}

/* The frame behind this one (NULL: the first frame); NULL at the end. */
static struct log_frame *
next_frame(struct log_frame *frame)
{
	uint64_t salt = ((struct log_segment_header *)(void *)image)->salt;
	uint8_t *at = frame == NULL ? image + LOG_HEADER_BYTES
				    : (uint8_t *)frame + log_frame_bytes(frame->length);

	return log_frame_header_valid(at, (uint64_t)(image + sizeof(image) - at), salt) ? (void *)at
											: NULL;
}

/* Returns the offset behind the last frame, and sets *last_batch to the last batch's offset. */
static uint64_t
find_end(uint64_t *last_batch)
{
	struct log_frame *frame = NULL, *next;

	while ((next = next_frame(frame)) != NULL) {
		frame = next;
		if (frame->flags & LOG_FLAG_FIRST)
			*last_batch = (uint64_t)((uint8_t *)frame - image);
	}
	return (uint64_t)((uint8_t *)frame - image) + log_frame_bytes(frame->length);
}

/*
 * States of the newest segment.
 */

/* Only the first sector of the batch was written. */
static void
tear(void)
{
	load(newest);
	memset(image + LOG_HEADER_BYTES + 512, 0, sizeof(image) - LOG_HEADER_BYTES - 512);
	save(newest);
}

/* The batch is whole. The checkpoint goes on in the next batch, which was not written. */
static void
split(bool describes)
{
	load(newest);
	for (struct log_frame *frame = NULL; (frame = next_frame(frame)) != NULL;) {
		struct log_segment_entry *entry = (void *)(frame + 1);

		if (frame->type == LOG_SEGMENTS && !describes)
			entry->number = entry->last_number = UINT64_MAX;
		if (frame->type == LOG_TOTALS)
			frame->type = LOG_PAD;
		log_frame_set_checksums(frame);
	}
	save(newest);
}

static void
split_and_describe(void)
{
	split(true);
}

static void
split_in_front(void)
{
	split(false);
}

static const struct {
	const char *what;
	void (*make)(void);
} states[] = {
	{ "torn", tear },
	{ "split", split_and_describe },
	{ "split in front of its segments", split_in_front },
};
enum { STATES = sizeof(states) / sizeof(states[0]) };

/*
 * Readers.
 */

enum reader { STARTS, STATUS, PEEK, CHECK, READERS };
static const char *const readers[READERS] = { "start", "status", "peek", "check" };

static int
count(void *context, const struct log_frame *frame, uint64_t position)
{
	(void)frame, (void)position;
	++*(unsigned *)context;
	return 0;
}

static bool
checks(void)
{
	struct found *found = look();
	bool whole = found->audits[PAYMENTS].bad_count == 0;

	forget(found);
	return whole;
}

/* Sets whole[r] to whether reader r finds the log whole. */
static void
ask(bool whole[READERS])
{
	char error[LOG_ERROR_BYTES] = "";
	struct log_summary summary;
	unsigned shown = 0;
	struct log_reader reader = { .message = count, .context = &shown };

	whole[STARTS] = scan_strictly(PAYMENTS, error, sizeof(error)) == 0;
	whole[STATUS] = log_summarize(dir_of(PAYMENTS), &summary, error, sizeof(error)) == 0;
	whole[PEEK] = log_reader_run(&reader, dir_of(PAYMENTS)) == 0;
	whole[CHECK] = checks();
	cr_assert(!whole[PEEK] || !whole[STATUS] || shown == summary.depth,
	    "peek shows %u, status says %lu", shown, summary.depth);
}

/* Returns the common result of all readers; fails if the readers disagree. */
static bool
all_say(const char *state, const char *damage, uint64_t at)
{
	bool whole[READERS];

	ask(whole);
	for (int i = 1; i < READERS; i++)
		cr_assert(whole[i] == whole[0], "%s, %s %lu: %s says %s, %s does not", state,
		    damage, at, readers[i], whole[i] ? "whole" : "damaged", readers[0]);
	return whole[0];
}

#define ENDS(name) Test(log_ends, name, .timeout = 1200)

ENDS(a_segment_that_was_just_begun_is_no_damage)
{
	for (int i = 0; i < STATES; i++) {
		make_just_begun();
		states[i].make();
		cr_assert(all_say(states[i].what, "nothing", 0), "%s", states[i].what);
		remove_logs();
	}
}

ENDS(a_changed_byte_in_front_of_it_is_the_same_to_all)
{
	for (int i = 0; i < STATES; i++) {
		uint64_t caught = 0, tried = 0, last_batch = 0, end;

		make_just_begun();
		states[i].make();
		load(newest - 1);
		end = find_end(&last_batch);
		for (uint64_t at = LOG_HEADER_BYTES + 3; at < end; at += 577, tried++) {
			flip(PAYMENTS, newest - 1, at);
			caught += !all_say(states[i].what, "byte", at);
			flip(PAYMENTS, newest - 1, at);
		}
		/* The other bytes are padding, as blocks are half full. */
		cr_assert(caught > tried / 2, "%s: %lu of %lu", states[i].what, caught, tried);
		flip(PAYMENTS, newest - 1, last_batch + 8);
		cr_assert(!all_say(states[i].what, "last batch", last_batch), "%s: last batch",
		    states[i].what);
		remove_logs();
	}
}

/* The last batch before the newest segment is missing. The newest segment's batch proves the
 * end. */
ENDS(a_batch_that_is_gone_in_front_of_it_is_damage)
{
	uint64_t last_batch = 0;

	make_just_begun();
	split_and_describe();
	load(newest - 1);
	find_end(&last_batch);
	memset(image + last_batch, 0, sizeof(image) - last_batch);
	save(newest - 1);
	cr_assert(!all_say("split", "gone", last_batch), "gone");
	remove_logs();
}

ENDS(a_file_that_is_missing_in_front_of_it_is_damage)
{
	for (int i = 0; i < STATES; i++) {
		make_just_begun();
		states[i].make();
		cr_assert(unlink(file_of(PAYMENTS, newest - 1)) == 0, "unlink");
		cr_assert(!all_say(states[i].what, "file", newest - 1), "%s", states[i].what);
		remove_logs();
	}
}

/* Segments are compacted only under a durable checkpoint, which cannot be torn. */
ENDS(without_the_checkpoint_that_it_was_made_under_what_was_put_together_is_damage)
{
	struct log_segment_header *header = (void *)image;
	uint64_t last_batch;

	for (int i = 0; i < STATES; i++) {
		make_just_begun();
		states[i].make();
		cr_assert(newest > 3, "newest %lu", newest);
		load(newest - 2);
		header->last_number = newest - 1;
		header->span = 2 * SEGMENT_BYTES;
		header->first_sequence = 1; /* but for these figures it may be as it is */
		header->end_sequence = 100;
		header->messages = 50;
		header->data_bytes = find_end(&last_batch);
		log_segment_header_set_checksum(header);
		save(newest - 2);
		cr_assert(unlink(file_of(PAYMENTS, newest - 1)) == 0, "unlink");
		cr_assert(
		    !all_say(states[i].what, "put together", newest - 2), "%s", states[i].what);
		remove_logs();
	}
}
