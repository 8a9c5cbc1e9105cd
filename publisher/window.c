#include "publisher/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "message/wire.h"

_Static_assert(sizeof(uint32_t) + ENVELOPE_BODY_BYTES_MAX + ENVELOPE_OVERHEAD_BYTES +
	    sizeof(struct wire_publish) <=
	WIRE_PUBLISH_BYTES,
    "the largest message fits into one frame");

struct block {
	TAILQ_ENTRY(block) link;
	size_t head, count; /* entries: first unsettled, end */
	uint32_t messages, messages_sent, messages_settled;
	size_t used, sent, settled; /* bytes of payload */
	size_t kept;                /* begin of the kept texts */
	size_t capacity;
	struct window_entry entries[WINDOW_BLOCK_ENTRIES];
	char data[];
};

TAILQ_HEAD(block_list, block);

struct window {
	struct block_list blocks;
	struct block_list spare; /* free blocks of WINDOW_BLOCK_BYTES each */
	struct block *sending;   /* no block before this one has unsent messages; NULL: none has */
	size_t bytes;            /* capacity of all blocks */
	uint64_t resent;         /* leading messages that an earlier connection may have stored */
};

struct window *
window_new(void)
{
	struct window *window = calloc(1, sizeof(*window));

	if (window == NULL)
		return NULL;
	TAILQ_INIT(&window->blocks);
	TAILQ_INIT(&window->spare);
	return window;
}

static void
blocks_free(struct block_list *list)
{
	struct block *block;

	while ((block = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, block, link);
		free(block);
	}
}

void
window_free(struct window *window)
{
	if (window == NULL)
		return;
	blocks_free(&window->blocks);
	blocks_free(&window->spare);
	free(window);
}

bool
window_full(const struct window *window)
{
	return window->bytes >= WINDOW_BYTES;
}

bool
window_empty(const struct window *window)
{
	return window_head(window) == NULL;
}

static void
block_reset(struct block *block)
{
	block->head = block->count = 0;
	block->messages = block->messages_sent = block->messages_settled = 0;
	block->used = block->sent = block->settled = 0;
	block->kept = block->capacity;
}

static struct block *
block_new(struct window *window, size_t capacity)
{
	struct block *block = NULL;

	if (capacity <= WINDOW_BLOCK_BYTES) {
		capacity = WINDOW_BLOCK_BYTES;
		block = TAILQ_FIRST(&window->spare);
	}
	if (block != NULL)
		TAILQ_REMOVE(&window->spare, block, link);
	else
		block = malloc(sizeof(*block) + capacity);
	if (block == NULL)
		return NULL;
	block->capacity = capacity;
	block_reset(block);
	TAILQ_INSERT_TAIL(&window->blocks, block, link);
	window->bytes += capacity;
	return block;
}

static void
block_release(struct window *window, struct block *block)
{
	if (window->sending == block)
		window->sending = TAILQ_NEXT(block, link);
	TAILQ_REMOVE(&window->blocks, block, link);
	window->bytes -= block->capacity;
	if (block->capacity == WINDOW_BLOCK_BYTES)
		TAILQ_INSERT_HEAD(&window->spare, block, link);
	else
		free(block);
}

/* The last block if it has an entry and `bytes` bytes free, else a new block. */
static struct block *
block_reserve(struct window *window, size_t bytes)
{
	struct block *block = TAILQ_LAST(&window->blocks, block_list);

	if (block != NULL && block->count < WINDOW_BLOCK_ENTRIES &&
	    block->kept - block->used >= bytes)
		return block;
	return block_new(window, bytes);
}

static struct span
block_keep(struct block *block, const char *text, size_t length)
{
	block->kept -= length;
	memcpy(block->data + block->kept, text, length);
	return (struct span){ block->data + block->kept, length };
}

