#include "shm/ring.h"

#include <errno.h>
#include <string.h>

static uint64_t
record_bytes(uint32_t length)
{
	uint64_t bytes = sizeof(struct ring_record_header) + (uint64_t)length;

	return (bytes + RING_ALIGNMENT - 1) & ~(uint64_t)(RING_ALIGNMENT - 1);
}

static bool
capacity_valid(size_t capacity)
{
	return capacity >= RING_CAPACITY_MIN && (capacity & (capacity - 1)) == 0;
}

/* True for a possible number of filled bytes. Callers subtract positions, so the wrap at 2^64 does
 * not matter. */
static bool
filled_valid(uint64_t filled, uint64_t capacity)
{
	return filled <= capacity && filled % RING_ALIGNMENT == 0;
}

int
ring_producer_init(
    struct ring_producer *ring, struct ring_shared *shared, void *data, size_t capacity)
{
	uint64_t head, tail;

	if (!capacity_valid(capacity))
		return -EINVAL;
	/* Relaxed: only this side writes head. */
	head = atomic_load_explicit(&shared->head, memory_order_relaxed);
	/* Acquire: pairs with the release in ring_release(); the consumer's reads of the space are
	 * over. */
	tail = atomic_load_explicit(&shared->tail, memory_order_acquire);
	if (!filled_valid(head - tail, capacity))
		return -EPROTO;
	*ring = (struct ring_producer){
		.shared = shared,
		.data = data,
		.capacity = capacity,
		.head = head,
		.published = head,
		.tail_seen = tail,
	};
	return 0;
}

int
ring_consumer_init(
    struct ring_consumer *ring, struct ring_shared *shared, const void *data, size_t capacity)
{
	uint64_t head, tail;

	if (!capacity_valid(capacity))
		return -EINVAL;
	/* Relaxed: only this side writes tail. */
	tail = atomic_load_explicit(&shared->tail, memory_order_relaxed);
	/* Acquire: pairs with the release in ring_publish(); the records are written. */
	head = atomic_load_explicit(&shared->head, memory_order_acquire);
	if (!filled_valid(head - tail, capacity))
		return -EPROTO;
	*ring = (struct ring_consumer){
		.shared = shared,
		.data = data,
		.capacity = capacity,
		.tail = tail,
		.released = tail,
		.head_seen = head,
	};
	return 0;
}

/* Loads the consumer's position. Returns 0 or -EPROTO. */
static int
refresh_tail(struct ring_producer *ring)
{
	/* Acquire: pairs with the release in ring_release(); the consumer's reads of the space are
	 * over. */
	uint64_t tail = atomic_load_explicit(&ring->shared->tail, memory_order_acquire);

	/* The consumer's position moves forward only, and never beyond the published bytes. */
	if (!filled_valid(ring->published - tail, ring->published - ring->tail_seen))
		return -EPROTO;
	ring->tail_seen = tail;
	return 0;
}

int
ring_reserve(struct ring_producer *ring, uint32_t tag, uint32_t length, void **payload)
{
	uint64_t bytes = record_bytes(length);
	struct ring_record_header header = { .length = length, .tag = tag };
	uint8_t *at = ring->data + (ring->head & (ring->capacity - 1));

	if (bytes > ring->capacity)
		return -EMSGSIZE;
	if (ring->head + bytes - ring->tail_seen > ring->capacity) {
		int rc = refresh_tail(ring);

		if (rc != 0)
			return rc;
		if (ring->head + bytes - ring->tail_seen > ring->capacity)
			return 0;
	}
	memcpy(at, &header, sizeof(header));
	*payload = at + sizeof(header);
	ring->head += bytes;
	return 1;
}

void
ring_publish(struct ring_producer *ring)
{
	if (ring->published == ring->head)
		return;
	/* Release: publishes the records' bytes. Pairs with the acquire in refresh_head(). */
	atomic_store_explicit(&ring->shared->head, ring->head, memory_order_release);
	ring->published = ring->head;
}

/* Loads the producer's position. Returns 0 or -EPROTO. */
static int
refresh_head(struct ring_consumer *ring)
{
	/* Acquire: pairs with the release in ring_publish(); the records are written. */
	uint64_t head = atomic_load_explicit(&ring->shared->head, memory_order_acquire);

	/* The producer's position moves forward only, and never beyond the released bytes. */
	if (!filled_valid(head - ring->released, ring->capacity) ||
	    head - ring->released < ring->head_seen - ring->released)
		return -EPROTO;
	ring->head_seen = head;
	return 0;
}

int
ring_peek(struct ring_consumer *ring, struct ring_record *record)
{
	struct ring_record_header header;
	const uint8_t *at;
	uint64_t filled;

	if (ring->tail == ring->head_seen) {
		int rc = refresh_head(ring);

		if (rc != 0)
			return rc;
		if (ring->tail == ring->head_seen)
			return 0;
	}
	at = ring->data + (ring->tail & (ring->capacity - 1));
	filled = ring->head_seen - ring->tail;
	memcpy(&header, at, sizeof(header)); /* one copy, as the producer could change the header */
	if (record_bytes(header.length) > filled)
		return -EPROTO;
	*record = (struct ring_record){
		.payload = at + sizeof(header),
		.length = header.length,
		.tag = header.tag,
	};
	ring->tail += record_bytes(header.length);
	return 1;
}

void
ring_unpeek(struct ring_consumer *ring, const struct ring_record *record)
{
	ring->tail -= record_bytes(record->length);
}

void
ring_release(struct ring_consumer *ring)
{
	if (ring->released == ring->tail)
		return;
	/* Release: pairs with the acquire in refresh_tail(). All reads of the records come before
	 * their space is reused. */
	atomic_store_explicit(&ring->shared->tail, ring->tail, memory_order_release);
	ring->released = ring->tail;
}

uint64_t
ring_free_bytes(struct ring_producer *ring)
{
	return refresh_tail(ring) == 0 ? ring->capacity - (ring->head - ring->tail_seen) : 0;
}

uint64_t
ring_filled_bytes(struct ring_consumer *ring)
{
	return refresh_head(ring) == 0 ? ring->head_seen - ring->tail : 0;
}
