/*
 * Lanes and the control segment: whole ones are attached, others refused.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/control.h"
#include "shm/lane.h"

static const struct lane_params params = {
	.queue = "payments",
	.log_id = 77,
	.generation = 3,
	.delivery_capacity = 65536,
	.completion_capacity = 8192,
	.lane = 2,
	.lanes = 4,
	.max_message_bytes = 1024,
};

static int
attach_copy(const struct lane *lane, const char *queue)
{
	struct lane other;
	int rc = lane_attach(&other, dup(lane->fd), queue);

	lane_drop(&other);
	return rc;
}

Test(lane, both_ends_see_the_same_rings)
{
	struct lane router, worker;
	struct ring_producer producer;
	struct ring_consumer consumer;
	struct ring_record record;
	void *payload;

	cr_assert(lane_create(&router, &params) == 0, "create");
	cr_assert(lane_attach(&worker, dup(router.fd), "payments") == 0, "attach");
	cr_assert(worker.shared->log_id == 77 && worker.shared->lane == 2, "identity");
	ring_producer_init(&producer, &router.shared->delivery, router.delivery_data, 65536);
	ring_consumer_init(&consumer, &worker.shared->delivery, worker.delivery_data, 65536);
	cr_assert(ring_reserve(&producer, LANE_TAG_DELIVERY, 5, &payload) == 1, "reserve");
	memcpy(payload, "hello", 5);
	ring_publish(&producer);
	cr_assert(
	    ring_peek(&consumer, &record) == 1 && memcmp(record.payload, "hello", 5) == 0, "it");
	lane_drop(&worker);
	lane_drop(&router);
}

Test(lane, what_does_not_fit_is_refused)
{
	struct lane lane;
	int fd;

	cr_assert(lane_create(&lane, &params) == 0, "create");
	cr_assert(attach_copy(&lane, "payments") == 0, "good");
	cr_assert(attach_copy(&lane, "other") == -EPROTO, "another queue's");
	lane.shared->fingerprint ^= 1;
	cr_assert(attach_copy(&lane, "payments") == -ESTALE, "fingerprint");
	lane.shared->fingerprint ^= 1;
	lane.shared->magic[7] ^= 1;
	cr_assert(attach_copy(&lane, "payments") == -ESTALE, "version");
	lane.shared->magic[7] ^= 1;
	lane.shared->delivery_capacity *= 2;
	cr_assert(attach_copy(&lane, "payments") == -EPROTO, "size");
	lane_drop(&lane);
	fd = memfd_create("unsealed", MFD_ALLOW_SEALING);
	cr_assert(ftruncate(fd, 1 << 20) == 0, "truncate");
	cr_assert(lane_attach(&lane, fd, "payments") == -EPROTO, "not sealed");
	cr_assert(lane_attach(&lane, open("/dev/null", O_RDWR), "payments") < 0, "no memfd");
}

Test(lane, every_flipped_header_byte_is_survived)
{
	struct lane lane;

	cr_assert(lane_create(&lane, &params) == 0, "create");
	for (size_t i = 0; i < offsetof(struct lane_shared, worker_bell); i++) {
		((uint8_t *)lane.shared)[i] ^= 0xff;
		attach_copy(&lane, "payments");
		((uint8_t *)lane.shared)[i] ^= 0xff;
	}
	cr_assert(attach_copy(&lane, "payments") == 0, "good again");
	lane_drop(&lane);
}

/* Copies the lane's first bytes into a sealed memfd of this length. */
static int
cut_copy(const struct lane *lane, size_t bytes)
{
	size_t head = bytes < LANE_DATA_OFFSET ? bytes : LANE_DATA_OFFSET;
	int fd = memfd_create("cut", MFD_ALLOW_SEALING);

	cr_assert(ftruncate(fd, (off_t)bytes) == 0 &&
		pwrite(fd, lane->shared, head, 0) == (ssize_t)head &&
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0,
	    "a copy of %zu bytes", bytes);
	return fd;
}

