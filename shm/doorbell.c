#include "shm/doorbell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void
doorbell_prepare(struct doorbell *bell)
{
	atomic_store_explicit(&bell->sleeping, 1, memory_order_relaxed);
	/* Barrier A, pairs with barrier B in doorbell_must_wake(). A sequentially consistent fence,
	 * because a store must come before a later load: no weaker order says that. */
	atomic_thread_fence(memory_order_seq_cst);
}

void
doorbell_cancel(struct doorbell *bell)
{
	/* Relaxed: at worst a waker still sees 1 and wakes in vain. */
	atomic_store_explicit(&bell->sleeping, 0, memory_order_relaxed);
}

void
doorbell_wait(struct doorbell *bell, int64_t timeout_ns)
{
	struct timespec timeout = {
		.tv_sec = timeout_ns / 1000000000,
		.tv_nsec = timeout_ns % 1000000000,
	};

	/* Shared between processes: no FUTEX_PRIVATE_FLAG. Sleeps only while the word is still 1; that
	 * it returns early, by a signal or for no reason, is as good as a wake. */
	syscall(SYS_futex, &bell->sleeping, FUTEX_WAIT, 1, &timeout, NULL, 0);
}

bool
doorbell_must_wake(struct doorbell *bell)
{
	/* Barrier B, pairs with barrier A in doorbell_prepare(): what was published before this is
	 * seen by a sleeper whose 1 we do not see. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&bell->sleeping, memory_order_relaxed) != 1)
		return false;
	/* Of several wakers only one takes the 1 away. */
	return atomic_exchange_explicit(&bell->sleeping, 0, memory_order_relaxed) == 1;
}

void
doorbell_ring(struct doorbell *bell)
{
	if (doorbell_must_wake(bell))
		syscall(SYS_futex, &bell->sleeping, FUTEX_WAKE, 1, NULL, NULL, 0);
}
