/*
 * writer - the appending side of one queue's log.
 *
 * Frames are built in place in the *tail*, a circle of memory that holds the newest bytes of the log
 * at position & (tail size - 1), mapped twice so that every frame is contiguous. The same memory is
 * written to disk and read by deliveries that keep up: a message is copied once on its way in.
 *
 *      oldest kept      durable            sealed              end
 *   ------+----------------+------------------+------------------+-------> positions
 *         |  on disk       |  being written   |  being gathered  |
 *
 * A batch takes whole blocks of LOG_BLOCK_BYTES, and no block is written again behind it: while a disk writes a
 * sector, a power cut may take all that was in it, so a sector never holds bytes of two batches.
 *
 * Durable is what is so in all logs of its batch: before, it may yet be cut, and nobody is told of it. In a
 * log that is *cached* (durability = os) it is what was written, and may be in the page cache only. It becomes
 * durable for good with the next barrier (log/format.h). There is one before a segment is sealed: so only
 * the active one has anything that a power cut may take.
 *
 * One batch is gathered while the one before it is on its way to the disk. Each batch lies in one
 * segment: when a frame does not fit the active one, the batch is closed first, and the next begins
 * the next segment.
 *
 * Positions behind a segment's data stay empty, for its file of ids: up to 20 bytes a message, which may be more
 * than the tail is long. So a new segment may begin at the place in the tail of a batch that is still on its way
 * to the disk. The rule for the tail is: no byte between the first position that is not written yet and
 * that position + WRITER_TAIL_BYTES is placed twice. writer_room() waits for it, and place_frame() ends the
 * router rather than break it.
 */
#ifndef HEADGATE_ROUTER_JOURNAL_WRITER_H
#define HEADGATE_ROUTER_JOURNAL_WRITER_H

#include "router/journal/types.h"

/* Opens a log that was found whole up to position end in its segment with index active, or makes a new
 * one (list NULL) with a random id. Runs io until the active segment is there; when nothing is in it
 * (writer_fresh()), it still needs its checkpoint. The callbacks and cached must be set before. Returns 0 or
 * -errno. */
int writer_open(struct writer *, struct io *, const char *dir, const char *queue,
    const struct log_list *list, size_t active, uint64_t end);
void writer_close(struct writer *);

static inline bool
writer_fresh(const struct writer *writer)
{
	return writer->end == writer->active.segment.position + LOG_HEADER_BYTES;
}

/* Can a frame with a payload of this length be appended now? May begin a new segment. 1 yes; 0 not
 * before a batch is written or a segment is ready; -ENOSPC or another -errno when no segment can be
 * made. */
int writer_room(struct writer *, uint64_t payload_length);
/* The same, for messages and for states. While no next segment can be made, messages leave the last quarter
 * of the active one to what settles them, and states half of that: else a full disk would stay full. */
int writer_room_for_message(struct writer *, uint64_t payload_length);
int writer_room_for_state(struct writer *, uint64_t payload_length);
/* Looks whether the files that it writes to still have a name. True: they had one until now. */
bool writer_lost_files(struct writer *);
/* Appends a frame; the caller fills the payload (behind the header) and calls writer_finish() before
 * anything else. Only after writer_room() said 1, or for what WRITER_RESERVE_BYTES is for. */
struct log_frame *writer_begin(struct writer *, enum log_type, uint32_t length);
void writer_finish(struct writer *, struct log_frame *);

/* True when the batch being gathered has frames in this log. */
static inline bool
writer_touched(const struct writer *writer)
{
	return writer->batch_start != 0;
}

/* A batch that is a barrier has a frame in each log in which something is not synced: begins one. */
void writer_touch(struct writer *);

/* Closes the gathered batch with its end frame and hands it to the disk. durable_done() follows.
 * end: what that says; batch and start are filled in. When it says that it is synced, the log is. log_ids: as
 * many as it announces. */
void writer_commit(struct writer *, const struct log_commit *end, const uint64_t *log_ids);

/* The batch that was closed last is durable in all its logs. */
static inline void
writer_batch_durable(struct writer *writer)
{
	if (writer->in_flight.end > writer->durable)
		writer->durable = writer->in_flight.end;
}

/* The newest bytes, from memory: pointer to position, or NULL when the tail has it no more. */
const uint8_t *writer_tail(const struct writer *, uint64_t position);

#endif
