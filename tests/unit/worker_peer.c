#include "tests/unit/worker_peer.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <msgpack.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "message/envelope.h"
#include "message/wire.h"
#include "shm/lane_lock.h"

char dir[64];
const char *program, *queue, *binary;
pid_t worker[WORKERS];
struct control control;
sqlite3 *db;
int listen_fd = -1, router_fd = -1, bell_fd = -1;
pid_t peer;
unsigned generation;
uint64_t first_name;
size_t completion_bytes = LANE_COMPLETION_BYTES;
void (*spoil)(void);
struct policy policy;
struct lane_delivery front;
struct lane lane[LANES];
struct ring_producer delivery[LANES];
struct ring_consumer completion[LANES];

char *
path(const char *name)
{
	static char paths[8][192];
	static int turn;
	char *at = paths[turn++ % 8];

	snprintf(at, sizeof(paths[0]), "%s/%s", dir, name);
	return at;
}

int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
look_again(int64_t deadline_ms, const char *what)
{
	cr_assert(now_ms() < deadline_ms, "%s does not happen", what);
	poll(NULL, 0, 1);
}

/*
 * The programs.
 */

pid_t
start_worker(int which)
{
	const char *build = getenv("top_builddir");
	char file[512], *errors = path("err");
	pid_t parent = getpid();

	snprintf(file, sizeof(file), "%s/%s", build != NULL ? build : ".",
	    binary != NULL ? binary : program);
	worker[which] = fork();
	cr_assert(worker[which] >= 0, "fork");
	if (worker[which] == 0) {
		int fd = open(errors, O_WRONLY | O_CREAT | O_APPEND, 0600);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (fd < 0 || getppid() != parent || dup2(fd, STDERR_FILENO) < 0)
			_exit(125);
		unsetenv("HEADGATE_ENVIRONMENT");
		execl(file, program, "-v", "-D", dir, (char *)NULL);
		_exit(126);
	}
	return worker[which];
}

int
wait_worker(int which, int within_ms)
{
	int64_t deadline_ms = now_ms() + within_ms;
	int status = 0;

	while (waitpid(worker[which], &status, WNOHANG) == 0)
		look_again(deadline_ms, "the worker's end");
	worker[which] = 0;
	return status;
}

char *
read_errors(void)
{
	static char text[1 << 20];
	FILE *file = fopen(path("err"), "r");
	size_t length = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;

	text[length] = '\0';
	if (file != NULL)
		fclose(file);
	return text;
}

void
wait_for_event(const char *name)
{
	int64_t deadline_ms = now_ms() + DEADLINE_MS;

	while (strstr(read_errors(), name) == NULL)
		look_again(deadline_ms, name);
}

void
stop_worker(void)
{
	int status;

	kill(worker[0], SIGTERM);
	status = wait_worker(0, STOP_MS);
	cr_assert(status == 0, "status %x: %s", status, read_errors());
	cr_assert(strstr(read_errors(), "worker.died") == NULL, "%s", read_errors());
}

/*
 * The store.
 */

