/*
 * The store: each message's effect once, whole batches only, and no foreign database.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workers/store.h"

enum { BATCH = 10, ENVELOPE_BYTES = 4096, DEADLINE_MS = 60000 };

/* Logs are any 64 bits. */
static const uint64_t LOG = 0xf123456789abcdefu, OTHER_LOG = 5;

static char dir[64], path[128], error[512];
static struct config_queue queue;
static struct service_context context = { .config = &queue, .now = "2026-11-20T10:00:00.000Z" };
static uint8_t packed[ENVELOPE_BYTES + JSON_PADDING];
static struct message message;

static struct store *
open_store(void)
{
	struct store *store;

	cr_assert(store_open(&store, dir, &service_payment, true, error, sizeof(error)) == 0, "%s",
	    error);
	return store;
}

static const char *body = "{\"customer_id\":\"CUST-1\",\"amount\":5,\"payment_method\":\"card\"}";

/* Makes an opened message, as from a lane, with an id derived from the number. */
static void
make_message_of(uint64_t log, uint64_t sequence, uint64_t name)
{
	const struct envelope_attribute_source attribute = {
		.name = { "customer_id", 11 },
		.text = { "CUST-1", 6 },
		.type = JSON_STRING,
	};
	char id[32];
	const struct envelope_source source = {
		.head = {
			.topic = 7,
			.group = { "CUST-1", 6 },
			.message_id = { id, (size_t)sprintf(id, "m%lu", (unsigned long)name) },
			.body = { body, strlen(body) },
		},
		.attributes = &attribute,
		.count = 1,
	};
	long length = envelope_pack(packed, ENVELOPE_BYTES, &source);

	if (context.reader == NULL) {
		context.reader = json_reader_new(ENVELOPE_BYTES);
		context.row = calloc(1, service_payment.row_bytes);
	}
	message = (struct message){ .log = log, .sequence = sequence };
	if (length < 0 ||
	    envelope_open(&message.envelope, packed, (size_t)length, ENVELOPE_BODY_BYTES, NULL) !=
		0)
		abort();
}

static void
make_message(uint64_t log, uint64_t sequence)
{
	make_message_of(log, sequence, sequence);
}

/* Handles and writes one message. No assertions, as children call this too. */
static int
apply(struct store *store, uint64_t log, uint64_t sequence)
{
	struct outcome outcome;

	make_message(log, sequence);
	service_payment.handle(&context, &message, &outcome);
	return outcome.status == 200 ? store_apply(store, &context, &message, 0.5) : -EINVAL;
}

static int
fail(struct store *store, uint64_t log, uint64_t sequence, int status, const char *reason)
{
	struct outcome outcome;

	make_message(log, sequence);
	service_answer(&outcome, status, reason);
	return store_fail(store, &context, &message, &outcome);
}

static int
apply_batch(struct store *store, uint64_t first)
{
	int rc = store_begin(store);

	for (uint64_t i = 0; rc == 0 && i < BATCH; i++)
		rc = i == 3 ? fail(store, LOG, first + i, 400, "the fourth fails")
			    : apply(store, LOG, first + i);
	return rc;
}

static void
expect_found(struct store *store, uint64_t log, uint64_t sequence, int status, const char *reason)
{
	struct outcome outcome = { 0 };
	int rc;

	make_message(log, sequence);
	rc = store_find(store, &message, &outcome);
	cr_assert(
	    rc == (status != 0), "%lu: %d %s", (unsigned long)sequence, rc, store_error(store));
	cr_assert(outcome.status == status && strcmp(outcome.reason, reason) == 0, "%lu: %d %s",
	    (unsigned long)sequence, outcome.status, outcome.reason);
}

static uint64_t
highest(struct store *store, uint64_t log)
{
	uint64_t sequence = UINT64_MAX;

	cr_assert(store_highest(store, log, &sequence) == 0, "%s", store_error(store));
	return sequence;
}

