/*
 * doorbell - wakes a process that sleeps on empty rings.
 *
 * The sleeper                             The waker
 *   sleeping = 1                            publishes a record (ring_publish)
 *   full barrier             (A)            full barrier              (B)
 *   checks the rings once more              loads sleeping
 *   sleeps if all are empty                 if 1: exchanges for 0, and wakes the sleeper
 *
 * Barrier A pairs with barrier B, so it cannot happen that the sleeper finds the ring empty and the
 * waker loads 0. No wake-up is lost therefore. These are the only full barriers of the rings, one
 * per batch. The exchange makes sure that only one wake-up is issued.
 *
 * A worker sleeps on the futex word, always with a time-out. The router sleeps in its I/O loop, and
 * an eventfd wakes it.
 *
 * tests/model/doorbell.pml models this handshake, with all orders of the steps, and stores that
 * reach memory late. Change both together.
 */
#ifndef HEADGATE_SHM_DOORBELL_H
#define HEADGATE_SHM_DOORBELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct doorbell {
	_Atomic uint32_t sleeping; /* 1: asleep or about to sleep. Also the futex word. */
	uint32_t pad;
};
_Static_assert(sizeof(struct doorbell) == 8, "shared layout");

/* Sleeper: announces a sleep, then full barrier A. The caller checks its rings afterwards. */
void doorbell_prepare(struct doorbell *);

/* Sleeper: takes the announcement back, instead of a sleep or after one. */
void doorbell_cancel(struct doorbell *);

/* Sleeper: sleeps until rung, or for timeout_ns. Call between prepare and cancel. */
void doorbell_wait(struct doorbell *, int64_t timeout_ns);

/* Waker: full barrier B, then true if the caller must wake the sleeper by other means than the
 * futex (an eventfd). Returns true once per sleep. */
bool doorbell_must_wake(struct doorbell *);

/* Waker: doorbell_must_wake() and a futex wake. */
void doorbell_ring(struct doorbell *);

#endif
