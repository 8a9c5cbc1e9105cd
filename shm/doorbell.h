/*
 * doorbell - wakes a process that sleeps because its rings are empty.
 *
 * The sleeper                             The waker
 *   sleeping = 1                            publishes its record (ring_publish)
 *   full barrier             (A)            full barrier              (B)
 *   looks at its rings once more            looks at sleeping
 *   sleeps if they are still empty          if 1: exchanges it for 0 and wakes
 *
 * Barrier A pairs with barrier B: of "ring looked empty" and "sleeping looked 0" at least one is
 * false, so no wake-up is lost. They are the only full barriers in the project's rings, one for
 * each batch. The exchange makes sure that only one wake is issued.
 *
 * A worker sleeps on the futex word, with a time-out always. The router sleeps in its I/O loop and
 * is woken through an eventfd.
 *
 * tests/model/doorbell.pml is a model of this, in which all orders of the steps are tried, with
 * stores that come to memory late. Change both.
 */
#ifndef HEADGATE_SHM_DOORBELL_H
#define HEADGATE_SHM_DOORBELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct doorbell {
	_Atomic uint32_t sleeping; /* 1: asleep or about to be. Also the futex word. */
	uint32_t pad;
};
_Static_assert(sizeof(struct doorbell) == 8, "shared layout");

/* Sleeper: says that it is about to sleep, then full barrier A. Look at the rings after this. */
void doorbell_prepare(struct doorbell *);

/* Sleeper: does not sleep after all, or woke up. */
void doorbell_cancel(struct doorbell *);

/* Sleeper: sleeps until rung or until timeout_ns passed. Call between prepare and cancel. */
void doorbell_wait(struct doorbell *, int64_t timeout_ns);

/* Waker: full barrier B, then true when the sleeper must be woken by the caller's own means (an
 * eventfd). Returns true once for each sleep. */
bool doorbell_must_wake(struct doorbell *);

/* Waker: doorbell_must_wake() and a futex wake. */
void doorbell_ring(struct doorbell *);

#endif
