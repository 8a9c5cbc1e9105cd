/*
 * Logs written by the test, frame by frame, and the scan's results.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log/scan.h"

enum { SEGMENT_BYTES = 131072, BLOCK = LOG_BLOCK_BYTES };

struct image {
	char dir[64];
	uint8_t bytes[SEGMENT_BYTES];
	uint64_t end; /* offset in the segment */
	uint64_t sequence;
};

static void
begin_log(struct image *image)
{
	struct log_segment_header header = {
		.log_id = 77,
		.number = 1,
		.last_number = 1,
		.salt = 0x5a17,
		.position = 4096,
		.size = SEGMENT_BYTES,
		.span = SEGMENT_BYTES,
		.queue = "payments",
	};

	memset(image, 0, sizeof(*image));
	strcpy(image->dir, "/tmp/hg-scan-XXXXXX");
	cr_assert(mkdtemp(image->dir) != NULL, "mkdtemp");
	log_segment_header_set_checksum(&header);
	memcpy(image->bytes, &header, sizeof(header));
	image->end = LOG_HEADER_BYTES;
}

static void
put_frame(struct image *image, enum log_type type, bool first, uint64_t batch, const void *payload,
    uint32_t length)
{
	struct log_frame *frame = (void *)(image->bytes + image->end);

	*frame = (struct log_frame){
		.type = (uint8_t)type,
		.flags = first ? LOG_FLAG_FIRST : 0,
		.length = length,
		.batch = batch,
		.salt = 0x5a17,
		.sequence = type == LOG_MESSAGE ? ++image->sequence : 0,
	};
	if (payload != NULL)
		memcpy(frame + 1, payload, length);
	log_frame_set_checksums(frame);
	image->end += log_frame_bytes(length);
}

static void
put_batch(struct image *image, uint64_t batch, unsigned messages)
{
	uint64_t ids[1] = { 77 };
	struct {
		struct log_commit end;
		uint64_t id;
	} end = { { .batch = batch, .start = 4096 + image->end, .logs = 1 }, ids[0] };
	uint64_t aligned;

	for (unsigned i = 0; i < messages; i++)
		put_frame(image, LOG_MESSAGE, i == 0, batch, "a message of some bytes", 23);
	put_frame(image, LOG_COMMIT, messages == 0, batch, &end, sizeof(end));
	aligned = (image->end + BLOCK - 1) & ~(uint64_t)(BLOCK - 1);
	if (aligned - image->end < sizeof(struct log_frame))
		aligned += BLOCK;
	put_frame(image, LOG_PAD, false, batch, NULL,
	    (uint32_t)(aligned - image->end - sizeof(struct log_frame)));
}

static void
save(const struct image *image, size_t length)
{
	char path[LOG_PATH_BYTES];
	FILE *file;

	log_segment_path(path, image->dir, 1);
	file = fopen(path, "w");
	cr_assert(file != NULL && fwrite(image->bytes, 1, length, file) == length, "%s", path);
	fclose(file);
}

static void
end_log(const struct image *image)
{
	char path[LOG_PATH_BYTES];

	log_segment_path(path, image->dir, 1);
	unlink(path);
	rmdir(image->dir);
}

static int
count_message(void *context, const struct log_frame *frame, uint64_t position)
{
	(void)position;
	*(unsigned *)context += frame->type == LOG_MESSAGE;
	return 0;
}

/* Scans the saved log, and sets *messages to the number of messages shown. */
static int
scan(const struct image *image, struct log_tail *tail, unsigned *messages)
{
	struct log_visitor visitor = { .frame = count_message, .context = messages };
	char error[LOG_ERROR_BYTES] = "";
	struct log_list list;
	struct log_scan scan;
	int rc;

	*messages = 0;
	*tail = (struct log_tail){ 0 };
	rc = log_list_open(&list, image->dir, error, sizeof(error));
	if (rc == 0) {
		log_scan_init(&scan, &list, error, sizeof(error));
		rc = log_scan_tail(&scan, NULL, tail);
		for (size_t i = 0; rc == 0 && i <= tail->segment; i++)
			rc = log_scan_segment(&scan, i, &visitor, NULL);
		log_scan_free(&scan);
		log_list_close(&list);
	}
	if (rc != 0)
		cr_assert(strstr(error, image->dir) != NULL, "the error names the file: %s", error);
	log_tail_free(tail);
	return rc;
}

