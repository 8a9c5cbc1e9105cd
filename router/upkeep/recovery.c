#include "router/upkeep/recovery.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/paths.h"
#include "log/decision.h"
#include "log/ids.h"
#include "log/key.h"
#include "log/registry.h"
#include "log/scan.h"
#include "log/state.h"
#include "log/summary.h"
#include "message/envelope.h"
#include "router/journal/repair.h"
#include "router/journal/writer.h"
#include "router/queue/index.h"
#include "router/queue/queue.h"
#include "router/queue/reservation.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

enum { PROGRESS_NS = 1000000000 };

#define LOST                                                                                    \
	"a message that was published shortly before the router ended may be delivered twice; " \
	"move it away to go on"

/* One log while all of them are looked at. */
struct found {
	char dir[LOG_PATH_BYTES];
	struct log_list list; /* count 0: there is none yet */
	struct log_scan scan;
	struct log_tail tail;
	struct log_base base;
	uint64_t end; /* where it will go on */
};

/* All of them. */
struct recovery {
	struct router *router;
	struct found *found;
	unsigned count;
	struct log_decision decision;
	struct log_decision_log logs[CONFIG_QUEUES];
	uint64_t highest_batch;  /* that was begun: the next has a higher number */
	uint64_t bytes, told_ns; /* read so far; when that was told last */
	char *error;
	size_t error_bytes;
};

struct replay {
	struct queue *queue;
	struct recovered_state *state;
	uint64_t batch_time_ns;
	uint32_t batch_clock_s;
	struct log_totals totals;
};

static int
recovery_failed(const struct recovery *recovery, int rc, const char *what, const char *why)
{
	snprintf(recovery->error, recovery->error_bytes, "%s: %s", what, why);
	return rc;
}

static void
tell_progress(void *context, uint64_t bytes)
{
	struct recovery *recovery = context;
	uint64_t now_ns = io_monotonic_ns();

	recovery->bytes += bytes;
	if (now_ns - recovery->told_ns < PROGRESS_NS)
		return;
	recovery->told_ns = now_ns;
	event(EVENT_INFO, "recovery.progress", "u:bytes_read", recovery->bytes, NULL);
}

static int
find_log(struct recovery *recovery, struct found *found, const char *name)
{
	struct log_visitor visitor = { .batch = log_decision_add, .context = &recovery->decision };
	const char *file_system;
	int rc;

	snprintf(found->dir, sizeof(found->dir), "%s/queues/%s",
	    recovery->router->config->state_dir, name);
	rc = io_make_dir(found->dir);
	if (rc != 0)
		return recovery_failed(recovery, rc, found->dir, strerror(-rc));
	file_system = paths_copies_on_write(found->dir);
	if (file_system != NULL && found == recovery->found)
		event(EVENT_WARN, "state.copy_on_write", "s:file_system", file_system, "s:state",
		    recovery->router->config->state_dir, NULL);
	rc = log_list_open(&found->list, found->dir, recovery->error, recovery->error_bytes);
	if (rc == -ENOENT)
		return log_registry_lost(recovery->router->config->state_dir, name, recovery->error,
		    recovery->error_bytes);
	log_scan_init(&found->scan, &found->list, recovery->error, recovery->error_bytes);
	found->scan.progress = tell_progress;
	found->scan.progress_context = recovery;
	if (rc == 0)
		rc = log_scan_tail(&found->scan, &visitor, &found->tail);
	log_scan_free(&found->scan); /* of many logs, the last segments of all would be too much */
	found->end = found->tail.end;
	return rc;
}

/* What routers before us left word of. */
static int
read_registry(struct recovery *recovery)
{
	const char *state_dir = recovery->router->config->state_dir;
	char path[LOG_PATH_BYTES];
	struct log_registry_end end;
	int rc;

	for (unsigned i = 0; i < recovery->count; i++) {
		const char *name = recovery->router->queues[i].config->name;

		rc = log_registry_read_end(state_dir, name, &recovery->found[i].list, &end,
		    recovery->error, recovery->error_bytes);
		if (rc != 0)
			return rc;
		recovery->logs[i].registered = end.batch;
	}
	snprintf(path, sizeof(path), "%.4000s/known", state_dir);
	rc = log_registry_highest(state_dir, &recovery->highest_batch);
	return rc == 0 ? 0 : recovery_failed(recovery, rc, path, strerror(-rc));
}

