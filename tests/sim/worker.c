/*
 * Model workers: do as workers/consumer.c does, one step at a time, with real lanes and rings, and
 * the model's stores. Also a person who stops and starts queues.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "message/envelope.h"
#include "shm/lane_lock.h"
#include "tests/sim/net.h"
#include "tests/sim/party.h"
#include "workers/attachment.h"

enum {
	ITEMS = 24,
	PID = 100000,
	RESPAWN_NS = 100000000,
	ALARM_NS = 2000000000,
	LETS_GO = 300,          /* chance that a worker that leaves messages detaches, of 100000 */
	LETS_GO_AT_REST = 10000 /* the same, when all is to get done */
};

enum state { DEAD, WAITING, ASKING, TAKING, HANDLING, COMMITTING, REPORTING };

struct item {
	uint64_t sequence;
	unsigned lane, message, receives;
	int status;
	bool is_known;      /* the store has a row */
	bool is_left;       /* for the next worker */
	bool unblocked;     /* the router has unblocked the message's group */
	int give_up_status; /* give the message up with this status; 0: handle */
	bool expired;       /* give up because of the message's age */
	bool fails;         /* the answer blocks the group */
	bool is_given_back;
};

static struct worker_process {
	enum state state;
	unsigned queue;
	struct config_queue config; /* of the router at the time of the attachment */
	struct policy first;        /* from the first router; for worker_keeps_policy */
	uint32_t pid;
	uint64_t not_before_ns;
	int lock_fd;
	struct net_socket *socket;
	struct attachment attachment;
	struct item item[ITEMS];
	unsigned count, next, end; /* first items not reported, and not handled */
	uint64_t word;             /* state word when the last handler started */
	uint64_t closed;           /* state word when a 5xx was reported; 0: none */
	bool server_error, hangs, killed;
	bool shut;                   /* the state forbids further starts */
	struct control_detail probe; /* while `word` is PROBING */
	uint64_t alarm_ns;           /* the worker's own alarm, for a handler that hangs */
	uint64_t starting;
	bool leaves, left[MODEL_GROUPS]; /* groups left for the next worker */
	bool blocked[MODEL_GROUPS];      /* groups given back until the router unblocks them */
} workers[WORKERS];
static const struct config *config;
static uint32_t last_pid;
bool worker_reports_early, worker_keeps_policy;

static void
kill_by_pid(uint32_t pid)
{
	for (unsigned i = 0; i < WORKERS; i++)
		if (workers[i].state != DEAD && workers[i].pid == pid)
			workers[i].killed = true;
}

void
workers_begin(const struct config *its_config)
{
	config = its_config;
	last_pid = PID;
	net_kill = kill_by_pid;
	for (unsigned i = 0; i < WORKERS; i++)
		workers[i] = (struct worker_process){ .queue = i % MODEL_QUEUES, .lock_fd = -1 };
}

/*
 * Life and death.
 */

static void
detach(struct worker_process *worker)
{
	if (worker->socket == NULL)
		return;
	net_hang_up(worker->socket);
	worker->socket = NULL;
	attachment_close(&worker->attachment);
	worker->state = WAITING;
}

void
worker_die(unsigned which)
{
	struct worker_process *worker = &workers[which];

	if (worker->state == DEAD)
		return;
	world_trace("worker %u dies, at %" PRIu64, worker->pid, worker->starting);
	if (worker->starting != 0)
		model_count_death(worker->queue, worker->starting);
	detach(worker);
	if (worker->lock_fd >= 0)
		close(worker->lock_fd);
	*worker = (struct worker_process){
		.queue = worker->queue,
		.lock_fd = -1,
		.not_before_ns = world.now_ns + world_below(RESPAWN_NS),
	};
}

static void
spawn(struct worker_process *worker)
{
	if (world.now_ns < worker->not_before_ns)
		return;
	worker->pid = ++last_pid;
	worker->state = WAITING;
}

