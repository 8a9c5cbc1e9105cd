#include "router/open.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log/key.h"
#include "log/list.h"
#include "log/registry.h"
#include "message/envelope.h"
#include "router/connection.h"
#include "router/core.h"
#include "router/io/error.h"
#include "router/journal/writer.h"
#include "router/listen.h"
#include "router/queue/checkpoint.h"
#include "router/queue/counters.h"
#include "router/queue/lookup.h"
#include "router/queue/notify.h"
#include "router/queue/queue.h"
#include "router/queue/subscription.h"
#include "router/upkeep/batch.h"
#include "router/upkeep/compactor.h"
#include "router/upkeep/recovery.h"
#include "shm/gate.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

enum {
	DESCRIPTORS_A_QUEUE = 4, /* segments: active, next, closing; the output of on_trip */
	DESCRIPTORS_SPARE = 32   /* the compactor's, locks, standard ones; headgatectl */
};

_Static_assert((int)LOG_KEY_SECRET_BYTES == (int)DEDUP_KEY_BYTES, "one secret");

static int
open_topics(struct router *router, const struct log_key *key)
{
	const struct config *config = router->config;

	router->topic_count = (unsigned)config->topic_count;
	router->control.shared->topics = router->topic_count;
	for (unsigned i = 0; i < router->topic_count; i++) {
		struct topic *topic = &router->topics[i];

		topic->config = &config->topics[i];
		topic->control = &router->control.shared->topic[i];
		topic->id = envelope_topic_id(topic->config->name);
		topic->dedup = dedup_new(key->secret,
		    (uint32_t)((topic->config->dedup_window_ns + 999999999) / 1000000000));
		if (topic->dedup == NULL)
			return -ENOMEM;
		memcpy(topic->control->name, topic->config->name, sizeof(topic->control->name));
	}
	return 0;
}

static void
next_segment_done(struct writer *writer)
{
	if (writer->preallocated.state == PREALLOCATION_FAILED)
		event(EVENT_ERROR, "log.no_room", "s:queue", writer->queue, "s:error",
		    strerror(-writer->preallocated.error), NULL);
}

static const struct writer_events log_events = {
	.switched = checkpoint_begin,
	.checkpoint_bytes = checkpoint_bytes,
	.settlement_bytes = queue_settlement_bytes,
	.durable_done = batch_log_durable,
	.next_done = next_segment_done,
	.disk_full = queue_disk_full,
};

static int
open_queues(struct router *router, char *error, size_t error_bytes)
{
	const struct config *config = router->config;
	char why[256];

	router->queue_count = (unsigned)config->queue_count;
	router->control.shared->queues = router->queue_count;
	for (unsigned i = 0; i < router->queue_count; i++) {
		struct queue *queue = &router->queues[i];

		queue->router = router;
		groups_init(&queue->groups);
		TAILQ_INIT(&queue->attached.workers);
		queue->config = &config->queues[i];
		policy_of(&queue->policy, queue->config);
		queue->number = i;
		queue->topic = queue->config->topic;
		queue->control = &router->control.shared->queue[i];
		queue->control->lanes = queue->config->lanes;
		queue->control->topic = queue->topic;
		queue->control->dead_letter_queue = queue->config->dead_letter_queue;
		queue->control->visibility_ns = queue->config->visibility_ns;
		memcpy(queue->control->name, queue->config->name, sizeof(queue->control->name));
		queue->writer.paranoid = config->paranoid;
		queue->writer.cached = !queue->config->dead_letters &&
		    config->topics[queue->topic].durability == CONFIG_DURABILITY_OS;
		queue->writer.events = &log_events;
		if (filter_compile(
			&queue->filter, queue->config->filter_policy, why, sizeof(why)) != 0) {
			snprintf(error, error_bytes, "%s:%d: queue %s: filter_policy: %s",
			    config->file ? config->file : "built-in configuration",
			    queue->config->line, queue->config->name, why);
			return -EINVAL;
		}
	}
	return 0;
}

