#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "router/recovery.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message/envelope.h"
#include "router/queue.h"
#include "telemetry/event.h"

/* One log while all of them are looked at. */
struct found {
	char dir[LOG_PATH_BYTES];
	struct log_list list; /* count 0: there is none yet */
	struct log_tail tail;
	uint64_t end;         /* where it will go on */
	bool cut;
};

struct replay {
	struct queue *queue;
	struct recovered_state *state;
	uint64_t batch_time_ns, wall_ns;
};

static int
complain(char *error, size_t error_bytes, int rc, const char *what, const char *why)
{
	snprintf(error, error_bytes, "%s: %s", what, why);
	return rc;
}

static int
find_log(struct found *found, const struct router *router, const char *name, char *error,
    size_t error_bytes)
{
	int rc;

	snprintf(found->dir, sizeof(found->dir), "%s/queues/%s", router->config->state_dir, name);
	rc = io_make_dir(found->dir);
	if (rc != 0)
		return complain(error, error_bytes, rc, found->dir, strerror(-rc));
	rc = log_list_open(&found->list, found->dir, error, error_bytes);
	if (rc == -ENOENT)
		return 0;
	if (rc == 0)
		rc = log_scan(
		    &found->list, UINT64_MAX, NULL, &found->tail, error, error_bytes);
	found->end = found->tail.end;
	return rc;
}

static const struct found *
find_by_id(const struct found *found, unsigned count, uint64_t log_id)
{
	for (unsigned i = 0; i < count; i++)
		if (found[i].list.count > 0 && found[i].list.log_id == log_id)
			return &found[i];
	return NULL;
}

static uint64_t
highest_batch(const struct found *found, unsigned count)
{
	uint64_t highest = 0;

	for (unsigned i = 0; i < count; i++)
		if (found[i].tail.last_batch > highest)
			highest = found[i].tail.last_batch;
	return highest;
}

/* Does each log that the batch names have its end? A log that is not there any more (its queue was
 * retired) has nothing to say. */
static bool
batch_complete(const struct found *found, unsigned count, uint64_t batch)
{
	for (unsigned i = 0; i < count; i++) {
		const struct log_tail *tail = &found[i].tail;

		if (tail->last_batch != batch || batch == 0)
			continue;
		for (size_t k = 0; k < tail->last_log_count; k++) {
			const struct found *other = find_by_id(found, count, tail->last_logs[k]);

			if (other != NULL && other->tail.last_batch != batch)
				return false;
		}
	}
	return true;
}

static int
refuse_lower(const struct found *found, uint64_t highest, char *error, size_t error_bytes)
{
	snprintf(error, error_bytes,
	    "%s: position %" PRIu64 ": batch %" PRIu64 " is damaged, and batch %" PRIu64
	    " was written after it",
	    found->dir, found->tail.end, found->tail.torn_batch, highest);
	return -EBADMSG;
}

/* Cuts the highest batch where it is not complete, and repairs what is torn. */
static int
repair(struct found *found, unsigned count, uint64_t *highest, char *error, size_t error_bytes)
{
	bool complete = batch_complete(found, count, *highest);
	int rc;

	for (unsigned i = 0; i < count; i++) {
		struct found *log = &found[i];
		uint64_t written = log->tail.end + log->tail.torn_bytes;

		if (log->list.count == 0)
			continue;
		if (log->tail.torn_batch != 0 && log->tail.torn_batch < *highest)
			return refuse_lower(log, *highest, error, error_bytes);
		if (!complete && log->tail.last_batch == *highest) {
			log->cut = true;
			log->end = log->tail.before_end;
		}
		if (written > log->end)
			event(EVENT_WARN, "log.torn_batch_cut", "s:log", log->dir, "u:bytes",
			    written - log->end, "u:position", log->end, NULL);
		rc = writer_repair(
		    &log->list, log->cut ? 0 : log->tail.last_start, log->end, written);
		if (rc != 0)
			return complain(error, error_bytes, rc, log->dir, strerror(-rc));
		if (log->tail.torn_batch > *highest)
			*highest = log->tail.torn_batch;
	}
	return 0;
}

static void
add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static int
replay_message(struct replay *replay, const struct log_frame *frame)
{
	struct queue *queue = replay->queue;
	struct topic *topic = &queue->router->topics[queue->topic];
	uint64_t age_s = replay->wall_ns > replay->batch_time_ns
	    ? (replay->wall_ns - replay->batch_time_ns) / 1000000000
	    : 0;
	uint32_t now = router_seconds(queue->router);
	struct envelope envelope;

	if (queue->next_sequence == 1 && frame->sequence > 1)
		settled_init(&queue->settled, frame->sequence - 1);
	queue->next_sequence = frame->sequence + 1;
	add(&queue->control->counters.published, 1);
	if (age_s > topic->config->dedup_window_ns / 1000000000 ||
	    envelope_open(&envelope, frame + 1, frame->length, ENVELOPE_BODY_BYTES_MAX, NULL) != 0 ||
	    envelope.dedup_id.data == NULL)
		return 0;
	return dedup_see(topic->dedup, envelope.dedup_is_hash, envelope.dedup_id.data,
		   envelope.dedup_id.length, now - (uint32_t)age_s, now) == DEDUP_NO_MEMORY
	    ? -ENOMEM
	    : 0;
}

