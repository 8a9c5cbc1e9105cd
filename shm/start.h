/*
 * start - the start words: the message that a worker's handler is at, and since when.
 *
 * The worker writes them into its lane. The router reads them there, to kill a worker that takes too long and to count
 * a life that a message cost, and repeats them in the control segment for headgatectl.
 *
 *   The writer                               A reader
 *     start_set()    since_ns = now            now, from the clock
 *                    sequence = n  (release)   start_get()   sequence  (acquire)
 *     start_clear()  sequence = 0                            since_ns
 *
 * Two words cannot be read at one moment. So they are read as a pair that errs to one side only: since_ns is never
 * older than the start of the message that sequence names.
 *   - A reader that sees n sees the since_ns stored before n, or a later one: release and acquire.
 *   - start_clear() leaves since_ns alone. Cleared as well, it would be read together with the sequence before, and
 *     the worker would look busy since the machine was booted.
 * A reader takes the time before it reads them. Then now - since_ns >= limit says that the worker was still at that
 * message at a moment when it had been at it for that long: since_ns <= now - limit, and sequence was loaded after now.
 *
 * tests/model/start.pml is a model of this, in which all orders of the steps are tried. Change both.
 */
#ifndef HEADGATE_SHM_START_H
#define HEADGATE_SHM_START_H

#include <stdatomic.h>
#include <stdint.h>

struct start {
	_Atomic uint64_t sequence; /* being handled, 0 for none */
	_Atomic uint64_t since_ns; /* CLOCK_MONOTONIC; means nothing while sequence is 0 */
};
_Static_assert(sizeof(struct start) == 16, "shared layout");

/* The writer, of which there is one: a handler is started on this message; none is at work. */
void start_set(struct start *, uint64_t sequence, uint64_t now_ns);
void start_clear(struct start *);

/* Anyone, with a time taken before: the message, 0 for none, and *since_ns, which is set in any case. */
uint64_t start_get(const struct start *, uint64_t *since_ns);

#endif
