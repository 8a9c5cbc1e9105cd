/*
 * window - the lines that were read and are not settled, in order of input.
 *
 * A chain of blocks. Each block has an array of entries, one per line, and the lines' bytes:
 *
 *	 +---------------------------------------------+------------+------------------------+
 *	 | length, envelope | length, envelope | ...   |    free    | ... kept text, by line |
 *	 +---------------------------------------------+------------+------------------------+
 *	 0         ^ settled          ^ sent           ^ used       ^ kept
 *
 * The front is in the wire's format, so a frame is a header and a piece of a block, without a copy.
 * The back holds texts outside of envelopes: reasons of refusals, and lines kept for the rejects
 * file. An entry refused by the publisher stays in the window too, so that all lines settle in
 * order of input.
 *
 * States of an entry: added -> settled (refusals); added -> sent -> settled (messages).
 * window_pop() removes a settled entry. After a lost connection window_rewind() makes unsettled
 * messages unsent.
 */
#ifndef HEADGATE_PUBLISHER_WINDOW_H
#define HEADGATE_PUBLISHER_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message/envelope.h"
#include "publisher/input.h"

enum {
	WINDOW_BYTES = 8 << 20,         /* of blocks; reading stops here */
	WINDOW_BLOCK_BYTES = 320 << 10, /* about 256 KiB of payload, one frame */
	WINDOW_BLOCK_ENTRIES = 2048
};

struct window_entry {
	const char *source; /* name of the input, for warnings and receipts */
	uint64_t line;
	struct span message; /* envelope; data NULL: refused by the publisher */
	struct span text;    /* the line; data NULL: not kept */
	struct span reason;  /* of a refusal by the publisher */
	uint16_t status;     /* of a refusal by the publisher, 400 or 413; else 0 */
	const char *end;     /* line ending, see input.h */
};

/* A piece of a block, sent as one PUBLISH. */
struct window_frame {
	const void *payload;
	size_t length;
	uint32_t count; /* messages */
};

struct window;

/* NULL without memory. */
struct window *window_new(void);
void window_free(struct window *);

/* True if no more lines should be read. */
bool window_full(const struct window *);
bool window_empty(const struct window *);

/* Packs and appends a message. keep_line: keeps the line's text, too. Returns 0, -ENOMEM, or
 * -EMSGSIZE if ids and attributes do not fit into an envelope. */
int window_add_message(
    struct window *, const struct input_line *, const struct envelope_source *, bool keep_line);
/* Appends a line that the publisher refuses. Returns 0 or -ENOMEM. */
int window_add_refusal(struct window *, const struct input_line *, unsigned status,
    const char *reason, bool keep_line);

/* The first unsettled entry, or NULL. Valid until window_pop(). */
const struct window_entry *window_head(const struct window *);
void window_pop(struct window *);

/* Takes the next unsent messages of one block. The payload is valid until the frame's messages are
 * popped; the caller sends the whole frame first. False when all messages are sent. */
bool window_next_frame(struct window *, struct window_frame *);

/* Makes all unsettled messages unsent. maybe_taken: the router may have stored messages whose
 * answer was lost with the connection. */
void window_rewind(struct window *, bool maybe_taken);

/* True if the head may have been stored over an earlier connection. The router may then report the
 * head as a duplicate of itself. */
bool window_head_resent(const struct window *);

#endif
