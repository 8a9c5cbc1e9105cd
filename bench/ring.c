/*
 * bench-ring: records of 256 bytes through a ring between two processes, by the number of records
 * per publication; and memcpy() of the same bytes in the same run, for comparison.
 */
#include <err.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "shm/lane.h"

enum { RECORD_BYTES = 256, CAPACITY = 1 << 20, RECORDS = 4000000 };

static double
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void
produce(struct lane *lane, unsigned burst)
{
	static char record[RECORD_BYTES];
	struct ring_producer ring;
	void *payload;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ring_producer_init(&ring, &lane->shared->delivery, lane->delivery_data, CAPACITY);
	for (unsigned n = 0; n < RECORDS;) {
		if (ring_reserve(&ring, 1, RECORD_BYTES, &payload) == 1) {
			memcpy(payload, record, RECORD_BYTES);
			if (++n % burst == 0)
				ring_publish(&ring);
		} else {
			ring_publish(&ring);
			sched_yield(); /* more processes than cores: let the other one run */
		}
	}
	ring_publish(&ring);
	_exit(0);
}

static double
consume(struct lane *lane, unsigned burst)
{
	static char copy[RECORD_BYTES];
	struct ring_consumer ring;
	struct ring_record record;
	double start = now_s();
	unsigned n = 0;

	ring_consumer_init(&ring, &lane->shared->delivery, lane->delivery_data, CAPACITY);
	while (n < RECORDS) {
		if (ring_peek(&ring, &record) == 1) {
			memcpy(copy, record.payload, RECORD_BYTES);
			if (++n % burst == 0)
				ring_release(&ring);
		} else {
			ring_release(&ring);
			sched_yield();
		}
	}
	return now_s() - start;
}

static double
through_ring(unsigned burst)
{
	struct lane_params params = {
		.queue = "bench",
		.delivery_capacity = CAPACITY,
		.completion_capacity = RING_CAPACITY_MIN,
	};
	struct lane lane;
	double seconds;
	pid_t child;
	int rc = lane_create(&lane, &params);

	if (rc != 0)
		errc(EX_OSERR, -rc, "lane");
	child = fork();
	if (child < 0)
		err(EX_OSERR, "fork");
	if (child == 0)
		produce(&lane, burst);
	seconds = consume(&lane, burst);
	waitpid(child, NULL, 0);
	lane_drop(&lane);
	return seconds;
}

/* The same bytes, in and out of a buffer of the ring's size. */
static double
through_memcpy(void)
{
	static char buffer[CAPACITY], record[RECORD_BYTES];
	double start = now_s();

	for (unsigned n = 0; n < RECORDS; n++) {
		char *at = buffer + (size_t)n * RECORD_BYTES % CAPACITY;

		memcpy(at, record, RECORD_BYTES);
		__asm__ volatile("" ::: "memory");
		memcpy(record, at, RECORD_BYTES);
	}
	return now_s() - start;
}

static void
print(const char *name, double seconds)
{
	printf("%-28s %6.1f M records/s %6.2f GB/s\n", name, RECORDS / seconds / 1e6,
	    (double)RECORDS * RECORD_BYTES / seconds / 1e9);
}

int
main(void)
{
	static const unsigned bursts[] = { 1, 8, 64, 512 };
	char name[64];

	printf("%d records of %d bytes\n", RECORDS, RECORD_BYTES);
	print("memcpy in and out", through_memcpy());
	for (size_t i = 0; i < sizeof(bursts) / sizeof(bursts[0]); i++) {
		snprintf(name, sizeof(name), "ring, %u at once", bursts[i]);
		print(name, through_ring(bursts[i]));
	}
	return 0;
}
