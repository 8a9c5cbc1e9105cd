/*
 * window - what was read and is not settled yet, in order of input.
 *
 * A chain of blocks; each has one entry for every line, and its bytes:
 *
 *	 +---------------------------------------------+------------+------------------------+
 *	 | length, envelope | length, envelope | ...   |    free    | ... kept text, by line |
 *	 +---------------------------------------------+------------+------------------------+
 *	 0         ^ settled          ^ sent           ^ used       ^ kept
 *
 * The front is what goes over the wire as it is, so that a frame is a header and a piece of a block.
 * At the back stands what is in no envelope: why a line is refused, and the line itself when it is
 * wanted back. An entry that is refused here waits for its turn as a message waits for the router.
 *
 * States of an entry: added -> (message: sent -> ) settled, taken off by window_pop(). After a lost
 * connection window_rewind() makes all messages that are not settled unsent again.
 */
#ifndef HEADGATE_PUBLISHER_WINDOW_H
#define HEADGATE_PUBLISHER_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message/envelope.h"
#include "publisher/input.h"

enum {
	WINDOW_BYTES = 8 << 20,         /* when blocks take this much no more is read */
	WINDOW_BLOCK_BYTES = 320 << 10, /* of payload about 256 KiB, one frame */
	WINDOW_BLOCK_ENTRIES = 2048
};

struct window_entry {
	const char *source; /* where the line comes from, for messages */
	uint64_t line;
	struct span message; /* its envelope; data NULL: refused here */
	struct span text;    /* the line; data NULL: not kept */
	struct span reason;  /* of a refusal here */
	uint16_t status;     /* of a refusal here: 400, 413; else 0 */
	const char *end;     /* the line's: see input.h */
};

/* A piece of a block that goes over the wire as one PUBLISH. */
struct window_frame {
	const void *payload;
	size_t length;
	uint32_t count; /* messages in it */
};

struct window;

struct window *window_new(void);
void window_free(struct window *);

/* No more should be read. */
bool window_full(const struct window *);
bool window_empty(const struct window *);

/* Packs a message behind the others. The line is kept when keep_line is set. Returns 0, -ENOMEM, or
 * -EMSGSIZE when it makes no envelope. */
int window_add_message(
    struct window *, const struct input_line *, const struct envelope_source *, bool keep_line);
/* A line that is refused here. Returns 0 or -ENOMEM. */
int window_add_refusal(struct window *, const struct input_line *, unsigned status,
    const char *reason, bool keep_line);

/* The first that is not settled, NULL if there is none; valid until window_pop(). */
const struct window_entry *window_head(const struct window *);
void window_pop(struct window *);

/* Takes the next messages to send. The frame stays where it is until its messages are popped, which
 * must not be before it is sent. False when all is sent. */
bool window_next_frame(struct window *, struct window_frame *);

/* Makes all messages that are not settled unsent again. maybe_taken: the router may have taken
 * those that were sent, and its answer got lost. */
void window_rewind(struct window *, bool maybe_taken);

/* The head is a message that was sent on an earlier connection and may have been taken there: if it
 * is a duplicate, perhaps only of itself. */
bool window_head_resent(const struct window *);

#endif
