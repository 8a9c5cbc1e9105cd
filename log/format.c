#include "log/format.h"

#include <errno.h>
#include <string.h>

#include "log/settled.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define ENDIAN_WORD 0x01020304u

static const char *const type_names[] = {
	[LOG_MESSAGE] = "message",
	[LOG_SETTLED] = "settled",
	[LOG_RECEIVED] = "received",
	[LOG_STATE] = "state",
	[LOG_COMMIT] = "commit",
	[LOG_CHECKPOINT] = "checkpoint",
	[LOG_PAD] = "pad",
	[LOG_SEGMENTS] = "segments",
	[LOG_UNSETTLED] = "unsettled",
	[LOG_TRANSFERRED] = "transferred",
	[LOG_CLOCK] = "clock",
	[LOG_RESERVED] = "reserved",
	[LOG_TOTALS] = "totals",
};

const char *
log_type_name(unsigned type)
{
	return type < sizeof(type_names) / sizeof(type_names[0]) ? type_names[type] : NULL;
}

static uint32_t
header_sum(const struct log_frame *frame)
{
	return (uint32_t)XXH3_64bits((const char *)frame + sizeof(frame->header_sum),
	    sizeof(*frame) - sizeof(frame->header_sum));
}

static uint32_t
payload_sum(const struct log_frame *frame)
{
	if (frame->type == LOG_PAD)
		return 0;
	return (uint32_t)XXH3_64bits(frame + 1, frame->length);
}

void
log_frame_set_checksums(struct log_frame *frame)
{
	frame->payload_sum = payload_sum(frame);
	frame->header_sum = header_sum(frame);
}

bool
log_frame_header_valid(const void *data, uint64_t room, uint64_t salt)
{
	const struct log_frame *frame = data;

	return room >= sizeof(*frame) && frame->salt == salt &&
	    frame->header_sum == header_sum(frame) && log_type_name(frame->type) != NULL &&
	    log_frame_bytes(frame->length) <= room;
}

static bool
commit_valid(const struct log_frame *frame)
{
	const struct log_commit *end = (const void *)(frame + 1);

	return frame->length >= sizeof(*end) && end->logs >= 1 && end->logs <= LOG_LOGS_MAX &&
	    end->previous_logs <= LOG_LOGS_MAX &&
	    frame->length == log_commit_bytes(end->logs, end->previous_logs) &&
	    end->batch == frame->batch && end->previous < end->batch && end->barrier < end->batch &&
	    end->synced <= 1;
}

static bool
reserved_valid(const struct log_frame *frame)
{
	const struct log_reserved *reserved = (const void *)(frame + 1);

	return frame->length == sizeof(*reserved) && reserved->skipped != 0 &&
	    reserved->skipped <= reserved->from && reserved->from <= reserved->end;
}

static bool
settled_valid(const struct log_frame *frame)
{
	const struct log_settled *range = (const void *)(frame + 1);
	size_t count = frame->length / sizeof(*range);

	if (count == 0 || frame->length % sizeof(*range) != 0)
		return false;
	for (size_t i = 0; i < count; i++)
		if (range[i].first == 0 || range[i].count == 0 ||
		    range[i].first + range[i].count < range[i].first)
			return false;
	return true;
}

static bool
entry_valid(const struct log_segment_entry *entry)
{
	return entry->number != 0 && entry->last_number >= entry->number &&
	    entry->first_sequence != 0 && entry->end_sequence >= entry->first_sequence &&
	    entry->messages <= entry->end_sequence - entry->first_sequence &&
	    entry->data_bytes >= LOG_HEADER_BYTES;
}

static bool
segments_valid(const struct log_frame *frame)
{
	const struct log_segment_entry *entry = (const void *)(frame + 1);
	size_t count = frame->length / sizeof(*entry);

	if (count == 0 || frame->length % sizeof(*entry) != 0)
		return false;
	for (size_t i = 0; i < count; i++)
		if (!entry_valid(&entry[i]))
			return false;
	return true;
}

static bool
state_valid(const struct log_frame *frame)
{
	const struct log_state *state = (const void *)(frame + 1);

	return frame->length == sizeof(*state) && state->user[sizeof(state->user) - 1] == '\0' &&
	    state->program[sizeof(state->program) - 1] == '\0' &&
	    state->message_id[sizeof(state->message_id) - 1] == '\0' &&
	    state->error[sizeof(state->error) - 1] == '\0' &&
	    state->reason[sizeof(state->reason) - 1] == '\0';
}

