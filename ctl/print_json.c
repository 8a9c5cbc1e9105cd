/*
 * headgatectl status --json
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl/message.h"
#include "ctl/status.h"
#include "ctl/text.h"

static void
quote(const char *text)
{
	text_put_json(text, strlen(text));
}

static void
json_time(uint64_t ns)
{
	char text[40];
	time_t seconds = (time_t)(ns / 1000000000);
	struct tm tm;

	if (ns == 0) {
		fputs("null", stdout);
		return;
	}
	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	quote(text);
}

static void
json_text_or_null(const char *text)
{
	if (text[0] == '\0')
		fputs("null", stdout);
	else
		quote(text);
}

/* A text of any length; null for NULL and "". */
static void
json_why(const char *name, const char *text)
{
	bool none = text == NULL || text[0] == '\0';

	message_put_json_text(name, none ? NULL : text, none ? 0 : strlen(text), false);
}

static void
json_workers(const struct status_queue *queue)
{
	fputs(",\"workers\":[", stdout);
	for (unsigned i = 0; i < queue->worker_count; i++) {
		const struct status_worker *worker = &queue->workers[i];
		bool first = true;

		printf("%s{\"pid\":%" PRIu32 ",\"parent\":", i ? "," : "", worker->pid);
		if (worker->parent != 0)
			printf("%d", (int)worker->parent);
		else
			fputs("null", stdout);
		printf(",\"frozen\":%s,\"parent_frozen\":%s,\"store_empty\":%s,\"lanes\":[",
		    worker->frozen ? "true" : "false", worker->parent_frozen ? "true" : "false",
		    worker->store_empty ? "true" : "false");
		for (unsigned lane = 0; lane < 64; lane++) {
			if (!(worker->lanes >> lane & 1))
				continue;
			printf("%s%u", first ? "" : ",", lane);
			first = false;
		}
		printf("],\"heartbeat_age_s\":%.3f,\"handling\":", worker->heartbeat_age_s);
		if (worker->handling != 0)
			printf("%" PRIu64 ",\"handling_s\":%.3f}", worker->handling,
			    worker->handling_s);
		else
			fputs("null,\"handling_s\":null}", stdout);
	}
	putchar(']');
}

static void
json_seconds_or_null(double seconds)
{
	if (seconds < 0)
		fputs("null", stdout);
	else
		printf("%.3f", seconds);
}

static void
json_state(const struct status_queue *queue)
{
	const struct control_detail *detail = &queue->detail;

	fputs(",\"state\":", stdout);
	quote(status_state_text(queue->state));
	fputs(",\"reason\":", stdout);
	json_text_or_null(detail->reason);
	fputs(",\"by\":", stdout);
	if (detail->since_ns != 0) {
		char by[2 * CONTROL_NAME_BYTES + 32];

		snprintf(by, sizeof(by), "%s (%s, pid %" PRIu32 ")", detail->user, detail->program,
		    detail->pid);
		quote(by);
	} else {
		fputs("null", stdout);
	}
	fputs(",\"since\":", stdout);
	json_time(status_since_ns(queue));
	fputs(",\"last_probe\":", stdout);
	json_time(status_probed_ns(queue));
	fputs(",\"tripped_by\":", stdout);
	if (detail->sequence != 0) {
		fputs("{\"message_id\":", stdout);
		json_text_or_null(detail->message_id);
		printf(",\"status\":%" PRIu32 ",\"error\":", detail->status);
		quote(detail->error);
		putchar('}');
	} else {
		fputs("null", stdout);
	}
	fputs(",\"next_probe_s\":", stdout);
	json_seconds_or_null(queue->next_probe_s);
}

static void
json_figures(const struct status_queue *queue)
{
	printf(",\"depth\":%" PRIu64 ",\"in_flight\":%" PRIu64 ",\"oldest_age_s\":", queue->depth,
	    queue->in_flight);
	json_seconds_or_null(queue->oldest_age_s);
	printf(",\"published\":%" PRIu64 ",\"duplicates\":%" PRIu64 ",\"done\":%" PRIu64
	       ",\"failed\":%" PRIu64 ",\"dead_lettered\":%" PRIu64 ",\"expired\":%" PRIu64
	       ",\"blocked_groups\":%" PRIu64 ",\"parked\":%" PRIu64,
	    queue->published, queue->duplicates, queue->done, queue->failed, queue->dead_lettered,
	    queue->expired, queue->blocked_groups, queue->parked);
}

static void
json_queue(const struct status_queue *queue)
{
	static const char *const unknown[] = {
		"state",
		"reason",
		"by",
		"since",
		"last_probe",
		"tripped_by",
		"next_probe_s",
		"depth",
		"in_flight",
		"oldest_age_s",
		"published",
		"duplicates",
		"done",
		"failed",
		"dead_lettered",
		"expired",
		"blocked_groups",
		"parked",
	};

	fputs("{\"name\":", stdout);
	quote(queue->name);
	if (status_is_known(queue) && !queue->absent) {
		json_state(queue);
		json_figures(queue);
	} else {
		for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
			printf(",\"%s\":null", unknown[i]);
	}
	json_workers(queue);
	json_why("refuses", control_refusal_text(queue->refuses));
	json_why("error", queue->error);
	putchar('}');
}

void
status_print_json(const struct status *status)
{
	printf("{\"version\":1,\"router\":{\"running\":%s,\"starting\":%s,\"pid\":",
	    status->running ? "true" : "false", status->starting ? "true" : "false");
	if (status->running)
		printf(
		    "%" PRIu32 ",\"heartbeat_age_s\":%.3f", status->pid, status->heartbeat_age_s);
	else
		fputs("null,\"heartbeat_age_s\":null", stdout);
	printf(",\"other_pid_namespace\":%s", status->foreign ? "true" : "false");
	fputs(",\"config\":", stdout);
	json_text_or_null(status->config_file);
	fputs("},\"queues\":[", stdout);
	for (unsigned i = 0; i < status->queue_count; i++) {
		if (i > 0)
			putchar(',');
		json_queue(&status->queues[i]);
	}
	fputs("],\"topics\":[", stdout);
	for (unsigned i = 0; i < status->topic_count; i++) {
		const struct status_topic *topic = &status->topics[i];

		printf("%s{\"name\":", i ? "," : "");
		quote(topic->name);
		printf(",\"published\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"unroutable\":%" PRIu64
		       ",\"duplicates\":%" PRIu64 ",\"ids\":%" PRIu64 ",\"ids_bytes\":%" PRIu64,
		    topic->published, topic->refused, topic->unroutable, topic->duplicates,
		    topic->ids, topic->ids_bytes);
		json_why("refuses", control_refusal_text(topic->refuses));
		putchar('}');
	}
	fputs("],\"unknown_logs\":[", stdout);
	for (unsigned i = 0; i < status->unknown_count; i++) {
		if (i > 0)
			putchar(',');
		quote(status->unknown[i].name);
	}
	puts("]}");
}
