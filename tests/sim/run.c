/*
 * run [--seed N] [--seeds COUNT] [--steps N] [--minutes N] [--break NAME] [--trace] [--hash]
 *
 * Runs the router with model publishers, workers and stores on a simulated machine, with all
 * accidents that a machine may have. Each seed is a run of its own, and repeatable.
 *
 *   --seed N       the first seed (1)
 *   --seeds N      number of seeds, one after the other (1)
 *   --minutes N    time for seeds, instead of a number
 *   --steps N      steps of each run (drawn, some thousands)
 *   --break NAME   plants a bug: see breaks[]
 *   --shipped      uses the shipped constants; without, the seed draws them
 *   --trace        prints all events
 *   --hash         prints a hash of all events
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "router/core.h"
#include "router/delivery/worker.h"
#include "router/journal/space.h"
#include "router/open.h"
#include "router/queue/subscription.h"
#include "telemetry/event.h"
#include "tests/sim/breaks.h"
#include "tests/sim/disk.h"
#include "tests/sim/net.h"
#include "tests/sim/party.h"

enum {
	REST_STEPS = 100000, /* without faults and without progress: too many */
	NO_ROOM_STEPS = 5000,
	PILE = 400, /* messages behind a closed gate, twice */
	PILE_TURNS = 600,
	PILE_BYTES = 16 << 10, /* the router's allowed growth with the second pile */
	STOP_S = 8,            /* as in router/main.c */
	CLEAN_S = 60,          /* longer than the compactor's pause after a failure */
	CLEAN_TURNS = 5000,
	FIRST_STARTS = 12, /* at most */
	RARELY = 10,
	TOLD_CUTS = 10,         /* a run: each costs a start */
	BATCH_BYTES = 64 << 10, /* about a batch of publishers_hurry() */
	LONG_TEXT = 200,
	FIRST_STEPS = 48, /* about the steps that a router needs to make its directories */
	FIRST_TURNS = 1000,
	START_STEPS = 200,        /* more than a router needs to start ... */
	REPAIR_STEPS = 40,        /* ... and until it has repaired the ends of its logs */
	FILL_TURNS = 300,         /* without an accepted message: the disk is full */
	DEAD_LETTER_BYTES = 8192, /* at most; each may be a batch of its own, in whole blocks */
	SEGMENTS_AT_REST = 5      /* of a queue: active, preallocated, spare, and those replaced */
};

static struct router router;
static struct config config;
static bool is_up;
static bool is_shipped; /* uses the shipped constants */
static int64_t longest_wait_ns;
static bool tripped[MODEL_QUEUES]; /* after the last step */
static unsigned told_cuts;

/* Drawn for each run, so that some runs have much of one accident and nothing of another. */
static struct {
	unsigned router, publisher, worker, asker; /* shares of the turns */
	/* Chances per step, of 100000. */
	unsigned kill, start_death, start_cut, cut, stop, worker_death, publisher_death, lock,
	    person, fault, full, wall, durability, policy, mend, told;
	bool aimed;
} chances;

/*
 * The router's process.
 */

static int
open_router(void)
{
	char error[LOG_ERROR_BYTES] = "";
	int rc = router_open(&router, net_io(), &config, error, sizeof(error));

	if (rc != 0)
		world_trace("router_open: %d: %s", rc, error);
	return rc;
}

static int
step_router(void)
{
	return router_step(&router, longest_wait_ns);
}

static int
close_router(void)
{
	router_close(&router);
	return 0;
}

/* Frees the resources of a dead router, as the kernel does. */
static void
bury_router(void)
{
	net_io_end();
	descriptor_close_all(PARTY_ROUTER);
	world_free_router();
	world.dies_in = 0;
	is_up = false;
}

