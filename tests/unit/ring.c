/*
 * The ring: in one process, between two processes, with a peer that dies, and with a peer that
 * writes garbage.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/lane.h"
#include "shm/ring.h"

enum { CAPACITY = 65536 };

struct pair {
	struct ring_shared *shared;
	void *data;
	struct ring_producer producer;
	struct ring_consumer consumer;
};

/* Makes a ring in shared memory with positions from `start` on. */
static void
open_pair(struct pair *pair, uint64_t start)
{
	int fd = memfd_create("ring", 0);

	cr_assert(fd >= 0 && ftruncate(fd, 4096 + CAPACITY) == 0, "memfd");
	pair->shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert(pair->shared != MAP_FAILED, "mmap");
	cr_assert(lane_map_twice(fd, 4096, CAPACITY, &pair->data) == 0, "map twice");
	close(fd);
	atomic_store(&pair->shared->head, start);
	atomic_store(&pair->shared->tail, start);
	cr_assert(
	    ring_producer_init(&pair->producer, pair->shared, pair->data, CAPACITY) == 0, "p");
	cr_assert(
	    ring_consumer_init(&pair->consumer, pair->shared, pair->data, CAPACITY) == 0, "c");
}

static void
fill(uint8_t *bytes, uint32_t length, uint64_t n)
{
	for (uint32_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(n * 31 + i);
}

static bool
filled(const struct ring_record *record, uint64_t n)
{
	const uint8_t *bytes = record->payload;

	for (uint32_t i = 0; i < record->length; i++)
		if (bytes[i] != (uint8_t)(n * 31 + i))
			return false;
	return record->tag == (uint32_t)n;
}

/* Length of record n: covers all sizes and alignments. */
static uint32_t
length_of(uint64_t n)
{
	return (uint32_t)(n * 7 % 1500);
}

static int
put(struct ring_producer *producer, uint64_t n)
{
	void *payload;
	int rc = ring_reserve(producer, (uint32_t)n, length_of(n), &payload);

	if (rc == 1)
		fill(payload, length_of(n), n);
	return rc;
}

Test(ring, every_size_across_the_end_of_64_bits)
{
	struct pair pair;
	struct ring_record record;
	void *payload;

	open_pair(&pair, UINT64_MAX - CAPACITY / 2 + 1);
	for (uint32_t length = 0; length <= CAPACITY - 8; length += length < 300 ? 1 : 997) {
		cr_assert(
		    ring_reserve(&pair.producer, length, length, &payload) == 1, "%u", length);
		fill(payload, length, length);
		cr_assert(
		    ring_peek(&pair.consumer, &record) == 0, "not seen before it is published");
		ring_publish(&pair.producer);
		cr_assert(ring_peek(&pair.consumer, &record) == 1, "%u", length);
		cr_assert(record.length == length && filled(&record, length), "%u", length);
		ring_release(&pair.consumer);
	}
	cr_assert(ring_reserve(&pair.producer, 0, CAPACITY - 7, &payload) == -EMSGSIZE, "too long");
}

Test(ring, full_and_empty)
{
	struct pair pair;
	struct ring_record record;
	uint64_t in = 0, out = 0;
	int rc;

	open_pair(&pair, 0);
	cr_assert(ring_peek(&pair.consumer, &record) == 0, "empty");
	while ((rc = put(&pair.producer, in)) == 1)
		in++;
	cr_assert(rc == 0 && in > 50, "full after %lu", (unsigned long)in);
	ring_publish(&pair.producer);
	cr_assert(ring_free_bytes(&pair.producer) < 1516, "no room");
	while (ring_peek(&pair.consumer, &record) == 1) {
		cr_assert(filled(&record, out), "record %lu", (unsigned long)out);
		out++;
	}
	cr_assert(in == out, "all came");
	cr_assert(put(&pair.producer, in) == 0, "still full: nothing was released");
	ring_release(&pair.consumer);
	cr_assert(put(&pair.producer, in) == 1, "room again");
}

Test(ring, unpeek_gives_the_record_again)
{
	struct pair pair;
	struct ring_record record;

	open_pair(&pair, 8);
	for (uint64_t n = 1; n <= 3; n++)
		cr_assert(put(&pair.producer, n) == 1, "put");
	ring_publish(&pair.producer);
	cr_assert(ring_peek(&pair.consumer, &record) == 1 && filled(&record, 1), "first");
	cr_assert(ring_peek(&pair.consumer, &record) == 1 && filled(&record, 2), "second");
	ring_unpeek(&pair.consumer, &record);
	ring_release(&pair.consumer);
	cr_assert(ring_peek(&pair.consumer, &record) == 1 && filled(&record, 2), "second again");
}

/* Produces `count` records, then exits. */
static void
produce(struct pair *pair, uint64_t count)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint64_t n = 0; n < count;) {
		int rc = put(&pair->producer, n);

		if (rc < 0)
			_exit(1);
		if (rc == 0 || n % 16 == 0)
			ring_publish(&pair->producer);
		n += rc == 1;
	}
	ring_publish(&pair->producer);
	_exit(0);
}

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

