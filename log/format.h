/*
 * format - the bytes of a queue's log. Described for users in headgate-log(5).
 *
 * STATE/queues/NAME/ holds segments, NNNNNNNNNNNNNNNN.log, numbered from 1 in hexadecimal. The log is
 * one line of bytes: a *position* is an offset in it, over 64 bits, and never comes twice. Segment k
 * stands for the positions [header.position, header.position + header.span).
 *
 *   segment:  | header, 4096 | batch | batch | batch | ... what it held before ...  |
 *   batch:    | frame, flag FIRST | frame | ... | COMMIT | PAD to the next block |
 *   frame:    | struct log_frame, 40 | payload, length | 0 to 7 zeros |
 *
 * A batch lies in one segment. It is a transaction over all the logs that its COMMIT names: it
 * counts when each of them has its COMMIT, and a batch is written only after the one before is
 * written everywhere.
 *
 * Batches are numbered over all logs, and most are durable when they are written: *synced*. Those that
 * touch nothing but logs of topics with durability = os need not be. A synced batch is a *barrier*: it has a frame
 * in each log in which something is not durable, and with it all is that was written before it, in any log.
 *
 * A segment begins with a checkpoint: all that the segments before it say, but their messages. One
 * CHECKPOINT frame, the first of the first batch, then SEGMENTS and UNSETTLED frames, which may go on
 * in the batches behind; a TOTALS frame is the last. The segment just before is told of in the first batch. So a segment whose messages are all settled can
 * go once the checkpoint of the newest one is durable.
 *
 * Segments in which only a few messages are left are replaced by one that holds these: it has the
 * number of the first, header.last_number of the last, stands for the positions of all, and its
 * messages are one batch. What lies within last_number beside it is a leftover.
 *
 * What a salvage wrote (log/salvage.h) are segments with the messages of one batch each, and behind them one
 * with a checkpoint.
 *
 * Integers are in host byte order; the header's endian word says which. Checksums are XXH3, the low
 * 32 or all 64 bits.
 *
 * To change the format: change LOG_MAGIC's last digit; there is one reader for one format.
 */
#ifndef HEADGATE_LOG_FORMAT_H
#define HEADGATE_LOG_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_MAGIC "HGLOG006"

/*
 * Each batch ends at a multiple of it, so no block has bytes of two batches, and none is written again once it was
 * durable: while a disk writes a sector, a power cut may take all that was in it. Sectors of disks have 512 or 4096
 * bytes; a disk that says that its own are larger writes them in one piece (NVMe: AWUPF). Pages of the page
 * cache are written in blocks of the file system, of 4096 mostly.
 * The simulation draws it, as all else that is in proportion to it.
 */
#ifndef LOG_BLOCK
#define LOG_BLOCK 4096
#endif
#define LOG_BLOCK_BYTES LOG_BLOCK

/* The fault tests make them smaller, so that there are many; the simulation draws them. */
#ifndef LOG_SEGMENT_MIN
#define LOG_SEGMENT_MIN (1 << 20)
#define LOG_SEGMENT_MAX (64 << 20)
#endif
#define LOG_SEGMENT_BYTES_MIN   LOG_SEGMENT_MIN /* the first segment of a log */
#define LOG_SEGMENT_BYTES_MAX   LOG_SEGMENT_MAX
#define LOG_SEGMENT_BYTES_LIMIT (4 * LOG_SEGMENT_MAX) /* that a reader believes */

enum {
	LOG_HEADER_BYTES = 4096,
	LOG_QUEUE_NAME_BYTES = 64,
	LOG_LOGS_MAX = 256 /* that one batch may touch */
};

struct log_segment_header {
	char magic[8];
	uint32_t endian; /* 0x01020304 as the writer writes it */
	uint32_t header_bytes;
	uint64_t log_id;      /* random, positive as a signed 64-bit integer */
	uint64_t number;      /* the segment's, from 1; the file's name */
	uint64_t last_number; /* of the segments whose place it takes; else number */
	uint64_t salt;        /* in each frame: tells it from what a recycled block held before */
	uint64_t position;    /* of the header's first byte */
	uint64_t size;        /* of the segment with its header, bytes */
	uint64_t span;        /* positions that it stands for; size, unless it replaces others */
	uint64_t
	    created_ns; /* CLOCK_REALTIME; of one that replaces others, when the first of these was */
	/* Of one that replaces others: as in struct log_segment_entry. Else 0. */
	uint64_t first_sequence, end_sequence, messages, end_clock_ns, data_bytes;
	char queue[LOG_QUEUE_NAME_BYTES];
	uint64_t checksum; /* of all that stands before it */
};
_Static_assert(sizeof(struct log_segment_header) == 192, "disk layout");