/* Draws the queue's policy for failed messages. */
static void
draw_policy(struct config_queue *queue, bool records)
{
	static const enum config_server_error policies[] = { CONFIG_SERVER_STOP, CONFIG_SERVER_STOP,
		CONFIG_SERVER_BLOCK_GROUP, CONFIG_SERVER_RETRY };

	queue->max_receive_count = 1 + (unsigned)world_below(3);
	queue->server_error = policies[world_below(4)];
	queue->client_error = records ? CONFIG_CLIENT_RECORD : CONFIG_CLIENT_DEAD_LETTER;
	if (queue->server_error != CONFIG_SERVER_STOP && world_chance(30000))
		queue->client_error = CONFIG_CLIENT_RETRY;
	queue->retry_max = 1 + (unsigned)world_below(4);
	queue->retry_base_ns = 1 + world_below(world_chance(50000) ? 200000000 : 1000000000);
	queue->retry_factor = 1 + (unsigned)world_below(2);
}

/* A person has changed the policies in the configuration: the next router has read the change, and
 * the workers have not. The choice whether a 4xx becomes a dead letter stays, as the model counts
 * dead letters in the end. */
static void
change_policies(void)
{
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		struct config_queue *queue = &config.queues[q];
		enum config_client_error before = queue->client_error;

		draw_policy(queue, before == CONFIG_CLIENT_RECORD);
		if (q > 0)
			queue->client_error = before;
		queue->auto_probe_ns = world_chance(20000) ? 50000000 : 0;
		world_trace("queue %u has server_error %d, client_error %d", q,
		    (int)queue->server_error, (int)queue->client_error);
	}
}

/* The active segment of each queue's log, and the dead letters before the segment began. */
static struct {
	uint64_t number, dead_letters;
} segment_seen[MODEL_QUEUES];

static uint64_t
dead_letters(const struct queue *queue)
{
	return atomic_load_explicit(&queue->control->counters.dead_lettered, memory_order_relaxed);
}

static void
watch_segments(void)
{
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		const struct queue *queue = &router.queues[q];
		uint64_t number = queue->writer.active.segment.number;

		if (segment_seen[q].number == number)
			continue;
		segment_seen[q].number = number;
		segment_seen[q].dead_letters = dead_letters(queue);
	}
}

static void cut_power(void);

static void
start_router(void)
{
	uint64_t faults = world.faults;
	int rc;

	if (world_chance(chances.durability))
		config.topics[0].durability =
		    world_chance(50000) ? CONFIG_DURABILITY_SYNC : CONFIG_DURABILITY_OS;
	if (world_chance(chances.policy))
		change_policies();
	if (disk_loses_pages())
		model_pages_lost();
	rc = world_as(PARTY_ROUTER, open_router);

	if (rc != 0 && rc != WORLD_DIED && world.faults == faults)
		world_violation("P1: the router does not start: %s", strerror(-rc));
	if (rc != 0) {
		if (rc == WORLD_DIED && world_chance(chances.start_cut))
			cut_power();
		else
			bury_router();
		return;
	}
	world_trace("router is up");
	is_up = true;
	disk_forget_failures(); /* recovery has made durable what it found */
	model_check_opened(&router);
}

static void
turn_router(void)
{
	uint64_t faults = world.faults;
	int rc;

	if (!is_up) {
		start_router();
		return;
	}
	rc = world_as(PARTY_ROUTER, step_router);
	if (rc == 0)
		return;
	if (rc != WORLD_DIED && world.faults == faults)
		world_violation("the router ends itself: %s", strerror(-rc));
	world_trace("router is dead: %d", rc);
	if (disk_loses_pages())
		model_pages_lost();
	bury_router();
}

/* As after a SIGTERM: the router accepts no more, and ends when all is durable. No resource may
 * leak. */
static void
stop_router(void)
{
	uint64_t until_ns = world.now_ns + STOP_S * UINT64_C(1000000000);
	unsigned left;

	world_trace("router is to stop");
	router_stop(&router);
	while (is_up && !(router_states_logged(&router) && router_idle(&router)) &&
	    world.now_ns < until_ns) {
		turn_router();
		if (is_up)
			model_check(&router);
	}
	if (is_up && world.now_ns < until_ns)
		model_check_stopped(&router);
	if (!is_up || world_as(PARTY_ROUTER, close_router) != 0) {
		bury_router();
		return;
	}
	left = descriptor_close_all(PARTY_ROUTER);
	/* With connections left, the router has given up waiting for a slow disk, so may leak. */
	if (left > 0 && TAILQ_EMPTY(&router.connections))
		world_violation("P6: the router leaves %u descriptors open", left);
	if (world_router_bytes() > 0 && TAILQ_EMPTY(&router.connections))
		world_violation("P6: the router leaves %zu bytes of memory", world_router_bytes());
	bury_router();
}

