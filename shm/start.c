#include "shm/start.h"

void
start_set(struct start *start, uint64_t sequence, uint64_t now_ns)
{
	atomic_store_explicit(&start->since_ns, now_ns, memory_order_relaxed);
	/* Release: publishes since_ns. Pairs with the acquire in start_get(). */
	atomic_store_explicit(&start->sequence, sequence, memory_order_release);
}

void
start_clear(struct start *start)
{
	/* Relaxed: publishes nothing; stores to one word are always in order. */
	atomic_store_explicit(&start->sequence, 0, memory_order_relaxed);
}

uint64_t
start_get(const struct start *start, uint64_t *since_ns)
{
	/* Acquire: pairs with the release in start_set(); since_ns belongs to this message or a
	 * later one. */
	uint64_t sequence = atomic_load_explicit(&start->sequence, memory_order_acquire);

	*since_ns = atomic_load_explicit(&start->since_ns, memory_order_relaxed);
	return sequence;
}
