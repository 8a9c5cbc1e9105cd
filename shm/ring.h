/*
 * ring - a single-producer single-consumer byte ring in shared memory.
 *
 *      struct ring_shared                    data, mapped twice back to back
 *      +-----------+-----------+             +-----------------+-----------------+
 *      |   head    |   tail    |             |  0 .. capacity  |  (same pages)   |
 *      | producer  | consumer  |             +-----------------+-----------------+
 *      +-----------+-----------+                tail ^----- filled -----^ head
 *
 * Positions are byte counts that run freely over 64 bits; position & (capacity - 1) is the offset.
 * Records are 8-byte aligned: a header (struct ring_record_header) and the payload. As the data is
 * mapped twice, a record is always contiguous and the wrap needs no padding record.
 *
 * The states that a record can be in:
 *   reserved   ring_reserve() gave its payload to the producer; the consumer cannot see it
 *   published  ring_publish() stored a head beyond it; the consumer may read it
 *   taken      ring_peek() gave it to the consumer; the producer cannot overwrite it
 *   released   ring_release() stored a tail beyond it; its bytes are the producer's again
 *
 * A process that dies in between loses only what it had reserved or taken: positions move by one
 * store each, so the ring itself is whole at every instant.
 *
 * Neither side trusts the other: a position or header that cannot be is answered with -EPROTO.
 */
#ifndef HEADGATE_SHM_RING_H
#define HEADGATE_SHM_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	RING_ALIGNMENT = 8,      /* of every record, in bytes */
	RING_LINE_BYTES = 128,   /* a cache-line pair: the prefetcher fetches two lines at a time */
	RING_CAPACITY_MIN = 4096 /* one page; a capacity is a power of two from here up */
};

/* Shared layout: changing it changes the lane's fingerprint (lane.h). */
struct ring_shared {
	_Alignas(RING_LINE_BYTES) _Atomic uint64_t head; /* written by the producer alone */
	_Alignas(RING_LINE_BYTES) _Atomic uint64_t tail; /* written by the consumer alone */
};
_Static_assert(sizeof(struct ring_shared) == 2 * RING_LINE_BYTES, "one line pair a writer");
_Static_assert(offsetof(struct ring_shared, tail) == RING_LINE_BYTES, "one line pair a writer");

struct ring_record_header {
	uint32_t length; /* of the payload, bytes */
	uint32_t tag;    /* what the payload is: the user's business */
};
_Static_assert(sizeof(struct ring_record_header) == 8, "records stay 8-byte aligned");

/* One side's private view. Never in shared memory. */
struct ring_producer {
	struct ring_shared *shared;
	uint8_t *data;      /* capacity bytes, mapped twice */
	uint64_t capacity;  /* bytes, a power of two */
	uint64_t head;      /* end of what is reserved */
	uint64_t published; /* end of what the consumer was shown */
	uint64_t tail_seen; /* private copy of the consumer's position */
};

struct ring_consumer {
	struct ring_shared *shared;
	const uint8_t *data;
	uint64_t capacity;
	uint64_t tail;      /* end of what was taken */
	uint64_t released;  /* end of what the producer was given back */
	uint64_t head_seen; /* private copy of the producer's position */
};

struct ring_record {
	const void *payload; /* in shared memory: load each field once, validate the local copy */
	uint32_t length;
	uint32_t tag;
};

/* Attaches a side at the positions that stand in shared memory. For a new ring they are equal.
 * Returns 0, -EINVAL for a capacity that is no power of two >= RING_CAPACITY_MIN, -EPROTO when the
 * positions cannot be. */
int ring_producer_init(struct ring_producer *, struct ring_shared *, void *data, size_t capacity);
int ring_consumer_init(
    struct ring_consumer *, struct ring_shared *, const void *data, size_t capacity);

/* Producer. Reserves room for a record of length bytes and points *payload at it.
 * Returns 1 when there is room, 0 when the ring is full, -EMSGSIZE when the record could never fit,
 * -EPROTO when the consumer's position is not believable. */
int ring_reserve(struct ring_producer *, uint32_t tag, uint32_t length, void **payload);

/* Producer. Shows the consumer everything reserved so far, with one release store. */
void ring_publish(struct ring_producer *);

/* Consumer. Takes the next record.
 * Returns 1 with *record filled, 0 when the ring is empty, -EPROTO for a position or header that
 * cannot be. The record's bytes stay valid until ring_release(). */
int ring_peek(struct ring_consumer *, struct ring_record *record);

/* Consumer. Takes back the last ring_peek(): the same record comes again. */
void ring_unpeek(struct ring_consumer *, const struct ring_record *record);

/* Consumer. Gives the producer back the room of everything taken so far, with one release store. */
void ring_release(struct ring_consumer *);

/* Either side: bytes that are free for the producer, or filled for the consumer, by a fresh look. */
uint64_t ring_free_bytes(struct ring_producer *);
uint64_t ring_filled_bytes(struct ring_consumer *);

#endif