/*
 * Accidents.
 */

static void
kill_router(void)
{
	world_trace("router is killed");
	bury_router();
}

static void
cut_power(void)
{
	model_pages_lost();
	bury_router();
	parties_die();
	disk_cut_power();
}

/* A person changes the policy of a TRIPPED queue to block groups, and restarts the router, which
 * probes by itself. The probed message may then wait with its group. */
static void
mend_policies(void)
{
	bool mended = false;

	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		uint64_t word = subscription_word(&router.queues[q]);
		bool before = tripped[q];

		tripped[q] = control_word_state(word) == CONTROL_TRIPPED;
		if (before || !tripped[q] || chances.mend == 0 || !world_chance(chances.mend))
			continue;
		world_trace("the groups of queue %u are to wait", q);
		config.queues[q].server_error = CONFIG_SERVER_BLOCK_GROUP;
		config.queues[q].auto_probe_ns = 50000000;
		mended = true;
	}
	if (mended)
		stop_router();
}

/* The power is cut at the moment at which a person is told of a dead letter. */
static void
cut_when_told(void)
{
	if (chances.told == 0 || told_cuts == TOLD_CUTS || !world_chance(chances.told))
		return;
	for (unsigned i = 0; i < ASKERS; i++)
		asker_step(i);
	if (!askers_were_told())
		return;
	told_cuts++;
	cut_power();
}

static void
accidents(void)
{
	if (is_up && world_chance(chances.kill)) {
		/* Kills now, or at one of the router's next steps. */
		world.dies_in = world_below(400);
		if (world.dies_in == 0)
			kill_router();
	}
	/* While it looks at what its logs end with, or anywhere. */
	if (!is_up && world.dies_in == 0 && world_chance(chances.start_death))
		world.dies_in = 1 +
		    world_below(chances.aimed && world_chance(50000) ? REPAIR_STEPS : START_STEPS);
	if (world_chance(chances.cut))
		cut_power();
	if (is_up && world_chance(chances.stop))
		stop_router();
	if (world_chance(chances.worker_death))
		worker_die((unsigned)world_below(WORKERS));
	if (world_chance(chances.publisher_death))
		publisher_die((unsigned)world_below(PUBLISHERS));
	if (world_chance(chances.lock))
		worker_remove_lock((unsigned)world_below(MODEL_QUEUES));
	if (world_chance(chances.full))
		world.disk_full = !world.disk_full;
	if (world_chance(chances.wall))
		world.wall_ns +=
		    (int64_t)world_below(7200) * 1000000000 - 3600 * INT64_C(1000000000);
	if (world_chance(chances.person)) {
		unsigned queue = (unsigned)world_below(MODEL_QUEUES);
		enum gate_event what = world_chance(30000) ? GATE_STOP : GATE_START;

		person_asks(queue, world_chance(10000) ? GATE_SKIP : what);
	}
}

static void
turn(bool more)
{
	uint64_t which =
	    world_below(chances.router + chances.publisher + chances.worker + chances.asker);

	world.step++;
	longest_wait_ns = (int64_t)world_below(world_chance(5000) ? 1000000000 : 1000000);
	if (which < chances.router) {
		turn_router();
		cut_when_told();
	} else if (which < chances.router + chances.publisher)
		publisher_step((unsigned)world_below(PUBLISHERS), more);
	else if (which < chances.router + chances.publisher + chances.worker)
		worker_step((unsigned)world_below(WORKERS));
	else
		asker_step((unsigned)world_below(ASKERS));
	if (is_up)
		watch_segments();
	if (is_up)
		model_check(&router);
	if (is_up)
		mend_policies();
}

/*
 * Rest.
 */

static void
no_accidents(void)
{
	world.fault = 0;
	world.disk_full = false;
	world.dies_in = 0;
}

static bool
parties_are_done(void)
{
	for (unsigned i = 0; i < PUBLISHERS; i++)
		if (!publisher_is_done(i))
			return false;
	for (unsigned i = 0; i < WORKERS; i++)
		if (!worker_is_idle(i))
			return false;
	return true;
}