Test(log_scan, reads_whole_batches)
{
	struct image image;
	struct log_tail tail;
	unsigned messages;

	begin_log(&image);
	put_batch(&image, 5, 3);
	put_batch(&image, 9, 2);
	save(&image, SEGMENT_BYTES);
	cr_assert(scan(&image, &tail, &messages) == 0, "whole");
	cr_assert(messages == 5, "%u messages", messages);
	cr_assert(tail.last_batch == 9, "batch %lu", tail.last_batch);
	cr_assert(tail.end == 4096 + image.end, "the pad belongs to the batch");
	cr_assert(tail.torn_batch == 0 && tail.torn_end == 0, "nothing torn");
	end_log(&image);
}

/* Each batch ends at a block's end, even if its commit record ends at a sector's end. */
Test(log_scan, a_pad_behind_a_whole_sector_belongs_to_its_batch)
{
	static const char text[39];
	struct {
		struct log_commit end;
		uint64_t id;
	} end = { { .batch = 5, .start = 4096 + LOG_HEADER_BYTES, .logs = 1 }, 77 };
	struct image image;
	struct log_tail tail;
	unsigned messages;

	begin_log(&image);
	put_frame(&image, LOG_MESSAGE, true, 5, text, sizeof(text));
	for (int i = 0; i < 5; i++)
		put_frame(&image, LOG_MESSAGE, false, 5, text, 23);
	put_frame(&image, LOG_COMMIT, false, 5, &end, sizeof(end));
	cr_assert(image.end == LOG_HEADER_BYTES + 512, "the end is at %lu", image.end);
	put_frame(&image, LOG_PAD, false, 5, NULL, 4096 - 512 - sizeof(struct log_frame));
	put_batch(&image, 6, 2);
	save(&image, SEGMENT_BYTES);
	cr_assert(scan(&image, &tail, &messages) == 0, "whole");
	cr_assert(messages == 8, "%u messages", messages);
	cr_assert(tail.last_batch == 6, "batch %lu", tail.last_batch);
	end_log(&image);
}

Test(log_scan, cuts_a_batch_without_an_end)
{
	struct image image;
	struct log_tail tail;
	unsigned messages;
	uint64_t whole;

	begin_log(&image);
	put_batch(&image, 5, 3);
	whole = image.end;
	put_frame(&image, LOG_MESSAGE, true, 6, "torn", 4);
	put_frame(&image, LOG_MESSAGE, false, 6, "torn", 4);
	save(&image, SEGMENT_BYTES);
	cr_assert(scan(&image, &tail, &messages) == 0, "torn is no damage");
	cr_assert(messages == 3, "%u messages", messages);
	cr_assert(tail.end == 4096 + whole, "cut at the batch before");
	cr_assert(tail.torn_batch == 6 && tail.torn_end > tail.end, "and it is said");
	end_log(&image);
}

Test(log_scan, every_flipped_byte_is_found)
{
	struct image image;
	struct log_tail tail;
	unsigned messages;
	uint64_t first_end;

	begin_log(&image);
	put_batch(&image, 5, 2);
	first_end = image.end;
	put_batch(&image, 6, 2);
	for (uint64_t at = 0; at < image.end; at++) {
		int rc;

		image.bytes[at] ^= 0x40;
		save(&image, SEGMENT_BYTES);
		rc = scan(&image, &tail, &messages);
		image.bytes[at] ^= 0x40;
		if (at >= sizeof(struct log_segment_header) && at < LOG_HEADER_BYTES)
			cr_assert(rc == 0 && messages == 4, "offset %lu is unused", at);
		else if (at < LOG_HEADER_BYTES)
			cr_assert(
			    rc == -EBADMSG || rc == -ESTALE, "header, offset %lu: %d", at, rc);
		else if (rc == 0)
			/* The last batch may be taken for torn, the first one not. Bytes without a
			 * checksum (zeros behind a payload, a pad's payload) may change. */
			cr_assert(messages == 4 || (messages == 2 && at >= first_end),
			    "offset %lu: %u messages", at, messages);
		else
			cr_assert(rc == -EBADMSG && at < first_end, "offset %lu: %d", at, rc);
	}
	end_log(&image);
}

