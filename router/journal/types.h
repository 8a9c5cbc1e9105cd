/*
 * types - a log that is written to: its struct, and what all of the journal works out from it.
 */
#ifndef HEADGATE_ROUTER_JOURNAL_TYPES_H
#define HEADGATE_ROUTER_JOURNAL_TYPES_H

#include <errno.h>

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

/* Parts of a segment that are left when there is none behind it: by messages, for states and settlements; by states, for
 * settlements. One takes 16 bytes at most, a message's frame hardly less than 150. */
enum { JOURNAL_MESSAGES_LEAVE = 4, JOURNAL_STATES_LEAVE = 8 };

static inline uint64_t
journal_align(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) & ~(unit - 1);
}

/* What a write came to, in whole blocks: a short one goes on behind them, aligned. One that ended within its first block
 * has met a limit of the file's size; tried again it would end there for ever. Returns bytes or -errno. */
static inline int64_t
journal_whole_blocks(int64_t result)
{
	int64_t bytes = result - result % LOG_BLOCK_BYTES;

	if (result <= 0)
		return result < 0 ? result : -EIO;
	return bytes > 0 ? bytes : -EFBIG;
}

/* Positions behind a segment. */
static inline uint64_t
journal_segment_end(const struct log_segment *segment)
{
	return segment->position + segment->span;
}

/* Do so many bytes fit in the active segment? */
static inline bool
journal_fits(const struct writer *writer, uint64_t bytes)
{
	return writer->end + bytes + writer->ids_bytes + WRITER_RESERVE_BYTES <=
	    journal_segment_end(&writer->active.segment);
}

#endif