/* Reads one value of the database over another connection. */
static const char *
query(const char *sql)
{
	static char value[4096];
	sqlite3_stmt *statement;
	sqlite3 *db;

	cr_assert(sqlite3_open(path, &db) == SQLITE_OK, "%s", path);
	cr_assert(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK, "%s: %s", sql,
	    sqlite3_errmsg(db));
	cr_assert(sqlite3_step(statement) == SQLITE_ROW, "%s: %s", sql, sqlite3_errmsg(db));
	snprintf(value, sizeof(value), "%s", (const char *)sqlite3_column_text(statement, 0));
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return value;
}

static void
expect(const char *sql, const char *value)
{
	const char *is = query(sql);

	cr_assert(strcmp(is, value) == 0, "%s: %s instead of %s", sql, is, value);
}

static void
setup(void)
{
	strcpy(dir, "/tmp/hg-store-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL, "mkdtemp");
	snprintf(path, sizeof(path), "%s/stores/%s.db", dir, service_payment.queue);
}

static void
teardown(void)
{
	static const char *const ends[] = { "", "-wal", "-shm", "-journal" };
	char name[160];

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		unlink(name);
	}
	snprintf(name, sizeof(name), "%s/stores", dir);
	rmdir(name);
	rmdir(dir);
}

TestSuite(store, .init = setup, .fini = teardown, .timeout = 1200);

/*
 * Once.
 */

Test(store, what_was_applied_is_found_with_its_outcome)
{
	struct store *store = open_store();

	cr_assert(highest(store, LOG) == 0, "a new store knows nothing");
	expect_found(store, LOG, 1, 0, "");
	cr_assert(apply_batch(store, 1) == 0 && store_commit(store) == 0, "%s", store_error(store));
	for (int opened = 0; opened < 2; opened++) {
		cr_assert(highest(store, LOG) == BATCH, "%lu", (unsigned long)highest(store, LOG));
		for (uint64_t i = 1; i <= BATCH; i++)
			expect_found(
			    store, LOG, i, i == 4 ? 400 : 200, i == 4 ? "the fourth fails" : "");
		expect_found(store, LOG, BATCH + 1, 0, "");
		store_close(store);
		store = open_store();
	}
	store_close(store);
}