/* Decides, before anything is written, whether what is not whole was torn: that can only be the batch
 * that was being written, the highest of all. */
static int
decide(struct recovery *recovery)
{
	uint64_t lost, later;
	int rc = read_registry(recovery);

	if (rc != 0)
		return rc;
	for (unsigned i = 0; i < recovery->count; i++) {
		recovery->logs[i].log_id = recovery->found[i].list.log_id;
		recovery->logs[i].tail = &recovery->found[i].tail;
	}
	recovery->decision.logs = recovery->logs;
	recovery->decision.count = recovery->count;
	log_decision_make(&recovery->decision);
	for (unsigned i = 0; i < recovery->count; i++) {
		if (!log_decision_lost(&recovery->decision, i, &lost, &later))
			continue;
		snprintf(recovery->error, recovery->error_bytes,
		    "%s: position %" PRIu64 ": batch %" PRIu64 " is damaged%s",
		    recovery->found[i].dir, recovery->found[i].tail.end, lost,
		    later > lost ? ", and others were written after it"
				 : ": it was whole when the router ended");
		return -EBADMSG;
	}
	if (recovery->highest_batch < recovery->decision.highest_begun)
		recovery->highest_batch = recovery->decision.highest_begun;
	return 0;
}

/* Cuts the highest batch of a log where it is not complete, and repairs what is torn. */
static int
cut_log(struct recovery *recovery, struct found *log)
{
	const struct log_tail *tail = &log->tail;
	uint64_t written = tail->torn_end > tail->end ? tail->torn_end : tail->end;
	bool cut = tail->last_batch > recovery->decision.recovery_point;
	int rc = log_decision_end(
	    &recovery->decision, (unsigned)(log - recovery->found), &log->scan, &log->end);

	if (rc != 0)
		return rc;
	log_scan_free(&log->scan);
	if (cut)
		log->scan.last_batch = recovery->decision.recovery_point;
	if (written > log->end)
		event(EVENT_WARN,
		    log_decision_cuts_unsynced(&recovery->decision, tail) ? "log.unsynced_cut"
									  : "log.torn_batch_cut",
		    "s:log", log->dir, "u:bytes", written - log->end, "u:position", log->end, NULL);
	rc = repair_log(
	    &log->list, tail->unproven < log->end ? tail->unproven : 0, log->end, written);
	return rc == 0 ? 0 : recovery_failed(recovery, rc, log->dir, strerror(-rc));
}

static int
repair_all(struct recovery *recovery)
{
	int rc = decide(recovery);

	CRASH_POINT("recovery.decided");
	for (unsigned i = 0; rc == 0 && i < recovery->count; i++)
		if (recovery->found[i].list.count > 0)
			rc = cut_log(recovery, &recovery->found[i]);
	for (unsigned i = 0; i < recovery->count; i++) {
		const struct log_tail *tail = &recovery->found[i].tail;

		if (tail->clock_ns > recovery->router->clock.ns)
			recovery->router->clock.ns = tail->clock_ns;
	}
	return rc;
}

/*
 * What the logs say.
 */

static void
add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static bool
in_window(const struct queue *queue, uint32_t clock_s)
{
	const struct router *router = queue->router;

	return router_seconds(router) <= clock_s +
	    (router->topics[queue->topic].config->dedup_window_ns + 999999999) / 1000000000;
}

static int
remember_id(struct queue *queue, const struct log_frame *frame, uint32_t clock_s)
{
	struct dedup *dedup = queue->router->topics[queue->topic].dedup;
	struct envelope envelope;
	struct dedup_hash hash;

	/* What was moved came through the window when it was published. */
	if (frame->type != LOG_MESSAGE || !in_window(queue, clock_s) ||
	    envelope_open(&envelope, frame + 1, frame->length, ENVELOPE_BODY_BYTES_MAX, NULL) !=
		0 ||
	    envelope.dedup_id.data == NULL)
		return 0;
	hash = dedup_hash(
	    dedup, envelope.dedup_is_hash, envelope.dedup_id.data, envelope.dedup_id.length);
	return dedup_remember(dedup, &hash, clock_s, router_seconds(queue->router)) ? 0 : -ENOMEM;
}