/* Takes the queue's lock, then sends HELLO. */
static void
ask(struct worker_process *worker)
{
	const char *queue = config->queues[worker->queue].name;

	if (worker->lock_fd < 0)
		worker->lock_fd = lane_lock_open("/run", queue);
	if (lane_lock_take(worker->lock_fd, LANE_LOCK_ALL) != 0)
		return;
	worker->socket = net_connect(worker->pid);
	if (worker->socket == NULL)
		return;
	worker->config = config->queues[worker->queue];
	worker->attachment = (struct attachment){ .socket = -1, .bell_fd = -1 };
	worker->attachment.control.fd = worker->attachment.control.lock_fd = -1;
	worker->socket->fd_to_router = descriptor_pass(worker->lock_fd, PARTY_NONE);
	party_hello(worker->socket, WIRE_WORKER, queue, false);
	worker->state = ASKING;
}

static void
attach_lane(struct worker_process *worker, int fd)
{
	struct attachment *attachment = &worker->attachment;
	unsigned i = attachment->lane_count++;
	struct lane *lane = &attachment->lane[i];

	if (lane_attach(lane, fd, config->queues[worker->queue].name) != 0 ||
	    ring_consumer_init(&attachment->delivery[i], &lane->shared->delivery,
		lane->delivery_data, lane->delivery_capacity) != 0 ||
	    ring_producer_init(&attachment->completion[i], &lane->shared->completion,
		lane->completion_data, lane->completion_capacity) != 0)
		world_violation("P7: a lane that cannot be");
}

/* Reads a WELCOME, which arrives whole and with the lanes. */
static void
read_welcome(struct worker_process *worker, const uint8_t *payload, size_t length)
{
	struct attachment *attachment = &worker->attachment;
	struct policy policy;

	policy_of(&policy, &worker->config);
	if (attachment_read_welcome(attachment, payload, length, worker->socket->fd_count - 1) !=
		0 ||
	    attachment->queue != worker->queue)
		world_violation("P7: a welcome that cannot be");
	if (policy_difference(&policy, &attachment->policy) != NULL)
		world_violation("P8: queue %u: a worker is told another %s than holds",
		    worker->queue, policy_difference(&policy, &attachment->policy));
	if (worker->first.visibility_ns == 0)
		worker->first = policy;
	if (worker_keeps_policy)
		attachment->policy = worker->first;
}

/* Closes the lock file if removed; the worker then locks the new one. */
static void
forget_removed_lock(struct worker_process *worker)
{
	if (lane_lock_is_there("/run", config->queues[worker->queue].name, worker->lock_fd))
		return;
	close(worker->lock_fd);
	worker->lock_fd = -1;
}

static void
attach(struct worker_process *worker)
{
	struct net_socket *socket = worker->socket;
	struct wire_header header;
	int rc;

	if (socket->to_client.length < sizeof(header)) {
		if (socket->ended)
			detach(worker);
		return;
	}
	memcpy(&header, socket->to_client.data, sizeof(header));
	if (header.type != WIRE_WELCOME) {
		detach(worker); /* to try again later */
		forget_removed_lock(worker);
		return;
	}
	read_welcome(worker, socket->to_client.data + sizeof(header), header.length);
	worker->attachment.bell_fd = socket->fds_to_client[0];
	for (unsigned i = 1; i < socket->fd_count; i++)
		attach_lane(worker, socket->fds_to_client[i]);
	socket->fd_count = 0;
	rc = control_open(&worker->attachment.control, "/run/control", false);
	if (rc != 0) {
		detach(worker); /* another router runs by now */
		return;
	}
	worker->count = worker->next = worker->end = 0;
	worker->closed = 0;
	worker->leaves = false;
	memset(worker->left, 0, sizeof(worker->left));
	memset(worker->blocked, 0, sizeof(worker->blocked));
	worker->state = TAKING;
}

/*
 * At work.
 */

static unsigned
read_message(const struct ring_record *record, const struct lane_delivery *delivery)
{
	size_t front = sizeof(*delivery) + delivery->reason_length;
	const char *payload = (const char *)record->payload + front;
	struct envelope envelope;
	const char *why;

	if (envelope_open(
		&envelope, payload, record->length - front, config->max_message_bytes, &why) != 0)
		world_violation("a worker is given an envelope that is none: %s", why);
	return (unsigned)strtoul(envelope.message_id.data + 1, NULL, 10);
}