static uint32_t
big_endian(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* A frame of SQLite's write-ahead log is a page and 24 bytes, so commits would share disk sectors.
 * SQLite must repeat the last frame up to a sector's end. */
Test(store, a_commit_shares_no_sector_with_the_next_one)
{
	static uint8_t log[1 << 20];
	struct store *store = open_store();
	const uint8_t *last = NULL, *before = NULL;
	char name[sizeof(path) + 8];
	size_t bytes, frame_bytes;
	FILE *file;

	cr_assert(apply_batch(store, 1) == 0 && store_commit(store) == 0, "%s", store_error(store));
	snprintf(name, sizeof(name), "%s-wal", path);
	file = fopen(name, "r");
	cr_assert(file != NULL, "%s", name);
	bytes = fread(log, 1, sizeof(log), file);
	fclose(file);
	frame_bytes = 24 + big_endian(log + 8);
	for (const uint8_t *at = log + 32; at + frame_bytes <= log + bytes; at += frame_bytes) {
		if (memcmp(at + 8, log + 16, 8) != 0) /* of an earlier use */
			break;
		before = last;
		last = at;
	}
	cr_assert(before != NULL, "%zu bytes", bytes);
	cr_assert(big_endian(before) == big_endian(last) && big_endian(before + 4) != 0 &&
		big_endian(last + 4) != 0,
	    "pages %u and %u", big_endian(before), big_endian(last));
	store_close(store);
}

Test(store, a_second_time_gives_no_second_row)
{
	struct store *store = open_store();

	cr_assert(apply_batch(store, 1) == 0 && store_commit(store) == 0, "%s", store_error(store));
	/* Even without a look-up before. */
	cr_assert(store_begin(store) == 0 && apply(store, LOG, BATCH + 1) == 0, "a new one");
	cr_assert(apply(store, LOG, 1) == -EIO && store_error(store)[0] != '\0', "applied twice");
	store_rollback(store);
	cr_assert(store_begin(store) == 0, "%s", store_error(store));
	cr_assert(fail(store, LOG, 4, 400, "another reason") == -EIO, "failed twice");
	store_rollback(store);
	expect_found(store, LOG, 1, 200, "");
	expect_found(store, LOG, 4, 400, "the fourth fails");
	expect_found(store, LOG, BATCH + 1, 0, "");
	store_close(store);
	expect("SELECT count(*) FROM payments", "9");
	expect("SELECT count(*) FROM failures", "1");
}

Test(store, a_log_is_not_another)
{
	struct store *store = open_store();

	cr_assert(store_begin(store) == 0 && apply(store, LOG, 8) == 0 &&
		apply(store, OTHER_LOG, 3) == 0 && fail(store, OTHER_LOG, 4, 422, "no") == 0 &&
		store_commit(store) == 0,
	    "%s", store_error(store));
	cr_assert(highest(store, LOG) == 8 && highest(store, OTHER_LOG) == 4, "highest");
	expect_found(store, LOG, 3, 0, "");
	expect_found(store, LOG, 4, 0, "");
	expect_found(store, OTHER_LOG, 8, 0, "");
	expect_found(store, OTHER_LOG, 4, 422, "no");
	store_close(store);
}

/* The log lost its end and assigned the sequence again: the look-up compares message ids. */
Test(store, a_message_is_not_another_that_had_its_sequence)
{
	static const uint64_t names[] = { 33, 5, 44 };
	struct outcome outcome;
	struct store *store = open_store();

	cr_assert(store_begin(store) == 0 && apply(store, LOG, 3) == 0 &&
		fail(store, LOG, 4, 422, "no") == 0 && store_commit(store) == 0,
	    "%s", store_error(store));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		for (uint64_t sequence = 3; sequence <= 4; sequence++) {
			char own[8];

			snprintf(own, sizeof(own), "m%lu", (unsigned long)sequence);
			make_message_of(LOG, sequence, names[i]);
			cr_assert(store_find(store, &message, &outcome) == -EEXIST, "m%lu is %s",
			    (unsigned long)names[i], own);
			cr_assert(
			    strstr(store_error(store), own) != NULL, "%s", store_error(store));
		}
	}
	make_message_of(LOG, 5, 3);
	cr_assert(store_find(store, &message, &outcome) == 0, "published again, it is another");
	expect_found(store, LOG, 3, 200, "");
	expect_found(store, LOG, 4, 422, "no");
	store_close(store);
}

Test(store, a_failure_keeps_its_words_and_its_message)
{
	char reason[SERVICE_REASON_BYTES];
	struct store *store = open_store();

	memset(reason, 'x', sizeof(reason) - 1);
	reason[sizeof(reason) - 1] = '\0';
	memcpy(reason, "it's \"\xe2\x82\xac\"", 10);
	cr_assert(store_begin(store) == 0 && fail(store, LOG, 1, 413, reason) == 0 &&
		fail(store, LOG, 2, 400, "") == 0 && store_commit(store) == 0,
	    "%s", store_error(store));
	expect_found(store, LOG, 1, 413, reason);
	expect_found(store, LOG, 2, 400, "");
	cr_assert(highest(store, LOG) == 2, "failures count, too");
	store_close(store);
	expect("SELECT customer_id FROM failures WHERE sequence = 1", "CUST-1");
	expect("SELECT message_id FROM failures WHERE sequence = 1", "m1");
	expect("SELECT code FROM failures WHERE sequence = 1", "413");
	expect("SELECT failed_at FROM failures WHERE sequence = 1", "2026-11-20T10:00:00.000Z");
	expect("SELECT body FROM failures WHERE sequence = 1",
	    "{\"customer_id\":\"CUST-1\",\"amount\":5,\"payment_method\":\"card\"}");
}