/* A header with a valid checksum and an impossible data end, as from a faulty writer. */
Test(log_scan, a_header_whose_data_end_behind_the_segment_is_refused)
{
	struct image image;
	struct log_tail tail;
	unsigned messages;

	for (uint64_t more = 0; more <= 8; more += 8) {
		struct log_segment_header *header;

		begin_log(&image);
		header = (void *)image.bytes;
		header->last_number = 2;
		header->span = 2 * (uint64_t)SEGMENT_BYTES;
		header->messages = header->first_sequence = 1;
		header->end_sequence = 2;
		header->data_bytes = SEGMENT_BYTES + more;
		log_segment_header_set_checksum(header);
		put_batch(&image, 5, 1);
		save(&image, SEGMENT_BYTES);
		cr_assert(log_segment_header_check(header) == (more == 0 ? 0 : -EBADMSG),
		    "%lu more", more);
		cr_assert(scan(&image, &tail, &messages) == -EBADMSG, "%lu more", more);
		end_log(&image);
	}
}

Test(log_scan, every_cut_file_is_found)
{
	struct image image;
	struct log_tail tail;
	unsigned messages;

	begin_log(&image);
	put_batch(&image, 5, 2);
	for (size_t length = 0; length < SEGMENT_BYTES; length += 509) {
		int rc;

		save(&image, length);
		rc = scan(&image, &tail, &messages);
		cr_assert(rc == -EBADMSG, "length %zu: %d", length, rc);
	}
	end_log(&image);
}

Test(log_scan, a_later_whole_batch_makes_a_bad_place_damage)
{
	struct image image;
	struct log_tail tail;
	unsigned messages;

	begin_log(&image);
	put_batch(&image, 5, 3);
	memset(image.bytes + LOG_HEADER_BYTES, 0, 512); /* a lost sector */
	put_batch(&image, 6, 1);
	save(&image, SEGMENT_BYTES);
	cr_assert(scan(&image, &tail, &messages) == -EBADMSG, "never skipped in silence");
	end_log(&image);
}

Test(log_scan, no_log_is_not_an_error_of_its_own)
{
	struct log_list list;
	char error[LOG_ERROR_BYTES];

	cr_assert(log_list_open(&list, "/nonexistent/hg", error, sizeof(error)) == -ENOENT, "none");
}

/* Whatever number of a frame's bytes is at hand, and whichever byte of it is changed. */
Test(log_scan, a_frame_is_whole_or_cut_or_damaged)
{
	enum { SALT = 7, LENGTH = 29, BYTES = 72 };
	union {
		struct log_frame frame;
		uint8_t bytes[BYTES + 8];
	} made = { .frame = {
		       .type = LOG_MESSAGE, .length = LENGTH, .sequence = 1, .salt = SALT } };

	memset(made.bytes + sizeof(made.frame), 'x', LENGTH);
	log_frame_set_checksums(&made.frame);
	cr_assert(log_frame_bytes(LENGTH) == BYTES, "%lu bytes", log_frame_bytes(LENGTH));
	for (uint64_t have = 0; have <= sizeof(made.bytes); have++)
		cr_assert(log_frame_at(&made, have, SALT) ==
			(have < BYTES ? LOG_FRAME_MORE : LOG_FRAME_WHOLE),
		    "with %lu bytes", have);
	cr_assert(log_frame_at(&made, BYTES, SALT + 1) == LOG_FRAME_DAMAGED, "of another segment");
	for (size_t at = 0; at < sizeof(made.frame) + LENGTH; at++) {
		made.bytes[at] ^= 1;
		cr_assert(log_frame_at(&made, BYTES, SALT) == LOG_FRAME_DAMAGED, "byte %zu", at);
		made.bytes[at] ^= 1;
	}
}