static void
take(struct worker_process *worker)
{
	const struct policy *policy = &worker->attachment.policy;
	bool in_order = !policy_blocks(policy, 400) && !policy_blocks(policy, 500);
	uint64_t most = 1 + world_below(ITEMS);
	struct lane_delivery delivery;
	struct ring_record record;
	uint64_t last = 0;
	unsigned lane;
	int rc = 0;

	worker->count = worker->next = worker->end = 0;
	while (worker->count < most &&
	    (rc = attachment_take(&worker->attachment, &record, &lane)) == 1) {
		struct item *item = &worker->item[worker->count++];

		memcpy(&delivery, record.payload, sizeof(delivery));
		*item = (struct item){
			.lane = lane,
			.message = read_message(&record, &delivery),
			.sequence = delivery.sequence,
			.receives = delivery.receive_count,
			.unblocked = delivery.flags & LANE_AGAIN,
			.expired =
			    delivery.flags & LANE_GIVE_UP && delivery.status == RETENTION_STATUS,
			.give_up_status = delivery.flags & LANE_GIVE_UP ? delivery.status : 0,
		};
		if (in_order && item->sequence <= last)
			world_violation(
			    "P2: sequence %" PRIu64 " comes after %" PRIu64, item->sequence, last);
		last = item->sequence;
	}
	if (rc < 0)
		world_violation("P7: a ring that cannot be");
	attachment_release(&worker->attachment);
}

/* True if the message is left for the next worker; then so are the later messages of its group. */
static bool
is_left(struct worker_process *worker, const struct item *item)
{
	struct message *message = model_message(item->message);
	unsigned *tries = &message->tries[worker->queue];

	if (message->fate[worker->queue] == FATE_LATER && *tries > 0 &&
	    !worker->left[message->group]) {
		--*tries;
		worker->leaves = worker->left[message->group] = true;
	}
	return worker->left[message->group];
}

/* The handler's status; 0 if the handler dies or hangs. */
static int
decide(struct worker_process *worker, const struct item *item)
{
	struct message *message = model_message(item->message);
	unsigned *tries = &message->tries[worker->queue];

	switch (message->fate[worker->queue]) {
	case FATE_DONE:
		break;
	case FATE_FAILED:
		return 422;
	case FATE_SERVER_ERROR:
		if (*tries > 0)
			return --*tries, 503;
		break;
	case FATE_DEATH:
	case FATE_HANG:
		if (*tries == 0)
			break;
		--*tries;
		worker->hangs = message->fate[worker->queue] == FATE_HANG;
		worker->alarm_ns =
		    world.now_ns + worker->attachment.policy.visibility_ns + ALARM_NS;
		worker->killed = !worker->hangs;
		return 0;
	case FATE_LATER:
		break;
	}
	return 200;
}

static void
check_alone(const struct worker_process *worker)
{
	for (unsigned i = 0; i < WORKERS; i++)
		if (&workers[i] != worker && workers[i].queue == worker->queue &&
		    workers[i].starting != 0)
			world_violation("P2: two handlers of queue %u are at work", worker->queue);
}

static bool
may_start(struct worker_process *worker, const struct item *item)
{
	if (control_word_state(worker->word) != CONTROL_PROBING)
		return control_word_state(worker->word) == CONTROL_RUNNING;
	return attachment_detail(&worker->attachment, worker->word, &worker->probe) &&
	    item->sequence <= worker->probe.sequence;
}

static bool
is_given_up(const struct worker_process *worker, const struct item *item)
{
	return item->receives >= worker->attachment.policy.receives_max ||
	    (control_word_state(worker->word) == CONTROL_PROBING &&
		worker->probe.flags & CONTROL_SKIP && item->sequence == worker->probe.sequence);
}

/* True if the message's group is blocked. */
static bool
is_blocked(struct worker_process *worker, const struct item *item)
{
	bool *blocked = &worker->blocked[model_message(item->message)->group];

	*blocked = *blocked && !item->unblocked;
	return *blocked;
}