static int
replay_settled(struct queue *queue, const struct log_frame *frame)
{
	const struct log_settled *range = (const void *)(frame + 1);

	for (size_t i = 0; i < frame->length / sizeof(*range); i++) {
		int64_t added = settled_add_range(&queue->settled, range[i].first, range[i].count);

		if (added < 0)
			return (int)added;
		add(range[i].status < 300 ? &queue->control->counters.done
					  : &queue->control->counters.failed,
		    (uint64_t)added);
	}
	return 0;
}

static int
replay_batch(void *context, const struct log_batch_end *end)
{
	struct replay *replay = context;

	replay->batch_time_ns = end->time_ns;
	return 0;
}

static int
replay_frame(void *context, const struct log_frame *frame, uint64_t position)
{
	struct replay *replay = context;
	struct queue *queue = replay->queue;
	const struct log_state *state = (const void *)(frame + 1);
	int rc = 0;

	if (frame->flags & LOG_FLAG_FIRST)
		rc = queue_add_mark(queue, position,
		    frame->type == LOG_MESSAGE ? frame->sequence : queue->next_sequence,
		    replay->batch_time_ns);
	if (rc != 0)
		return rc;
	switch (frame->type) {
	case LOG_MESSAGE:
		return replay_message(replay, frame);
	case LOG_SETTLED:
		return replay_settled(queue, frame);
	case LOG_STATE:
		replay->state->state = (enum control_state)state->state;
		replay->state->generation = state->generation;
		log_state_to_detail(state, &replay->state->detail);
		return 0;
	default:
		return 0;
	}
}

static int
open_queue(struct queue *queue, struct found *found, struct recovered_state *state, char *error,
    size_t error_bytes)
{
	struct replay replay = { .queue = queue, .state = state, .wall_ns = io_wall_ns() };
	struct log_visitor visitor = {
		.batch = replay_batch,
		.frame = replay_frame,
		.context = &replay,
	};
	struct log_tail tail = { 0 };
	bool exists = found->list.count > 0;
	int rc = 0;

	queue->next_sequence = 1;
	settled_init(&queue->settled, 0);
	if (exists)
		rc = log_scan(&found->list, UINT64_MAX, &visitor, &tail, error, error_bytes);
	log_tail_free(&tail);
	if (rc != 0)
		return rc;
	rc = writer_open(&queue->writer, queue->router->io, found->dir, queue->config->name,
	    exists ? &found->list : NULL, found->end);
	if (rc == 0 && queue->mark_count == 0)
		rc = queue_add_mark(
		    queue, queue->writer.durable, queue->next_sequence, replay.wall_ns);
	return rc == 0 ? 0 : complain(error, error_bytes, rc, found->dir, strerror(-rc));
}

/* A queue that is no longer configured must not be forgotten with messages in it. */
static int
check_unconfigured(const struct router *router, char *error, size_t error_bytes)
{
	char path[LOG_PATH_BYTES], log_error[LOG_ERROR_BYTES];
	struct log_summary summary;
	struct dirent *entry;
	int rc = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/queues", router->config->state_dir);
	dir = opendir(path);
	if (dir == NULL)
		return complain(error, error_bytes, -errno, path, strerror(errno));
	while (rc == 0 && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || config_find_queue(router->config, entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%.4000s/queues/%.64s", router->config->state_dir,
		    entry->d_name);
		if (log_summarize(path, &summary, log_error, sizeof(log_error)) != 0 ||
		    summary.depth == 0)
			continue;
		snprintf(error, error_bytes,
		    "%.64s: has %" PRIu64 " messages and is not in the configuration: put the "
		    "queue back, or move %.4000s away",
		    entry->d_name, summary.depth, path);
		rc = -EINVAL;
	}
	closedir(dir);
	return rc;
}

int
recovery_run(struct router *router, struct recovered_state states[CONFIG_QUEUES], char *error,
    size_t error_bytes)
{
	struct found *found = calloc(router->queue_count, sizeof(*found));
	uint64_t highest = 0;
	int rc = found == NULL ? -ENOMEM : check_unconfigured(router, error, error_bytes);

	for (unsigned i = 0; rc == 0 && i < router->queue_count; i++)
		rc = find_log(&found[i], router, router->queues[i].config->name, error,
		    error_bytes);
	if (rc == 0) {
		highest = highest_batch(found, router->queue_count);
		rc = repair(found, router->queue_count, &highest, error, error_bytes);
	}
	router->batch = highest + 1;
	for (unsigned i = 0; rc == 0 && i < router->queue_count; i++) {
		rc = open_queue(&router->queues[i], &found[i], &states[i], error, error_bytes);
		router->queues[i].writer.batch = router->batch;
	}
	for (unsigned i = 0; found != NULL && i < router->queue_count; i++) {
		log_list_close(&found[i].list);
		log_tail_free(&found[i].tail);
	}
	free(found);
	return rc;
}