Test(lane, is_refused_at_every_other_length, .timeout = 600)
{
	struct lane lane, other;

	cr_assert(lane_create(&lane, &params) == 0, "create");
	for (size_t bytes = 0; bytes < lane.size + 16; bytes++) {
		int rc = lane_attach(&other, cut_copy(&lane, bytes), "payments");

		cr_assert(rc == (bytes == lane.size ? 0 : -EPROTO), "%zu bytes: %d", bytes, rc);
		lane_drop(&other);
	}
	lane_drop(&lane);
}

/* Makes a published control segment with one queue. */
static void
make_segment(struct control *control, char dir[32], char path[64])
{
	strcpy(dir, "/tmp/hg-control-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL, "mkdtemp");
	sprintf(path, "%s/control", dir);
	cr_assert(control_create(control, path) == 0, "create");
	control->shared->queues = 1;
	strcpy(control->shared->queue[0].name, "payments");
	atomic_store(&control->shared->queue[0].state, control_word(CONTROL_RUNNING, 0, 1));
}

static void
remove_segment(struct control *control, const char *dir, const char *path)
{
	control_close(control);
	unlink(path);
	rmdir(dir);
}

Test(control, published_last)
{
	struct control writer, reader;
	char dir[32], path[64];

	make_segment(&writer, dir, path);
	cr_assert(control_open(&reader, path, false) == -EAGAIN, "not yet");
	control_publish(&writer);
	cr_assert(control_open(&reader, path, false) == 0, "now");
	cr_assert(control_find_queue(&reader, "payments") == 0, "found");
	cr_assert(control_find_queue(&reader, "other") == -1, "not found");
	cr_assert(!control_router_alive(&reader), "no lock, no router");
	control_close(&reader);
	remove_segment(&writer, dir, path);
}

/* The router's lock of its directory. */
static int
hold(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	cr_assert(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0, "%s: %s", dir, strerror(errno));
	return fd;
}

Test(control, nobody_is_waited_for_where_no_router_holds_the_directory)
{
	struct control writer, reader;
	char dir[32], path[64];

	make_segment(&writer, dir, path);
	atomic_store(&writer.shared->router_pid, 1);
	control_publish(&writer);
	cr_assert(control_open_living(&reader, dir, "/none", false, UINT64_MAX) == -ESRCH, "dead");
	unlink(path);
	cr_assert(control_open_living(&reader, dir, "/none", false, UINT64_MAX) == -ENOENT, "none");
	remove_segment(&writer, dir, path);
}

Test(control, a_segment_that_does_not_come_is_waited_for_until_the_deadline)
{
	uint64_t deadline_ns = clock_monotonic_ns() + 50000000;
	struct control reader;
	char dir[] = "/tmp/hg-control-XXXXXX";
	int fd, rc;

	cr_assert(mkdtemp(dir) != NULL, "mkdtemp");
	fd = hold(dir);
	rc = control_open_living(&reader, "/none", dir, false, deadline_ns);
	cr_assert(rc == -ENOENT && clock_monotonic_ns() >= deadline_ns, "%d", rc);
	close(fd);
	rmdir(dir);
}

struct opener {
	const char *dir;
	struct control control;
	int rc;
};

static void *
open_living(void *argument)
{
	struct opener *opener = argument;

	opener->rc = control_open_living(&opener->control, opener->dir, "/none", false, UINT64_MAX);
	return NULL;
}

Test(control, a_removed_segment_is_waited_for_whatever_was_left_over, .timeout = 600)
{
	char dir[32], path[64], left[80];
	struct opener opener = { .dir = dir };
	struct control writer;
	pthread_t thread;
	int fd;

	make_segment(&writer, dir, path);
	fd = hold(dir);
	unlink(path);
	sprintf(left, "%s.next", path);
	close(open(left, O_CREAT | O_WRONLY, 0600));
	cr_assert(pthread_create(&thread, NULL, open_living, &opener) == 0, "thread");
	control_close(&writer);
	cr_assert(control_create(&writer, path) == 0, "create");
	atomic_store(&writer.shared->router_pid, 1);
	control_publish(&writer);
	pthread_join(thread, NULL);
	cr_assert(opener.rc == 0, "%d", opener.rc);
	control_close(&opener.control);
	close(fd);
	unlink(left);
	remove_segment(&writer, dir, path);
}

Test(control, every_flipped_header_byte_is_survived)
{
	struct control writer, reader;
	char dir[32], path[64];

	make_segment(&writer, dir, path);
	control_publish(&writer);
	for (size_t i = 0; i < offsetof(struct control_shared, topic); i++) {
		((uint8_t *)writer.shared)[i] ^= 0xff;
		if (control_open(&reader, path, false) == 0) {
			control_find_queue(&reader, "payments");
			control_router_alive(&reader);
			control_close(&reader);
		}
		((uint8_t *)writer.shared)[i] ^= 0xff;
	}
	memset(writer.shared->queue[0].name, 'x', sizeof(writer.shared->queue[0].name));
	cr_assert(control_open(&reader, path, false) == -EPROTO, "a name without an end");
	remove_segment(&writer, dir, path);
}

Test(control, is_refused_at_every_other_length, .timeout = 600)
{
	struct control writer, reader;
	char dir[32], path[64];

	make_segment(&writer, dir, path);
	control_publish(&writer);
	for (size_t bytes = sizeof(*writer.shared) + 16; bytes-- > 0;) {
		int rc;

		if (bytes == sizeof(*writer.shared))
			continue;
		cr_assert(ftruncate(writer.fd, (off_t)bytes) == 0, "truncate");
		rc = control_open(&reader, path, false);
		cr_assert(rc == -ESTALE, "%zu bytes: %d", bytes, rc);
	}
	remove_segment(&writer, dir, path);
}

Test(control, a_change_names_its_detail)
{
	struct control control;
	struct control_detail detail = { .since_ns = 5, .reason = "because" }, read;
	char dir[32], path[64];
	uint64_t word, now;

	make_segment(&control, dir, path);
	word = atomic_load(&control.shared->queue[0].state);
	cr_assert(control_change_state(
		      &control, 0, CONTROL_CTL_SLOT, word, CONTROL_STOPPED, &detail, &now) == 0,
	    "change");
	cr_assert(
	    control_change_state(&control, 0, 0, word, CONTROL_TRIPPED, &detail, &now) == -EAGAIN,
	    "the word is another now");
	control_read_state(&control, 0, &word, &read);
	cr_assert(control_word_state(word) == CONTROL_STOPPED && control_word_generation(word) == 2,
	    "the word");
	cr_assert(strcmp(read.reason, "because") == 0 && read.generation == 2, "its detail");
	remove_segment(&control, dir, path);
}

Test(control, two_writers_never_mix_word_and_detail, .timeout = 600)
{
	enum { CHANGES = 20000 };
	struct control control;
	char dir[32], path[64];
	int status;
	pid_t child;

	make_segment(&control, dir, path);
	child = fork();
	for (uint64_t i = 0; i < CHANGES; i++) {
		struct control_detail detail = { .pid = (uint32_t)getpid() }, read;
		uint64_t word, now;

		control_read_state(&control, 0, &word, &read);
		if (child == 0 && read.generation != 0 && read.sequence != read.since_ns)
			_exit(1);
		cr_assert(child == 0 || read.sequence == read.since_ns, "torn detail");
		detail.sequence = detail.since_ns = i << 1 | (child == 0);
		control_change_state(&control, 0, child == 0 ? 0 : CONTROL_CTL_SLOT, word,
		    CONTROL_RUNNING, &detail, &now);
	}
	if (child == 0)
		_exit(0);
	cr_assert(waitpid(child, &status, 0) == child && status == 0, "child: %d", status);
	remove_segment(&control, dir, path);
}
