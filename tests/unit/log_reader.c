/*
 * Logs of several segments, written by the test: a reader must find the live messages, also while a
 * router changes the log.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log/reader.h"
#include "log/settled.h"

enum { SEGMENT_BYTES = 131072, BLOCK = LOG_BLOCK_BYTES, SHOWN_MAX = 64 };

/* A segment under construction. */
struct image {
	struct log_segment_header header;
	uint8_t bytes[SEGMENT_BYTES];
	uint64_t end; /* offset */
	uint64_t batch;
	bool first; /* the next frame begins a batch */
};

struct fixture {
	char dir[64];
	uint64_t batch, sequence;
	struct image image;
};

static uint64_t
position_of(uint64_t number)
{
	return (uint64_t)SEGMENT_BYTES * number;
}

static struct fixture *
begin(void)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	strcpy(fixture->dir, "/tmp/hg-reader-XXXXXX");
	cr_assert(mkdtemp(fixture->dir) != NULL, "mkdtemp");
	return fixture;
}

static void
end(struct fixture *fixture)
{
	char path[LOG_PATH_BYTES];

	for (uint64_t number = 1; number < 10; number++) {
		log_segment_path(path, fixture->dir, number);
		unlink(path);
	}
	rmdir(fixture->dir);
	free(fixture);
}

static void
begin_segment(struct fixture *fixture, uint64_t number, uint64_t last_number)
{
	struct image *image = &fixture->image;

	memset(image, 0, sizeof(*image));
	image->header = (struct log_segment_header){
		.log_id = 77,
		.number = number,
		.last_number = last_number,
		.salt = 0x5a17 + number + 100 * last_number,
		.position = position_of(number),
		.size = SEGMENT_BYTES,
		.span = SEGMENT_BYTES * (last_number - number + 1),
	};
	strlcpy(image->header.queue, strrchr(fixture->dir, '/') + 1, sizeof(image->header.queue));
	image->end = LOG_HEADER_BYTES;
}

static void
put_frame(struct fixture *fixture, enum log_type type, unsigned flags, uint64_t sequence,
    const void *payload, uint32_t length)
{
	struct image *image = &fixture->image;
	struct log_frame *frame = (void *)(image->bytes + image->end);

	*frame = (struct log_frame){
		.type = (uint8_t)type,
		.flags = (uint8_t)(flags | (image->first ? LOG_FLAG_FIRST : 0)),
		.length = length,
		.batch = fixture->batch,
		.salt = image->header.salt,
		.sequence = sequence,
	};
	image->first = false;
	if (payload != NULL)
		memcpy(frame + 1, payload, length);
	log_frame_set_checksums(frame);
	image->end += log_frame_bytes(length);
}

static void
begin_batch(struct fixture *fixture)
{
	fixture->batch++;
	fixture->image.first = true;
}

static void
end_batch(struct fixture *fixture)
{
	struct image *image = &fixture->image;
	struct {
		struct log_commit end;
		uint64_t id;
	} payload = { { .batch = fixture->batch, .logs = 1 }, 77 };
	uint64_t aligned;

	put_frame(fixture, LOG_COMMIT, 0, 0, &payload, sizeof(payload));
	aligned = (image->end + BLOCK - 1) & ~(uint64_t)(BLOCK - 1);
	if (aligned - image->end < sizeof(struct log_frame))
		aligned += BLOCK;
	put_frame(fixture, LOG_PAD, 0, 0, NULL,
	    (uint32_t)(aligned - image->end - sizeof(struct log_frame)));
}

static void
put_message(struct fixture *fixture, uint64_t sequence)
{
	char text[32];

	snprintf(text, sizeof(text), "message %lu", sequence);
	put_frame(fixture, LOG_MESSAGE, 0, sequence, text, (uint32_t)strlen(text));
	if (sequence > fixture->sequence)
		fixture->sequence = sequence;
}

static void
put_settled(struct fixture *fixture, uint64_t first, uint32_t count)
{
	struct log_settled range = { .first = first, .count = count, .status = 200 };

	put_frame(fixture, LOG_SETTLED, 0, 0, &range, sizeof(range));
}

static void
save(struct fixture *fixture, uint64_t number)
{
	char path[LOG_PATH_BYTES];
	FILE *file;

	log_segment_header_set_checksum(&fixture->image.header);
	memcpy(fixture->image.bytes, &fixture->image.header, sizeof(fixture->image.header));
	log_segment_path(path, fixture->dir, number);
	unlink(path); /* a reader with the old file open goes on with the old file */
	file = fopen(path, "w");
	cr_assert(
	    file != NULL && fwrite(fixture->image.bytes, 1, SEGMENT_BYTES, file) == SEGMENT_BYTES,
	    "%s", path);
	fclose(file);
}

