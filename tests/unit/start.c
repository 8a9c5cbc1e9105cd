/*
 * The start words, with a writer and a reader at full speed.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "shm/start.h"

enum { LOOKS = 20000000, IDLE_NS = 1000, HANDLING_NS = 10 };

/* A message takes HANDLING_NS. Mostly the worker is idle for much longer before the next
 * message. */
static struct start start;
static _Atomic uint64_t clock_ns = 1;
static _Atomic bool ended;

static void *
write_starts(void *arg)
{
	(void)arg;
	for (uint64_t n = 1; !ended; n++) {
		start_set(&start, n, clock_ns);
		clock_ns += HANDLING_NS;
		if (n % 3 == 0)
			continue; /* the next message at once */
		start_clear(&start);
		clock_ns += IDLE_NS;
	}
	return NULL;
}

Test(start, a_worker_that_is_quick_never_looks_slow, .timeout = 1200)
{
	uint64_t last = 0, busy = 0;
	pthread_t writer;

	if (getenv("HEADGATE_VALGRIND") != NULL)
		cr_skip("valgrind runs one thread at a time");
	cr_assert(pthread_create(&writer, NULL, write_starts, NULL) == 0, "thread");
	while (busy < LOOKS) {
		uint64_t since_ns, now_ns = clock_ns, sequence = start_get(&start, &since_ns);

		busy += sequence != 0;
		cr_assert(sequence == 0 || since_ns >= now_ns || now_ns - since_ns <= HANDLING_NS,
		    "message %lu for %lu ns", (unsigned long)sequence,
		    (unsigned long)(now_ns - since_ns));
		cr_assert(sequence == 0 || sequence >= last, "%lu after %lu",
		    (unsigned long)sequence, (unsigned long)last);
		last = sequence != 0 ? sequence : last;
	}
	ended = true;
	pthread_join(writer, NULL);
}

Test(start, a_message_is_named_with_its_time)
{
	struct start one = { 0 };
	uint64_t since_ns = 7;

	cr_assert(start_get(&one, &since_ns) == 0, "none");
	start_set(&one, 42, 4711);
	cr_assert(start_get(&one, &since_ns) == 42 && since_ns == 4711, "it");
	start_clear(&one);
	cr_assert(start_get(&one, &since_ns) == 0, "none");
}