enum log_type {
	LOG_MESSAGE = 1, /* payload: the envelope (message/envelope.h) */
	LOG_SETTLED,     /* payload: struct log_settled, one or more */
	LOG_RECEIVED,    /* payload: struct log_received, one or more */
	LOG_STATE,       /* payload: struct log_state */
	LOG_COMMIT,      /* payload: struct log_commit and ids of logs */
	LOG_CHECKPOINT,  /* payload: struct log_checkpoint */
	LOG_PAD,         /* to the next block; its payload is not written */
	LOG_SEGMENTS,    /* payload: struct log_segment_entry, one or more */
	LOG_UNSETTLED,   /* payload: struct settled_chunk (log/settled.h), one or more */
	LOG_TRANSFERRED, /* payload: struct log_origin, its reason, zeros to 8 bytes, the envelope */
	LOG_CLOCK,       /* payload: struct log_clock, one or more, none before another */
	LOG_RESERVED,    /* payload: struct log_reserved */
	LOG_TOTALS       /* payload: struct log_totals; the checkpoint's last frame */
};
/* "message" ..., or NULL. */
const char *log_type_name(unsigned type);

enum {
	LOG_FLAG_FIRST = 1, /* the batch's first frame in this log */
	LOG_FLAG_OS = 4, /* in a log with durability = os: what is before it may be not durable */
	LOG_FLAG_AFTER_BARRIER =
	    8 /* ... but is: nothing was written there since the last barrier */
};

struct log_frame {
	uint32_t header_sum;  /* of the 36 bytes behind it */
	uint32_t payload_sum; /* of the payload; 0 for a PAD */
	uint32_t length;      /* of the payload, bytes */
	uint8_t type;         /* enum log_type */
	uint8_t flags;
	uint16_t group_hash; /* of a message: its lane is group_hash % lanes */
	uint64_t sequence;   /* of a message, from 1; 0 for other types */
	uint64_t batch;      /* number, over all logs of a router, from 1 */
	uint64_t salt;
};
_Static_assert(sizeof(struct log_frame) == 40, "disk layout");

struct log_settled { /* sequences [first, first + count) ended with this status */
	uint64_t first;
	uint32_t count;
	uint16_t status; /* 2xx done, 4xx and 5xx failed */
	uint16_t flags;  /* enum log_settled_flag */
};
_Static_assert(sizeof(struct log_settled) == 16, "disk layout");

enum log_settled_flag {
	LOG_SETTLED_DEAD = 1, /* ... and were moved to the dead-letter queue, in the same batch */
	LOG_SETTLED_TRANSFERRED =
	    2, /* ... were redriven (2xx) or purged (4xx) from a dead-letter queue */
	LOG_SETTLED_EXPIRED = 4 /* ... because they were older than the queue's retention */
};

/* Of a message that was dead-lettered or redriven: it was written in the same batch as the settlement of
 * the one it was made from. Behind it: reason_length bytes of UTF-8. */
struct log_origin {
	char queue[LOG_QUEUE_NAME_BYTES]; /* where it was published to, and its place there */
	uint64_t log_id, sequence;
	uint64_t first_ns,
	    last_ns;       /* CLOCK_REALTIME at which it was dead-lettered first and last */
	uint32_t receives; /* handlers that were started on it, as far as that is known */
	uint16_t status;   /* with which it failed last */
	uint16_t reason_length;
};
_Static_assert(sizeof(struct log_origin) == 104, "disk layout");
enum { LOG_REASON_BYTES = 512 }; /* longest reason */

struct log_received { /* a handler was started on it and did not live to answer */
	uint64_t sequence;
	uint32_t count;
	uint32_t pad;
};
_Static_assert(sizeof(struct log_received) == 16, "disk layout");

struct log_clock {         /* messages below end_sequence were there at this time */
	uint64_t clock_ns; /* time that the subscription was RUNNING while a router ran */
	uint64_t end_sequence;
};
_Static_assert(sizeof(struct log_clock) == 16, "disk layout");

/* Of a log with durability = os: from here on messages have sequences of [from, end), until there is another of
 * these. So none is given twice, also when a power cut takes messages that a worker has applied: whoever opens
 * the log begins at end. [skipped, from) were given, if at all, to messages that are lost. */
struct log_reserved {
	uint64_t skipped, from, end;
};
_Static_assert(sizeof(struct log_reserved) == 24, "disk layout");

struct log_state { /* of the subscription; fields as in shm/control.h */
	uint64_t generation, since_ns, sequence;
	uint32_t state, uid, pid, status;
	char user[64], program[64], message_id[132], error[256], reason[256];
	uint32_t tripped_s; /* 0 in older logs */
};
_Static_assert(sizeof(struct log_state) == 816, "disk layout");

