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
	/* Left free at its end: as many bytes as the .ids file of its messages will take. */
	uint64_t ids_bytes;
};

enum preallocation {
	PREALLOCATION_NONE,
	PREALLOCATION_ZEROING,
	PREALLOCATION_HEADER,
	PREALLOCATION_READY,
	PREALLOCATION_FAILED
};

/* The next segment, and what is known of the disk's room for it (space.h). */
struct preallocated {
	struct log_segment segment;
	int fd; /* -1: closed */
	enum preallocation state;
	int error; /* why the last attempt failed; 0 once one went well */
	uint64_t written, retry_ns;
	struct io_request request;
	uint8_t *header_block;
	uint64_t refused_bytes;      /* of a message for which there was no room, until there is */
	uint64_t spare, spare_bytes; /* number and size of a file to be used again; 0: none */
	bool disk_short;             /* no file is kept to be used again */
};

/* The batch on its way to the disk: what is left of it. */
struct writer_flight {
	struct io_request request;
	uint64_t start; /* its first position; 0: there is none */
	uint64_t salt;
	const uint8_t *data;
	size_t length; /* 0: none */
	int64_t offset;
	uint64_t end; /* position behind it */
	int fd;
	bool closes; /* the segment is sealed behind it */
	bool synced; /* it is a barrier: to be synced when it is written */
};

struct writer;

/* What a log asks of its queue, and tells it. */
struct writer_events {
	/* A new segment became the active one: its checkpoint is to be appended. */
	void (*switched)(struct writer *);
	/* Bytes that it takes, about; and bytes of the settlements of all live messages, at most. */
	uint64_t (*checkpoint_bytes)(const struct writer *);
	uint64_t (*settlement_bytes)(const struct writer *);
	/* The batch is durable in this log (0), or a write failed (-errno), which is final. */
	void (*durable_done)(struct writer *, int result);
	/* The next segment became ready, or failed. */
	void (*next_done)(struct writer *);
	/* The disk has no room for it: it will be tried once more. */
	void (*disk_full)(struct writer *);
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
	struct writer_segment active;
	struct preallocated preallocated;
	bool files_gone; /* somebody removed or moved them: no more messages; until the router ends */

	uint8_t *tail;
	uint64_t tail_floor; /* nothing older was ever in the tail, or is as it is there */
	uint64_t end, sealed, durable;
	uint64_t batch;       /* number of the one being gathered */
	uint64_t last_batch;  /* number of the last one in this log; 0: there is none */
	uint64_t batch_start; /* where it begins; 0: nothing gathered */

	struct writer_flight in_flight;
	const struct writer_events *events;
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
	return writer->end + bytes + writer->active.ids_bytes + WRITER_RESERVE_BYTES <=
	    journal_segment_end(&writer->active.segment);
}

#endif