static int
replay_message(struct replay *replay, const struct log_frame *frame)
{
	struct queue *queue = replay->queue;

	queue->next_sequence = frame->sequence + 1;
	queue->checkpoint.messages++;
	add(&queue->control->counters.published, 1);
	return remember_id(queue, frame, replay->batch_clock_s);
}

static int
replay_settled(struct replay *replay, const struct log_frame *frame)
{
	const struct log_settled *range = (const void *)(frame + 1);

	for (size_t i = 0; i < frame->length / sizeof(*range); i++) {
		int64_t added =
		    settled_add_range(&replay->queue->settled, range[i].first, range[i].count);

		if (added < 0)
			return (int)added;
		log_count(&replay->totals, &range[i], (uint64_t)added);
	}
	return 0;
}

static int
replay_reserved(struct queue *queue, const struct log_frame *frame)
{
	const struct log_reserved *reserved = (const void *)(frame + 1);
	int64_t added = settled_add_range(
	    &queue->settled, reserved->skipped, reserved->from - reserved->skipped);

	if (queue->next_sequence < reserved->from)
		queue->next_sequence = reserved->from;
	queue->reservation.end = reserved->end;
	return added < 0 ? (int)added : 0;
}

static int
replay_received(struct queue *queue, const struct log_frame *frame)
{
	const struct log_received *received = (const void *)(frame + 1);
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < frame->length / sizeof(*received); i++)
		if (!settled_has(&queue->settled, received[i].sequence))
			rc = received_set(
			    &queue->receives.died, received[i].sequence, received[i].count);
	return rc;
}

/* What was settled after it was counted. */
static void
drop_settled_receives(struct queue *queue)
{
	for (size_t i = queue->receives.died.count; i-- > 0;)
		if (settled_has(&queue->settled, queue->receives.died.counts[i].sequence))
			received_remove(
			    &queue->receives.died, queue->receives.died.counts[i].sequence);
}

static int
replay_batch(void *context, const struct log_commit *end)
{
	struct replay *replay = context;

	replay->queue->writer.last_batch = end->batch;
	replay->batch_time_ns = end->time_ns;
	replay->batch_clock_s = (uint32_t)(end->clock_ns / 1000000000 + 1);
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
		rc = index_add(queue, position,
		    log_is_message(frame) ? frame->sequence : queue->next_sequence,
		    replay->batch_time_ns);
	if (rc != 0)
		return rc;
	switch (frame->type) {
	case LOG_MESSAGE:
	case LOG_TRANSFERRED:
		return replay_message(replay, frame);
	case LOG_SETTLED:
		return replay_settled(replay, frame);
	case LOG_RESERVED:
		return replay_reserved(queue, frame);
	case LOG_RECEIVED:
		return replay_received(queue, frame);
	case LOG_CLOCK:
		for (size_t i = 0; i < frame->length / sizeof(struct log_clock); i++)
			retention_mark(&queue->retention,
			    (const struct log_clock *)(const void *)(frame + 1) + i);
		return 0;
	case LOG_STATE:
		replay->state->state = (enum control_state)state->state;
		replay->state->generation = state->generation;
		log_state_to_detail(state, &replay->state->detail);
		return 0;
	default:
		return 0;
	}
}

/* Of a segment in front of the checkpoint only the ids matter. */
static int
replay_id(void *context, const struct log_frame *frame, uint64_t position)
{
	struct replay *replay = context;

	(void)position;
	return remember_id(replay->queue, frame, replay->batch_clock_s);
}

