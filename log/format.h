/*
 * format - the bytes of a queue's log. headgate-log(5) describes them for users; doc/log.md argues
 * why a log survives crashes.
 *
 * STATE/queues/NAME/ holds segments: files NNNNNNNNNNNNNNNN.log, numbered from 1 in hexadecimal.
 * The log is one line of bytes. A *position* is a 64-bit offset in the line; no position is used
 * twice. A segment stands for the positions [header.position, header.position + header.span).
 *
 *   segment:  | header, 4096 | batch | batch | batch | ... an earlier use of the file ... |
 *   batch:    | frame, flag FIRST | frame | ... | COMMIT | PAD to the next block |
 *   frame:    | struct log_frame, 40 | payload, length | 0 to 7 zeros |
 *
 * A frame is valid if and only if
 *	1. the header checksum is right,
 *	2. the salt is the salt of the segment,
 *	3. the frame ends inside the segment, and
 *	4. the payload checksum is right, and the payload has a form allowed for the frame's type.
 *
 * A batch lies in one segment. A batch is a transaction over all logs named by its commit record:
 * a batch counts only if each named log has the batch whole, up to the commit record. The router
 * writes a batch only after the batch before is written in all its logs.
 *
 * Batches are numbered over all logs of a router. Most batches are *synced*: durable once written.
 * A batch may stay unsynced if all its logs belong to topics with durability = os. A synced batch
 * is a *barrier*: a barrier has a frame in each log with unsynced bytes, so a durable barrier makes
 * everything written before durable, in every log.
 *
 * A segment begins with a *checkpoint*: all facts of the older segments except messages. The first
 * frame of the first batch is a CHECKPOINT. SEGMENTS and UNSETTLED frames follow, possibly in
 * later batches. A TOTALS frame is the last. The first batch describes the segment just before. So
 * a segment without live messages can be freed once the newest segment's checkpoint is durable.
 *
 * A *compacted* segment replaces several segments with few live messages: it has the number of the
 * first, header.last_number of the last, the positions of all, and the live messages in one batch.
 * A file with a number in (number, last_number] is a *leftover*.
 *
 * A salvaged log (log/salvage.h) has segments with messages only, one batch each, and a last
 * segment with the checkpoint.
 *
 * Integers are in host byte order; the header's endian word says which. Checksums are XXH3, the
 * low 32 or all 64 bits.
 *
 * To change the format, change the last digit of LOG_MAGIC. One reader reads one format.
 */
#ifndef HEADGATE_LOG_FORMAT_H
#define HEADGATE_LOG_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_MAGIC "HGLOG006"

/*
 * Each batch ends at a multiple of LOG_BLOCK_BYTES. So no block has bytes of two batches, and no
 * durable block is written again: a power cut during the write of a sector may take every byte of
 * the sector. Disks have sectors of 512 or 4096 bytes. A disk with larger sectors writes a sector
 * in one piece (NVMe: AWUPF). The page cache is written in blocks of the file system, mostly 4096
 * bytes. The simulation draws the block size, and everything in proportion.
 */
#ifndef LOG_BLOCK
#define LOG_BLOCK 4096
#endif
#define LOG_BLOCK_BYTES LOG_BLOCK

/* Smaller in the fault tests, for many segments; drawn in the simulation. */
#ifndef LOG_SEGMENT_MIN
#define LOG_SEGMENT_MIN (1 << 20)
#define LOG_SEGMENT_MAX (64 << 20)
#endif
#define LOG_SEGMENT_BYTES_MIN   LOG_SEGMENT_MIN /* first segment of a log */
#define LOG_SEGMENT_BYTES_MAX   LOG_SEGMENT_MAX
#define LOG_SEGMENT_BYTES_LIMIT (4 * LOG_SEGMENT_MAX) /* largest readable */

enum {
	LOG_HEADER_BYTES = 4096,
	LOG_QUEUE_NAME_BYTES = 64,
	LOG_LOGS_MAX = 256 /* in one batch */
};

struct log_segment_header {
	char magic[8];
	uint32_t endian; /* 0x01020304 in the writer's byte order */
	uint32_t header_bytes;
	uint64_t log_id;      /* random, positive as a signed 64-bit integer */
	uint64_t number;      /* number of the segment, from 1; the file's name */
	uint64_t last_number; /* compacted: number of the last replaced segment; else number */
	uint64_t salt;        /* also in each frame: tells new frames from older uses of the file */
	uint64_t position;    /* of the header's first byte */
	uint64_t size;        /* bytes of the segment, header included */
	uint64_t span;        /* number of positions: size; compacted: of all replaced segments */
	uint64_t created_ns;  /* CLOCK_REALTIME; compacted: of the first replaced segment */
	/* Compacted segments only, as in struct log_segment_entry; else 0. */
	uint64_t first_sequence, end_sequence, messages, end_clock_ns, data_bytes;
	char queue[LOG_QUEUE_NAME_BYTES];
	uint64_t checksum; /* of all bytes before */
};
_Static_assert(sizeof(struct log_segment_header) == 192, "disk layout");

