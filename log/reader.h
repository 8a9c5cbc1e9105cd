/*
 * reader - the live messages of a log in order, read from the files: for headgatectl, with or
 * without a running router. Never writes, takes no lock, holds one segment in memory at a time.
 *
 * The reader shows one moment: the newest checkpoint and the frames behind give the settled
 * sequences; then the segments with live messages are read, oldest first.
 *
 * A running router changes files under the reader:
 *	1. segments are freed, and their files become newer segments;
 *	2. live messages are compacted into another file;
 *	3. the batch under way is half there.
 * Each change looks like damage. So a reader that meets damage starts again, with a new list of the
 * files, behind the message shown last. Sequences only go up, so no message is shown twice. Damage
 * is reported when the same error repeats several times in a row.
 */
#ifndef HEADGATE_LOG_READER_H
#define HEADGATE_LOG_READER_H

#include "log/list.h"

struct log_reader {
	/* Shows a message: the frame (log_content() opens the frame) and its position. The frame is
	 * valid until the function returns. A non-zero return value ends the reading. */
	int (*message)(void *context, const struct log_frame *, uint64_t position);
	void *context;
	/* Only messages with a higher sequence are shown. Follows each shown message. */
	uint64_t after;
	char error[LOG_ERROR_BYTES];

	unsigned restarts; /* times the reader started again */
};

/* Reads the log of a queue's directory. Returns 0; the non-zero value of message(); -ENOENT: no
 * log; -EBADMSG, -ESTALE or another -errno with error filled: file, offset, cause. */
int log_reader_run(struct log_reader *, const char *queue_dir);

#endif