/* Segments in front of the checkpoint: an index entry each, and the ids within the window. */
static int
replay_old_segment(struct replay *replay, struct found *found, size_t i)
{
	const struct log_segment *segment = &found->list.segments[i];
	struct log_visitor visitor = {
		.batch = replay_batch,
		.frame = replay_id,
		.context = replay,
	};
	int rc;

	rc = index_add(replay->queue, segment->position + LOG_HEADER_BYTES, segment->first_sequence,
	    segment->created_ns);
	/* The ids of one that replaces others were taken out before. */
	if (rc != 0 || log_segment_is_compacted(segment) ||
	    !in_window(replay->queue, (uint32_t)(segment->end_clock_ns / 1000000000)))
		return rc;
	return log_scan_segment(&found->scan, i, &visitor, NULL);
}

/* From the checkpoint on, all counts. */
static int
replay_segment(struct replay *replay, struct found *found, size_t i)
{
	struct log_segment *segment = &found->list.segments[i];
	struct queue *queue = replay->queue;
	struct log_visitor visitor = {
		.batch = replay_batch,
		.frame = replay_frame,
		.context = replay,
	};
	uint64_t end;
	int rc;

	queue->checkpoint.messages = 0;
	segment->first_sequence = queue->next_sequence;
	rc = log_scan_segment(&found->scan, i, &visitor, &end);
	if (rc != 0 || i == found->tail.segment)
		return rc;
	if (segment->data_bytes == 0)
		segment->data_bytes = end - segment->position;
	segment->end_sequence = queue->next_sequence;
	segment->messages = queue->checkpoint.messages;
	segment->end_clock_ns = (uint64_t)replay->batch_clock_s * 1000000000;
	return 0;
}

static void
take_base(struct replay *replay, struct log_base *base)
{
	struct queue *queue = replay->queue;
	struct control_counters *counters = &queue->control->counters;

	queue->next_sequence = base->head.next_sequence;
	queue->reservation.end = base->head.reserved;
	queue->settled = base->settled;
	add(&counters->published, base->head.published);
	add(&counters->duplicates, base->head.duplicates);
	replay->totals = base->totals;
}

/* Segments that the checkpoint does not know were freed before it was written, and could not be
 * removed, or that was not durable. If one is still needed after all, log_scan_gaps() misses it. */
static void
drop_unlisted(struct found *found)
{
	struct log_list *list = &found->list;
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++)
		if (i < found->base.segment && list->segments[i].end_sequence == 0)
			list->leftovers[list->leftover_count++] = list->segments[i].number;
		else
			list->segments[kept++] = list->segments[i];
	found->base.segment -= list->count - kept;
	found->tail.segment -= list->count - kept;
	found->scan.image_valid = false;
	list->count = kept;
}

static int
remove_unlisted(const struct found *found, size_t first)
{
	char path[LOG_PATH_BYTES];
	int rc = 0;

	for (size_t i = first; rc == 0 && i < found->list.leftover_count; i++) {
		log_segment_path(path, found->dir, found->list.leftovers[i]);
		event(EVENT_WARN, "log.leftover_removed", "s:file", path, NULL);
		rc = io_unlink(path);
	}
	return rc;
}

static int
replay_log(struct replay *replay, struct found *found)
{
	size_t leftovers = found->list.leftover_count;
	struct queue *queue = replay->queue;
	int rc = log_scan_base(&found->scan, found->tail.segment, &found->base);

	if (rc != 0)
		return rc;
	drop_unlisted(found);
	take_base(replay, &found->base);
	for (size_t i = 0; rc == 0 && i <= found->tail.segment; i++)
		rc = i < found->base.segment ? replay_old_segment(replay, found, i)
					     : replay_segment(replay, found, i);
	drop_settled_receives(queue);
	if (rc == 0)
		rc = log_scan_gaps(&found->scan, &found->base, &queue->settled);
	if (rc == 0)
		rc = remove_unlisted(found, leftovers);
	if (rc == 0 && found->base.segment == found->tail.segment)
		queue->logged.durable.checkpoint = queue->logged.in_flight.checkpoint =
		    queue->logged.gathered.checkpoint =
			found->list.segments[found->tail.segment].number;
	return rc;
}

/*
 * The ids of segments that are gone.
 */

