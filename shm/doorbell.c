#include "shm/doorbell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void
doorbell_prepare(struct doorbell *bell)
{
	atomic_store_explicit(&bell->sleeping, 1, memory_order_relaxed);
	/* Barrier A, pairs with barrier B in doorbell_must_wake(). Sequentially consistent, because
	 * no weaker fence orders a store before a later load. */
	atomic_thread_fence(memory_order_seq_cst);
}

void
doorbell_cancel(struct doorbell *bell)
{
	/* Relaxed: at worst a waker still loads 1 and wakes in vain. */
	atomic_store_explicit(&bell->sleeping, 0, memory_order_relaxed);
}

void
doorbell_wait(struct doorbell *bell, int64_t timeout_ns)
{
	struct timespec timeout = {
		.tv_sec = timeout_ns / 1000000000,
		.tv_nsec = timeout_ns % 1000000000,
	};

	/* No FUTEX_PRIVATE_FLAG, as processes share the word. The kernel sleeps only while the word
	 * is 1. An early return, by a signal or for no reason, counts as a wake-up. */
	syscall(SYS_futex, &bell->sleeping, FUTEX_WAIT, 1, &timeout, NULL, 0);
}

bool
doorbell_must_wake(struct doorbell *bell)
{
	/* Barrier B, pairs with barrier A in doorbell_prepare(): a sleeper whose 1 is not loaded
	 * below sees all records published before. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&bell->sleeping, memory_order_relaxed) != 1)
		return false;
	/* Only one of several wakers gets the 1. */
	return atomic_exchange_explicit(&bell->sleeping, 0, memory_order_relaxed) == 1;
}

void
doorbell_ring(struct doorbell *bell)
{
	if (doorbell_must_wake(bell))
		syscall(SYS_futex, &bell->sleeping, FUTEX_WAKE, 1, NULL, NULL, 0);
}
