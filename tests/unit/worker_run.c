/*
 * A worker program as a process, with the test as its router (worker_peer.h), on bad days of lanes
 * and state word.
 */
#include "tests/unit/worker_peer.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "message/envelope.h"
#include "message/wire.h"

TestSuite(worker_run, .init = setup_payment, .fini = teardown, .timeout = 1200);
TestSuite(worker_run_bank, .init = setup_bank_account, .fini = teardown, .timeout = 1200);

/*
 * Good days.
 */

Test(worker_run, what_is_completed_is_in_the_store)
{
	start_worker(0);
	router_attach();
	for (uint64_t i = 1; i <= 300; i++) {
		if (i % 7 == 0)
			deliver_payment(i, "C", "-1");
		else
			deliver_payment(i, "C", "150.75");
		if (i % 50 == 0)
			show();
	}
	for (uint64_t i = 1; i <= 300; i++)
		expect_done(i, i % 7 == 0 ? 400 : 200, i % 7 == 0 ? "Invalid amount format" : "");
	cr_assert(rows() == 258 && count("failures") == 42, "%ld rows", rows());
	cr_assert(strcmp(query("SELECT fees_cents FROM payments WHERE sequence = 300"), "377") == 0,
	    "it");
	/* The lowest sequence of all lanes comes first. */
	cr_assert(
	    count("payments a JOIN payments b ON a.rowid < b.rowid AND a.sequence > b.sequence "
		  "AND a.processed_at = b.processed_at") == 0,
	    "out of order");
	stop_worker();
}

Test(worker_run, one_message_after_the_other_wakes_it_each_time)
{
	start_worker(0);
	router_attach();
	for (uint64_t i = 1; i <= 200; i++) {
		deliver_payment(i, "C", "5");
		show();
		expect_done(i, 200, "");
	}
	stop_worker();
}

Test(worker_run, a_message_that_was_handled_before_gives_its_outcome_again)
{
	char before[512];

	start_worker(0);
	router_attach();
	for (int round = 0; round < 3; round++) {
		for (uint64_t i = 1; i <= 20; i++)
			deliver_payment(i, i == 8 ? "ERROR400" : "C", i == 5 ? "\"x\"" : "5");
		show();
		for (uint64_t i = 1; i <= 20; i++)
			expect_done(i, i == 5 || i == 8 ? 400 : 200,
			    i == 5       ? "Invalid amount format"
				: i == 8 ? "Insufficient funds in account"
					 : "");
		cr_assert(rows() == 18 && count("failures") == 2, "%ld rows", rows());
		if (round == 0)
			snprintf(before, sizeof(before), "%s",
			    query(
				"SELECT group_concat(processed_at || transaction_id) FROM payments "
				"WHERE sequence < 8"));
		if (round == 1)
			continue; /* over the same connection */
		/* The working child dies, and its completions are lost. */
		kill(peer, SIGKILL);
		router_hang_up();
		router_attach();
	}
	cr_assert(strcmp(before,
		      query("SELECT group_concat(processed_at || transaction_id) FROM payments "
			    "WHERE sequence < 8")) == 0,
	    "handled again");
	kill(worker[0], SIGTERM);
	cr_assert(wait_worker(0, STOP_MS) == 0, "%s", read_errors());
}

/* Expects this completion as the next one of the message's lane, without a row in the store. */
static struct taken
expect_refused(uint64_t sequence, int status, uint32_t flags)
{
	struct taken taken;
	char what[128];

	cr_assert(take(sequence % LANES, &taken), "the worker hung up: %s", read_errors());
	cr_assert(taken.sequence == sequence && taken.status == status && taken.flags == flags,
	    "%lu: %d %x %s", (unsigned long)taken.sequence, taken.status, taken.flags,
	    taken.reason);
	for (int i = 0; i < 2; i++) {
		snprintf(what, sizeof(what), "%s WHERE message_id = 'm%lu'",
		    i ? table() : "failures", (unsigned long)(first_name + sequence));
		cr_assert(count(what) == 0, "%s", what);
	}
	return taken;
}