/* Deduplication's, or a new one, which is written only when no file was found that was made with another. */
static int
read_key(const char *state_dir, struct log_key *key, bool *is_new, char *error, size_t error_bytes)
{
	char path[LOG_PATH_BYTES], text[LOG_KEY_TEXT_BYTES];
	int rc = log_key_read(state_dir, key);

	*is_new = rc == -ENOENT;
	if (*is_new)
		rc = log_key_make(key);
	log_key_path(path, state_dir);
	if (rc == -ESTALE) {
		log_key_explain_stale(text, sizeof(text), state_dir, true);
		return error_fill(error, error_bytes, rc, path, text);
	}
	if (rc == -EBADMSG)
		return error_fill(error, error_bytes, rc, path,
		    "damaged: put it back as it was; or move it away to go on, with the .ids files "
		    "that need it: without them a message that was published shortly before the "
		    "router ended may be delivered twice");
	return rc == 0 ? 0 : error_fill(error, error_bytes, rc, path, strerror(-rc));
}

/* Before anything is hashed with it that stays. One that was there may be of a router that died before it came to
 * the sync. */
static int
keep_key(
    const char *state_dir, const struct log_key *key, bool is_new, char *error, size_t error_bytes)
{
	char path[LOG_PATH_BYTES];
	int rc = is_new ? log_key_write(state_dir, key) : log_sync_dir(state_dir);

	log_key_path(path, state_dir);
	return rc == 0 ? 0 : error_fill(error, error_bytes, rc, path, strerror(-rc));
}

/* What the segment of the router before us says, where it is newer than the log. */
static void
take_over_states(struct router *router, struct recovered_state states[CONFIG_QUEUES])
{
	char path[CONFIG_PATH_BYTES + 32];
	struct control old;

	snprintf(path, sizeof(path), "%s/control", router->config->run_dir);
	if (control_open(&old, path, false) != 0)
		return;
	for (unsigned i = 0; i < router->queue_count; i++) {
		int index = control_find_queue(&old, router->queues[i].config->name);
		struct control_detail detail;
		uint64_t word;

		if (index < 0 || old.shared->queue[index].log_id != router->queues[i].writer.log_id)
			continue;
		control_read_state(&old, (unsigned)index, &word, &detail);
		if (control_word_generation(word) <= states[i].generation ||
		    control_state_name(control_word_state(word)) == NULL)
			continue;
		router->queues[i].state.appended = states[i].generation;
		states[i] = (struct recovered_state){
			.state = control_word_state(word),
			.generation = control_word_generation(word),
			.detail = detail,
		};
	}
	control_close(&old);
}

/* Nobody else says that a probe was cut short, and that it counts as none. */
static void
end_probe(const struct queue *queue, struct recovered_state *state)
{
	subscription_by_router(queue, &state->detail);
	state->detail.flags = 0;
	strlcpy(state->detail.reason, "the router was restarted during a probe",
	    sizeof(state->detail.reason));
}

static void
set_first_state(struct queue *queue, struct recovered_state *state)
{
	struct control_queue *control = queue->control;

	control->log_id = queue->writer.log_id;
	if (state->generation == 0)
		*state = (struct recovered_state){ .state = CONTROL_RUNNING, .generation = 1 };
	if (state->state == CONTROL_PROBING)
		end_probe(queue, state);
	state->state = gate_next(state->state, GATE_RESTART);
	if (state->state == 0) { /* the log's frame is whole: a later version's? */
		state->state = CONTROL_STOPPED;
		strlcpy(state->detail.reason, "its state in the log is none that is known",
		    sizeof(state->detail.reason));
	}
	state->detail.generation = state->generation;
	control->detail[0] = state->detail;
	if (queue->state.appended == 0)
		queue->state.appended = state->generation;
	atomic_store_explicit(&control->logged, queue->state.appended, memory_order_relaxed);
	atomic_store_explicit(&control->state, control_word(state->state, 0, state->generation),
	    memory_order_relaxed);
	counters_publish(queue);
	if (writer_fresh(&queue->writer))
		checkpoint_begin(&queue->writer);
}

