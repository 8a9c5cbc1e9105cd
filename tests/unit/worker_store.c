/*
 * A worker with a failing store: each call, at each place, in each state of the gate, under each
 * policy. The test is the router (worker_peer.h) with gates, blocked groups and redeliveries.
 *
 * Each row of the table is a run of MESSAGES messages. All messages must end, once each, in order
 * of their groups, with the same outcome as without the failure.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/failing_store.h"
#include "tests/unit/worker_peer.h"

enum { MESSAGES = 8, GROUPS = 3, PLACES = 4, TIMES = 3 };

static struct store_faults *faults;

/* How the gate is when a row begins. */
enum gate { GATE_OPEN, GATE_OPENED, GATE_PROBED, GATE_SKIPPED, GATE_DRAINED, GATE_STATES };
static const char *const gate_names[] = { "RUNNING", "STOPPED, then RUNNING", "PROBING",
	"PROBING, skip", "STOPPED, drain" };
static const char *const call_names[] = { "highest", "begin", "find", "apply", "fail", "commit",
	"commit that took place" };

/* The messages of a row, by index. Groups 0 and 2 are in lane 0, group 1 in lane 1. */
static const unsigned group_of[MESSAGES] = { 0, 1, 2, 0, 1, 2, 1, 0 };
enum { REPEATED = 0, SKIPPED = 1, CLIENT_ERROR = 2, SERVER_ERROR = 3, LAST = 7 };

struct message {
	uint64_t sequence;
	int tries;
	bool in_flight, ended;
};

static struct row {
	unsigned call, skip, times, gate;
	bool blocks;
	bool late; /* delivers the second half before reading the outcomes of the first half */
	struct message message[MESSAGES];
	bool blocked[GROUPS];
	uint64_t head;         /* sequence being probed; 0: none */
	uint64_t failed_state; /* state word of the last 5xx that closed the gate */
	char what[160];
} row;

static uint64_t state_number, last_sequence; /* of a row before: the last message of group 0 */