static void
take_order(const struct worker_process *worker, struct item *item)
{
	const struct config_queue *queue = &worker->config;
	bool limited = item->give_up_status >= 500 ? queue->server_error == CONFIG_SERVER_RETRY
						   : queue->client_error == CONFIG_CLIENT_RETRY;

	model_given_up(
	    worker->queue, item->sequence, item->give_up_status, limited ? queue->retry_max : 0);
	item->status = item->give_up_status;
	world_trace("worker %u is to give %" PRIu64 " up", worker->pid, item->sequence);
}

/* Starts a handler and sets its status, 0 if the handler dies or hangs. */
static void
start_handler(struct worker_process *worker, struct item *item)
{
	item->status = decide(worker, item);
	item->fails = policy_blocks(&worker->attachment.policy, item->status);
	if (!item->fails)
		return;
	model_failed(worker->queue, item->sequence, item->message, item->status);
	worker->blocked[model_message(item->message)->group] = true;
}

static void
handle_next(struct worker_process *worker)
{
	struct item *item = &worker->item[worker->end];
	bool given_up;

	if (worker->end == worker->count || (worker->end > worker->next && world_chance(10000))) {
		worker->state = COMMITTING;
		return;
	}
	check_alone(worker);
	worker->starting = item->sequence;
	attachment_start(&worker->attachment, item->sequence, world.now_ns);
	worker->word = attachment_state(&worker->attachment);
	worker->shut = !may_start(worker, item);
	if (worker->shut) {
		worker->state = COMMITTING;
		return;
	}
	item->is_given_back = is_blocked(worker, item);
	if (item->is_given_back) {
		world_trace("worker %u gives %" PRIu64 " back", worker->pid, item->sequence);
		worker->end++;
		return;
	}
	item->status = model_find(worker->queue, item->sequence, item->message);
	item->is_known = item->status != 0;
	item->is_left = !item->is_known && is_left(worker, item);
	if (item->is_left) {
		worker->end++;
		return;
	}
	if (!item->is_known)
		model_started(worker->queue, item->sequence, item->message);
	given_up = !item->is_known && (item->give_up_status != 0 || is_given_up(worker, item));
	if (given_up && item->expired) {
		model_expired(worker->queue, item->message);
		item->status = RETENTION_STATUS;
	} else if (given_up && item->give_up_status != 0) {
		take_order(worker, item);
	} else if (given_up) {
		item->status = 500;
	}
	if (item->status == 0)
		start_handler(worker, item);
	world_trace("worker %u handles %" PRIu64 ": %d", worker->pid, item->sequence, item->status);
	if (item->status == 0)
		return;
	worker->server_error = item->status >= 500 && !item->is_known && !given_up && !item->fails;
	if (worker->server_error)
		worker->state = COMMITTING;
	else
		worker->end++;
}

/* True if the item has an outcome for the store. */
static bool
is_ended(const struct item *item)
{
	return !item->is_left && !item->fails && !item->is_given_back;
}

static int
complete(struct worker_process *worker, const struct item *item, bool is_last)
{
	uint32_t flags = item->is_given_back                    ? LANE_GIVEN_BACK
	    : item->status >= 400 && is_ended(item) && !is_last ? LANE_ENDED
								: 0;

	return attachment_complete(&worker->attachment, item->lane, item->sequence, worker->word,
	    item->is_given_back ? 503 : item->status, flags,
	    item->status == RETENTION_STATUS ? RETENTION_REASON : "");
}

static void
commit(struct worker_process *worker)
{
	worker->starting = 0;
	attachment_end(&worker->attachment);
	for (unsigned i = worker->next; i < worker->end; i++)
		if (!worker->item[i].is_known && is_ended(&worker->item[i]))
			model_commit(worker->queue, worker->item[i].sequence,
			    worker->item[i].message, worker->item[i].status);
	worker->state = REPORTING;
}

static void
report_next(struct worker_process *worker)
{
	bool is_last = worker->next == worker->end;
	const struct item *item = &worker->item[worker->next];

	if ((!is_last && !item->is_left) || (is_last && worker->server_error)) {
		int rc = complete(worker, item, is_last);

		if (rc < 0)
			world_violation("P7: a completion ring that cannot be");
		if (rc == 0) {
			attachment_publish(&worker->attachment);
			return;
		}
	}
	worker->next += !is_last;
	if (world_chance(20000) || is_last)
		attachment_publish(&worker->attachment);
	if (!is_last)
		return;
	worker->closed = worker->server_error || worker->shut ? worker->word : 0;
	worker->server_error = worker->shut = false;
	worker->state = TAKING;
}