static bool
transferred_valid(const struct log_frame *frame)
{
	const struct log_origin *origin = (const void *)(frame + 1);

	return frame->sequence != 0 && frame->length >= sizeof(*origin) &&
	    origin->reason_length <= LOG_REASON_BYTES &&
	    frame->length > log_origin_bytes(origin->reason_length) &&
	    memchr(origin->queue, '\0', sizeof(origin->queue)) != NULL;
}

struct log_content
log_content(const struct log_frame *frame)
{
	const struct log_origin *origin = (const void *)(frame + 1);
	uint32_t front;

	if (frame->type == LOG_MESSAGE)
		return (struct log_content){ .envelope = frame + 1, .length = frame->length };
	front = log_origin_bytes(origin->reason_length);
	return (struct log_content){
		.envelope = (const char *)(frame + 1) + front,
		.length = frame->length - front,
		.origin = origin,
		.reason = (const char *)(origin + 1),
	};
}

void
log_count(struct log_totals *totals, const struct log_settled *range, uint64_t messages)
{
	if (range->status < 300)
		totals->done += messages;
	else
		totals->failed += messages;
	if (range->flags & LOG_SETTLED_DEAD)
		totals->dead_lettered += messages;
	if (range->flags & LOG_SETTLED_EXPIRED)
		totals->expired += messages;
}

static bool
payload_valid(const struct log_frame *frame)
{
	if (frame->payload_sum != payload_sum(frame))
		return false;
	switch ((enum log_type)frame->type) {
	case LOG_MESSAGE:
		return frame->sequence != 0;
	case LOG_SETTLED:
		return settled_valid(frame);
	case LOG_RECEIVED:
		return frame->length % sizeof(struct log_received) == 0;
	case LOG_STATE:
		return state_valid(frame);
	case LOG_COMMIT:
		return commit_valid(frame);
	case LOG_CHECKPOINT:
		return frame->length == sizeof(struct log_checkpoint);
	case LOG_SEGMENTS:
		return segments_valid(frame);
	case LOG_UNSETTLED:
		return frame->length % sizeof(struct settled_chunk) == 0;
	case LOG_TRANSFERRED:
		return transferred_valid(frame);
	case LOG_CLOCK:
		return frame->length > 0 && frame->length % sizeof(struct log_clock) == 0;
	case LOG_RESERVED:
		return reserved_valid(frame);
	case LOG_TOTALS:
		return frame->length == sizeof(struct log_totals);
	case LOG_PAD:
		return true;
	}
	return false;
}

enum log_frame_view
log_frame_at(const void *data, uint64_t have, uint64_t salt)
{
	const struct log_frame *frame = data;

	if (have < sizeof(*frame))
		return LOG_FRAME_MORE;
	if (!log_frame_header_valid(frame, UINT64_MAX, salt))
		return LOG_FRAME_DAMAGED;
	if (log_frame_bytes(frame->length) > have)
		return LOG_FRAME_MORE;
	return payload_valid(frame) ? LOG_FRAME_WHOLE : LOG_FRAME_DAMAGED;
}

void
log_segment_header_set_checksum(struct log_segment_header *header)
{
	memcpy(header->magic, LOG_MAGIC, sizeof(header->magic));
	header->endian = ENDIAN_WORD;
	header->header_bytes = LOG_HEADER_BYTES;
	header->checksum = XXH3_64bits(header, offsetof(struct log_segment_header, checksum));
}

int
log_segment_header_check(const struct log_segment_header *header)
{
	static const struct log_segment_header zero;

	if (memcmp(header, &zero, sizeof(zero)) == 0)
		return -ENODATA;
	if (memcmp(header->magic, LOG_MAGIC, sizeof(header->magic)) != 0)
		return memcmp(header->magic, LOG_MAGIC, 5) == 0 ? -ESTALE : -EBADMSG;
	if (header->endian != ENDIAN_WORD)
		return -ESTALE;
	if (header->checksum !=
		XXH3_64bits(header, offsetof(struct log_segment_header, checksum)) ||
	    header->header_bytes != LOG_HEADER_BYTES || header->size % LOG_BLOCK_BYTES != 0 ||
	    header->size < 2 * LOG_BLOCK_BYTES || header->last_number < header->number ||
	    header->span < header->size || header->data_bytes > header->size ||
	    memchr(header->queue, '\0', sizeof(header->queue)) == NULL)
		return -EBADMSG;
	return header->size <= LOG_SEGMENT_BYTES_LIMIT ? 0 : -EFBIG;
}

uint64_t
log_group_hash_whole(const char *group, size_t length)
{
	return XXH3_64bits(group, length);
}

uint16_t
log_group_hash(const char *group, size_t length)
{
	return (uint16_t)(log_group_hash_whole(group, length) >> 48);
}