Test(ring, two_processes_at_full_speed, .timeout = 1200)
{
	enum { RECORDS = 300000 };
	struct pair pair;
	struct ring_record record;
	uint64_t deadline_ms = now_ms() + 100000;
	int status;
	pid_t child;

	open_pair(&pair, UINT64_MAX - 8 * CAPACITY + 1);
	child = fork();
	if (child == 0)
		produce(&pair, RECORDS);
	for (uint64_t n = 0; n < RECORDS;) {
		int rc = ring_peek(&pair.consumer, &record);

		cr_assert(rc >= 0, "record %lu: %d", (unsigned long)n, rc);
		cr_assert(now_ms() < deadline_ms, "stuck at %lu", (unsigned long)n);
		if (rc == 1) {
			cr_assert(filled(&record, n), "record %lu", (unsigned long)n);
			n++;
		}
		if (rc == 0 || n % 64 == 0)
			ring_release(&pair.consumer);
	}
	cr_assert(waitpid(child, &status, 0) == child && status == 0, "producer: %d", status);
}

Test(ring, a_producer_killed_in_the_middle_leaves_whole_records, .timeout = 1200)
{
	struct pair pair;
	struct ring_record record;

	for (unsigned round = 0; round < 20; round++) {
		uint64_t n = 0, stop = 500 + round * 777;
		pid_t child;
		int rc;

		open_pair(&pair, 0);
		child = fork();
		if (child == 0)
			produce(&pair, UINT64_MAX);
		while (n < stop) {
			rc = ring_peek(&pair.consumer, &record);
			cr_assert(rc >= 0, "%d", rc);
			if (rc == 1)
				cr_assert(filled(&record, n++), "record %lu", (unsigned long)n);
			ring_release(&pair.consumer);
		}
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		while ((rc = ring_peek(&pair.consumer, &record)) == 1)
			cr_assert(filled(&record, n++), "record %lu", (unsigned long)n);
		cr_assert(rc == 0, "the end is clean");
		munmap(pair.data, 2 * CAPACITY);
	}
}

Test(ring, garbage_in_every_shared_word_is_never_followed, .timeout = 600)
{
	unsigned seed = (unsigned)getpid();
	struct pair pair;

	fprintf(stderr, "# seed %u\n", seed);
	for (unsigned round = 0; round < 20000; round++) {
		struct ring_record record;
		uint64_t garbage = (uint64_t)rand_r(&seed) << 33 ^ (uint64_t)rand_r(&seed) << 11;
		void *payload;
		int rc;

		if (round % 100 == 0)
			open_pair(&pair, (uint64_t)rand_r(&seed) * 8);
		put(&pair.producer, round);
		ring_publish(&pair.producer);
		switch (rand_r(&seed) % 3) {
		case 0:
			atomic_store(&pair.shared->head, garbage);
			break;
		case 1:
			atomic_store(&pair.shared->tail, garbage);
			break;
		default:
			for (int i = 0; i < CAPACITY / 8; i += 1 + rand_r(&seed) % 64)
				((uint64_t *)pair.data)[i] = garbage * (uint64_t)i;
		}
		for (int steps = 0; (rc = ring_peek(&pair.consumer, &record)) == 1; steps++) {
			/* The record must lie within the mapping: reads all of it. */
			for (uint32_t i = 0; i < record.length; i += 64)
				seed += ((const uint8_t *)record.payload)[i];
			cr_assert(steps <= CAPACITY / 8, "endless");
		}
		cr_assert(rc == 0 || rc == -EPROTO, "%d", rc);
		rc = ring_reserve(&pair.producer, 1, 100, &payload);
		cr_assert(rc == 0 || rc == 1 || rc == -EPROTO, "%d", rc);
		if (rc == -EPROTO || round % 100 == 99) {
			munmap(pair.data, 2 * CAPACITY);
			munmap(pair.shared, 4096);
			open_pair(&pair, 0);
		}
	}
}

Test(ring, attaching_checks_positions_and_capacity)
{
	struct pair pair;
	struct ring_producer producer;

	open_pair(&pair, 0);
	cr_assert(ring_producer_init(&producer, pair.shared, pair.data, 5000) == -EINVAL, "5000");
	cr_assert(ring_producer_init(&producer, pair.shared, pair.data, 2048) == -EINVAL, "2048");
	atomic_store(&pair.shared->head, CAPACITY + 8);
	cr_assert(
	    ring_producer_init(&producer, pair.shared, pair.data, CAPACITY) == -EPROTO, "too full");
	atomic_store(&pair.shared->head, 4);
	cr_assert(ring_producer_init(&producer, pair.shared, pair.data, CAPACITY) == -EPROTO,
	    "unaligned");
}