Test(store, a_failure_keeps_no_account_number)
{
	static const struct {
		const char *body, *kept;
	} bodies[] = {
		{ "{\"account_number\":\"123456789\",\"routing_number\":\"011000015\"}",
		    "{\"account_number\":\"*****6789\",\"routing_number\":\"011000015\"}" },
		{ "{\"account_number\":123456789}", "{\"account_number\":\"*****6789\"}" },
		{ "{\"account\":{\"id\":\"12345678\"}, \"amount\":5}",
		    "{\"account\":{\"id\":\"****5678\"}, \"amount\":5}" },
		{ "{\"account_number\":\"123456789\"", "{\"account_number\":\"*****6789\"" },
		{ "12345 1234 x99999999", "*2345 1234 x****9999" },
	};
	struct store *store = open_store();

	for (uint64_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		char sql[96];

		body = bodies[i].body;
		cr_assert(store_begin(store) == 0 && fail(store, LOG, i + 1, 400, "no") == 0 &&
			store_commit(store) == 0,
		    "%s", store_error(store));
		snprintf(sql, sizeof(sql), "SELECT body FROM failures WHERE sequence = %lu",
		    (unsigned long)i + 1);
		expect(sql, bodies[i].kept);
	}
	store_close(store);
}

Test(store, what_is_rolled_back_was_never_there)
{
	struct store *store = open_store();

	store_rollback(store); /* of nothing */
	cr_assert(apply_batch(store, 1) == 0, "%s", store_error(store));
	store_rollback(store);
	cr_assert(highest(store, LOG) == 0, "%lu", (unsigned long)highest(store, LOG));
	for (uint64_t i = 1; i <= BATCH; i++)
		expect_found(store, LOG, i, 0, "");
	/* The batch can be repeated. */
	cr_assert(apply_batch(store, 1) == 0 && store_commit(store) == 0, "%s", store_error(store));
	store_rollback(store); /* of the last commit */
	cr_assert(highest(store, LOG) == BATCH, "%lu", (unsigned long)highest(store, LOG));
	cr_assert(apply_batch(store, BATCH + 1) == 0, "%s", store_error(store));
	store_close(store); /* in the middle */
	expect("SELECT count(*) || '/' || (SELECT count(*) FROM failures) FROM payments", "9/1");
}

/*
 * Files that were moved or removed.
 */

static int
commit_one(struct store *store, uint64_t sequence)
{
	struct outcome outcome;
	int rc = store_begin(store);

	make_message(LOG, sequence);
	if (rc == 0)
		rc = store_find(store, &message, &outcome);
	if (rc == 0)
		rc = apply(store, LOG, sequence);
	rc = rc >= 0 ? store_commit(store) : rc;
	if (rc != 0)
		store_rollback(store);
	return rc;
}

Test(store, one_that_is_moved_away_or_replaced_commits_nothing)
{
	static const char *const ends[] = { "", "-wal", "-shm" };
	struct store *store = open_store();
	uint64_t sequence = 1;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		char name[160], away[160], wanted[64];

		snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		snprintf(away, sizeof(away), "%s/away", dir);
		snprintf(wanted, sizeof(wanted), "%s.db%s ", service_payment.queue, ends[i]);
		cr_assert(commit_one(store, sequence++) == 0, "%s", store_error(store));
		cr_assert(rename(name, away) == 0, "rename");
		for (int replaced = 0; replaced < 2; replaced++) {
			cr_assert(commit_one(store, sequence) == -EIO, "without %s", name);
			cr_assert(
			    strstr(store_error(store), wanted) != NULL, "%s", store_error(store));
			close(open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
		}
		cr_assert(rename(away, name) == 0, "rename");
		cr_assert(commit_one(store, sequence++) == 0, "%s", store_error(store));
	}
	store_close(store);
	expect("SELECT group_concat(sequence) FROM payments", "1,2,3,4,5,6");
}

/* root may write everywhere. */
static void
become_nobody(void)
{
	enum { NOBODY = 65534 };

	if (geteuid() != 0)
		return;
	cr_assert(chown(dir, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, 0) == 0, "nobody");
}

static void
become_root_again(void)
{
	if (setresuid(0, 0, 0) != 0) /* not root */
		errno = 0;
}

Test(store, one_that_cannot_be_looked_at_is_not_called_removed)
{
	struct store *store;
	char stores[128];

	become_nobody();
	store = open_store();
	snprintf(stores, sizeof(stores), "%s/stores", dir);
	cr_assert(commit_one(store, 1) == 0, "%s", store_error(store));
	cr_assert(chmod(stores, 0) == 0, "chmod");
	cr_assert(commit_one(store, 2) == -EIO, "it cannot be seen");
	cr_assert(strstr(store_error(store), "ermission denied") != NULL, "%s", store_error(store));
	cr_assert(chmod(stores, 0700) == 0, "chmod");
	cr_assert(commit_one(store, 3) == 0, "%s", store_error(store));
	store_close(store);
	become_root_again();
}

