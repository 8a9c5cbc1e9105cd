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
 * durable for good with the next barrier (log/format.h). There is one before a segment takes no more: so only
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

#include "log/list.h"
#include "router/io/io.h"

/* The simulation draws them: logs are longer than what is kept of them. */
#ifndef WRITER_TAIL
#define WRITER_TAIL   (8 << 20)
#define WRITER_GATHER (2 << 20)
#endif
#define WRITER_TAIL_BYTES   WRITER_TAIL
#define WRITER_GATHER_BYTES WRITER_GATHER /* a batch takes no more than this ... */

enum {
	WRITER_RESERVE_BYTES = 16 << 10, /* ... and what closes it always fits behind */
	WRITER_BEGUN_BYTES = 4 << 10     /* what switched() appends, at most */
};

struct writer_segment {
	struct log_segment segment;
	int fd; /* -1: closed */
};

/* How the next segment comes to be. */
enum writer_next {
	WRITER_NEXT_NONE,
	WRITER_NEXT_ZEROING,
	WRITER_NEXT_HEADER,
	WRITER_NEXT_READY,
	WRITER_NEXT_FAILED
};

struct writer {
	struct io *io;
	char dir[LOG_PATH_BYTES], queue[LOG_QUEUE_NAME_BYTES];
	uint64_t log_id;
	bool direct;             /* O_DIRECT works here */
	bool paranoid;           /* looks at a batch once more when it is written */
	bool cached;             /* batches are written through the page cache */
	bool unsynced;           /* ... and some may be there only */
	bool wants_barrier;      /* before it goes on in the next segment */
	struct log_segment *old; /* segments before the active one */
	size_t old_count, old_capacity;
	struct writer_segment active, next;
	enum writer_next next_state;
	int next_error;         /* why the last attempt failed; 0 once one went well */
	uint64_t refused_bytes; /* of a message for which there was no room, until there is */
	uint64_t next_written, next_retry_ns;
	struct io_request next_request;
	uint8_t *header_block;
	uint64_t spare, spare_bytes; /* number and size of a file to be used again; 0: none */
	bool disk_short;             /* no file is kept to be used again */
	bool files_gone; /* somebody removed them: no more messages; until the router ends */
	/* Left free at the active segment's end: as many bytes as the .ids file of its messages will take. */
	uint64_t ids_bytes;

	uint8_t *tail;
	uint64_t tail_floor; /* nothing older was ever in the tail, or is as it is there */
	uint64_t end, sealed, durable;
	uint64_t batch;       /* number of the one being gathered */
	uint64_t last_batch;  /* number of the last one in this log; 0: there is none */
	uint64_t batch_start; /* where it begins; 0: nothing gathered */

	/* The batch on its way to the disk: what is left of it. */
	struct io_request flying;
	uint64_t flying_start; /* its first position; 0: there is none */
	uint64_t flying_salt;
	const uint8_t *flying_data;
	size_t flying_length; /* 0: none */
	int64_t flying_offset;
	uint64_t flying_end; /* position behind it */
	int flying_fd;
	bool flying_closes; /* the segment takes no more behind it */
	bool flying_synced; /* it is a barrier: to be synced when it is written */

	/* A new segment became the active one: its checkpoint is to be appended. */
	void (*switched)(struct writer *);
	/* Bytes that it takes, about; and bytes of the settlements of all that is left, at most. */
	uint64_t (*checkpoint_bytes)(const struct writer *);
	uint64_t (*settlement_bytes)(const struct writer *);
	/* The batch is durable in this log (0), or a write failed (-errno), which is final. */
	void (*durable_done)(struct writer *, int result);
	/* The next segment became ready, or failed. */
	void (*next_done)(struct writer *);
	/* The disk has no room for it: it will be tried once more. */
	void (*disk_full)(struct writer *);
};

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
/* Is no more than that quarter left? Then each batch costs a block that there may be no other of. */
bool writer_is_short(const struct writer *);
/* Tries, from time to time, whether a next segment can be made now. */
void writer_look_for_room(struct writer *);
/* Looks whether the files that it writes to still have a name. True: they had one until now. */
bool writer_lost_files(struct writer *);
/* Where none could be made, and the file system has room by now for a message such as was refused last and as much
 * again: does not say any more that there is none. Takes nothing of it, for a store may need it first. */
void writer_see_room(struct writer *);
/* Why messages are refused, or were when there was one last: -errno; 0: they are not. */
int writer_shortage(const struct writer *);

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
	if (writer->flying_end > writer->durable)
		writer->durable = writer->flying_end;
}

/* The newest bytes, from memory: pointer to position, or NULL when the tail has it no more. */
const uint8_t *writer_tail(const struct writer *, uint64_t position);

/* Where a reader that came to position goes on: there, or at the next segment's first batch when this
 * one's data ends there or is gone. */
uint64_t writer_position(const struct writer *, uint64_t position);
/* Segment that holds such a position on disk (NULL: none); *end is how far it may be read: to where its data
 * ends, or what is durable. */
const struct log_segment *writer_find(const struct writer *, uint64_t position, uint64_t *end);
/* Number of bytes of all segments. */
uint64_t writer_bytes(const struct writer *);

/* Gives back the disk of count old segments from index on, or puts replacement (which has the place of
 * the first already) where they were. Returns 0, or -errno: some files are left over. */
int writer_free(struct writer *, size_t index, size_t count, const struct log_segment *replacement);

/* The disk is full. The file that is kept to be used again is removed, and none is kept before there is room
 * for a segment of the usual size. */
void writer_drop_spare(struct writer *);
/* Likewise: removes the next segment while the active one has room. For a log in which all is settled. */
void writer_drop_next(struct writer *);
/* Gives back the blocks behind the data of an old segment: as many as its ids take. Returns 0 or -errno. */
int writer_punch(const struct writer *, size_t index);

/* For recovery, before the log is opened; synchronous. Makes the last whole batches, [unproven, end), durable: of
 * these the page cache may have what the disk has not, after a sync that failed. Zeroes what was written behind
 * them, up to written or where a batch that was under way may end; syncs the segment; removes what is left over in
 * the directory. Returns 0 or -errno. */
int writer_repair(const struct log_list *, uint64_t unproven, uint64_t end, uint64_t written);

#endif