/* A sealed segment with the messages [first, first + count). */
static struct log_segment_entry
whole_segment(struct fixture *fixture, uint64_t number, uint64_t first, uint64_t count)
{
	struct log_checkpoint checkpoint = { .next_sequence = first };
	struct log_totals totals = { 0 };

	begin_segment(fixture, number, number);
	begin_batch(fixture);
	if (number == 1)
		put_frame(fixture, LOG_CHECKPOINT, 0, 0, &checkpoint, sizeof(checkpoint));
	if (number == 1)
		put_frame(fixture, LOG_TOTALS, 0, 0, &totals, sizeof(totals));
	for (uint64_t i = 0; i < count; i++)
		put_message(fixture, first + i);
	end_batch(fixture);
	save(fixture, number);
	return (struct log_segment_entry){
		.number = number,
		.last_number = number,
		.first_sequence = first,
		.end_sequence = first + count,
		.messages = count,
		.data_bytes = fixture->image.end,
	};
}

/* Begins the newest segment with a checkpoint of the settled sequences. */
static void
begin_newest(struct fixture *fixture, uint64_t number, const struct settled *settled,
    const struct log_segment_entry *entries, uint32_t count)
{
	struct log_checkpoint checkpoint = {
		.next_sequence = fixture->sequence + 1,
		.low_watermark = settled->low_watermark,
		.highest = settled->highest,
	};
	struct log_totals totals = { 0 };
	struct settled_chunk chunks[4];
	size_t n = settled_copy_chunks(settled, 0, chunks, 4);

	begin_segment(fixture, number, number);
	begin_batch(fixture);
	put_frame(fixture, LOG_CHECKPOINT, 0, 0, &checkpoint, sizeof(checkpoint));
	put_frame(fixture, LOG_SEGMENTS, 0, 0, entries, count * (uint32_t)sizeof(*entries));
	if (n > 0)
		put_frame(fixture, LOG_UNSETTLED, 0, 0, chunks, (uint32_t)(n * sizeof(*chunks)));
	put_frame(fixture, LOG_TOTALS, 0, 0, &totals, sizeof(totals));
	end_batch(fixture);
}

/* Three segments with messages 1 to 4, 5 to 8, and 9 to 10. Unsettled: 2, 4, 7 and 10. */
static void
three_segments(struct fixture *fixture)
{
	struct log_segment_entry entries[2] = {
		whole_segment(fixture, 1, 1, 4),
		whole_segment(fixture, 2, 5, 4),
	};
	struct settled settled;

	settled_init(&settled, 0);
	settled_add(&settled, 1);
	settled_add(&settled, 3);
	settled_add_range(&settled, 5, 2);
	begin_newest(fixture, 3, &settled, entries, 2);
	settled_free(&settled);
	begin_batch(fixture);
	put_message(fixture, 9);
	put_message(fixture, 10);
	end_batch(fixture);
	begin_batch(fixture);
	put_settled(fixture, 8, 2);
	end_batch(fixture);
	save(fixture, 3);
}

/* The messages that a reader found. */
struct shown {
	struct log_reader reader;
	char text[256]; /* the sequences, a blank before each */
	uint64_t stop_at;
	void (*at_first)(struct fixture *);
	struct fixture *fixture;
};

static int
show(void *context, const struct log_frame *frame, uint64_t position)
{
	struct shown *shown = context;
	struct log_content content = log_content(frame);
	char want[32];

	snprintf(want, sizeof(want), "message %lu", frame->sequence);
	cr_assert(
	    content.length == strlen(want) && memcmp(content.envelope, want, content.length) == 0,
	    "content");
	cr_assert(position % 8 == 0 && position > SEGMENT_BYTES, "position %lu", position);
	if (frame->sequence == shown->stop_at)
		return 17;
	snprintf(shown->text + strlen(shown->text), sizeof(shown->text) - strlen(shown->text),
	    " %lu", frame->sequence);
	if (shown->at_first != NULL)
		shown->at_first(shown->fixture);
	shown->at_first = NULL;
	return 0;
}

static int
read_log(struct shown *shown, struct fixture *fixture)
{
	shown->reader.message = show;
	shown->reader.context = shown;
	shown->fixture = fixture;
	return log_reader_run(&shown->reader, fixture->dir);
}

Test(log_reader, shows_what_is_not_settled_in_order)
{
	struct fixture *fixture = begin();
	struct shown shown = { .stop_at = 0 };

	three_segments(fixture);
	cr_assert(read_log(&shown, fixture) == 0, "%s", shown.reader.error);
	cr_assert(strcmp(shown.text, " 2 4 7 10") == 0, "%s", shown.text);
	cr_assert(shown.reader.restarts == 0, "nothing moved");
	end(fixture);
}

Test(log_reader, begins_and_ends_where_it_is_told)
{
	struct fixture *fixture = begin();
	struct shown shown = { .reader.after = 2, .stop_at = 10 };

	three_segments(fixture);
	cr_assert(read_log(&shown, fixture) == 17, "what message() says is handed on");
	cr_assert(strcmp(shown.text, " 4 7") == 0, "%s", shown.text);
	cr_assert(shown.reader.after == 7, "and it can go on there");
	end(fixture);
}