static void
setup(void)
{
	int fd;

	setup_payment();
	binary = "tests/failing-payment";
	fd = open(path("faults"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && ftruncate(fd, sizeof(*faults)) == 0, "faults");
	faults = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert(faults != MAP_FAILED, "mmap");
	close(fd);
	setenv("HEADGATE_STORE_FAULTS", path("faults"), 1);
	state_number = 1;
	last_sequence = 0;
}

TestSuite(worker_store, .init = setup, .fini = teardown, .timeout = 6000);

static void
change_state(enum control_state state)
{
	set_state(state, ++state_number);
}

/* PROBING up to this message, or STOPPED with --drain. */
static void
change_state_with_detail(enum control_state state, uint64_t sequence, uint32_t flags)
{
	control.shared->queue[0].detail[0] = (struct control_detail){
		.generation = ++state_number,
		.sequence = sequence,
		.status = 503,
		.flags = flags,
		.error = "given up",
	};
	row.head = state == CONTROL_PROBING ? sequence : 0;
	set_state(state, state_number);
}

/*
 * Delivering.
 */

static void
send_message(unsigned i, uint16_t lane_flags)
{
	static const char *const groups[GROUPS] = { "A", "B", "C" };
	struct message *message = &row.message[i];
	uint8_t buffer[ENVELOPE_BYTES];
	char body[256];

	snprintf(body, sizeof(body),
	    "{\"customer_id\":\"%s\",\"amount\":5,\"payment_method\":\"card\"}",
	    i == CLIENT_ERROR       ? "ERROR400"
		: i == SERVER_ERROR ? "ERROR500"
				    : "C");
	front.flags = lane_flags;
	/* The last try has failed: the message is given up. */
	if (i == SERVER_ERROR && row.blocks && message->tries > 0) {
		front.flags |= LANE_GIVE_UP;
		front.status = 500;
	}
	deliver_bytes(group_of[i] % LANES, message->sequence, buffer,
	    pack(buffer, groups[group_of[i]], message->sequence, body));
	front = (struct lane_delivery){ 0 };
	message->in_flight = true;
}

static bool
is_in_flight(unsigned group)
{
	for (unsigned i = 0; i < MESSAGES; i++)
		if (group_of[i] == group && row.message[i].in_flight)
			return true;
	return false;
}

/* Redelivers the first message of a blocked group, once the worker has no other message of the
 * group. */
static void
send_blocked(unsigned group)
{
	if (!row.blocked[group] || is_in_flight(group))
		return;
	for (unsigned i = 0; i < MESSAGES; i++) {
		if (group_of[i] != group || row.message[i].ended)
			continue;
		send_message(i, LANE_AGAIN);
		show();
		return;
	}
}

/* Redelivers the other messages of a group whose first message has ended. */
static void
send_rest(unsigned group)
{
	row.blocked[group] = false;
	for (unsigned i = 0; i < MESSAGES; i++)
		if (group_of[i] == group && !row.message[i].ended)
			send_message(i, 0);
	show();
}

/*
 * Outcomes.
 */

/* True for the first message of a group that has not ended. */
static bool
is_first(unsigned message)
{
	for (unsigned i = 0; i < message; i++)
		if (group_of[i] == group_of[message] && !row.message[i].ended)
			return false;
	return true;
}

static void
check_stored(unsigned i, const struct taken *taken)
{
	char what[128];

	snprintf(what, sizeof(what), "%s WHERE sequence = %lu",
	    taken->status < 300 ? "payments" : "failures", (unsigned long)taken->sequence);
	cr_assert(count(what) == 1, "%s: message %u: %d, and not in the store", row.what, i,
	    taken->status);
}

/* The probe is over. */
static void
open_after_probe(void)
{
	row.head = 0;
	change_state(CONTROL_RUNNING);
}

static void
take_ended(unsigned i, const struct taken *taken)
{
	struct message *message = &row.message[i];

	cr_assert(is_first(i), "%s: message %u before another of its group", row.what, i);
	check_stored(i, taken);
	if (i == CLIENT_ERROR)
		cr_assert(taken->status == 400 || taken->status == 503, "%s: %d", row.what,
		    taken->status);
	else if (i == SERVER_ERROR)
		cr_assert(taken->status >= 500, "%s: %d", row.what, taken->status);
	else
		cr_assert(
		    taken->status == 200 || (taken->status == 503 && row.gate == GATE_SKIPPED),
		    "%s: message %u: %d %s", row.what, i, taken->status, taken->reason);
	message->in_flight = false;
	message->ended = true;
	if (row.head == message->sequence)
		open_after_probe();
	if (row.blocked[group_of[i]])
		send_rest(group_of[i]);
}

/* A 5xx closes the gate. A person starts the queue again, with --skip-head for the message that
 * always fails. */
static void
take_trip(unsigned i, const struct taken *taken)
{
	struct message *message = &row.message[i];

	cr_assert(taken->state != row.failed_state, "%s: message %u: a second 5xx in one state",
	    row.what, i);
	row.failed_state = taken->state;
	if (taken->state != atomic_load(&control.shared->queue[0].state))
		return; /* the state has changed: the message is tried again in the new state */
	change_state(CONTROL_TRIPPED);
	change_state_with_detail(CONTROL_PROBING, message->sequence,
	    i == SERVER_ERROR && strstr(taken->reason, "store") == NULL ? CONTROL_SKIP : 0);
}

static void
take_outcome(const struct taken *taken)
{
	unsigned i = 0;
	struct message *message;

	while (i < MESSAGES && row.message[i].sequence != taken->sequence)
		i++;
	cr_assert(i < MESSAGES && row.message[i].in_flight, "%s: an outcome of message %lu",
	    row.what, (unsigned long)taken->sequence);
	message = &row.message[i];
	if (taken->status < 300 || taken->flags & LANE_ENDED) {
		take_ended(i, taken);
		return;
	}
	cr_assert(taken->status >= 500, "%s: %d is not the end", row.what, taken->status);
	if (!row.blocks) {
		take_trip(i, taken);
		return;
	}
	message->in_flight = false;
	if (taken->flags & LANE_GIVEN_BACK) {
		cr_assert(row.blocked[group_of[i]], "%s: message %u given back", row.what, i);
	} else {
		cr_assert(is_first(i), "%s: message %u before another of its group", row.what, i);
		message->tries += strstr(taken->reason, "store") == NULL;
		row.blocked[group_of[i]] = true;
	}
	if (row.head == message->sequence)
		open_after_probe();
}

static void
take_outcomes(void)
{
	struct taken taken;

	for (unsigned i = 0; i < LANES; i++)
		while (take_now(i, &taken))
			take_outcome(&taken);
	for (unsigned group = 0; group < GROUPS; group++)
		send_blocked(group);
}

static bool
all_ended(void)
{
	for (unsigned i = 0; i < MESSAGES; i++)
		if (!row.message[i].ended)
			return false;
	return true;
}

/*
 * A row.
 */

static void
begin_row(void)
{
	int64_t deadline_ms = now_ms() + DEADLINE_MS;
	static uint64_t next = 1;
	enum control_state before[GATE_STATES] = { CONTROL_RUNNING, CONTROL_STOPPED,
		CONTROL_TRIPPED, CONTROL_TRIPPED, CONTROL_RUNNING };

	snprintf(row.what, sizeof(row.what), "%s fails %u times after %u, %s, %s%s",
	    call_names[row.call], row.times, row.skip, gate_names[row.gate],
	    row.blocks ? "block-group" : "stop", row.late ? ", late" : "");
	change_state(before[row.gate]);
	/* A worker that looks into one lane before, and into the other after the deliveries, would
	 * get later messages without the probed one. No router delivers in this way. */
	while (atomic_load(&lane[0].shared->worker.state_seen) !=
	    atomic_load(&control.shared->queue[0].state))
		look_again(deadline_ms, "its look at the state");
	for (unsigned i = 0; i < MESSAGES; i++)
		row.message[i].sequence =
		    i == REPEATED && last_sequence != 0 ? last_sequence : next++;
	last_sequence = row.message[LAST].sequence;
	faults->skip = row.skip;
	faults->failed = 0;
	faults->call = row.call;
	faults->times = row.times;
}

static void
open_gate(void)
{
	switch (row.gate) {
	case GATE_OPEN:
		break;
	case GATE_OPENED:
		change_state(CONTROL_RUNNING);
		break;
	case GATE_PROBED:
		change_state_with_detail(CONTROL_PROBING, row.message[REPEATED].sequence, 0);
		break;
	case GATE_SKIPPED:
		change_state_with_detail(
		    CONTROL_PROBING, row.message[SKIPPED].sequence, CONTROL_SKIP);
		break;
	case GATE_DRAINED:
		change_state_with_detail(CONTROL_STOPPED, 0, CONTROL_DRAIN);
		break;
	}
}

/* Checks the end of a run. */
static const char *
describe(void)
{
	static char text[512];
	size_t used = 0;

	for (unsigned i = 0; i < MESSAGES; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%lu%s ",
		    (unsigned long)row.message[i].sequence,
		    row.message[i].ended           ? " ended"
			: row.message[i].in_flight ? " in flight"
						   : " blocked");
	snprintf(text + used, sizeof(text) - used,
	    "state %lx, head %lu, last 5xx in %lx, seen %lx, at %lu, %u failed",
	    (unsigned long)atomic_load(&control.shared->queue[0].state), (unsigned long)row.head,
	    (unsigned long)row.failed_state,
	    (unsigned long)atomic_load(&lane[0].shared->worker.state_seen),
	    (unsigned long)atomic_load(&lane[0].shared->worker.starting.sequence), faults->failed);
	return text;
}

/* Completions not yet read by the router. */
static unsigned
count_waiting(void)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < LANES; i++)
		bytes += ring_filled_bytes(&completion[i]);
	return (
	    unsigned)(bytes / (sizeof(struct ring_record_header) + sizeof(struct lane_completion)));
}

