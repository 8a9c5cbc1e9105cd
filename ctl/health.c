/*
 * headgatectl health: reports conditions that need a person, for monitoring and scripts.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ctl/status.h"
#include "ctl/text.h"

enum { WELL = 0, NEEDS_PERSON = 1, NO_ROUTER = 2 };

static void
put(const char *text)
{
	text_put_safe(text, strlen(text));
}

static void
print_closed(const struct status_queue *queue)
{
	const struct control_detail *detail = &queue->detail;
	char since[TEXT_TIME_BYTES];

	text_time(since, status_since_ns(queue));
	printf("%s: %s since %s", queue->name, status_state_text(queue->state), since);
	if (detail->sequence != 0) {
		fputs(": message ", stdout);
		put(detail->message_id);
		printf(" answered %" PRIu32 ": ", detail->status);
		put(detail->error);
	} else if (detail->reason[0] != '\0') {
		fputs(": ", stdout);
		put(detail->reason);
	}
	putchar('\n');
}

/* Prints a line for each fault of the queue's workers. True if there was any. */
static bool
look_at_workers(const struct status_queue *queue, const struct ctl *ctl)
{
	bool is_wanted = ctl->queue_count > 0 || queues_is_managed(ctl, queue->name);
	bool found = false;

	if (queue->worker_count == 0 && is_wanted) {
		printf("%s: no worker is attached\n", queue->name);
		found = true;
	}
	for (unsigned i = 0; i < queue->worker_count; i++) {
		const struct status_worker *worker = &queue->workers[i];

		if (worker->store_empty) {
			printf("%s: the store of worker %" PRIu32
			       " has none of the messages that were done\n",
			    queue->name, worker->pid);
			found = true;
		}
		if (worker->parent_frozen) {
			printf("%s: process %d, the parent of worker %" PRIu32
			       ", is stopped by a signal\n",
			    queue->name, (int)worker->parent, worker->pid);
			found = true;
		}
		if (!status_is_silent(worker))
			continue;
		if (worker->frozen)
			printf("%s: worker %" PRIu32 " is stopped by a signal\n", queue->name,
			    worker->pid);
		else
			printf("%s: worker %" PRIu32 " has been silent for %.0f s\n", queue->name,
			    worker->pid, worker->heartbeat_age_s);
		found = true;
	}
	return found;
}

static bool
look_at_refusal(const char *what, const char *name, enum control_refusal refuses)
{
	if (refuses == CONTROL_TAKES)
		return false;
	printf("%s%s: takes no messages: %s\n", what, name, control_refusal_text(refuses));
	return true;
}

static bool
look_at_queue(const struct status_queue *queue, const struct ctl *ctl)
{
	bool found = look_at_refusal("", queue->name, queue->refuses);
	char groups[TEXT_COUNT_BYTES], messages[TEXT_COUNT_BYTES];

	if (queue->state != CONTROL_RUNNING) {
		print_closed(queue);
		found = true;
	}
	if (queue->blocked_groups > 0) {
		printf("%s: %s blocked, with %s\n", queue->name,
		    text_count(groups, queue->blocked_groups, "group is", "groups are"),
		    text_count(messages, queue->parked, "message", "messages"));
		found = true;
	}
	return look_at_workers(queue, ctl) || found;
}

int
health_main(struct ctl *ctl)
{
	static struct status status;
	struct control control;
	bool found = false;

	status_gather(&status, ctl, &control);
	if (!status.running) {
		printf("%s %s\n",
		    status.stale          ? "a router of another version is running in"
			: status.starting ? "a router is starting in"
					  : "no router is running in",
		    ctl->config.run_dir);
		return NO_ROUTER;
	}
	if (status.heartbeat_age_s > CTL_SILENT_S) {
		printf("router %" PRIu32 " has been silent for %.0f s%s\n", status.pid,
		    status.heartbeat_age_s, status.frozen ? ": it is stopped by a signal" : "");
		return NO_ROUTER;
	}
	for (unsigned i = 0; i < status.queue_count; i++)
		found |= look_at_queue(&status.queues[i], ctl);
	for (unsigned i = 0; i < status.topic_count && ctl->queue_count == 0; i++)
		found |= look_at_refusal("topic ", status.topics[i].name, status.topics[i].refuses);
	if (!found)
		puts("all well");
	control_close(&control);
	return found ? NEEDS_PERSON : WELL;
}