/* The new segment takes the old one's place. */
static int
publish_segment(struct router *router, char *error, size_t error_bytes)
{
	char from[CONFIG_PATH_BYTES + 32], to[CONFIG_PATH_BYTES + 32];
	int rc;

	CRASH_POINT("router.opened");
	control_publish(&router->control);
	snprintf(from, sizeof(from), "%s/control.next", router->config->run_dir);
	snprintf(to, sizeof(to), "%s/control", router->config->run_dir);
	rc = io_rename(from, to);
	CRASH_POINT("router.published");
	return rc == 0 ? 0 : error_fill(error, error_bytes, rc, to, strerror(-rc));
}

/* Once: a directory service may take its time. */
static void
note_user(struct router *router)
{
	const struct passwd *user = getpwuid(geteuid());

	if (user != NULL)
		strlcpy(router->user, user->pw_name, sizeof(router->user));
}

int
router_open(struct router *router, struct io *io, const struct config *config, char *error,
    size_t error_bytes)
{
	static struct recovered_state states[CONFIG_QUEUES];
	struct log_key key;
	char path[CONFIG_PATH_BYTES + 32];
	struct control_shared *shared;
	bool key_is_new;
	int rc;

	memset(router, 0, sizeof(*router));
	router->io = io;
	router->config = config;
	note_user(router);
	router->listener.fd = -1;
	place_lock_init(&router->places.run_lock);
	place_lock_init(&router->places.state_lock);
	place_lock_init(&router->places.logs_lock);
	router->clock.base_ns = io_monotonic_ns();
	TAILQ_INIT(&router->connections);
	rc = place_lock(&router->places.run_lock, config->run_dir, error, error_bytes);
	if (rc == 0 && router->places.run_lock.dir_fd < 0)
		rc = error_fill(error, error_bytes, -EOPNOTSUPP, config->run_dir,
		    "its file system has no locks on directories: choose a local one");
	snprintf(path, sizeof(path), "%s/control", config->run_dir);
	if (rc == 0)
		control_disown(path);
	if (rc == 0)
		rc = place_lock(&router->places.state_lock, config->state_dir, error, error_bytes);
	if (rc != 0)
		return rc;
	snprintf(path, sizeof(path), "%s/queues", config->state_dir);
	rc = io_make_dir(path);
	if (rc != 0)
		return error_fill(error, error_bytes, rc, path, strerror(-rc));
	rc = read_key(config->state_dir, &key, &key_is_new, error, error_bytes);
	if (rc != 0)
		return rc;
	router->key = key.checksum;

	/* Beside the old one until it is whole: what the old one says is still needed. */
	snprintf(path, sizeof(path), "%s/control.next", config->run_dir);
	rc = control_create(&router->control, path);
	if (rc != 0)
		return error_fill(error, error_bytes, rc, path, strerror(-rc));
	shared = router->control.shared;
	if (config->file_path != NULL)
		strlcpy(shared->config_file, config->file_path, sizeof(shared->config_file));
	rc = open_topics(router, &key);
	if (rc == 0)
		rc = open_queues(router, error, error_bytes);
	else
		error_fill(error, error_bytes, rc, "topics", strerror(-rc));
	if (rc == 0)
		rc = recovery_run(router, states, error, error_bytes);
	if (rc == 0)
		rc = keep_key(config->state_dir, &key, key_is_new, error, error_bytes);
	if (rc != 0)
		return rc;
	router->compactor = compactor_new(router);
	router->scratch = malloc(LOOKUP_FRAME_BYTES);
	if (router->compactor == NULL || router->scratch == NULL)
		return error_fill(error, error_bytes, -ENOMEM, "router", strerror(ENOMEM));
	for (unsigned i = 0; i < router->topic_count; i++)
		dedup_set_max(router->topics[i].dedup, router->topics[i].config->dedup_max);
	take_over_states(router, states);
	for (unsigned i = 0; i < router->queue_count; i++)
		set_first_state(&router->queues[i], &states[i]);
	rc = listen_begin(router, error, error_bytes);
	if (rc != 0)
		return rc;
	/* Relaxed: control_publish() publishes them with all else. */
	atomic_store_explicit(&shared->router_since_ns, io_monotonic_ns(), memory_order_relaxed);
	atomic_store_explicit(
	    &shared->router_heartbeat_ns, io_monotonic_ns(), memory_order_relaxed);
	atomic_store_explicit(&shared->router_pid, (uint32_t)getpid(), memory_order_relaxed);
	atomic_store_explicit(&shared->ready, 1, memory_order_relaxed);
	return publish_segment(router, error, error_bytes);
}