/* A log that lost its end assigns sequences again. */
Test(worker_run, a_message_in_anothers_place_is_neither_settled_nor_lost)
{
	struct taken taken;

	start_worker(0);
	router_attach();
	for (uint64_t i = 1; i <= 8; i++)
		deliver_payment(i, i == 6 ? "ERROR400" : "C", "5");
	show();
	for (uint64_t i = 1; i <= 8; i++)
		expect_done(i, i == 6 ? 400 : 200, i == 6 ? "Insufficient funds in account" : "");
	kill(peer, SIGKILL);
	router_hang_up();
	router_attach();
	deliver_payment(4, "C", "5");
	first_name = 100;
	for (uint64_t i = 5; i <= 10; i++)
		deliver_payment(i, "C", "5");
	show();
	first_name = 0;
	expect_done(4, 200, "");
	first_name = 100;
	taken = expect_refused(5, 503, 0);
	cr_assert(strstr(taken.reason, "sequence 5") != NULL && strstr(taken.reason, "m5") != NULL,
	    "%s", taken.reason);
	expect_idle();
	/* Gives the messages up, one after the other, as the router does for dead letters. */
	for (uint64_t i = 5; i <= 8; i++) {
		skip_head(i, i);
		taken = expect_refused(i, 503, LANE_ENDED);
		cr_assert(strcmp(taken.reason, "given up") == 0, "%s", taken.reason);
	}
	set_state(CONTROL_RUNNING, 9);
	expect_done(9, 200, "");
	expect_done(10, 200, "");
	cr_assert(rows() == 9 && count("failures") == 1, "%ld rows", rows());
	kill(worker[0], SIGTERM);
	cr_assert(wait_worker(0, STOP_MS) == 0, "%s", read_errors());
}

