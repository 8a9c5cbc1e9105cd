/*
 * headgatectl status: gathers the picture.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "ctl/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "config/output.h"
#include "log/known.h"
#include "log/summary.h"

enum { WATCH_MS = 1000 };

static double
age_s(uint64_t then_ns, uint64_t now_ns)
{
	return then_ns == 0 || then_ns > now_ns ? 0 : (double)(now_ns - then_ns) / 1e9;
}

static uint64_t
get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void
gather_workers(struct status_queue *out, const struct control *control, unsigned index)
{
	uint64_t now_ns = ctl_monotonic_ns();

	for (unsigned i = 0; i < CONTROL_WORKERS; i++) {
		const struct control_worker *worker = &control->shared->worker[i];
		/* Pairs with the release store with which the router fills an entry. */
		uint32_t pid = atomic_load_explicit(&worker->pid, memory_order_acquire);
		/* Pairs with the release store in the router's publish_words(): the time is of this
		 * message, or a younger one's. */
		uint64_t handling = atomic_load_explicit(&worker->starting, memory_order_acquire);

		if (pid == 0 || worker->queue != index)
			continue;
		out->workers[out->worker_count++] = (struct status_worker){
			.pid = pid,
			.lanes = worker->lanes,
			.heartbeat_age_s = age_s(get(&worker->heartbeat_ns), now_ns),
			.handling = handling,
			.handling_s = age_s(get(&worker->starting_since_ns), now_ns),
		};
	}
}

static double
next_probe_s(const struct status_queue *out, uint64_t due_ns)
{
	uint64_t now_ns = ctl_monotonic_ns();

	if (out->state != CONTROL_TRIPPED || due_ns == 0)
		return -1;
	return due_ns > now_ns ? (double)(due_ns - now_ns) / 1e9 : 0;
}

static void
gather_live_queue(struct status_queue *out, const struct control *control, unsigned index)
{
	const struct control_queue *queue = &control->shared->queue[index];
	const struct control_counters *counters = &queue->counters;
	uint64_t word, oldest_ns = get(&counters->oldest_ns);

	out->name = queue->name;
	control_read_state(control, index, &word, &out->detail);
	out->state = control_word_state(word);
	out->refuses =
	    (enum control_refusal)atomic_load_explicit(&queue->refuses, memory_order_relaxed);
	out->done = get(&counters->done);
	out->failed = get(&counters->failed);
	out->published = get(&counters->published);
	out->duplicates = get(&counters->duplicates);
	out->dead_lettered = get(&counters->dead_lettered);
	out->expired = get(&counters->expired);
	out->in_flight = get(&counters->in_flight);
	out->blocked_groups = get(&counters->blocked_groups);
	out->parked = get(&counters->parked);
	out->depth =
	    out->published > out->done + out->failed ? out->published - out->done - out->failed : 0;
	out->oldest_age_s =
	    out->depth == 0 || oldest_ns == 0 ? -1 : age_s(oldest_ns, ctl_wall_ns());
	out->next_probe_s = next_probe_s(out, get(&queue->probe_due_ns));
	gather_workers(out, control, index);
}

static void
gather_live(struct status *status, const struct control *control, const struct ctl *ctl)
{
	const struct control_shared *shared = control->shared;

	status->running = true;
	status->pid = atomic_load(&shared->router_pid);
	status->since_ns = get(&shared->router_since_ns);
	status->heartbeat_age_s = ctl_router_age_s(control);
	for (unsigned i = 0; i < shared->queues; i++)
		if (ctl->queue_count == 0 || ctl_is_selected(ctl, shared->queue[i].name))
			gather_live_queue(&status->queues[status->queue_count++], control, i);
	for (unsigned i = 0; i < shared->topics; i++)
		status->topics[status->topic_count++] = (struct status_topic){
			.name = shared->topic[i].name,
			.published = get(&shared->topic[i].published),
			.refused = get(&shared->topic[i].refused),
			.unroutable = get(&shared->topic[i].unroutable),
			.ids = get(&shared->topic[i].ids),
			.ids_bytes = get(&shared->topic[i].ids_bytes),
			.refuses = (enum control_refusal)atomic_load_explicit(
			    &shared->topic[i].refuses, memory_order_relaxed),
		};
}

static void
gather_disk_queue(struct status_queue *out, const struct ctl *ctl, const char *name)
{
	char path[LOG_PATH_BYTES];
	struct log_summary summary;
	int rc;

	snprintf(path, sizeof(path), "%s/queues/%s", ctl->config.state_dir, name);
	rc = log_summarize(path, &summary, out->error, sizeof(out->error));
	if (rc == -EACCES || rc == -EPERM)
		ctl_no_permission(path);
	if (rc == -ENOENT) {
		out->error[0] = '\0'; /* nothing was ever published; or else: */
		rc = log_known_lost(ctl->config.state_dir, name, out->error, sizeof(out->error));
	}
	if (rc != 0 && out->error[0] == '\0')
		snprintf(out->error, sizeof(out->error), "its log: %s", strerror(-rc));
	out->name = name;
	out->state = control_word_state(summary.state_word);
	out->detail = summary.detail;
	out->depth = summary.depth;
	out->published = summary.published;
	out->done = summary.totals.done;
	out->failed = summary.totals.failed;
	out->duplicates = summary.duplicates;
	out->dead_lettered = summary.totals.dead_lettered;
	out->expired = summary.totals.expired;
	out->next_probe_s = -1;
	out->oldest_age_s = summary.oldest_ns ? age_s(summary.oldest_ns, ctl_wall_ns()) : -1;
}

static void
gather_disk(struct status *status, const struct ctl *ctl)
{
	for (size_t i = 0; i < ctl->config.queue_count; i++) {
		const char *name = ctl->config.queues[i].name;

		if (ctl->queue_count == 0 || ctl_is_selected(ctl, name))
			gather_disk_queue(&status->queues[status->queue_count++], ctl, name);
	}
	for (size_t i = 0; i < ctl->config.topic_count; i++)
		status->topics[status->topic_count++] =
		    (struct status_topic){ .name = ctl->config.topics[i].name };
}

static void
mark_dead_letters(struct status *status, const struct ctl *ctl)
{
	for (unsigned i = 0; i < status->queue_count; i++) {
		const struct config_queue *queue =
		    config_find_queue(&ctl->config, status->queues[i].name);

		status->queues[i].dead_letters = queue != NULL && queue->dead_letters;
	}
}

static int
print_once(struct ctl *ctl)
{
	static struct status status;
	struct control control;
	bool live = ctl_open_control(ctl, &control, false) == 0;
	int rc = 0;

	memset(&status, 0, sizeof(status));
	if (live && control_router_alive(&control))
		gather_live(&status, &control, ctl);
	else
		gather_disk(&status, ctl);
	mark_dead_letters(&status, ctl);
	if (ctl->json)
		status_print_json(&status);
	else
		status_print_text(&status, ctl);
	if (live)
		control_close(&control);
	for (unsigned i = 0; i < status.queue_count; i++)
		if (!status_is_known(&status.queues[i]))
			rc = EX_DATAERR;
	return rc;
}

int
status_main(struct ctl *ctl)
{
	bool clear = isatty(STDOUT_FILENO) && !ctl->json;
	int rc;

	if (!ctl->watch)
		return print_once(ctl);
	do {
		if (clear)
			fputs("\033[H\033[2J", stdout);
		rc = print_once(ctl);
		if (!output_flush())
			return rc;
		ctl_pause_ms(WATCH_MS);
	} while (true);
}