/* The lowest descriptor that is free: what the router has when it is open is below. */
static uint64_t
descriptors_used(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd > 0 ? (uint64_t)fd : 0;
}

void
router_set_descriptors(struct router *router, uint64_t limit, uint64_t before)
{
	uint64_t workers = 0, lanes = 0, used = descriptors_used();
	uint64_t left = limit > used ? limit - used : 0;

	for (unsigned i = 0; i < router->queue_count; i++) {
		uint64_t its = router->queues[i].config->lanes;

		workers += its;
		lanes = its > lanes ? its : lanes;
	}
	if (workers > CONTROL_WORKERS)
		workers = CONTROL_WORKERS;
	router->descriptors.limit = limit;
	router->descriptors.before = before;
	router->descriptors.own =
	    router->queue_count * DESCRIPTORS_A_QUEUE + lanes + 3 * workers + DESCRIPTORS_SPARE;
	router->descriptors.workers = workers + DESCRIPTORS_SPARE;
	if (router->descriptors.own + router->descriptors.workers <= limit / 2)
		return;
	event(EVENT_WARN, "router.few_descriptors", "u:limit", limit, "u:wanted",
	    2 * (router->descriptors.own + router->descriptors.workers), NULL);
	/* Of what is left, publishers get some, too. */
	if (router->descriptors.own > left / 3)
		router->descriptors.own = left / 3;
	if (router->descriptors.workers > left / 4)
		router->descriptors.workers = left / 4;
}

/*
 * Closing.
 */

/* All is durable: how each log ends may be known. */
static void
tell_ends(const struct router *router)
{
	for (unsigned i = 0; i < router->queue_count; i++) {
		const struct queue *queue = &router->queues[i];
		struct log_registry_end end = {
			.log_id = queue->writer.log_id,
			.batch = queue->writer.last_batch,
			.next_sequence = queue->next_sequence,
		};
		int rc = log_registry_set_end(router->config->state_dir, queue->config->name, &end);

		if (rc != 0)
			event(EVENT_WARN, "log.end_not_known", "s:queue", queue->config->name,
			    "s:error", strerror(-rc), NULL);
	}
}

void
router_close(struct router *router)
{
	struct connection *connection, *next;
	struct control_shared *shared = router->control.shared;

	if (router->stopping && router->failed == 0 && router_idle(router))
		tell_ends(router);

	TAILQ_FOREACH_SAFE (connection, &router->connections, link, next)
		connection_close(connection);
	for (int turns = 0; turns < 100 && !TAILQ_EMPTY(&router->connections); turns++) {
		router->io->operations->run(router->io, 1000000);
		connection_sweep(router);
	}
	compactor_free(router->compactor);
	if (shared != NULL) {
		for (unsigned i = 0; i < router->queue_count; i++)
			counters_publish(&router->queues[i]);
		atomic_store_explicit(&shared->ready, 0, memory_order_relaxed);
		atomic_store_explicit(&shared->router_pid, 0, memory_order_relaxed);
		control_close(&router->control);
	}
	free(router->scratch);
	for (unsigned i = 0; i < router->queue_count; i++) {
		struct queue *queue = &router->queues[i];

		notify_free(queue);
		writer_close(&queue->writer);
		settled_free(&queue->settled);
		filter_free(queue->filter);
		free(queue->pending.ranges);
		received_free(&queue->receives.died);
		received_free(&queue->receives.answered);
		groups_free(&queue->groups);
		free(queue->index.entries);
		free(queue->ids.files);
	}
	for (unsigned i = 0; i < router->topic_count; i++)
		dedup_free(router->topics[i].dedup);
	if (router->listener.fd >= 0)
		close(router->listener.fd);
	place_unlock(&router->places.run_lock);
	place_unlock(&router->places.state_lock);
	place_unlock(&router->places.logs_lock);
}