void
open_store(void)
{
	char name[128];

	if (db != NULL)
		return;
	snprintf(name, sizeof(name), "state/stores/%s.db", queue);
	cr_assert(sqlite3_open_v2(path(name), &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK, "%s",
	    path(name));
	sqlite3_busy_timeout(db, DEADLINE_MS);
}

const char *
query(const char *sql)
{
	static char value[512];
	sqlite3_stmt *statement;

	open_store();
	cr_assert(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK, "%s: %s", sql,
	    sqlite3_errmsg(db));
	cr_assert(sqlite3_step(statement) == SQLITE_ROW, "%s: %s", sql, sqlite3_errmsg(db));
	snprintf(value, sizeof(value), "%s", (const char *)sqlite3_column_text(statement, 0));
	sqlite3_finalize(statement);
	return value;
}

long
count(const char *what)
{
	char sql[256];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", what);
	return strtol(query(sql), NULL, 10);
}

const char *
table(void)
{
	return strcmp(program, "headgate-payment") == 0 ? "payments" : "bank_accounts";
}

long
rows(void)
{
	return count(table());
}

/*
 * The router.
 */

void
router_listen(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/router.sock", dir);
	unlink(address.sun_path);
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(bind(listen_fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
	cr_assert(listen(listen_fd, 4) == 0, "listen");
}

void
router_hang_up(void)
{
	close(router_fd);
	close(bell_fd);
	router_fd = bell_fd = -1;
	for (int i = 0; i < LANES; i++)
		lane_drop(&lane[i]);
}

static void
check_hello(const char *payload, size_t length)
{
	msgpack_unpacked unpacked;
	const msgpack_object *field;

	cr_assert(wire_check(payload, length, 4), "hello");
	msgpack_unpacked_init(&unpacked);
	cr_assert(msgpack_unpack_next(&unpacked, payload, length, NULL) == MSGPACK_UNPACK_SUCCESS &&
		unpacked.data.type == MSGPACK_OBJECT_ARRAY && unpacked.data.via.array.size == 6,
	    "hello");
	field = unpacked.data.via.array.ptr;
	cr_assert(field[0].via.u64 == WIRE_VERSION && field[1].via.u64 == WIRE_WORKER, "hello");
	cr_assert(field[2].via.str.size == strlen(program) &&
		memcmp(field[2].via.str.ptr, program, strlen(program)) == 0,
	    "program");
	cr_assert(field[3].via.str.size == strlen(queue) &&
		memcmp(field[3].via.str.ptr, queue, strlen(queue)) == 0,
	    "queue");
	cr_assert(field[5].via.u64 == UINT64_MAX, "all lanes");
	msgpack_unpacked_destroy(&unpacked);
}

/* The descriptor of a HELLO must be the queue's lock file, locked. */
static void
check_lock(int fd)
{
	char name[96];
	struct stat sent, there;
	int other;

	snprintf(name, sizeof(name), "run/%s.lock", queue);
	other = open(path(name), O_RDWR | O_CLOEXEC);
	cr_assert(other >= 0 && fstat(fd, &sent) == 0 && fstat(other, &there) == 0, "lock");
	cr_assert(sent.st_ino == there.st_ino && sent.st_dev == there.st_dev, "another file");
	cr_assert(lane_lock_take(other, LANE_LOCK_ALL) == -EAGAIN, "the queue is not locked");
	close(other);
	close(fd);
}

void
router_accept(void)
{
	struct pollfd polled = { .fd = listen_fd, .events = POLLIN };
	static char payload[WIRE_SMALL_BYTES];
	struct ucred credentials;
	socklen_t size = sizeof(credentials);
	size_t length, fd_count = 1;
	enum wire_type type;
	int fd = -1, rc;

	cr_assert(poll(&polled, 1, DEADLINE_MS) == 1, "no worker: %s", read_errors());
	router_fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	cr_assert(getsockopt(router_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0, "peer");
	peer = credentials.pid;
	rc = wire_receive(router_fd, &type, payload, &length, &fd, &fd_count, DEADLINE_MS);
	cr_assert(rc == 0 && type == WIRE_HELLO && fd_count == 1, "%s", strerror(-rc));
	check_hello(payload, length);
	check_lock(fd);
}

static void
pack_bool(msgpack_packer *packer, bool value)
{
	if (value)
		msgpack_pack_true(packer);
	else
		msgpack_pack_false(packer);
}

void
router_welcome(void)
{
	struct lane_params params = {
		.queue = queue,
		.log_id = LOG,
		.generation = ++generation,
		.delivery_capacity = LANE_DELIVERY_BYTES,
		.completion_capacity = completion_bytes,
		.lanes = LANES,
		.max_message_bytes = ENVELOPE_BODY_BYTES,
	};
	int fds[1 + LANES];
	msgpack_sbuffer buffer;
	msgpack_packer packer;

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 3);
	msgpack_pack_int(&packer, 0);
	msgpack_pack_array(&packer, LANES);
	fds[0] = bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (unsigned i = 0; i < LANES; i++) {
		msgpack_pack_uint32(&packer, i);
		params.lane = i;
		cr_assert(lane_create(&lane[i], &params) == 0, "lane");
		cr_assert(ring_producer_init(&delivery[i], &lane[i].shared->delivery,
			      lane[i].delivery_data, LANE_DELIVERY_BYTES) == 0,
		    "delivery");
		cr_assert(ring_consumer_init(&completion[i], &lane[i].shared->completion,
			      lane[i].completion_data, completion_bytes) == 0,
		    "completion");
		fds[1 + i] = lane[i].fd;
	}
	if (spoil != NULL)
		spoil();
	msgpack_pack_array(&packer, 5);
	pack_bool(&packer, policy.blocks_server_error);
	pack_bool(&packer, policy.blocks_client_error);
	msgpack_pack_uint32(&packer, policy.receives_max);
	msgpack_pack_uint64(&packer, policy.visibility_ns);
	pack_bool(&packer, policy.fault_markers);
	cr_assert(wire_send(router_fd, WIRE_WELCOME, buffer.data, buffer.size, fds, 1 + LANES) == 0,
	    "welcome");
	msgpack_sbuffer_destroy(&buffer);
}

void
router_attach(void)
{
	router_accept();
	router_welcome();
}

void
set_state(enum control_state state, uint64_t number)
{
	atomic_store(&control.shared->queue[0].state, control_word(state, 0, number));
	if (lane[0].shared != NULL)
		doorbell_ring(&lane[0].shared->worker_bell);
}

/* As headgatectl start --skip-head. */
void
skip_head(uint64_t sequence, uint64_t number)
{
	control.shared->queue[0].detail[0] = (struct control_detail){
		.generation = number,
		.sequence = sequence,
		.status = 503,
		.flags = CONTROL_SKIP,
		.error = "given up",
	};
	set_state(CONTROL_PROBING, number);
}

/* Puts bytes into a lane as a delivery. Visible with show(). */
void
deliver_bytes(unsigned which, uint64_t sequence, const void *bytes, size_t length)
{
	struct lane_delivery head = front;
	void *payload;

	head.sequence = sequence;
	cr_assert(ring_reserve(&delivery[which], LANE_TAG_DELIVERY,
		      (uint32_t)(sizeof(head) + length), &payload) == 1,
	    "the lane is full");
	memcpy(payload, &head, sizeof(head));
	memcpy((char *)payload + sizeof(head), bytes, length);
}

void
show(void)
{
	for (int i = 0; i < LANES; i++)
		ring_publish(&delivery[i]);
	doorbell_ring(&lane[0].shared->worker_bell);
}

size_t
pack(uint8_t buffer[ENVELOPE_BYTES], const char *group, uint64_t sequence, const char *body)
{
	char id[32];
	const struct envelope_source source = {
		.head = {
			.topic = 7,
			.group = { group, strlen(group) },
			.message_id = { id, (size_t)sprintf(id, "m%lu", (unsigned long)(first_name + sequence)) },
			.body = { body, strlen(body) },
		},
	};
	long length = envelope_pack(buffer, ENVELOPE_BYTES, &source);

	cr_assert(length > 0, "pack");
	return (size_t)length;
}

void
deliver_to_group(const char *group, uint64_t sequence, const char *body)
{
	uint8_t buffer[ENVELOPE_BYTES];

	deliver_bytes(sequence % LANES, sequence, buffer, pack(buffer, group, sequence, body));
}

void
deliver(uint64_t sequence, const char *body)
{
	deliver_to_group("C", sequence, body);
}

void
deliver_payment(uint64_t sequence, const char *customer, const char *amount)
{
	char body[256];

	snprintf(body, sizeof(body),
	    "{\"customer_id\":\"%s\",\"amount\":%s,\"payment_method\":\"card\"}", customer, amount);
	deliver(sequence, body);
}

bool
take_now(unsigned which, struct taken *taken)
{
	struct lane_completion head;
	struct ring_record record;
	int rc = ring_peek(&completion[which], &record);

	cr_assert(rc >= 0, "the worker broke the ring");
	if (rc == 0)
		return false;
	cr_assert(
	    record.tag == LANE_TAG_COMPLETION && record.length >= sizeof(head), "no completion");
	memcpy(&head, record.payload, sizeof(head));
	cr_assert(head.reason_length <= LANE_REASON_BYTES &&
		record.length == sizeof(head) + head.reason_length,
	    "its length");
	*taken = (struct taken){
		.sequence = head.sequence,
		.state = head.state_seen,
		.status = head.status,
		.flags = head.flags,
	};
	memcpy(taken->reason, (const char *)record.payload + sizeof(head), head.reason_length);
	ring_release(&completion[which]);
	return true;
}

bool
take(unsigned which, struct taken *taken)
{
	int64_t deadline_ms = now_ms() + DEADLINE_MS;
	struct doorbell *bell = &lane[0].shared->router_bell;
	uint64_t wakes;

	while (!take_now(which, taken)) {
		struct pollfd polled[] = { { .fd = bell_fd, .events = POLLIN },
			{ .fd = router_fd, .events = POLLRDHUP } };

		doorbell_prepare(bell);
		if (ring_filled_bytes(&completion[which]) == 0)
			poll(polled, 2, DEADLINE_MS);
		doorbell_cancel(bell);
		if (polled[1].revents != 0)
			return take_now(which, taken);
		if (read(bell_fd, &wakes, sizeof(wakes)) < 0)
			cr_assert(errno == EAGAIN, "eventfd");
		cr_assert(now_ms() < deadline_ms, "nothing comes: %s", read_errors());
	}
	return true;
}

void
expect_done(uint64_t sequence, int status, const char *reason)
{
	struct taken taken;
	char what[128];

	cr_assert(take(sequence % LANES, &taken), "the worker hung up: %s", read_errors());
	cr_assert(taken.sequence == sequence && taken.status == status &&
		strcmp(taken.reason, reason) == 0,
	    "%lu: %d %s instead of %lu: %d %s", (unsigned long)taken.sequence, taken.status,
	    taken.reason, (unsigned long)sequence, status, reason);
	if (status >= 500)
		return;
	snprintf(what, sizeof(what), "%s WHERE log = %d AND sequence = %lu",
	    status < 300 ? table() : "failures", LOG, (unsigned long)sequence);
	cr_assert(count(what) == 1, "completed before it was stored: %s", what);
}

/* Counts the worker's looks at its rings by its heartbeats. */
void
expect_idle(void)
{
	int64_t deadline_ms = now_ms() + DEADLINE_MS;
	struct taken taken;

	for (int beats = 0; beats < 4; beats++) {
		uint64_t before = atomic_load(&lane[0].shared->worker.heartbeat_ns);

		while (atomic_load(&lane[0].shared->worker.heartbeat_ns) == before)
			look_again(deadline_ms, "a heartbeat");
	}
	for (unsigned i = 0; i < LANES; i++)
		cr_assert(!take_now(i, &taken), "%lu was handled", (unsigned long)taken.sequence);
	cr_assert(atomic_load(&lane[0].shared->worker.starting.sequence) == 0, "it is at work");
}

void
wait_for_start(uint64_t sequence)
{
	int64_t deadline_ms = now_ms() + DEADLINE_MS;
	struct lane_worker_words *words = &lane[0].shared->worker;

	while (
	    atomic_load(&words->starting.sequence) < sequence && atomic_load(&words->handled) == 0)
		cr_assert(now_ms() < deadline_ms, "%lu is not begun", (unsigned long)sequence);
}

/*
 * Around a test.
 */

void
set_up(const char *its_program, const char *its_queue)
{
	program = its_program;
	queue = its_queue;
	signal(SIGPIPE, SIG_IGN);
	strcpy(dir, "/tmp/hg-worker-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL && mkdir(path("run"), 0700) == 0, "mkdir");
	cr_assert(control_create(&control, path("run/control")) == 0, "control");
	control.shared->queues = 1;
	snprintf(control.shared->queue[0].name, CONTROL_NAME_BYTES, "%s", queue);
	policy = (struct policy){
		.receives_max = 3, .visibility_ns = 300000000000, .fault_markers = true
	};
	set_state(CONTROL_RUNNING, 1);
	control_publish(&control);
	for (int i = 0; i < LANES; i++)
		lane[i].fd = -1;
	router_listen();
}

void
setup_payment(void)
{
	set_up("headgate-payment", "payment-processing");
}

void
setup_bank_account(void)
{
	set_up("headgate-bank-account", "bank-account-setup");
}

void
teardown(void)
{
	char command[96];

	sqlite3_close(db);
	for (int i = 0; i < WORKERS; i++) {
		if (worker[i] > 0) {
			kill(worker[i], SIGKILL);
			waitpid(worker[i], NULL, 0);
		}
	}
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	if (system(command) != 0)
		fprintf(stderr, "# %s is left behind\n", dir);
}