Test(log_reader, a_torn_batch_is_not_there_yet)
{
	struct fixture *fixture = begin();
	struct shown shown = { .stop_at = 0 };

	three_segments(fixture);
	begin_batch(fixture);
	put_message(fixture, 11);
	put_settled(fixture, 2, 1);
	save(fixture, 3);
	cr_assert(read_log(&shown, fixture) == 0, "%s", shown.reader.error);
	cr_assert(strcmp(shown.text, " 2 4 7 10") == 0, "%s", shown.text);
	end(fixture);
}

/* Acts as the compactor: copies the live messages of segments 1 and 2 to one segment, in place of
 * the first. */
static void
replace_two(struct fixture *fixture)
{
	char path[LOG_PATH_BYTES];

	begin_segment(fixture, 1, 2);
	begin_batch(fixture);
	put_message(fixture, 2);
	put_message(fixture, 4);
	put_message(fixture, 7);
	end_batch(fixture);
	fixture->image.header.first_sequence = 1;
	fixture->image.header.end_sequence = 9;
	fixture->image.header.messages = 3;
	fixture->image.header.data_bytes = fixture->image.end;
	save(fixture, 1);
	log_segment_path(path, fixture->dir, 2);
	unlink(path);
}

Test(log_reader, messages_that_are_moved_meanwhile_are_shown_once)
{
	struct fixture *fixture = begin();
	struct shown shown = { .at_first = replace_two };

	three_segments(fixture);
	cr_assert(read_log(&shown, fixture) == 0, "%s", shown.reader.error);
	cr_assert(strcmp(shown.text, " 2 4 7 10") == 0, "%s", shown.text);
	cr_assert(shown.reader.restarts == 1, "it began again");
	end(fixture);
}

/* All messages of segment 2 are settled, the segment is freed, and its file is reused as segment
 * 4. */
static void
recycle(struct fixture *fixture)
{
	char from[LOG_PATH_BYTES], to[LOG_PATH_BYTES];
	struct log_segment_entry entry = whole_segment(fixture, 1, 1, 4);
	struct log_segment_entry third = {
		.number = 3,
		.last_number = 3,
		.first_sequence = 9,
		.end_sequence = 11,
		.messages = 2,
	};
	struct log_segment_entry entries[2];
	struct settled settled;

	three_segments(fixture);
	third.data_bytes = fixture->image.end;
	entries[0] = entry;
	entries[1] = third;
	log_segment_path(from, fixture->dir, 2);
	log_segment_path(to, fixture->dir, 4);
	cr_assert(rename(from, to) == 0, "rename");
	settled_init(&settled, 0);
	settled_add(&settled, 1);
	settled_add(&settled, 3);
	settled_add_range(&settled, 5, 5);
	begin_newest(fixture, 4, &settled, entries, 2);
	settled_free(&settled);
	begin_batch(fixture);
	put_message(fixture, 11);
	end_batch(fixture);
	save(fixture, 4);
}

Test(log_reader, a_file_that_is_used_again_is_no_damage)
{
	struct fixture *fixture = begin();
	struct shown shown = { .at_first = recycle };

	three_segments(fixture);
	cr_assert(read_log(&shown, fixture) == 0, "%s", shown.reader.error);
	cr_assert(strcmp(shown.text, " 2 4 10 11") == 0, "%s", shown.text);
	end(fixture);
}

Test(log_reader, damage_is_believed_in_the_end)
{
	struct fixture *fixture = begin();
	struct shown shown = { .stop_at = 0 };
	char path[LOG_PATH_BYTES];
	int fd;

	three_segments(fixture);
	log_segment_path(path, fixture->dir, 2);
	fd = open(path, O_WRONLY);
	cr_assert(pwrite(fd, "!", 1, LOG_HEADER_BYTES + 60) == 1, "pwrite");
	close(fd);
	cr_assert(read_log(&shown, fixture) == -EBADMSG, "damage");
	cr_assert(strstr(shown.reader.error, "0000000000000002.log: offset 4152") != NULL, "%s",
	    shown.reader.error);
	cr_assert(
	    strcmp(shown.text, " 2 4") == 0, "what is before it was shown, once: %s", shown.text);
	end(fixture);
}

Test(log_reader, a_missing_file_is_damage)
{
	struct fixture *fixture = begin();
	struct shown shown = { .stop_at = 0 };
	char path[LOG_PATH_BYTES];

	three_segments(fixture);
	log_segment_path(path, fixture->dir, 2);
	unlink(path);
	cr_assert(read_log(&shown, fixture) == -EBADMSG, "never skipped in silence");
	cr_assert(strstr(shown.reader.error, "missing") != NULL, "%s", shown.reader.error);
	end(fixture);
}

Test(log_reader, no_log_is_no_damage)
{
	struct fixture *fixture = begin();
	struct shown shown = { .stop_at = 0 };

	cr_assert(read_log(&shown, fixture) == -ENOENT, "none");
	end(fixture);
}