static int
ids_failed(const struct recovery *recovery, int rc, const char *path)
{
	char text[LOG_KEY_TEXT_BYTES];

	switch (rc) {
	case -EBADMSG:
		return recovery_failed(recovery, rc, path, "damaged: without it " LOST);
	case -ENOKEY:
		return recovery_failed(recovery, -EBADMSG, path,
		    "the dedup.key that it was made with is not there, put that back: without "
		    "it " LOST);
	case -ESTALE:
		log_key_explain_stale(
		    text, sizeof(text), recovery->router->config->state_dir, false);
		return recovery_failed(recovery, rc, path, text);
	default:
		return recovery_failed(recovery, rc, path, strerror(-rc));
	}
}

static int
remember_ids(struct queue *queue, const struct log_ids_header *header, const struct log_id *ids)
{
	struct dedup *dedup = queue->router->topics[queue->topic].dedup;
	uint32_t now = router_seconds(queue->router);
	struct dedup_hash hash;

	if (!in_window(queue, (uint32_t)header->newest_clock_s))
		return 0;
	if (header->key != queue->router->key)
		return -ENOKEY;
	for (uint64_t i = 0; i < header->count; i++) {
		memcpy(hash.word, ids[i].hash, sizeof(hash.word));
		if (in_window(queue, ids[i].clock_s) &&
		    !dedup_remember(dedup, &hash, ids[i].clock_s, now))
			return -ENOMEM;
	}
	return 0;
}

static int
load_ids(const struct recovery *recovery, struct queue *queue, const struct found *found,
    uint64_t number)
{
	struct log_ids_header header;
	char path[LOG_PATH_BYTES];
	struct log_id *ids;
	int rc = log_ids_read(found->dir, found->list.log_id, number, &header, &ids);

	if (rc == 0) {
		rc = remember_ids(queue, &header, ids);
		free(ids);
	}
	log_ids_path(path, found->dir, number);
	return rc == 0 ? queue_add_ids(queue, number, header.newest_clock_s)
		       : ids_failed(recovery, rc, path);
}

static int
load_all_ids(const struct recovery *recovery, struct queue *queue, const struct found *found)
{
	uint64_t *numbers;
	size_t count;
	int rc = log_ids_list(found->dir, &numbers, &count);

	if (rc != 0)
		return recovery_failed(recovery, rc, found->dir, strerror(-rc));
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = load_ids(recovery, queue, found, numbers[i]);
	free(numbers);
	return rc;
}

/*
 * All together.
 */

/* From here on it is noticed when its files are gone. A disk that is full has no room for that name, perhaps, and
 * of one that was made before there were such names that must not stop the router. */
static int
make_known(const struct queue *queue)
{
	int rc = log_registry_add(queue->router->config->state_dir, queue->config->name);

	if (!io_is_full(rc))
		return rc;
	event(EVENT_WARN, "log.not_known", "s:queue", queue->config->name, "s:error", strerror(-rc),
	    NULL);
	return 0;
}

static int
open_queue(struct recovery *recovery, struct queue *queue, struct found *found,
    struct recovered_state *state)
{
	struct replay replay = { .queue = queue, .state = state };
	struct control_counters *counters = &queue->control->counters;
	bool exists = found->list.count > 0;
	int rc = 0;

	queue->next_sequence = 1;
	retention_init(
	    &queue->retention, queue->config->retention_ns, router_clock_ns(queue->router));
	settled_init(&queue->settled, 0);
	if (exists)
		rc = replay_log(&replay, found);
	log_scan_free(&found->scan);
	if (rc == 0 && exists)
		rc = load_all_ids(recovery, queue, found);
	if (rc == 0)
		rc = reservation_skip(queue);
	if (rc != 0)
		return rc;
	add(&counters->done, replay.totals.done);
	add(&counters->failed, replay.totals.failed);
	add(&counters->dead_lettered, replay.totals.dead_lettered);
	add(&counters->expired, replay.totals.expired);
	CRASH_POINT("recovery.replayed");
	queue->writer.active.ids_bytes = queue->checkpoint.messages * sizeof(struct log_id);
	rc = writer_open(&queue->writer, queue->router->io, found->dir, queue->config->name,
	    exists ? &found->list : NULL, found->tail.segment, found->end);
	if (rc == 0)
		rc = make_known(queue);
	if (rc == 0 && queue->index.count == 0)
		rc = index_add(queue, queue->writer.durable, queue->next_sequence, io_wall_ns());
	return rc == 0 ? 0 : recovery_failed(recovery, rc, found->dir, strerror(-rc));
}