static _Noreturn void
not_at_rest(void)
{
	const struct queue *queue = router.queues;

	world.trace = true;
	for (unsigned q = 0; is_up && q < MODEL_QUEUES; q++)
		world_trace("queue %u: %s, settled %" PRIu64 ", highest %" PRIu64 ", next %" PRIu64
			    ", not logged %zu",
		    q, control_state_name(control_word_state(subscription_word(&queue[q]))),
		    queue[q].settled.low_watermark, queue[q].settled.highest,
		    queue[q].next_sequence, queue[q].pending.count);
	world_violation(
	    "P4: what was published is not handled: router %s, publishers and workers %s",
	    is_up ? "up" : "down", parties_are_done() ? "done" : "not done");
}

/* Did dead letters take a good part, a quarter, of the blocks that messages leave? Otherwise the
 * messages have taken these blocks, which is an error of the router. */
static bool
dead_letters_took_blocks(unsigned q)
{
	const struct queue *queue = &router.queues[q];
	uint64_t left = queue->writer.active.segment.size / JOURNAL_MESSAGES_LEAVE;

	return space_is_short(&queue->writer) &&
	    dead_letters(queue) - segment_seen[q].dead_letters > left / LOG_BLOCK_BYTES / 4;
}

/* A dead letter stays, and takes a block in both logs. On a small disk, either log may run out of
 * blocks; then a person makes room. A disk full of other data recovers by itself. */
static void
make_room_for_dead_letters(void)
{
	for (unsigned q = 0; is_up && q < MODEL_QUEUES; q++) {
		const struct queue *queue = &router.queues[q];
		const struct worker *worker = TAILQ_FIRST(&queue->attached.workers);

		if (worker == NULL || !worker->no_room ||
		    (!dead_letters_took_blocks(q) &&
			!space_is_short(&router.queues[queue->config->dead_letter_queue].writer)))
			continue;
		world_trace("a person makes room for the dead letters of queue %u", q);
		disk_capacity += LOG_SEGMENT_MAX;
	}
}

/* Without further accidents, all messages must be handled. */
static void
come_to_rest(void)
{
	uint64_t before = 0;

	no_accidents();
	for (int turns = 0; !is_up || !parties_are_done() || !model_is_at_rest(&router); turns++) {
		uint64_t progress = is_up ? model_progress(&router) : 0;

		if (progress > before)
			turns = 0;
		before = progress;
		if (turns % NO_ROOM_STEPS == NO_ROOM_STEPS - 1 && disk_capacity != UINT64_MAX)
			make_room_for_dead_letters();
		if (turns == REST_STEPS)
			not_at_rest();
		for (unsigned q = 0; q < MODEL_QUEUES && turns % 50 == 0; q++)
			person_asks(q, GATE_START);
		turn(false);
	}
	model_check_at_rest(&router);
}

/* The disk space of settled messages must be freed. */
static void
check_disk(void)
{
	uint64_t until_ns = world.now_ns + CLEAN_S * UINT64_C(1000000000), bytes;
	unsigned files;

	while (world.now_ns < until_ns) {
		longest_wait_ns = INT64_MAX;
		turn_router();
		world.step++;
	}
	bytes = disk_bytes(&files);
	/* Dead letters stay. */
	for (unsigned q = MODEL_QUEUES; q < router.queue_count; q++)
		bytes -= router.queues[q].control->counters.published * DEAD_LETTER_BYTES;
	if ((int64_t)bytes > (int64_t)(router.queue_count * SEGMENTS_AT_REST * LOG_SEGMENT_MAX))
		world_violation(
		    "P6: all is settled, and %u files have %" PRIu64 " bytes", files, bytes);
}

static size_t
router_bytes(void)
{
	size_t bytes = world_router_bytes();

	for (unsigned i = 0; i < router.topic_count; i++) {
		uint64_t dedup_bytes, ids;

		dedup_usage(router.topics[i].dedup, &dedup_bytes, &ids);
		bytes -= dedup_bytes;
	}
	return bytes;
}

/* Publishes while the gates are closed, then closes all connections. Returns the router's memory,
 * in bytes, between jobs of the compactor. */