Test(store, one_that_could_not_be_written_is_written_once_that_is_mended)
{
	char wal[160], shm[160];
	struct store *store;
	uint64_t sequence;

	become_nobody();
	store = open_store();
	cr_assert(commit_one(store, 1) == 0, "%s", store_error(store));
	store_close(store);
	cr_assert(chmod(path, 0400) == 0, "chmod");
	store = open_store();
	for (int i = 0; i < 3; i++)
		cr_assert(commit_one(store, 2) == -EIO, "it is read-only");
	cr_assert(strstr(store_error(store), ".db cannot be written: Perm") != NULL, "%s",
	    store_error(store));
	cr_assert(
	    store_highest(store, LOG, &sequence) == 0 && sequence == 1, "%s", store_error(store));
	cr_assert(chmod(path, 0600) == 0, "chmod");
	/* SQLite gives these files the store's mode. */
	cr_assert(commit_one(store, 2) == -EIO, "it is read-only");
	cr_assert(strstr(store_error(store), ".db-wal cannot be written: Perm") != NULL, "%s",
	    store_error(store));
	snprintf(wal, sizeof(wal), "%s-wal", path);
	snprintf(shm, sizeof(shm), "%s-shm", path);
	cr_assert(chmod(wal, 0600) == 0 && chmod(shm, 0600) == 0, "chmod");
	cr_assert(commit_one(store, 2) == 0, "%s", store_error(store));
	store_close(store);
	become_root_again();
}

/* Opening again finds the same store, or none. */
Test(store, one_that_failed_is_not_opened_anew_where_another_stands)
{
	struct store *store = open_store();
	char away[160];
	uint64_t sequence;

	cr_assert(commit_one(store, 1) == 0, "%s", store_error(store));
	snprintf(away, sizeof(away), "%s/away", dir);
	cr_assert(rename(path, away) == 0, "rename");
	cr_assert(commit_one(store, 2) == -EIO, "it is gone");
	for (int i = 0; i < 3; i++)
		cr_assert(
		    store_highest(store, LOG, &sequence) == -EIO && store_begin(store) == -EIO,
		    "none is made");
	cr_assert(access(path, F_OK) != 0, "one was made");
	cr_assert(rename(away, path) == 0, "rename");
	cr_assert(commit_one(store, 3) == 0, "%s", store_error(store));
	store_close(store);
}

Test(store, it_says_whether_it_is_new)
{
	struct store *store = open_store();

	cr_assert(store_is_new(store), "a new one");
	store_close(store);
	store = open_store();
	cr_assert(!store_is_new(store), "it was there");
	store_close(store);
}

/*
 * Killed.
 */