enum log_type {
	LOG_MESSAGE = 1, /* payload: the envelope (message/envelope.h) */
	LOG_SETTLED,     /* payload: struct log_settled, one or more */
	LOG_RECEIVED,    /* payload: struct log_received, one or more */
	LOG_STATE,       /* payload: struct log_state */
	LOG_COMMIT,      /* payload: struct log_commit and ids of logs */
	LOG_CHECKPOINT,  /* payload: struct log_checkpoint */
	LOG_PAD,         /* to the next block; payload: undefined */
	LOG_SEGMENTS,    /* payload: struct log_segment_entry, one or more */
	LOG_UNSETTLED,   /* payload: struct settled_chunk (log/settled.h), one or more */
	LOG_TRANSFERRED, /* payload: struct log_origin, its reason, zeros to 8 bytes, the envelope */
	LOG_CLOCK,       /* payload: struct log_clock, one or more, in order */
	LOG_RESERVED,    /* payload: struct log_reserved */
	LOG_TOTALS       /* payload: struct log_totals; last frame of a checkpoint */
};
/* Name of a frame type, "message" and so on; NULL for an unknown type. */
const char *log_type_name(unsigned type);

enum {
	LOG_FLAG_FIRST = 1, /* first frame of a batch in this log */
	LOG_FLAG_OS = 4, /* log with durability = os: bytes before this frame may be unsynced ... */
	LOG_FLAG_AFTER_BARRIER = 8 /* ... but are synced: no write since the last barrier */
};

struct log_frame {
	uint32_t header_sum;  /* of the 36 bytes behind */
	uint32_t payload_sum; /* of the payload; PAD: 0 */
	uint32_t length;      /* bytes of the payload */
	uint8_t type;         /* enum log_type */
	uint8_t flags;
	uint16_t group_hash; /* messages only: the lane is group_hash % lanes */
	uint64_t sequence;   /* of a message, from 1; other types: 0 */
	uint64_t batch;      /* number of the batch, over all logs of a router, from 1 */
	uint64_t salt;       /* of the segment */
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
	LOG_SETTLED_DEAD = 1,        /* copied to the dead-letter queue in the same batch */
	LOG_SETTLED_TRANSFERRED = 2, /* redriven (2xx) or purged (4xx) from a dead-letter queue */
	LOG_SETTLED_EXPIRED = 4      /* older than the queue's retention */
};

/*
 * Origin of a dead-lettered or redriven message. The message and the settlement of its original
 * are in the same batch. reason_length bytes of UTF-8 follow.
 */
struct log_origin {
	char queue[LOG_QUEUE_NAME_BYTES]; /* first queue of the message ... */
	uint64_t log_id, sequence;        /* ... and the message's place there */
	uint64_t first_ns, last_ns;       /* first and last dead-lettering, CLOCK_REALTIME */
	uint32_t receives;                /* known number of started handlers */
	uint16_t status;                  /* of the last failure */
	uint16_t reason_length;
};
_Static_assert(sizeof(struct log_origin) == 104, "disk layout");
enum { LOG_REASON_BYTES = 512 }; /* longest reason */

struct
    log_received { /* receive count of a message: handlers that started and died before an answer */
	uint64_t sequence;
	uint32_t count;
	uint32_t pad;
};
_Static_assert(sizeof(struct log_received) == 16, "disk layout");

struct
    log_clock { /* index entry of the retention: messages below end_sequence existed at clock_ns */
	uint64_t clock_ns; /* time with a router running and the subscription RUNNING */
	uint64_t end_sequence;
};
_Static_assert(sizeof(struct log_clock) == 16, "disk layout");

/*
 * Promise of a log with durability = os: new messages have sequences of [from, end) until the next
 * promise. A power cut may take messages already applied by a worker; the next router begins at
 * `end`, so no sequence is given twice. Sequences [skipped, from) belong to no message, or to lost
 * messages.
 */
struct log_reserved {
	uint64_t skipped, from, end;
};
_Static_assert(sizeof(struct log_reserved) == 24, "disk layout");

struct log_state { /* state of the subscription; fields as in shm/control.h */
	uint64_t generation, since_ns, sequence;
	uint32_t state, uid, pid, status;
	char user[64], program[64], message_id[132], error[256], reason[256];
	uint32_t tripped_s; /* 0 in older logs */
};
_Static_assert(sizeof(struct log_state) == 816, "disk layout");

/* Commit record: the last frame of a batch in each of its logs, but for a PAD. */
struct log_commit {
	uint64_t batch;
	uint64_t time_ns;       /* close of the batch, CLOCK_REALTIME */
	uint64_t clock_ns;      /* close of the batch, in router running time; never goes back */
	uint64_t start;         /* position of the batch's first frame in this log */
	uint64_t previous;      /* number of the batch before; 0 for the first */
	uint64_t barrier;       /* number of the last synced batch before this batch */
	uint32_t logs;          /* ids that follow, each a uint64_t: logs of this batch ... */
	uint32_t previous_logs; /* ... then logs of the batch before */
	uint32_t synced;        /* 1: a barrier; else 0 */
	uint32_t pad;
};
_Static_assert(sizeof(struct log_commit) == 64, "disk layout");