static void
run_row(void)
{
	int64_t deadline_ms = now_ms() + DEADLINE_MS;

	begin_row();
	for (unsigned i = 0; i < MESSAGES; i++) {
		send_message(i, 0);
		if (!row.late || i != MESSAGES / 2)
			continue;
		show();
		while (count_waiting() < MESSAGES / 2 + 1)
			look_again(deadline_ms, row.what);
	}
	show();
	open_gate();
	while (!all_ended()) {
		struct pollfd polled[] = { { .fd = bell_fd, .events = POLLIN },
			{ .fd = router_fd, .events = POLLRDHUP } };
		uint64_t wakes;

		take_outcomes();
		doorbell_prepare(&lane[0].shared->router_bell);
		if (!all_ended() && count_waiting() == 0)
			poll(polled, 2, 100);
		doorbell_cancel(&lane[0].shared->router_bell);
		cr_assert(polled[1].revents == 0, "%s: hung up: %s", row.what, read_errors());
		if (polled[0].revents != 0 && read(bell_fd, &wakes, sizeof(wakes)) < 0)
			cr_assert(false, "eventfd");
		cr_assert(now_ms() < deadline_ms, "%s: it stands still: %s: %s", row.what,
		    describe(), read_errors());
	}
	faults->times = 0;
}