static void
begin_batch(struct worker_process *worker)
{
	uint64_t word = attachment_state(&worker->attachment);

	attachment_heartbeat(&worker->attachment, word, 0, world.now_ns);
	if (worker->socket->ended ||
	    (worker->leaves && world_chance(world.fault > 0 ? LETS_GO : LETS_GO_AT_REST))) {
		detach(worker);
		return;
	}
	if (word == worker->closed ||
	    (control_word_state(word) != CONTROL_RUNNING &&
		control_word_state(word) != CONTROL_PROBING))
		return;
	worker->closed = 0;
	if (worker->next == worker->count)
		take(worker);
	worker->end = worker->next;
	if (worker->next < worker->count)
		worker->state = HANDLING;
}

/* The planted bug worker_reports_early: reports an outcome, then commits. */
static void
work_early(struct worker_process *worker)
{
	if (worker->state == COMMITTING) {
		worker->starting = 0;
		attachment_end(&worker->attachment);
		for (unsigned i = worker->next; i < worker->end; i++)
			if (!worker->item[i].is_left)
				complete(worker, &worker->item[i], false);
		attachment_publish(&worker->attachment);
		worker->state = REPORTING;
		return;
	}
	commit(worker);
	worker->next = worker->end;
	report_next(worker);
}

void
worker_step(unsigned which)
{
	struct worker_process *worker = &workers[which];

	if (worker->killed || (worker->hangs && world.now_ns > worker->alarm_ns)) {
		worker_die(which);
		return;
	}
	if (worker->hangs)
		return;
	world.party = PARTY_WORKER;
	if (worker_reports_early && (worker->state == COMMITTING || worker->state == REPORTING))
		work_early(worker);
	else if (worker->state == DEAD)
		spawn(worker);
	else if (worker->state == WAITING)
		ask(worker);
	else if (worker->state == ASKING)
		attach(worker);
	else if (worker->state == TAKING)
		begin_batch(worker);
	else if (worker->state == HANDLING)
		handle_next(worker);
	else if (worker->state == COMMITTING)
		commit(worker);
	else
		report_next(worker);
	world.party = PARTY_NONE;
}

bool
worker_is_idle(unsigned which)
{
	return workers[which].state <= TAKING && !workers[which].hangs;
}

/* Removes the queue's lock file, as cleaners of /tmp do. */
void
worker_remove_lock(unsigned queue)
{
	char path[64];

	snprintf(path, sizeof(path), "/run/%s.lock", config->queues[queue].name);
	unlink(path);
}

/*
 * headgatectl.
 */

void
person_asks(unsigned queue, enum gate_event what)
{
	struct control_detail detail, before;
	struct control control;
	enum control_state to;
	uint64_t word, now;

	if (control_open(&control, "/run/control", true) != 0)
		return;
	control_read_state(&control, queue, &word, &before);
	to = gate_next(control_word_state(word), what);
	detail = (struct control_detail){
		.pid = 1,
		.sequence = to == CONTROL_RUNNING ? 0 : before.sequence,
		.flags = what == GATE_SKIP ? CONTROL_SKIP : 0,
	};
	if (to != 0 && to != control_word_state(word) &&
	    control_change_state(&control, queue, CONTROL_CTL_SLOT, word, to, &detail, &now) == 0)
		world_trace("queue %u: %s, generation %" PRIu64, queue, control_state_name(to),
		    control_word_generation(now));
	control_close(&control);
}

void
parties_begin(const struct config *its_config)
{
	publishers_begin(its_config);
	workers_begin(its_config);
	askers_begin(its_config);
}

void
parties_die(void)
{
	for (unsigned i = 0; i < PUBLISHERS; i++)
		publisher_die(i);
	for (unsigned i = 0; i < WORKERS; i++)
		worker_die(i);
	for (unsigned i = 0; i < ASKERS; i++)
		asker_die(i);
}