/* Bytes of a COMMIT payload. */
static inline uint32_t
log_commit_bytes(uint32_t logs, uint32_t previous_logs)
{
	return (uint32_t)(sizeof(struct log_commit) +
	    ((uint64_t)logs + previous_logs) * sizeof(uint64_t));
}

/* Outcomes of exactly the messages settled according to the checkpoint. */
struct log_totals {
	uint64_t done, failed;
	uint64_t dead_lettered, expired; /* parts of failed */
};
_Static_assert(sizeof(struct log_totals) == 32, "disk layout");

struct log_checkpoint {
	uint64_t next_sequence;          /* lowest sequence of a later message */
	uint64_t reserved;               /* log_reserved.end, or 0 */
	uint64_t clock_ns;               /* as in struct log_commit */
	uint64_t published, duplicates;  /* since the log began */
	uint64_t low_watermark, highest; /* of struct settled (log/settled.h) */
};
_Static_assert(sizeof(struct log_checkpoint) == 56, "disk layout");

struct log_segment_entry { /* a sealed segment */
	uint64_t number, last_number;
	uint64_t first_sequence, end_sequence; /* sequences of the messages: [first, end) */
	uint64_t messages;                     /* number of messages */
	uint64_t end_clock_ns; /* log_commit.clock_ns at the end: no message is newer */
	uint64_t data_bytes;   /* from the segment's first byte to the end of the last batch */
};
_Static_assert(sizeof(struct log_segment_entry) == 56, "disk layout");

/* Adds `messages` outcomes of a settled range to the totals: the newly settled messages. */
void log_count(struct log_totals *, const struct log_settled *, uint64_t messages);

/* True for the first frame of a batch if all earlier bytes of the log were durable by then. */
static inline bool
log_follows_durable(const struct log_frame *frame)
{
	return (frame->flags & LOG_FLAG_FIRST) &&
	    (!(frame->flags & LOG_FLAG_OS) || (frame->flags & LOG_FLAG_AFTER_BARRIER));
}

/* Bytes of a frame: header, payload, zeros. */
static inline uint64_t
log_frame_bytes(uint64_t payload_length)
{
	return (sizeof(struct log_frame) + payload_length + 7) & ~(uint64_t)7;
}

/* Bytes of the PAD frame behind a commit record that ends at this offset or position. 0: the commit
 * record ends a block, and no PAD follows. */
static inline uint64_t
log_pad_bytes(uint64_t offset)
{
	uint64_t left = (LOG_BLOCK_BYTES - offset % LOG_BLOCK_BYTES) % LOG_BLOCK_BYTES;

	return left > 0 && left < sizeof(struct log_frame) ? left + LOG_BLOCK_BYTES : left;
}

/* True for a frame with a message. */
static inline bool
log_is_message(const struct log_frame *frame)
{
	return frame->type == LOG_MESSAGE || frame->type == LOG_TRANSFERRED;
}

/* Bytes in front of a transferred message's envelope. */
static inline uint32_t
log_origin_bytes(uint32_t reason_length)
{
	return ((uint32_t)sizeof(struct log_origin) + reason_length + 7) & ~(uint32_t)7;
}

/* Parts of a valid frame with a message. */
struct log_content {
	const void *envelope;
	uint32_t length;                 /* bytes of the envelope */
	const struct log_origin *origin; /* NULL: never transferred */
	const char *reason;              /* origin->reason_length bytes */
};
struct log_content log_content(const struct log_frame *);

/* Fills in both checksums. The payload must stand behind the header already. */
void log_frame_set_checksums(struct log_frame *);

/* True if the `room` bytes at `data` begin with a valid frame header of the segment with this salt,
 * and the frame ends within `room`. Does not look at the payload. */
bool log_frame_header_valid(const void *data, uint64_t room, uint64_t salt);

enum log_frame_view {
	LOG_FRAME_WHOLE, /* a valid frame */
	LOG_FRAME_MORE, /* the frame is longer than the bytes at hand; its header, if whole, is valid */
	LOG_FRAME_DAMAGED /* no valid frame */
};

/* Looks at the frame at the begin of `have` bytes, in the segment with this salt. A WHOLE frame has
 * both checksums right and, for types other than MESSAGE, a payload of a form allowed for the
 * type. */
enum log_frame_view log_frame_at(const void *data, uint64_t have, uint64_t salt);

/* Fills in magic, endian, header_bytes and checksum. */
void log_segment_header_set_checksum(struct log_segment_header *);
/* Returns 0; -EBADMSG: damaged; -ESTALE: another version's; -ENODATA: all zeros, a segment under
 * construction; -EFBIG: whole, but the segment is too large. */
int log_segment_header_check(const struct log_segment_header *);

/* Hash of a group. */
uint64_t log_group_hash_whole(const char *group, size_t length);
/* Upper 16 bits of the hash: log_frame.group_hash. */
uint16_t log_group_hash(const char *group, size_t length);

#endif
