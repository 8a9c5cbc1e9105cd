/*
 * bench-wait: ways to wait for an empty ring: sleep at once, or poll for some time first. For each
 * way: round trips of one record between two processes, and a stream of records in batches; time,
 * and CPU of both processes.
 */
#include <err.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "shm/lane.h"

enum {
	RECORD_BYTES = 256,
	CAPACITY = 1 << 20,
	ROUND_TRIPS = 20000,
	RECORDS = 2000000,
	BATCH = 64,
	SLEEP_NS = 100000000
};

/* One process's end of the lane. */
struct end {
	struct ring_producer out;
	struct ring_consumer in;
	struct doorbell *own, *peer;
	int64_t spin_ns; /* polling time before a sleep; negative: no sleep */
};

static int64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static double
cpu_s(const struct rusage *usage)
{
	return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
	    (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

static void
relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

static void
wait_for_record(struct end *end)
{
	int64_t until_ns = end->spin_ns == 0 ? 0 : now_ns() + end->spin_ns;

	while (ring_filled_bytes(&end->in) == 0) {
		if (end->spin_ns < 0 || (end->spin_ns > 0 && now_ns() < until_ns)) {
			relax();
			continue;
		}
		doorbell_prepare(end->own);
		if (ring_filled_bytes(&end->in) == 0)
			doorbell_wait(end->own, SLEEP_NS);
		doorbell_cancel(end->own);
	}
}

static void
put(struct end *end, bool show)
{
	static char record[RECORD_BYTES];
	void *payload;

	while (ring_reserve(&end->out, 1, RECORD_BYTES, &payload) != 1) {
		ring_publish(&end->out);
		doorbell_ring(end->peer);
		sched_yield();
	}
	memcpy(payload, record, RECORD_BYTES);
	if (show) {
		ring_publish(&end->out);
		doorbell_ring(end->peer);
	}
}

static void
take(struct end *end)
{
	static char copy[RECORD_BYTES];
	struct ring_record record;

	while (ring_peek(&end->in, &record) != 1)
		wait_for_record(end);
	memcpy(copy, record.payload, RECORD_BYTES);
}

static void
open_ends(struct end *here, struct end *there, struct lane *lane, int64_t spin_ns)
{
	struct lane_shared *shared = lane->shared;

	*here = (struct end){ .own = &shared->router_bell, .peer = &shared->worker_bell };
	*there = (struct end){ .own = &shared->worker_bell, .peer = &shared->router_bell };
	here->spin_ns = there->spin_ns = spin_ns;
	ring_producer_init(&here->out, &shared->delivery, lane->delivery_data, CAPACITY);
	ring_consumer_init(&here->in, &shared->completion, lane->completion_data, CAPACITY);
	ring_producer_init(&there->out, &shared->completion, lane->completion_data, CAPACITY);
	ring_consumer_init(&there->in, &shared->delivery, lane->delivery_data, CAPACITY);
}

static void
echo(struct end *end, bool round_trips)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < (round_trips ? ROUND_TRIPS : RECORDS); i++) {
		take(end);
		if (round_trips || i % BATCH == BATCH - 1)
			ring_release(&end->in);
		if (round_trips)
			put(end, true);
	}
	_exit(0);
}

static void
measure(const char *name, int64_t spin_ns, bool round_trips)
{
	struct lane_params params = {
		.queue = "bench",
		.delivery_capacity = CAPACITY,
		.completion_capacity = CAPACITY,
	};
	struct rusage before, after, child_usage;
	struct end here, there;
	struct lane lane;
	int64_t start_ns;
	double seconds, cpu;
	pid_t child;
	int rc = lane_create(&lane, &params);

	if (rc != 0)
		errc(EX_OSERR, -rc, "lane");
	open_ends(&here, &there, &lane, spin_ns);
	getrusage(RUSAGE_SELF, &before);
	start_ns = now_ns();
	child = fork();
	if (child < 0)
		err(EX_OSERR, "fork");
	if (child == 0)
		echo(&there, round_trips);
	for (int i = 0; i < (round_trips ? ROUND_TRIPS : RECORDS); i++) {
		put(&here, round_trips || i % BATCH == BATCH - 1);
		if (round_trips) {
			take(&here);
			ring_release(&here.in);
		}
	}
	put(&here, true); /* the last batch */
	wait4(child, NULL, 0, &child_usage);
	seconds = (double)(now_ns() - start_ns) / 1e9;
	getrusage(RUSAGE_SELF, &after);
	cpu = cpu_s(&after) - cpu_s(&before) + cpu_s(&child_usage);
	if (round_trips)
		printf("%-24s %8.1f us a round trip, %5.1f us of CPU\n", name,
		    seconds / ROUND_TRIPS * 1e6, cpu / ROUND_TRIPS * 1e6);
	else
		printf("%-24s %8.1f M records/s,     %5.3f us of CPU a record\n", name,
		    RECORDS / seconds / 1e6, cpu / RECORDS * 1e6);
	lane_drop(&lane);
}

int
main(void)
{
	static const struct {
		const char *name;
		int64_t spin_ns;
	} ways[] = {
		{ "sleeps at once", 0 },
		{ "looks for 2 us first", 2000 },
		{ "looks for 20 us first", 20000 },
		{ "looks for 200 us first", 200000 },
		{ "never sleeps", -1 },
	};

	printf("waiting for a ring: %d round trips, then %d records in batches of %d\n",
	    ROUND_TRIPS, RECORDS, BATCH);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		measure(ways[i].name, ways[i].spin_ns, true);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		measure(ways[i].name, ways[i].spin_ns, false);
	return 0;
}
