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
 * States of a record:
 *   reserved   ring_reserve() gave the payload to the producer; the consumer cannot see the record
 *   published  ring_publish() stored a head beyond the record; the consumer may read the record
 *   taken      ring_peek() gave the record to the consumer; the producer cannot overwrite it
 *   released   ring_release() stored a tail beyond the record; the bytes are the producer's again
 *
 * A process that dies loses its reserved or taken records only: positions move by one store each,
 * so the ring itself is whole at every instant.
 *
 * Neither side trusts the other: an impossible position or header yields -EPROTO.
 */
#ifndef HEADGATE_SHM_RING_H
#define HEADGATE_SHM_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	RING_ALIGNMENT = 8,      /* of every record, in bytes */
	RING_LINE_BYTES = 128,   /* a cache-line pair, as prefetchers fetch two lines at a time */
	RING_CAPACITY_MIN = 4096 /* one page; capacities are powers of two */
};

/* Shared layout: each change changes the lane's fingerprint (lane.h). */
struct ring_shared {
	_Alignas(RING_LINE_BYTES) _Atomic uint64_t head; /* written by the producer alone */
	_Alignas(RING_LINE_BYTES) _Atomic uint64_t tail; /* written by the consumer alone */
};
_Static_assert(sizeof(struct ring_shared) == 2 * RING_LINE_BYTES, "one line pair a writer");
_Static_assert(offsetof(struct ring_shared, tail) == RING_LINE_BYTES, "one line pair a writer");

struct ring_record_header {
	uint32_t length; /* of the payload, bytes */
	uint32_t tag;    /* kind of the payload, defined by the user */
};
_Static_assert(sizeof(struct ring_record_header) == 8, "records stay 8-byte aligned");

/* One side's private view. Never in shared memory. */
struct ring_producer {
	struct ring_shared *shared;
	uint8_t *data;      /* capacity bytes, mapped twice */
	uint64_t capacity;  /* bytes, a power of two */
	uint64_t head;      /* end of the reserved bytes */
	uint64_t published; /* end of the published bytes */
	uint64_t tail_seen; /* private copy of the consumer's position */
};

struct ring_consumer {
	struct ring_shared *shared;
	const uint8_t *data;
	uint64_t capacity;
	uint64_t tail;      /* end of the taken bytes */
	uint64_t released;  /* end of the released bytes */
	uint64_t head_seen; /* private copy of the producer's position */
};

struct ring_record {
	const void *payload; /* in shared memory: load each field once, validate the local copy */
	uint32_t length;
	uint32_t tag;
};

/* Attaches a side at the positions in shared memory, which are equal in a new ring. Returns 0,
 * -EINVAL for a capacity that is no power of two >= RING_CAPACITY_MIN, or -EPROTO for impossible
 * positions. */
int ring_producer_init(struct ring_producer *, struct ring_shared *, void *data, size_t capacity);
int ring_consumer_init(
    struct ring_consumer *, struct ring_shared *, const void *data, size_t capacity);

/* Producer. Reserves a record with `length` bytes of payload, and sets *payload. Returns 1; 0 if
 * the ring is full; -EMSGSIZE for a record longer than the ring; -EPROTO for an impossible position
 * of the consumer. */
int ring_reserve(struct ring_producer *, uint32_t tag, uint32_t length, void **payload);

/* Producer. Publishes all reserved records, with one release store. */
void ring_publish(struct ring_producer *);

/* Consumer. Takes the next record. Returns 1 with *record filled; 0 if the ring is empty; -EPROTO
 * for an impossible position or header. The record's bytes are valid until ring_release(). */
int ring_peek(struct ring_consumer *, struct ring_record *record);

/* Consumer. Undoes the last ring_peek(): the next call yields the same record. */
void ring_unpeek(struct ring_consumer *, const struct ring_record *record);

/* Consumer. Releases all taken records, with one release store. */
void ring_release(struct ring_consumer *);

/* The bytes free for the producer, or filled for the consumer, after a fresh load of the peer's
 * position. */
uint64_t ring_free_bytes(struct ring_producer *);
uint64_t ring_filled_bytes(struct ring_consumer *);

#endif