struct log_commit {
	uint64_t batch;
	uint64_t time_ns;       /* CLOCK_REALTIME at which the batch was closed */
	uint64_t clock_ns;      /* time that routers have spent running, then: it never goes back */
	uint64_t start;         /* position of the batch's first frame in this log */
	uint64_t previous;      /* number of the batch before, 0 for the first */
	uint64_t barrier;       /* of the last one before it that was synced */
	uint32_t logs;          /* ids that follow, each a uint64_t: of the logs it touches ... */
	uint32_t previous_logs; /* ... then of those that the one before touched */
	uint32_t synced;        /* 1: it is a barrier; else 0 */
	uint32_t pad;
};
_Static_assert(sizeof(struct log_commit) == 64, "disk layout");

/* Bytes of such a payload. */
static inline uint32_t
log_commit_bytes(uint32_t logs, uint32_t previous_logs)
{
	return (uint32_t)(sizeof(struct log_commit) +
	    ((uint64_t)logs + previous_logs) * sizeof(uint64_t));
}

/* Of a checkpoint: how the messages ended that it says are settled, these and no others. */
struct log_totals {
	uint64_t done, failed;
	uint64_t dead_lettered, expired; /* of those that failed */
};
_Static_assert(sizeof(struct log_totals) == 32, "disk layout");

struct log_checkpoint {
	uint64_t next_sequence;          /* that a message may have from here on */
	uint64_t reserved;               /* log_reserved.end, or 0 */
	uint64_t clock_ns;               /* as in struct log_commit */
	uint64_t published, duplicates;  /* since the log began */
	uint64_t low_watermark, highest; /* of struct settled (log/settled.h) */
};
_Static_assert(sizeof(struct log_checkpoint) == 56, "disk layout");

struct log_segment_entry { /* a segment that takes no more */
	uint64_t number, last_number;
	uint64_t first_sequence, end_sequence; /* its messages have sequences of [first, end) */
	uint64_t messages;                     /* so many */
	uint64_t end_clock_ns;                 /* when the last of them was written */
	uint64_t data_bytes; /* from the segment's first byte to its last batch's end */
};
_Static_assert(sizeof(struct log_segment_entry) == 56, "disk layout");

/* Adds so many messages of a range: those that were not settled before. */
void log_count(struct log_totals *, const struct log_settled *, uint64_t messages);

/* Does a batch begin with this frame, before which all is durable in this log? */
static inline bool
log_follows_durable(const struct log_frame *frame)
{
	return (frame->flags & LOG_FLAG_FIRST) &&
	    (!(frame->flags & LOG_FLAG_OS) || (frame->flags & LOG_FLAG_AFTER_BARRIER));
}

/* Room that a frame takes, with its zeros. */
static inline uint64_t
log_frame_bytes(uint64_t payload_length)
{
	return (sizeof(struct log_frame) + payload_length + 7) & ~(uint64_t)7;
}

/* Does this frame hold a message? */
static inline bool
log_is_message(const struct log_frame *frame)
{
	return frame->type == LOG_MESSAGE || frame->type == LOG_TRANSFERRED;
}

/* Bytes in front of a moved message's envelope. */
static inline uint32_t
log_origin_bytes(uint32_t reason_length)
{
	return ((uint32_t)sizeof(struct log_origin) + reason_length + 7) & ~(uint32_t)7;
}

/* The envelope of a frame that holds a message and is valid; NULL origin: it was never moved. */
struct log_content {
	const void *envelope;
	uint32_t length;
	const struct log_origin *origin;
	const char *reason; /* origin->reason_length bytes */
};
struct log_content log_content(const struct log_frame *);

/* Fills the checksums: of a payload that is in place behind the header, then of the header. */
void log_frame_set_checksums(struct log_frame *);

/* True when room bytes at data begin with a header that is whole, is of this segment, and whose
 * frame lies within room. The payload is not looked at. */
bool log_frame_header_valid(const void *data, uint64_t room, uint64_t salt);

/* True when the payload behind a valid header is whole and, for types other than MESSAGE, has a
 * form that its type allows. */
bool log_frame_payload_valid(const struct log_frame *);

void log_segment_header_set_checksum(struct log_segment_header *);
/* Returns 0, -EBADMSG when it is damaged, -ESTALE when it is another version's, -ENODATA when it is
 * all zeros (the segment was being made), -EFBIG when it is whole and its segment too large. */
int log_segment_header_check(const struct log_segment_header *);

/* Hash of a group, and its upper 16 bits, which pick a message's lane. */
uint64_t log_group_hash_whole(const char *group, size_t length);
uint16_t log_group_hash(const char *group, size_t length);

#endif