static size_t
pile_up(void)
{
	unsigned until = model_count() + PILE;
	size_t least = SIZE_MAX;

	while (model_count() < until || !parties_are_done()) {
		turn_router();
		publisher_step((unsigned)world_below(PUBLISHERS), model_count() < until);
		world.step++;
	}
	for (unsigned i = 0; i < PUBLISHERS; i++)
		publisher_rest(i);
	for (int turns = 0; turns < PILE_TURNS; turns++) {
		turn_router();
		if (turns > PILE_TURNS / 2 && router_bytes() < least)
			least = router_bytes();
	}
	return least;
}

/* Messages behind a closed gate must take no memory. */
static void
check_gate(void)
{
	size_t before, after;

	for (unsigned i = 0; i < WORKERS; i++)
		worker_die(i);
	for (unsigned q = 0; q < MODEL_QUEUES; q++)
		person_asks(q, GATE_STOP);
	before = pile_up();
	after = pile_up();
	/* The compactor takes memory while at work. */
	for (int turns = 0; turns < CLEAN_TURNS && after > before + PILE_BYTES; turns++) {
		turn_router();
		after = router_bytes();
	}
	if (after > before + PILE_BYTES)
		world_violation("P5: %d messages behind a closed gate cost %zu bytes of memory",
		    PILE, after - before);
	come_to_rest();
}

/*
 * Situations that a run by chance would rarely reach.
 */

static bool
all_logs_are_durable(void)
{
	for (unsigned q = 0; q < config.queue_count; q++)
		if (!is_up || router.queues[q].logged.durable.checkpoint == 0)
			return false;
	return true;
}

/* The first router ever dies during the making of its directories. The next one runs until all logs
 * have a durable batch. Then the power is cut. */
static void
start_first(unsigned block)
{
	disk_begin(block);
	memset(segment_seen, 0, sizeof(segment_seen));
	model_begin(&config);
	world.dies_in = 1 + world_below(FIRST_STEPS);
	for (int turns = 0; turns < FIRST_TURNS && !all_logs_are_durable(); turns++) {
		longest_wait_ns = 1000000;
		turn_router();
		if (is_up)
			model_check(&router);
	}
	if (!all_logs_are_durable())
		world_violation("P1: a first router writes nothing");
	cut_power();
	start_router();
	bury_router();
	model_end();
	disk_end();
}

/* Publishes until no message is accepted any more, and forgets the others. */
static void
fill_logs(unsigned queues)
{
	uint64_t before = 0;

	model_fill(queues);
	for (int turns = 0; turns < FILL_TURNS; turns++) {
		uint64_t progress = is_up ? model_progress(&router) : 0;

		if (progress > before)
			turns = 0;
		before = progress;
		turn(true);
	}
	for (unsigned i = 0; i < PUBLISHERS; i++)
		while (!publisher_is_done(i))
			publisher_die(i);
	model_fill(0);
}

/* Fills the disk with all gates closed: first with messages for all queues, then for the queue with
 * space left. The router's reserve of disk must be enough to handle them all. */
static void
fill_disk(void)
{
	for (unsigned q = 0; q < MODEL_QUEUES; q++)
		person_asks(q, GATE_STOP);
	for (unsigned queues = MODEL_QUEUES; queues > 0; queues--)
		fill_logs(queues);
}

/*
 * A run.
 */

static unsigned
some(unsigned most)
{
	return world_chance(35000) ? 0 : (unsigned)world_below(most);
}

/* Lets lock files be removed, in a run whose router never dies: a new router would not know the old
 * router's workers, whose locks are gone. */
static void
draw_removed_locks(void)
{
	chances.lock = 1 + some(200);
	chances.kill = chances.cut = chances.stop = chances.fault = chances.mend = chances.told = 0;
}