static struct window_entry *
block_add(struct block *block, const struct input_line *line)
{
	struct window_entry *entry = &block->entries[block->count++];

	*entry = (struct window_entry){
		.source = line->source,
		.line = line->number,
		.end = line->end,
	};
	return entry;
}

int
window_add_message(struct window *window, const struct input_line *line,
    const struct envelope_source *source, bool keep_line)
{
	const struct span *body = &source->head.body;
	bool wrapped = body->data != line->text.data;
	size_t capacity = body->length + ENVELOPE_OVERHEAD_BYTES;
	struct window_entry *entry;
	struct block *block;
	uint32_t prefix;
	char *packed;
	long length;

	block = block_reserve(
	    window, sizeof(prefix) + capacity + (keep_line && wrapped ? line->text.length : 0));
	if (block == NULL)
		return -ENOMEM;
	packed = block->data + block->used + sizeof(prefix);
	length = envelope_pack(packed, capacity, source);
	if (length < 0) {
		if (block->count == 0)
			block_release(window, block);
		return -EMSGSIZE;
	}
	prefix = (uint32_t)length;
	memcpy(block->data + block->used, &prefix, sizeof(prefix));

	entry = block_add(block, line);
	entry->message = (struct span){ packed, (size_t)length };
	/* The body comes last in the envelope, so a line that is its own body needs no second
	 * copy. */
	if (keep_line && wrapped)
		entry->text = block_keep(block, line->text.data, line->text.length);
	else if (keep_line)
		entry->text = (struct span){ packed + length - body->length, body->length };
	block->used += sizeof(prefix) + (size_t)length;
	block->messages++;
	if (window->sending == NULL)
		window->sending = block;
	return 0;
}

int
window_add_refusal(struct window *window, const struct input_line *line, unsigned status,
    const char *reason, bool keep_line)
{
	size_t reason_length = strlen(reason);
	size_t text_length = keep_line ? line->text.length : 0;
	struct window_entry *entry;
	struct block *block;

	block = block_reserve(window, reason_length + text_length);
	if (block == NULL)
		return -ENOMEM;
	entry = block_add(block, line);
	entry->status = (uint16_t)status;
	entry->reason = block_keep(block, reason, reason_length);
	if (keep_line)
		entry->text = block_keep(block, line->text.data, text_length);
	return 0;
}

const struct window_entry *
window_head(const struct window *window)
{
	const struct block *block = TAILQ_FIRST(&window->blocks);

	/* window_pop() releases a block with its last entry. */
	return block == NULL ? NULL : &block->entries[block->head];
}

void
window_pop(struct window *window)
{
	struct block *block = TAILQ_FIRST(&window->blocks);
	const struct window_entry *entry = &block->entries[block->head++];

	if (entry->message.data != NULL) {
		block->settled =
		    (size_t)(entry->message.data - block->data) + entry->message.length;
		block->messages_settled++;
		window->resent -= window->resent > 0;
	}
	if (block->head == block->count)
		block_release(window, block);
}

bool
window_next_frame(struct window *window, struct window_frame *frame)
{
	struct block *block = window->sending;

	while (block != NULL && block->sent == block->used)
		block = TAILQ_NEXT(block, link);
	window->sending = block;
	if (block == NULL)
		return false;
	frame->payload = block->data + block->sent;
	frame->length = block->used - block->sent;
	frame->count = block->messages - block->messages_sent;
	block->sent = block->used;
	block->messages_sent = block->messages;
	return true;
}

void
window_rewind(struct window *window, bool maybe_taken)
{
	struct block *block;
	uint64_t sent = 0;

	TAILQ_FOREACH (block, &window->blocks, link) {
		sent += block->messages_sent - block->messages_settled;
		block->sent = block->settled;
		block->messages_sent = block->messages_settled;
	}
	if (maybe_taken && sent > window->resent)
		window->resent = sent;
	window->sending = TAILQ_FIRST(&window->blocks);
}

bool
window_head_resent(const struct window *window)
{
	return window->resent > 0;
}