static pid_t
fork_child(void)
{
	pid_t child = fork();

	cr_assert(child >= 0, "fork");
	if (child == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return child;
}

static void
expect_killed(pid_t child)
{
	int status;

	cr_assert(waitpid(child, &status, 0) == child, "waitpid");
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %x", status);
}

/* Commits one batch after the other, and reports their number. */
static void
work(int pipe_fd, uint64_t first)
{
	struct store *store;
	unsigned char one = 1;

	if (store_open(&store, dir, &service_payment, true, error, sizeof(error)) != 0)
		_exit(1);
	for (;; first += BATCH)
		if (apply_batch(store, first) != 0 || store_commit(store) != 0 ||
		    write(pipe_fd, &one, 1) != 1)
			_exit(2);
}

/* Checks that each batch is whole and in its place. Returns the number of batches. */
static uint64_t
check_whole(void)
{
	struct store *store = open_store();
	uint64_t count = highest(store, LOG);

	cr_assert(count % BATCH == 0, "%lu messages: no whole batches", (unsigned long)count);
	for (uint64_t i = 1; i <= count; i++)
		expect_found(store, LOG, i, i % BATCH == 4 ? 400 : 200,
		    i % BATCH == 4 ? "the fourth fails" : "");
	store_close(store);
	expect("PRAGMA integrity_check", "ok");
	return count / BATCH;
}

Test(store, killed_before_the_commit_the_batch_is_not_there)
{
	for (uint64_t messages = 1; messages <= BATCH; messages++) {
		pid_t child = fork_child();

		if (child == 0) {
			struct store *store;

			if (store_open(&store, dir, &service_payment, true, error, sizeof(error)) !=
				0 ||
			    store_begin(store) != 0)
				_exit(1);
			for (uint64_t i = 1; i <= messages; i++)
				if (apply(store, LOG, i) != 0)
					_exit(2);
			kill(getpid(), SIGKILL);
		}
		expect_killed(child);
		cr_assert(check_whole() == 0, "part of a batch of %lu", (unsigned long)messages);
	}
}

Test(store, killed_after_the_commit_the_batch_is_there)
{
	for (uint64_t batch = 0; batch < 5; batch++) {
		pid_t child = fork_child();

		if (child == 0) {
			struct store *store;

			if (store_open(&store, dir, &service_payment, true, error, sizeof(error)) !=
				0 ||
			    apply_batch(store, batch * BATCH + 1) != 0 || store_commit(store) != 0)
				_exit(1);
			/* The next sequence is absent. */
			if (apply_batch(store, (batch + 1) * BATCH + 1) != 0)
				_exit(2);
			kill(getpid(), SIGKILL);
		}
		expect_killed(child);
		cr_assert(check_whole() == batch + 1, "after %lu", (unsigned long)batch);
	}
}

Test(store, killed_at_any_moment_whole_batches_are_left)
{
	const char *given = getenv("STORE_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
	uint64_t known = 0;

	fprintf(stderr, "# STORE_SEED=%u\n", seed);
	for (int round = 0; round < 15; round++) {
		unsigned wait_for = (unsigned)rand_r(&seed) % 5;
		unsigned spins = (unsigned)rand_r(&seed) % 2000000;
		unsigned char bytes[4096];
		uint64_t told = 0;
		int ends[2];
		ssize_t n;
		pid_t child;

		cr_assert(pipe2(ends, O_CLOEXEC) == 0, "pipe");
		child = fork_child();
		if (child == 0)
			work(ends[1], known * BATCH + 1);
		close(ends[1]);
		while (told < wait_for) {
			struct pollfd polled = { .fd = ends[0], .events = POLLIN };

			cr_assert(poll(&polled, 1, DEADLINE_MS) == 1, "nothing is committed");
			n = read(ends[0], bytes, sizeof(bytes));
			cr_assert(n > 0, "the child ended by itself");
			told += (uint64_t)n;
		}
		for (volatile unsigned i = 0; i < spins; i++)
			;
		kill(child, SIGKILL);
		expect_killed(child);
		while ((n = read(ends[0], bytes, sizeof(bytes))) > 0)
			told += (uint64_t)n;
		close(ends[0]);
		told += known;
		known = check_whole();
		cr_assert(known == told || known == told + 1, "%lu batches, %lu were said to be",
		    (unsigned long)known, (unsigned long)told);
	}
}

/*
 * Not ours.
 */

/* Makes a foreign database. */
static void
make_database(const char *sql)
{
	char stores[128];
	sqlite3 *db;

	snprintf(stores, sizeof(stores), "%s/stores", dir);
	mkdir(stores, 0700);
	unlink(path);
	cr_assert(sqlite3_open(path, &db) == SQLITE_OK, "%s", path);
	cr_assert(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

static size_t
read_database(char *bytes, size_t capacity)
{
	FILE *file = fopen(path, "r");
	size_t length;

	cr_assert(file != NULL, "%s", path);
	length = fread(bytes, 1, capacity, file);
	fclose(file);
	return length;
}

/* The store must be refused with an error that names the file, and stay unchanged to the byte. */
static void
expect_refused(int status)
{
	static char before[1 << 16], after[1 << 16];
	size_t length = read_database(before, sizeof(before));
	struct store *store;
	int rc = store_open(&store, dir, &service_payment, true, error, sizeof(error));

	cr_assert(rc == status && store == NULL, "%d: %s", rc, error);
	cr_assert(strstr(error, path) != NULL && strlen(error) > strlen(path) + 2, "%s", error);
	cr_assert(
	    read_database(after, sizeof(after)) == length && memcmp(before, after, length) == 0,
	    "it was changed: %s", error);
}

Test(store, a_database_of_another_program_is_refused_and_left_alone)
{
	make_database("PRAGMA application_id = 4711; CREATE TABLE theirs (a)");
	expect_refused(-ESTALE);
	make_database("CREATE TABLE theirs (a)");
	expect_refused(-ESTALE);
	make_database("PRAGMA user_version = 1; CREATE TABLE theirs (a)");
	expect_refused(-ESTALE);
}

Test(store, a_store_of_another_version_is_refused_and_left_alone)
{
	struct store *store = open_store();

	store_close(store);
	cr_assert(strtol(query("PRAGMA user_version"), NULL, 10) == 1, "this version");
	make_database(
	    "PRAGMA application_id = 0x48474154; PRAGMA user_version = 2; CREATE TABLE t (a)");
	expect_refused(-ESTALE);
	make_database("PRAGMA application_id = 0x48474154; CREATE TABLE t (a)");
	expect_refused(-ESTALE);
}

Test(store, what_is_no_database_is_refused_and_left_alone)
{
	char bytes[8192];
	FILE *file;

	make_database("PRAGMA user_version = 1");
	memset(bytes, 'x', sizeof(bytes));
	file = fopen(path, "w");
	cr_assert(fwrite(bytes, 1, sizeof(bytes), file) == sizeof(bytes), "write");
	fclose(file);
	expect_refused(-EBADMSG);
}

/* The files of a process killed before its first transaction. */
Test(store, an_empty_file_becomes_a_store)
{
	make_database("");
	cr_assert(truncate(path, 0) == 0, "truncate");
	store_close(open_store());
	expect("PRAGMA application_id", "1212629332");
	expect("PRAGMA journal_mode", "wal");
}

/* Opens the store as a user without write permission. Returns the error. */
static const char *
open_as_nobody(void)
{
	static char words[512];
	int ends[2], status;
	ssize_t n;
	pid_t child;

	cr_assert(pipe2(ends, O_CLOEXEC) == 0, "pipe");
	child = fork_child();
	if (child == 0) {
		struct store *store;

		/* Permissions are nothing to root. */
		if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
			_exit(1);
		if (store_open(&store, dir, &service_payment, true, error, sizeof(error)) >= 0)
			_exit(2);
		_exit(write(ends[1], error, strlen(error)) < 0);
	}
	close(ends[1]);
	cr_assert(waitpid(child, &status, 0) == child && status == 0, "status %x", status);
	n = read(ends[0], words, sizeof(words) - 1);
	words[n > 0 ? n : 0] = '\0';
	close(ends[0]);
	return words;
}

Test(store, a_directory_that_cannot_be_written_is_named)
{
	char stores[128];
	const char *words;

	snprintf(stores, sizeof(stores), "%s/stores", dir);
	cr_assert(chmod(dir, 0555) == 0, "chmod");
	words = open_as_nobody();
	cr_assert(strstr(words, stores) != NULL && strstr(words, "ermission") != NULL, "%s", words);
	cr_assert(
	    chmod(dir, 0755) == 0 && mkdir(stores, 0755) == 0 && chmod(stores, 0555) == 0, "dir");
	words = open_as_nobody();
	cr_assert(strstr(words, path) != NULL && strlen(words) > strlen(path) + 2, "%s", words);
	/* Present, and not writable. */
	cr_assert(chmod(stores, 0755) == 0, "chmod");
	store_close(open_store());
	cr_assert(chmod(path, 0444) == 0 && chmod(stores, 0555) == 0, "chmod");
	words = open_as_nobody();
	cr_assert(strstr(words, path) != NULL && strlen(words) > strlen(path) + 2, "%s", words);
	cr_assert(chmod(stores, 0755) == 0, "chmod");
}