/* A queue that is no longer configured must not be forgotten with messages in it. */
static int
check_unconfigured(const struct recovery *recovery)
{
	const struct router *router = recovery->router;
	char path[LOG_PATH_BYTES], log_error[LOG_ERROR_BYTES];
	struct log_summary summary;
	struct dirent *entry;
	int rc = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/queues", router->config->state_dir);
	dir = opendir(path);
	if (dir == NULL)
		return recovery_failed(recovery, -errno, path, strerror(errno));
	while (rc == 0 && (rc = log_next_entry(dir, &entry)) == 1) {
		rc = 0;
		if (entry->d_name[0] == '.' || config_find_queue(router->config, entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%.4000s/queues/%.64s", router->config->state_dir,
		    entry->d_name);
		rc = log_summarize(path, &summary, log_error, sizeof(log_error));
		if (rc == -ENOENT || rc == -ENOTDIR || (rc == 0 && summary.depth == 0)) {
			rc = 0;
			continue;
		}
		if (rc != 0) {
			snprintf(recovery->error, recovery->error_bytes,
			    "%.64s: is not in the configuration, and %s: %.4600s", entry->d_name,
			    rc == -EBADMSG ? "not whole" : "cannot be read", log_error);
			continue;
		}
		snprintf(recovery->error, recovery->error_bytes,
		    "%.64s: has %" PRIu64 " messages and is not in the configuration: put the "
		    "queue back, or move %.4000s away",
		    entry->d_name, summary.depth, path);
		rc = -EINVAL;
	}
	if (rc < 0 && recovery->error[0] == '\0')
		recovery_failed(recovery, rc, path, strerror(-rc));
	closedir(dir);
	return rc;
}

/* Of the log that is damaged. */
static void
say_who_knows(struct recovery *recovery)
{
	size_t length = strlen(recovery->error);

	snprintf(recovery->error + length, recovery->error_bytes - length,
	    "; `%sheadgatectl%s check' says what is lost and how to go on",
	    recovery->router->config->env, recovery->router->config->options);
}

int
recovery_run(struct router *router, struct recovered_state states[CONFIG_QUEUES], char *error,
    size_t error_bytes)
{
	struct recovery recovery = {
		.router = router,
		.found = calloc(router->queue_count, sizeof(*recovery.found)),
		.count = router->queue_count,
		.told_ns = io_monotonic_ns(),
		.error = error,
		.error_bytes = error_bytes,
	};
	int rc;

	CRASH_POINT("recovery.begun");
	if (recovery.found == NULL)
		return recovery_failed(&recovery, -ENOMEM, "recovery", strerror(ENOMEM));
	error[0] = '\0';
	rc = check_unconfigured(&recovery);
	for (unsigned i = 0; rc == 0 && i < recovery.count; i++)
		rc = find_log(&recovery, &recovery.found[i], router->queues[i].config->name);
	if (rc == 0)
		rc = repair_all(&recovery);
	router->batch.number = recovery.highest_batch + 1;
	router->batch.barrier =
	    recovery.highest_batch; /* nothing that counts is in the page cache only */
	for (unsigned i = 0; rc == 0 && i < recovery.count; i++) {
		rc = open_queue(&recovery, &router->queues[i], &recovery.found[i], &states[i]);
		router->queues[i].writer.batch = router->batch.number;
	}
	if (rc == -EBADMSG)
		say_who_knows(&recovery);
	for (unsigned i = 0; i < recovery.count; i++) {
		log_scan_free(&recovery.found[i].scan);
		log_list_close(&recovery.found[i].list);
		log_tail_free(&recovery.found[i].tail);
	}
	free(recovery.found);
	log_decision_free(&recovery.decision);
	return rc;
}
