/*
 * headgatectl status: gathers the picture.
 */
#include "ctl/status.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/output.h"
#include "ctl/process.h"
#include "ctl/text.h"
#include "log/registry.h"
#include "log/summary.h"

enum { WATCH_MS = 1000 };

static uint64_t
get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static enum control_refusal
get_refusal(const _Atomic uint32_t *refuses)
{
	return (enum control_refusal)atomic_load_explicit(refuses, memory_order_relaxed);
}

static void
gather_workers(struct status_queue *out, const struct control *control, unsigned index)
{
	uint64_t now_ns = clock_monotonic_ns();

	for (unsigned i = 0; i < CONTROL_WORKERS; i++) {
		const struct control_worker *worker = &control->shared->worker[i];
		/* Acquire: pairs with the router's release store of the pid, which publishes the
		 * entry. */
		uint32_t pid = atomic_load_explicit(&worker->pid, memory_order_acquire);
		uint64_t since_ns, handling = start_get(&worker->starting, &since_ns);
		struct process process;

		if (pid == 0 || worker->queue != index)
			continue;
		process = process_look_in(control, pid);
		out->workers[out->worker_count++] = (struct status_worker){
			.pid = pid,
			.parent = process.parent,
			.frozen = process.frozen,
			.parent_frozen = process_supervisor((pid_t)pid) != (pid_t)pid &&
			    process_look(process.parent).frozen,
			.lanes = worker->lanes,
			.heartbeat_age_s = text_seconds(get(&worker->heartbeat_ns), now_ns),
			.handling = handling,
			.handling_s = text_seconds(since_ns, now_ns),
			.store_empty = get(&worker->flags) & CONTROL_STORE_EMPTY,
		};
	}
}

static double
next_probe_s(const struct status_queue *out, uint64_t due_ns)
{
	uint64_t now_ns = clock_monotonic_ns();

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

	out->name = control->facts.queue[index].name;
	out->visibility_ns = control->facts.queue[index].visibility_ns;
	control_read_state(control, index, &word, &out->detail);
	out->state = control_word_state(word);
	out->refuses = get_refusal(&queue->refuses);
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
	    out->depth == 0 || oldest_ns == 0 ? -1 : text_seconds(oldest_ns, clock_wall_ns());
	out->next_probe_s = next_probe_s(out, get(&queue->probe_due_ns));
	gather_workers(out, control, index);
}

/* True for a queue to show. */
static bool
is_shown(const struct ctl *ctl, const char *name)
{
	return ctl->queue_count == 0 || queues_is_selected(ctl, name);
}

static void
gather_live(struct status *status, const struct control *control, const struct ctl *ctl)
{
	const struct control_shared *shared = control->shared;

	status->running = true;
	status->config_file = control->facts.config_file;
	status->pid = atomic_load_explicit(&shared->router_pid, memory_order_relaxed);
	status->frozen = process_look_in(control, status->pid).frozen;
	status->foreign = !control_shares_pids(control);
	status->since_ns = get(&shared->router_since_ns);
	status->heartbeat_age_s = ctl_router_age_s(control);
	for (unsigned i = 0; i < control->facts.queues; i++)
		if (is_shown(ctl, control->facts.queue[i].name))
			gather_live_queue(&status->queues[status->queue_count++], control, i);
	for (unsigned i = 0; i < control->facts.topics; i++)
		status->topics[status->topic_count++] = (struct status_topic){
			.name = control->facts.topic[i],
			.published = get(&shared->topic[i].published),
			.refused = get(&shared->topic[i].refused),
			.unroutable = get(&shared->topic[i].unroutable),
			.duplicates = get(&shared->topic[i].duplicates),
			.ids = get(&shared->topic[i].ids),
			.ids_bytes = get(&shared->topic[i].ids_bytes),
			.refuses = get_refusal(&shared->topic[i].refuses),
		};
}

/* For a queue without a log: sets out->error if the registry has a log of the queue, which is
 * lost. */
static int
look_for_lost(struct status_queue *out, const struct ctl *ctl, const char *name)
{
	out->error[0] = '\0';
	out->absent = true;
	return log_registry_lost(ctl->config.state_dir, name, out->error, sizeof(out->error));
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
	if (rc == -ENOENT || rc == -ENOTDIR)
		rc = look_for_lost(out, ctl, name);
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
	out->oldest_age_s =
	    summary.oldest_ns ? text_seconds(summary.oldest_ns, clock_wall_ns()) : -1;
}