static void
run_rows(bool blocks, bool late)
{
	unsigned failed = 0, rows_run = 0;

	policy.blocks_server_error = blocks;
	start_worker(0);
	router_attach();
	for (unsigned call = CALL_BEGIN; call < STORE_CALLS; call++) {
		for (unsigned gate = 0; gate < (late ? 1 : GATE_STATES); gate++) {
			for (unsigned at = 0; at < PLACES * TIMES; at++) {
				row = (struct row){
					.call = call,
					.skip = at / TIMES,
					.times = 1 + at % TIMES,
					.gate = gate,
					.blocks = blocks,
					.late = late,
				};
				run_row();
				failed += faults->failed;
				rows_run++;
			}
		}
	}
	fprintf(stderr, "# %u rows, %u calls failed\n", rows_run, failed);
	cr_assert(failed > rows_run, "the calls that are to fail were not made");
	stop_worker();
}

Test(worker_store, whatever_call_fails_all_is_done_once_and_in_order)
{
	run_rows(false, false);
}

Test(worker_store, whatever_call_fails_all_is_done_once_and_in_order_with_blocked_groups)
{
	run_rows(true, false);
}

/* The worker is ahead of the router: more messages of a blocked group are on their way. */
Test(worker_store, whatever_call_fails_what_comes_behind_a_blocked_message_is_given_back)
{
	run_rows(true, true);
}

/* The store may have rows of the failed batch only. */
Test(worker_store, after_a_failure_new_messages_are_not_looked_up)
{
	start_worker(0);
	router_attach();
	faults->call = CALL_COMMIT_DONE;
	faults->times = 1;
	for (uint64_t i = 1; i <= 10; i++) {
		deliver_payment(i, "C", "5");
		if (i == 5)
			show();
		for (uint64_t done = 1; i == 5 && done <= 5; done++)
			expect_done(done, 200, "");
	}
	show();
	for (uint64_t done = 6; done <= 10; done++)
		expect_done(done, 200, "");
	cr_assert(faults->failed == 1 && faults->finds > 0 && faults->finds <= 5, "%u look-ups",
	    faults->finds);
	cr_assert(rows() == 10, "%ld rows", rows());
	stop_worker();
}

/* The worker cannot know the store's contents, so drops its lanes and attaches again. */
Test(worker_store, a_store_that_cannot_be_asked_at_the_start_is_asked_again)
{
	struct taken taken;

	faults->call = CALL_HIGHEST;
	faults->times = 2;
	start_worker(0);
	for (int i = 0; i < 2; i++) {
		router_attach();
		deliver_payment(1, "C", "5");
		show();
		cr_assert(!take(1, &taken), "handled");
		router_hang_up();
	}
	router_attach();
	deliver_payment(1, "C", "5");
	show();
	expect_done(1, 200, "");
	stop_worker();
}