static void
draw_chances(void)
{
	/* Every other seed has accidents at moments that are chosen, too. */
	chances.aimed = world.seed % 2 == 1 && !is_shipped;
	chances.router = 5 + (unsigned)world_below(20);
	chances.publisher = 2 + (unsigned)world_below(10);
	chances.worker = 5 + (unsigned)world_below(30);
	chances.asker = some(6);
	chances.kill = some(400);
	chances.start_death = some(60000);
	chances.start_cut = some(chances.aimed ? 100000 : 60000);
	chances.cut = some(300);
	chances.stop = some(150);
	chances.worker_death = some(400);
	chances.publisher_death = some(400);
	chances.lock = 0;
	chances.person = 100 + some(1000);
	chances.fault = some(60);
	chances.full = some(200);
	chances.wall = some(200);
	chances.durability = config.topics[0].durability == CONFIG_DURABILITY_OS ? some(30000) : 0;
	chances.policy = some(60000);
	chances.mend = chances.aimed ? 50000 : 0; /* once a trip */
	chances.told = chances.aimed ? 20000 : 0; /* once a turn of the router */
	if (world_chance(10000))
		draw_removed_locks();
	/* Starts are slow here, as each reads logs of many megabytes. */
	if (is_shipped) {
		chances.kill /= RARELY;
		chances.start_death /= RARELY;
		chances.cut /= RARELY;
		chances.stop /= RARELY;
	}
}

static void
make_config(void)
{
	static char both[] = "{\"k\": [\"b\"]}";
	static const char *const names[MODEL_QUEUES] = { "all", "both" };

	memset(&config, 0, sizeof(config));
	strcpy(config.run_dir, "/run");
	strcpy(config.state_dir, "/state");
	config.max_message_bytes = 4096;
	config.topic_count = 1;
	config.queue_count = 2 * MODEL_QUEUES; /* the dead-letter queues come last */
	strcpy(config.topics[0].name, "topic");
	config.topics[0].dedup_max = 1000000;
	config.topics[0].durability =
	    world_chance(60000) ? CONFIG_DURABILITY_SYNC : CONFIG_DURABILITY_OS;
	config.topics[0].dedup_window_ns = (1 + world_below(10)) * 1000000000;
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		struct config_queue *queue = &config.queues[q];

		strcpy(queue->name, names[q]);
		queue->filter_policy = q == 0 ? NULL : both;
		queue->lanes = 1 + (unsigned)world_below(3);
		queue->visibility_ns = 200000000;
		draw_policy(queue, q > 0);
		queue->dead_letter_queue = MODEL_QUEUES + q;
		queue->retention_ns = world_chance(30000) ? 100000000 * (1 + world_below(20)) : 0;
		queue->auto_probe_ns = world_chance(20000) ? 50000000 : 0;
		config.queues[MODEL_QUEUES + q] = *queue;
		queue = &config.queues[MODEL_QUEUES + q];
		snprintf(queue->name, sizeof(queue->name), "%s-dlq", names[q]);
		queue->filter_policy = NULL;
		queue->dead_letters = true;
		queue->retention_ns = 0;
		queue->server_error = CONFIG_SERVER_STOP;
		queue->client_error = CONFIG_CLIENT_RECORD;
	}
}

/* Chooses the length of texts so that the space for ids behind a segment of the full size nearly
 * equals the tail's length. The next segment then begins at the last batch's place in the tail. */
static void
aim_at_tail(const struct writer *writer)
{
	uint64_t used = writer->end - writer->active.segment.position + writer->active.ids_bytes;
	uint64_t expected = writer->active.ids_bytes * (LOG_SEGMENT_MAX / 1024) / (used / 1024);

	model_be_brief(expected < WRITER_TAIL - BATCH_BYTES / 2 ? 1 : LONG_TEXT);
}

/* Segments reach their full size only after many messages, too many to handle here. So publishes
 * them, and opens the logs again. */
static void
fill_segments(unsigned block)
{
	disk_begin(block);
	memset(segment_seen, 0, sizeof(segment_seen));
	model_begin(&config);
	parties_begin(&config);
	for (unsigned q = 0; q < MODEL_QUEUES; q++)
		person_asks(q, GATE_STOP);
	publishers_hurry();
	do {
		turn(true);
		if (is_up)
			aim_at_tail(&router.queues[0].writer);
	} while (!is_up || router.queues[0].writer.old_count == 0 ||
	    router.queues[0].writer.old[router.queues[0].writer.old_count - 1].size <
		LOG_SEGMENT_MAX);
	cut_power();
	start_router();
	bury_router();
	model_end();
	disk_end();
}