/* Checks for the state directory, and for another user as its owner. */
static void
look_at_state(struct status *status, const struct ctl *ctl)
{
	const struct passwd *owner;
	struct stat st;

	errno = 0;
	if (stat(ctl->config.state_dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
		if (errno == EACCES)
			ctl_no_permission(ctl->config.state_dir);
		status->no_state = true;
		return;
	}
	if (st.st_uid == geteuid())
		return;
	owner = getpwuid(st.st_uid);
	if (owner != NULL)
		strlcpy(status->owner, owner->pw_name, sizeof(status->owner));
	else
		snprintf(status->owner, sizeof(status->owner), "%u", (unsigned)st.st_uid);
}

static void
gather_disk(struct status *status, const struct ctl *ctl)
{
	look_at_state(status, ctl);
	for (unsigned i = 0; i < ctl->known.count; i++)
		if (is_shown(ctl, ctl->known.queue[i].name))
			gather_disk_queue(
			    &status->queues[status->queue_count++], ctl, ctl->known.queue[i].name);
	for (size_t i = 0; i < ctl->config.topic_count; i++)
		status->topics[status->topic_count++] =
		    (struct status_topic){ .name = ctl->config.topics[i].name };
}

static void
add_unknown(struct status *status, const struct ctl *ctl, const char *name)
{
	struct status_unknown *unknown = &status->unknown[status->unknown_count];
	char path[LOG_PATH_BYTES], error[LOG_ERROR_BYTES];
	struct log_summary summary;
	int rc;

	snprintf(path, sizeof(path), "%.4000s/queues/%.255s", ctl->config.state_dir, name);
	rc = log_summarize(path, &summary, error, sizeof(error));
	if (rc == -ENOENT || rc == -ENOTDIR)
		return;
	strlcpy(unknown->name, name, sizeof(unknown->name));
	unknown->readable = rc == 0;
	unknown->depth = summary.depth;
	status->unknown_count++;
}

static int
is_not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* Gathers logs of unknown queues: removed from the configuration, or of another configuration. */
static void
gather_unknown(struct status *status, const struct ctl *ctl)
{
	struct dirent **entries;
	char path[LOG_PATH_BYTES];
	int count;

	if (ctl->queue_count > 0)
		return;
	snprintf(path, sizeof(path), "%s/queues", ctl->config.state_dir);
	count = scandir(path, &entries, is_not_hidden, alphasort);
	for (int i = 0; i < count; i++) {
		if (status->unknown_count < STATUS_UNKNOWN &&
		    queues_index(ctl, entries[i]->d_name) < 0)
			add_unknown(status, ctl, entries[i]->d_name);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}

static void
mark_dead_letters(struct status *status, const struct ctl *ctl)
{
	for (unsigned i = 0; i < status->queue_count; i++) {
		int queue = queues_index(ctl, status->queues[i].name);

		status->queues[i].dead_letters = queue >= 0 && queues_is_dead(ctl, (unsigned)queue);
	}
}

void
status_gather(struct status *status, struct ctl *ctl, struct control *control)
{
	int rc;

	memset(status, 0, sizeof(*status));
	status->taken_ns = clock_monotonic_ns();
	status->config_file = "";
	rc = ctl_open_living(ctl, control, false);
	if (rc == 0) {
		queues_of_router(ctl, control);
		gather_live(status, control, ctl);
	} else {
		status->starting = ctl_router_holds_state(ctl);
		status->stale = status->starting && rc == -ESTALE;
		gather_disk(status, ctl);
	}
	gather_unknown(status, ctl);
	mark_dead_letters(status, ctl);
}

static struct status pictures[2]; /* the current picture and the previous one */

/* Prints once. *control must stay open as long as the picture is used. Returns the exit status. */
static int
print_once(struct ctl *ctl, unsigned which, struct control *control)
{
	const struct status *before = &pictures[!which];
	struct status *status = &pictures[which];
	int rc = 0;

	status_gather(status, ctl, control);
	if (ctl->json)
		status_print_json(status);
	else
		status_print_text(status, before->taken_ns != 0 ? before : NULL, ctl);
	for (unsigned i = 0; i < status->queue_count; i++)
		if (!status_is_known(&status->queues[i]))
			rc = EX_DATAERR;
	return rc;
}

/* Overwrites the screen line by line instead of clearing it, so that nothing flickers. */
static void
put_over(const char *text)
{
	fputs("\033[H", stdout);
	for (; *text != '\0'; text++) {
		if (*text == '\n')
			fputs("\033[K", stdout);
		putchar(*text);
	}
	fputs("\033[J", stdout);
}

/* Prints to memory first, then to the screen at once. */
static int
print_over(struct ctl *ctl, unsigned which, struct control *control)
{
	FILE *screen = stdout;
	char *text = NULL;
	size_t length;
	int rc;

	stdout = open_memstream(&text, &length);
	if (stdout == NULL) {
		stdout = screen;
		err(EX_OSERR, "status");
	}
	rc = print_once(ctl, which, control);
	fclose(stdout);
	stdout = screen;
	put_over(text);
	free(text);
	return rc;
}

int
status_main(struct ctl *ctl)
{
	bool screen = ctl->watch && !ctl->json && text_is_screen();
	struct control control[2];
	unsigned which = 0;
	int rc;

	control[1].shared = NULL;
	control[1].fd = control[1].lock_fd = -1;
	do {
		rc = screen ? print_over(ctl, which, &control[which])
			    : print_once(ctl, which, &control[which]);
		which = !which;
		control_close(&control[which]);
		if (!ctl->watch || !output_flush())
			break;
		ctl_pause_ms(WATCH_MS);
		ctl->begun_ns = clock_monotonic_ns();
	} while (true);
	control_close(&control[!which]);
	return rc;
}
