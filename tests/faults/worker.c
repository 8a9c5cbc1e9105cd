/*
 * worker DIR QUEUE FILE [-e EVERY] [-l SEQUENCE] - settles what the router delivers and appends a
 * line "sequence message_id time" to FILE for each message the first time. Leaves unsettled every
 * EVERY-th sequence, or one, until SIGUSR1: then it attaches again and takes these too. FILE -
 * keeps nothing.
 *
 * Ends with status 1 when a message of a lane comes out of order.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "message/envelope.h"
#include "shm/lane_lock.h"
#include "workers/attachment.h"

enum { WAIT_NS = 20000000, RETRY_NS = 5000000 };

static volatile sig_atomic_t take_all;
static uint64_t every, left;
static uint8_t *seen; /* a byte for each sequence */
static size_t seen_bytes;
static FILE *out;

static void
on_signal(int signal)
{
	(void)signal;
	take_all = 1;
}

/* True the first time. */
static bool
see(uint64_t sequence)
{
	if (sequence >= seen_bytes) {
		size_t more = 2 * (size_t)sequence + 4096;

		seen = realloc(seen, more);
		if (seen == NULL)
			errx(EX_OSERR, "out of memory");
		memset(seen + seen_bytes, 0, more - seen_bytes);
		seen_bytes = more;
	}
	return seen[sequence]++ == 0;
}

static void
apply(uint64_t sequence, const void *bytes, size_t length)
{
	struct envelope envelope;
	const char *why;

	if (envelope_open(&envelope, bytes, length, ENVELOPE_BODY_BYTES_MAX, &why) != 0)
		errx(1, "message %" PRIu64 ": %s", sequence, why);
	if (out == NULL || !see(sequence))
		return;
	fprintf(out, "%" PRIu64 " %.*s %" PRIu64 "\n", sequence, (int)envelope.message_id.length,
	    envelope.message_id.data, clock_monotonic_ns());
	if (fflush(out) != 0)
		err(1, "write");
}

static bool
is_left(uint64_t sequence)
{
	return !take_all && (sequence == left || (every != 0 && sequence % every == 0));
}

/* Works until the router is gone, or SIGUSR1 asks for the messages left. */
static void
work(struct attachment *attachment)
{
	bool all = take_all != 0;
	/* By lane: the router shows what is new in one lane after the other, and may be stopped in
	 * between. */
	uint64_t last[CONFIG_LANES_MAX] = { 0 };

	while (attachment_alive(attachment) && all == (take_all != 0)) {
		uint64_t state = attachment_state(attachment);
		struct lane_delivery delivery;
		struct ring_record record;
		unsigned lane;
		int rc = attachment_take(attachment, &record, &lane);

		if (rc < 0) {
			warnx("a delivery that cannot be");
			return;
		}
		if (rc == 0) {
			attachment_release(attachment);
			attachment_publish(attachment);
			attachment_heartbeat(attachment, state, 0, clock_monotonic_ns());
			attachment_wait(attachment, state, true, WAIT_NS);
			continue;
		}
		memcpy(&delivery, record.payload, sizeof(delivery));
		if (delivery.sequence <= last[lane])
			errx(1, "lane %u: message %" PRIu64 " after %" PRIu64, lane,
			    delivery.sequence, last[lane]);
		last[lane] = delivery.sequence;
		if (is_left(delivery.sequence))
			continue;
		apply(delivery.sequence, (const char *)record.payload + sizeof(delivery),
		    record.length - sizeof(delivery));
		while ((rc = attachment_complete(
			    attachment, lane, delivery.sequence, state, 200, 0, "")) == 0) {
			attachment_release(attachment);
			attachment_publish(attachment);
			if (!attachment_alive(attachment))
				return;
			attachment_wait(attachment, state, false, RETRY_NS);
		}
	}
}

static int
take_lock(const char *run, const char *queue)
{
	const struct timespec pause = { .tv_nsec = RETRY_NS };
	int fd, rc;

	while ((fd = lane_lock_open(run, queue)) == -ENOENT)
		nanosleep(&pause, NULL);
	while (fd >= 0 && (rc = lane_lock_take(fd, LANE_LOCK_ALL)) == -EAGAIN)
		nanosleep(&pause, NULL);
	if (fd < 0 || rc != 0)
		errx(1, "%s/%s.lock: %s", run, queue, strerror(fd < 0 ? -fd : -rc));
	return fd;
}

int
main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = RETRY_NS };
	static struct attachment attachment;
	struct sigaction action = { .sa_handler = on_signal };
	char run[400], error[512];
	int option, lock;

	while ((option = getopt(argc, argv, "e:l:")) != -1) {
		if (option == 'e')
			every = strtoull(optarg, NULL, 10);
		else if (option == 'l')
			left = strtoull(optarg, NULL, 10);
		else
			return EX_USAGE;
	}
	if (argc - optind != 3)
		errx(EX_USAGE, "usage: worker [-e EVERY] [-l SEQUENCE] DIR QUEUE FILE");
	argv += optind;
	sigaction(SIGUSR1, &action, NULL);
	if (strcmp(argv[2], "-") != 0) {
		out = fopen(argv[2], "ae");
		if (out == NULL)
			err(1, "%s", argv[2]);
	}
	snprintf(run, sizeof(run), "%s/run", argv[0]);
	lock = take_lock(run, argv[1]);
	for (;;) {
		if (attachment_open(&attachment, run, "test-worker", argv[1], LANE_LOCK_ALL, lock,
			error, sizeof(error)) != 0) {
			nanosleep(&pause, NULL);
			continue;
		}
		work(&attachment);
		attachment_close(&attachment);
	}
}
