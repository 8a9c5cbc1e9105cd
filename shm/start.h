/*
 * start - the start words: the message that a worker is handling, and the time of its start.
 *
 * The worker writes the words into its lane. The router reads them there, to kill a worker that
 * takes too long and to count a worker's death against the message, and copies them to the control
 * segment for headgatectl.
 *
 *   The writer                               A reader
 *     start_set()    since_ns = now            now, from the clock
 *                    sequence = n  (release)   start_get()   sequence  (acquire)
 *     start_clear()  sequence = 0                            since_ns
 *
 * Two words cannot be read at one moment. The pair as read errs to one side only: since_ns is never
 * older than the start of the message `sequence`.
 *   - A reader that loads n loads the since_ns stored before n, or a later one: release and
 *   acquire.
 *   - start_clear() leaves since_ns alone. A cleared since_ns could be read together with the
 *   previous sequence, and
 *     the worker would look busy since boot.
 * A reader takes the time `now` before it reads the words. If now - since_ns >= limit, the worker
 * had been handling the message for at least `limit`: since_ns <= now - limit, and sequence was
 * loaded after now.
 *
 * tests/model/start.pml models the words, with all orders of the steps. Change both together.
 */
#ifndef HEADGATE_SHM_START_H
#define HEADGATE_SHM_START_H

#include <stdatomic.h>
#include <stdint.h>

struct start {
	_Atomic uint64_t sequence; /* of the message being handled; 0: none */
	_Atomic uint64_t since_ns; /* CLOCK_MONOTONIC; meaningless while sequence is 0 */
};
_Static_assert(sizeof(struct start) == 16, "shared layout");

/* The only writer: marks the start of a handler on this message; marks that no handler runs. */
void start_set(struct start *, uint64_t sequence, uint64_t now_ns);
void start_clear(struct start *);

/* Anyone, with a time taken before: returns the message's sequence, 0 for none. Always sets
 * *since_ns. */
uint64_t start_get(const struct start *, uint64_t *since_ns);

#endif
