/*
 * reader - the messages of a log that are not settled, in order, from its files: for headgatectl, while
 * a router runs or not. Never writes, takes no lock; one segment at a time is in memory.
 *
 * What is shown is one moment's picture: from the newest checkpoint and what follows it is worked out
 * what is settled, then the segments that hold something unsettled are read, oldest first.
 *
 * Beside a living router nothing stays where it is: segments are freed, and their files used again for
 * newer ones; what is left over is copied to other places; and what is being written is half there. Each
 * of these looks like damage. So a reader that meets any begins again, with a new list of the files,
 * behind the message that it showed last; sequences only go up, so none is shown twice. Damage is
 * believed when the same place is damaged again and again.
 */
#ifndef HEADGATE_LOG_READER_H
#define HEADGATE_LOG_READER_H

#include "log/list.h"

struct log_reader {
	/* Shows a message: its frame (log_content() opens it) and its position. The frame is there until
	 * it returns. What it returns, if not 0, ends the reading. */
	int (*message)(void *context, const struct log_frame *, uint64_t position);
	void *context;
	/* Only messages with a higher sequence are shown. Moves on to each that was shown. */
	uint64_t after;
	char error[LOG_ERROR_BYTES];

	unsigned restarts; /* times that it began again */
};

/* Reads the log of a queue's directory. Returns 0; what message() returned; -ENOENT when there is no log;
 * -EBADMSG or -ESTALE, or another -errno, with error filled: file, offset, what. */
int log_reader_run(struct log_reader *, const char *queue_dir);

#endif