Test(worker_run, killed_in_the_middle_of_batches_nothing_is_lost_or_doubled)
{
	enum { MESSAGES = 3000 };
	const char *given = getenv("WORKER_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
	uint64_t first = 1;

	fprintf(stderr, "# WORKER_SEED=%u\n", seed);
	start_worker(0);
	for (int round = 0; round < 6 && first <= MESSAGES; round++) {
		uint64_t stop = first + (uint64_t)rand_r(&seed) % (MESSAGES / 6);
		pid_t before = peer;
		struct taken taken;

		router_attach();
		cr_assert(peer != before, "the same child");
		for (uint64_t i = first; i <= MESSAGES; i++)
			deliver_payment(i, "C", i % 10 == 0 ? "[]" : "5");
		show();
		if (round == 5)
			break;
		wait_for_start(stop);
		kill(peer, SIGKILL);
		/* As much as the router heard of is settled; the rest comes again. */
		for (bool more = true; more;) {
			more = take_now(first % LANES, &taken);
			cr_assert(!more || taken.sequence == first, "out of order");
			first += more;
		}
		router_hang_up();
	}
	for (; first <= MESSAGES; first++)
		expect_done(first, first % 10 == 0 ? 400 : 200,
		    first % 10 == 0 ? "Invalid amount format" : "");
	cr_assert(
	    rows() == MESSAGES * 9 / 10 && count("failures") == MESSAGES / 10, "%ld rows", rows());
	kill(worker[0], SIGTERM);
	cr_assert(wait_worker(0, STOP_MS) == 0, "%s", read_errors());
}

/* The tests need all deliveries in one batch, which ends after CONSUMER_BATCH_NS. */
static void
skip_under_valgrind(void)
{
	if (getenv("HEADGATE_VALGRIND") != NULL)
		cr_skip("batches are short under valgrind");
}

/* The ring has room for 127 completions: the rest of the batch waits for the router, and for
 * nothing else. */
Test(worker_run, completions_wait_for_room)
{
	int64_t deadline_ms = now_ms() + DEADLINE_MS;

	skip_under_valgrind();
	completion_bytes = RING_CAPACITY_MIN;
	start_worker(0);
	router_attach();
	for (uint64_t i = 1; i <= 1000; i++)
		deliver_payment(i, "C", "5");
	show();
	while (ring_filled_bytes(&completion[0]) < RING_CAPACITY_MIN - 64)
		look_again(deadline_ms, "a full ring");
	for (uint64_t i = 1; i <= 1000; i++)
		expect_done(i, 200, "");
	/* The router hangs up while the worker waits. */
	for (uint64_t i = 1001; i <= 2000; i++)
		deliver_payment(i, "C", "5");
	show();
	while (ring_filled_bytes(&completion[0]) < RING_CAPACITY_MIN - 64)
		look_again(deadline_ms, "a full ring");
	router_hang_up();
	router_attach();
	deliver_payment(2000, "C", "5");
	show();
	expect_done(2000, 200, "");
	/* The router writes garbage as its position while the worker waits. */
	for (uint64_t i = 2001; i <= 3000; i++)
		deliver_payment(i, "C", "5");
	show();
	while (ring_filled_bytes(&completion[0]) < RING_CAPACITY_MIN - 64)
		look_again(deadline_ms, "a full ring");
	for (int i = 0; i < LANES; i++)
		atomic_store(&lane[i].shared->completion.tail, UINT64_MAX / 2);
	wait_for_event("worker.detached");
	router_hang_up();
	router_attach();
	stop_worker();
	cr_assert(rows() >= 2000, "%ld rows", rows());
}

#define ACCOUNT "9182736455463728"

static void
deliver_account(uint64_t sequence, const char *customer, const char *routing)
{
	char body[256];

	snprintf(body, sizeof(body),
	    "{\"customer_id\":\"%s\",\"routing_number\":\"%s\","
	    "\"account_number\":\"" ACCOUNT "\"}",
	    customer, routing);
	deliver(sequence, body);
}

/* A slow message keeps the batch open: earlier messages are handled, and not committed. */
Test(worker_run_bank, killed_before_the_commit_nothing_of_the_batch_is_there)
{
	skip_under_valgrind();
	start_worker(0);
	router_attach();
	set_state(CONTROL_STOPPED, 2);
	for (int round = 0; round < 2; round++) {
		for (uint64_t i = 1; i <= 5; i++)
			deliver_account(i, i == 4 ? "SLOW" : "C", i == 2 ? "12" : "123456789");
		show();
		set_state(CONTROL_RUNNING, 3 + (uint64_t)round);
		if (round == 1)
			break;
		wait_for_start(4);
		kill(peer, SIGKILL);
		router_hang_up();
		set_state(CONTROL_STOPPED, 2);
		router_attach();
		cr_assert(
		    rows() == 0 && count("failures") == 0, "%ld rows of half a batch", rows());
	}
	for (uint64_t i = 1; i <= 5; i++)
		expect_done(i, i == 2 ? 400 : 200, i == 2 ? "Invalid routing number format" : "");
	cr_assert(rows() == 4 && count("failures") == 1, "%ld rows", rows());
}

Test(worker_run_bank, no_account_number_is_in_what_it_says)
{
	start_worker(0);
	router_attach();
	deliver_account(1, "C", "123456789");
	deliver_account(2, "C", "12345678");
	deliver_account(3, "ERROR400", "123456789");
	deliver_account(4, "ERROR500", "123456789");
	show();
	expect_done(1, 200, "");
	expect_done(2, 400, "Invalid routing number format");
	expect_done(3, 400, "Invalid account number format");
	expect_done(4, 500, "Bank validation service temporarily unavailable");
	cr_assert(strcmp(query("SELECT account_number_masked FROM bank_accounts"), "****3728") == 0,
	    "%s", query("SELECT account_number_masked FROM bank_accounts"));
	stop_worker();
	cr_assert(strstr(read_errors(), "message.server_error") != NULL, "%s", read_errors());
	cr_assert(strstr(read_errors(), ACCOUNT) == NULL, "%s", read_errors());
}

/*
 * The gate.
 */

Test(worker_run, a_server_error_ends_its_work_until_there_is_a_new_state)
{
	struct taken taken;

	start_worker(0);
	router_attach();
	set_state(CONTROL_STOPPED, 2);
	deliver_payment(1, "C", "5");
	deliver_payment(2, "C", "{}");
	deliver_payment(3, "ERROR500", "5");
	deliver_payment(4, "C", "5");
	deliver_payment(5, "C", "5");
	show();
	expect_idle();
	set_state(CONTROL_RUNNING, 3);
	expect_done(1, 200, "");
	expect_done(2, 400, "Invalid amount format");
	cr_assert(take(3 % LANES, &taken) && taken.sequence == 3 && taken.status == 500 &&
		taken.state == control_word(CONTROL_RUNNING, 0, 3),
	    "%lu %d %lx", (unsigned long)taken.sequence, taken.status, (unsigned long)taken.state);
	expect_idle();
	set_state(CONTROL_TRIPPED, 4);
	expect_idle();
	cr_assert(rows() == 1 && count("failures") == 1, "%ld rows", rows());
	/* The failed message is tried first. */
	set_state(CONTROL_RUNNING, 5);
	cr_assert(take(3 % LANES, &taken) && taken.sequence == 3 && taken.status == 500 &&
		taken.state == control_word(CONTROL_RUNNING, 0, 5),
	    "%lu", (unsigned long)taken.sequence);
	expect_idle();
	cr_assert(rows() == 1, "%ld rows", rows());
	stop_worker();
}

/* A worker's answers under the router's policy. The worker's own configuration is the built-in one:
 * a 5xx closes the gate, a 4xx ends the message, three attempts. */
static const struct {
	bool blocks_server_error, blocks_client_error;
	uint32_t receives_max, receives;
	const char *customer;
	int status;
	uint32_t flags;
	bool goes_on; /* with the message behind, of another group */
} policies[] = {
	{ false, false, 3, 0, "C", 200, 0, true },
	{ true, true, 3, 0, "C", 200, 0, true },
	{ false, false, 3, 0, "ERROR400", 400, LANE_ENDED, true },
	{ true, false, 3, 0, "ERROR400", 400, LANE_ENDED, true },
	{ false, true, 3, 0, "ERROR400", 400, 0, true },
	{ true, true, 3, 0, "ERROR400", 400, 0, true },
	{ false, false, 3, 0, "ERROR500", 500, 0, false },
	{ false, true, 3, 0, "ERROR500", 500, 0, false },
	{ true, false, 3, 0, "ERROR500", 500, 0, true },
	{ true, true, 3, 0, "ERROR500", 500, 0, true },
	{ false, false, 3, 3, "C", 500, LANE_ENDED, true },
	{ false, false, 1, 1, "C", 500, LANE_ENDED, true },
	{ false, false, 5, 4, "C", 200, 0, true },
	{ false, false, 0, 100, "C", 200, 0, true },
};

Test(worker_run, the_router_s_policy_holds_and_not_its_own)
{
	struct taken taken;

	start_worker(0);
	for (unsigned i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		uint64_t sequence = 1 + 2 * i; /* in one lane; the message behind is in the other */

		policy.blocks_server_error = policies[i].blocks_server_error;
		policy.blocks_client_error = policies[i].blocks_client_error;
		policy.receives_max = policies[i].receives_max;
		router_attach();
		front.receive_count = policies[i].receives;
		deliver_payment(sequence, policies[i].customer, "5");
		front.receive_count = 0;
		deliver_to_group("D", sequence + 1,
		    "{\"customer_id\":\"D\",\"amount\":5,\"payment_method\":\"card\"}");
		show();
		cr_assert(take(sequence % LANES, &taken) && taken.sequence == sequence &&
			taken.status == policies[i].status && taken.flags == policies[i].flags,
		    "row %u: %d, flags %u: %s", i, taken.status, taken.flags, taken.reason);
		if (policies[i].goes_on)
			expect_done(sequence + 1, 200, "");
		else
			expect_idle();
		router_hang_up();
	}
	router_attach();
	stop_worker();
	cr_assert(strstr(read_errors(), "worker.other_policy") != NULL &&
		strstr(read_errors(), "server_error") != NULL &&
		strstr(read_errors(), "max_receive_count") != NULL,
	    "%s", read_errors());
}

Test(worker_run, a_store_that_cannot_be_written_is_a_server_error_and_then_it_goes_on)
{
	struct taken taken;

	start_worker(0);
	router_attach();
	deliver_payment(1, "C", "5");
	show();
	expect_done(1, 200, "");
	open_store();
	cr_assert(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK, "lock");
	for (uint64_t i = 2; i <= 10; i++)
		deliver_payment(i, "C", "5");
	show();
	cr_assert(take(2 % LANES, &taken) && taken.sequence == 2 && taken.status == 500 &&
		strstr(taken.reason, "locked") != NULL,
	    "%lu: %s", (unsigned long)taken.sequence, taken.reason);
	cr_assert(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK, "unlock");
	expect_idle();
	set_state(CONTROL_RUNNING, 2);
	for (uint64_t i = 2; i <= 10; i++)
		expect_done(i, 200, "");
	cr_assert(rows() == 10, "%ld rows", rows());
	stop_worker();
}

/*
 * Routers that go and come.
 */

Test(worker_run, it_attaches_again_when_the_router_is_back)
{
	pid_t child;

	start_worker(0);
	router_attach();
	child = peer;
	deliver_payment(1, "C", "5");
	show();
	expect_done(1, 200, "");
	router_hang_up();
	router_attach(); /* at once */
	deliver_payment(2, "C", "5");
	show();
	expect_done(2, 200, "");
	close(listen_fd);
	unlink(path("run/router.sock"));
	router_hang_up();
	wait_for_event("worker.waiting");
	router_listen();
	router_attach();
	cr_assert(peer == child, "it need not have died for that");
	deliver_payment(2, "C", "5");
	deliver_payment(3, "C", "5");
	show();
	expect_done(2, 200, "");
	expect_done(3, 200, "");
	cr_assert(rows() == 3, "%ld rows", rows());
	stop_worker();
}

/* DIR may be mistyped: a store there would look like a store that lost all rows. */
Test(worker_run, it_makes_no_store_before_a_router_has_taken_it)
{
	static const char refusal[] = "\x92\xcd\x01\xf7\xa4wait";

	close(listen_fd);
	unlink(path("run/router.sock"));
	start_worker(0);
	wait_for_event("worker.waiting");
	cr_assert(access(path("state/stores"), F_OK) != 0, "without a router");
	router_listen();
	router_accept();
	wire_send(router_fd, WIRE_ERROR, refusal, sizeof(refusal) - 1, NULL, 0);
	router_hang_up();
	router_accept();
	cr_assert(access(path("state/stores"), F_OK) != 0, "refused");
	router_welcome();
	deliver_payment(1, "C", "5");
	show();
	expect_done(1, 200, "");
	stop_worker();
}

Test(worker_run, a_router_that_refuses_or_talks_nonsense_is_asked_again)
{
	static const char refusal[] = "\x92\xcd\x01\xf7\xa4wait", nonsense[] = "\x92\xc1\xc1";

	start_worker(0);
	router_accept();
	wire_send(router_fd, WIRE_ERROR, refusal, sizeof(refusal) - 1, NULL, 0);
	router_hang_up();
	router_accept();
	wire_send(router_fd, WIRE_WELCOME, nonsense, sizeof(nonsense) - 1, NULL, 0);
	router_hang_up();
	router_accept();
	wire_send(router_fd, WIRE_ERROR, nonsense, sizeof(nonsense) - 1, &listen_fd, 1);
	router_hang_up();
	router_accept();
	wire_send(
	    router_fd, WIRE_WELCOME, "\x92\x00\x91\x00", 4, (int[]){ listen_fd, router_fd }, 2);
	router_hang_up();
	router_accept();
	cr_assert(write(router_fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8) == 8, "write");
	router_hang_up();
	router_attach();
	deliver_payment(1, "C", "5");
	show();
	expect_done(1, 200, "");
	stop_worker();
}

Test(worker_run, a_second_one_stands_by_and_takes_over)
{
	pid_t first;

	start_worker(0);
	router_attach();
	first = peer;
	start_worker(1);
	wait_for_event("worker.standby");
	deliver_payment(1, "C", "5");
	show();
	expect_done(1, 200, "");
	kill(worker[0], SIGKILL);
	wait_worker(0, DEADLINE_MS);
	router_hang_up();
	router_attach();
	cr_assert(peer != first, "a child outlived its parent");
	deliver_payment(1, "C", "5");
	deliver_payment(2, "C", "5");
	show();
	expect_done(1, 200, "");
	expect_done(2, 200, "");
	cr_assert(rows() == 2, "%ld rows", rows());
	kill(worker[1], SIGTERM);
	cr_assert(wait_worker(1, STOP_MS) == 0, "%s", read_errors());
}

/*
 * Its end.
 */

Test(worker_run, it_is_stopped_without_a_router)
{
	close(listen_fd);
	unlink(path("run/router.sock"));
	start_worker(0);
	wait_for_event("worker.waiting");
	stop_worker();
}

Test(worker_run, it_is_stopped_while_the_gate_is_closed)
{
	set_state(CONTROL_STOPPED, 2);
	start_worker(0);
	router_attach();
	deliver_payment(1, "C", "5");
	show();
	expect_idle();
	stop_worker();
}

Test(worker_run, it_is_stopped_under_load_and_what_it_completed_is_stored)
{
	struct taken taken;
	long done = 0;

	start_worker(0);
	router_attach();
	for (uint64_t i = 1; i <= 4000; i++)
		deliver_payment(i, "C", "5");
	show();
	wait_for_start(100);
	stop_worker();
	for (unsigned i = 0; i < LANES; i++)
		while (take_now(i, &taken))
			done++;
	cr_assert(done == rows(), "%ld completed, %ld stored", done, rows());
}

Test(worker_run, it_is_stopped_though_nobody_takes_its_completions)
{
	int64_t deadline_ms = now_ms() + DEADLINE_MS;

	completion_bytes = RING_CAPACITY_MIN;
	start_worker(0);
	router_attach();
	for (uint64_t i = 1; i <= 1000; i++)
		deliver_payment(i, "C", "5");
	show();
	while (ring_filled_bytes(&completion[0]) < RING_CAPACITY_MIN - 64)
		look_again(deadline_ms, "a full ring");
	stop_worker();
	cr_assert(rows() > 0, "what it did is stored");
}

Test(worker_run, it_is_stopped_as_a_standby)
{
	start_worker(0);
	router_attach();
	start_worker(1);
	wait_for_event("worker.standby");
	kill(worker[1], SIGTERM);
	cr_assert(wait_worker(1, STOP_MS) == 0, "%s", read_errors());
	stop_worker();
}

/*
 * Garbage.
 */

/* The worker must hang up and attach again, or report a failure; stop_worker() checks for
 * crashes. */
static void
expect_reported(bool hangs_up)
{
	struct taken taken;

	cr_assert(take(0, &taken) != hangs_up, "%s", read_errors());
	cr_assert(hangs_up || (taken.status >= 500 && taken.reason[0] != '\0'), "%d %s",
	    taken.status, taken.reason);
	router_hang_up();
	router_attach();
}

Test(worker_run, garbage_in_the_lanes_is_reported)
{
	void *payload;

	start_worker(0);
	router_attach();
	cr_assert(ring_reserve(&delivery[0], 99, 100, &payload) == 1, "no tag of ours");
	show();
	expect_reported(true);
	cr_assert(ring_reserve(&delivery[0], LANE_TAG_DELIVERY, 3, &payload) == 1, "too short");
	show();
	expect_reported(true);
	deliver_bytes(0, 2, "", 0); /* no envelope */
	show();
	expect_reported(false);
	/* Invalid ring positions. */
	atomic_store(&lane[0].shared->delivery.head, UINT64_MAX / 2);
	doorbell_ring(&lane[0].shared->worker_bell);
	expect_reported(true);
	atomic_store(&lane[0].shared->delivery.head, 12);
	doorbell_ring(&lane[0].shared->worker_bell);
	expect_reported(true);
	/* A record that ends beyond the published position. */
	memset(lane[0].delivery_data, 0xff, LANE_DELIVERY_BYTES);
	atomic_store(&lane[0].shared->delivery.head, 64);
	doorbell_ring(&lane[0].shared->worker_bell);
	expect_reported(true);
	deliver_payment(2, "C", "5");
	show();
	expect_done(2, 200, "");
	cr_assert(rows() == 1, "%ld rows", rows());
	stop_worker();
}

/* Invalid lane headers. */
static unsigned lie;

static void
spoil_lanes(void)
{
	struct lane_shared *shared = lane[lie % 2].shared;

	switch (lie / 2) {
	case 0:
		shared->max_message_bytes = 0;
		break;
	case 1:
		shared->max_message_bytes = ENVELOPE_BODY_BYTES_MAX + 1;
		break;
	case 2:
		shared->log_id++;
		break;
	case 3:
		lane[0].shared->log_id = lane[1].shared->log_id = 0;
		break;
	case 4:
		shared->lane = 1 - shared->lane; /* the same lane twice */
		break;
	case 5:
		shared->lane = CONFIG_LANES_MAX;
		break;
	case 6:
		shared->delivery_capacity *= 2;
		break;
	case 7:
		shared->queue[0] ^= 1;
		break;
	}
}

Test(worker_run, a_lane_that_cannot_be_is_not_used)
{
	struct pollfd polled = { .events = POLLRDHUP };

	start_worker(0);
	spoil = spoil_lanes;
	for (lie = 0; lie < 16; lie++) {
		router_attach();
		polled.fd = router_fd;
		cr_assert(poll(&polled, 1, DEADLINE_MS) == 1, "lie %u: %s", lie, read_errors());
		router_hang_up();
	}
	spoil = NULL;
	for (int i = 0; i < 2; i++) {
		policy.visibility_ns = i ? 300000000000 : UINT64_MAX;
		router_attach();
		if (i)
			break;
		polled.fd = router_fd;
		cr_assert(poll(&polled, 1, DEADLINE_MS) == 1, "visibility: %s", read_errors());
		router_hang_up();
	}
	deliver_payment(1, "C", "5");
	show();
	expect_done(1, 200, "");
	stop_worker();
}

/* Invalid deliveries. Above all, an unknown flag must not be ignored. */
static const struct {
	uint64_t sequence;
	uint16_t flags, status, reason_length;
	size_t length;
} deliveries[] = {
	{ 0, 0, 0, 0, 100 },
	{ 2, 4, 0, 0, 100 },
	{ 2, 0x8000, 0, 0, 100 },
	{ 2, 0, 0, 1, 100 },
	{ 2, LANE_GIVE_UP, 0, 0, 100 },
	{ 2, LANE_GIVE_UP, 200, 0, 100 },
	{ 2, LANE_GIVE_UP, 600, 0, 100 },
	{ 2, LANE_GIVE_UP, 500, 101, 100 },
	{ 2, LANE_GIVE_UP, 500, LANE_REASON_BYTES + 1, 2000 },
	{ 2, LANE_GIVE_UP, 500, 0xffff, 100 },
	{ 2, 0, 0, 0, ENVELOPE_BODY_BYTES + ENVELOPE_OVERHEAD_BYTES + 1 },
};

Test(worker_run, a_delivery_that_cannot_be_is_not_taken)
{
	static char bytes[ENVELOPE_BODY_BYTES + ENVELOPE_OVERHEAD_BYTES + 1];
	struct taken taken;

	start_worker(0);
	for (unsigned i = 0; i < sizeof(deliveries) / sizeof(deliveries[0]); i++) {
		router_attach();
		front.flags = deliveries[i].flags;
		front.status = deliveries[i].status;
		front.reason_length = deliveries[i].reason_length;
		deliver_bytes(0, deliveries[i].sequence, bytes, deliveries[i].length);
		show();
		cr_assert(!take(0, &taken), "row %u: %d", i, taken.status);
		router_hang_up();
	}
	front = (struct lane_delivery){ 0 };
	router_attach();
	deliver_payment(2, "C", "5");
	show();
	expect_done(2, 200, "");
	cr_assert(rows() == 1 && count("failures") == 0, "%ld rows", rows());
	stop_worker();
}

/* The router blocks the message's group, which the worker cannot know. */
Test(worker_run, a_message_that_cannot_be_opened_does_not_stop_it_where_failures_block_groups)
{
	struct taken taken;

	policy.blocks_server_error = true;
	start_worker(0);
	router_attach();
	deliver_bytes(0, 2, "", 0);
	deliver_payment(4, "C", "5");
	show();
	cr_assert(
	    take(0, &taken) && taken.sequence == 2 && taken.status == 500, "%d", taken.status);
	cr_assert(!take(0, &taken), "%lu", (unsigned long)taken.sequence);
	router_hang_up();
	router_attach();
	deliver_payment(4, "C", "5");
	show();
	expect_done(4, 200, "");
	stop_worker();
}

Test(worker_run, garbage_in_envelopes_is_reported)
{
	const char *given = getenv("WORKER_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();

	fprintf(stderr, "# WORKER_SEED=%u\n", seed);
	start_worker(0);
	router_attach();
	for (uint64_t i = 2; i <= 300; i += 2) {
		uint8_t buffer[ENVELOPE_BYTES];
		size_t length = pack(buffer, "C", i,
		    "{\"customer_id\":\"C\",\"amount\":5,\"payment_method\":\"card\"}");
		struct taken taken;

		for (int changes = rand_r(&seed) % 4; changes >= 0; changes--)
			buffer[(size_t)rand_r(&seed) % length] = (uint8_t)rand_r(&seed);
		if (rand_r(&seed) % 4 == 0)
			length = (size_t)rand_r(&seed) % length;
		deliver_bytes(0, i, buffer, length);
		show();
		cr_assert(take(0, &taken) && taken.sequence == i, "%s", read_errors());
		cr_assert(taken.status == 200 || taken.reason[0] != '\0', "%d", taken.status);
		if (taken.status < 500)
			continue;
		router_hang_up();
		router_attach();
	}
	stop_worker();
}