static uint64_t
run_seed(uint64_t seed, uint64_t steps)
{
	unsigned blocks[4] = { DISK_SECTOR, DISK_SECTOR };
	unsigned block;

	world_begin(seed);
	proportions_draw(is_shipped);
	blocks[2] = LOG_BLOCK_BYTES;
	block = blocks[world_below(4)];
	/* A small disk needs segments with at least as many blocks for settlements as shipped
	 * ones. */
	disk_capacity = is_shipped ||
		(uint64_t)LOG_SEGMENT_MIN * proportions_shipped.block <
		    (uint64_t)LOG_BLOCK_BYTES * proportions_shipped.segment_min ||
		world_chance(45000)
	    ? UINT64_MAX
	    : (13 + world_below(8)) * LOG_SEGMENT_MAX;
	make_config();
	/* Expired messages stay on the disk, as dead letters. */
	for (unsigned q = 0; q < MODEL_QUEUES; q++)
		if (config.queues[q].retention_ns > 0)
			disk_capacity = UINT64_MAX;
	draw_chances();
	memset(tripped, 0, sizeof(tripped));
	told_cuts = 0;
	if (steps == 0)
		steps = world_chance(10000) && !is_shipped ? 30000 : 1000 + world_below(4000);
	for (uint64_t n = is_shipped ? 1 : world_below(FIRST_STARTS + 1); n > 0; n--)
		start_first(block);
	if (is_shipped)
		fill_segments(block);
	disk_begin(block);
	memset(segment_seen, 0, sizeof(segment_seen));
	model_begin(&config);
	parties_begin(&config);
	for (int part = 0; part < 2; part++) {
		world.fault = chances.fault;
		for (uint64_t i = 0; i < steps / 2; i++) {
			accidents();
			turn(true);
		}
		if (disk_capacity != UINT64_MAX && world_chance(50000))
			fill_disk();
		come_to_rest();
	}
	if (world_chance(30000))
		check_gate();
	check_disk();
	stop_router();
	start_router();
	come_to_rest();
	bury_router();
	parties_die();
	model_end();
	disk_end();
	return world.trace_hash;
}

static uint64_t
number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 0);

	if (*text == '\0' || *end != '\0') {
		fprintf(stderr, "run: %s: not a number\n", text);
		exit(64);
	}
	return value;
}

/* A run stopped by a signal, as after a time limit, reports its seed and step. */
static void
say_where(int number)
{
	char text[128];
	int length = snprintf(text, sizeof(text),
	    "stopped by signal %d at seed %" PRIu64 ", step %" PRIu64 "\n", number, world.seed,
	    world.step);

	(void)!write(STDERR_FILENO, text, (size_t)length);
	signal(number, SIG_DFL);
	raise(number);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "seeds", required_argument, NULL, 'n' },
		{ "steps", required_argument, NULL, 'l' },
		{ "minutes", required_argument, NULL, 'm' },
		{ "break", required_argument, NULL, 'b' },
		{ "shipped", no_argument, NULL, 'p' },
		{ "trace", no_argument, NULL, 't' },
		{ "hash", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t seed = 1, seeds = 1, steps = 0, minutes = 0, done = 0;
	time_t began = time(NULL);
	bool hash = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			seed = number(optarg);
		else if (option == 'n')
			seeds = number(optarg);
		else if (option == 'l')
			steps = number(optarg);
		else if (option == 'm')
			minutes = number(optarg);
		else if (option == 't')
			world.trace = true;
		else if (option == 'p')
			is_shipped = true;
		else if (option == 'h')
			hash = true;
		else if (option != 'b' || !breaks_plant(optarg))
			return 64;
	}
	event_init("simulation", true);
	signal(SIGTERM, say_where);
	for (; minutes > 0 ? time(NULL) - began < (time_t)minutes * 60 : done < seeds; done++) {
		uint64_t result = run_seed(seed + done, steps);

		if (hash)
			printf("%" PRIu64 " %016" PRIx64 "\n", seed + done, result);
	}
	printf("seeds %" PRIu64 " to %" PRIu64 ": all held, %" PRIu64 " runs in %ld s\n", seed,
	    seed + done - 1, done, (long)(time(NULL) - began));
	return 0;
}
