#include "tests/sim/breaks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/decision.h"
#include "log/list.h"
#include "log/registry.h"
#include "router/connection.h"
#include "router/delivery/blocking.h"
#include "router/delivery/probe.h"
#include "router/delivery/requests.h"
#include "router/journal/repair.h"
#include "router/journal/writer.h"
#include "router/queue/queue.h"
#include "router/tables/dedup.h"
#include "router/upkeep/batch.h"
#include "tests/sim/disk.h"
#include "tests/sim/party.h"

static bool acknowledges_early, delivers_early, repairs_nothing, forgets_ids, settles_next, leaks,
    keeps_chunks, reserves_nothing, trusts_names, parks_nothing, loses_given_back, tells_early,
    reuses_sequences, cuts_alone, rewrites_nothing, rewrites_all, names_early, probes_on;

static const struct {
	const char *name, *what;
	bool *flag;
} breaks[] = {
	{ "no-sync", "nothing that is written is synced", &disk_lies },
	{ "no-dir-sync", "names are not synced", &disk_lies_of_names },
	{ "early-ack", "messages are acknowledged before they are durable", &acknowledges_early },
	{ "early-delivery", "messages are delivered before their batch is durable in all its logs",
	    &delivers_early },
	{ "no-repair", "recovery leaves what is torn, and what is in the page cache only",
	    &repairs_nothing },
	{ "no-dedup", "every message is new", &forgets_ids },
	{ "settle-next", "now and then the message behind is settled, too", &settles_next },
	{ "early-report", "workers report outcomes before they are committed",
	    &worker_reports_early },
	{ "stale-checkpoint",
	    "what was settled while a checkpoint was written confuses the next start",
	    &keeps_chunks },
	{ "no-reserve", "messages fill the log to the last block of a disk", &reserves_nothing },
	{ "trust-names", "a directory that is there is taken for durable", &trusts_names },
	{ "no-park", "what comes behind a message that failed is delivered", &parks_nothing },
	{ "lose-given-back", "now and then what a worker gives back is forgotten",
	    &loses_given_back },
	{ "early-outcome", "a person is told of a dead letter before it is on disk", &tells_early },
	{ "reuse", "sequences that a power cut took are given again", &reuses_sequences },
	{ "cut-alone", "each log goes on where it happens to end after a power cut", &cuts_alone },
	{ "no-rewrite", "recovery believes the page cache, also after a sync that failed",
	    &rewrites_nothing },
	{ "rewrite", "recovery writes again what the disk has", &rewrites_all },
	{ "large-sectors", "the disk's sectors are larger than the log's blocks",
	    &disk_sectors_are_large },
	{ "no-barrier", "what is in the page cache is never synced", &disk_lies_of_syncs },
	{ "early-name", "a log is known before it is there", &names_early },
	{ "probe-on", "a probe goes on although its message waits with its group", &probes_on },
	{ "own-policy", "a worker goes on with the first policy that it was told",
	    &worker_keeps_policy },
	{ "leak", "memory for each message behind a closed gate", &leaks },
};

bool
breaks_plant(const char *name)
{
	for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++)
		if (strcmp(name, breaks[i].name) == 0)
			return *breaks[i].flag = true;
	for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++)
		fprintf(stderr, "%s: %s\n", breaks[i].name, breaks[i].what);
	return false;
}

void __real_batch_log_durable(struct writer *, int);
void __wrap_batch_log_durable(struct writer *, int);
void __real_connection_results_closed(struct router *);
void __wrap_connection_results_closed(struct router *);
int __real_repair_log(const struct log_list *, uint64_t, uint64_t, uint64_t);
int __wrap_repair_log(const struct log_list *, uint64_t, uint64_t, uint64_t);
enum dedup_result __real_dedup_see(struct dedup *, const struct dedup_hash *, uint32_t);
enum dedup_result __wrap_dedup_see(struct dedup *, const struct dedup_hash *, uint32_t);
int __real_queue_settle(struct queue *, uint64_t, uint16_t);
int __wrap_queue_settle(struct queue *, uint64_t, uint16_t);
uint64_t __real_queue_append(struct queue *, const void *, size_t, uint16_t);
uint64_t __wrap_queue_append(struct queue *, const void *, size_t, uint16_t);

void __real_settled_restore_end(struct settled *);
void __wrap_settled_restore_end(struct settled *);
int __real_writer_room_for_message(struct writer *, uint64_t);
int __wrap_writer_room_for_message(struct writer *, uint64_t);
int __real_blocking_park(struct worker *, const struct log_frame *);
int __wrap_blocking_park(struct worker *, const struct log_frame *);
bool __real_group_give_back(struct groups *, struct group *, struct parked);
bool __wrap_group_give_back(struct groups *, struct group *, struct parked);
void __real_requests_ended(struct queue *, uint64_t, uint16_t, const char *, bool);
void __wrap_requests_ended(struct queue *, uint64_t, uint16_t, const char *, bool);
void __real_probe_blocked(struct queue *, const struct group *, uint64_t);
void __wrap_probe_blocked(struct queue *, const struct group *, uint64_t);
int __real_io_make_dir(const char *);
int __wrap_io_make_dir(const char *);
int __real_log_registry_lost(const char *, const char *, char *, size_t);
int __wrap_log_registry_lost(const char *, const char *, char *, size_t);

void
__wrap_connection_results_closed(struct router *router)
{
	__real_connection_results_closed(router);
	if (acknowledges_early)
		connection_results_durable(router);
}

void
__wrap_batch_log_durable(struct writer *writer, int result)
{
	if (delivers_early && result == 0)
		writer_batch_durable(writer);
	__real_batch_log_durable(writer, result);
}

/* Rewrites the last batches of a log, [from, to). */
static void
rewrite(const struct log_list *list, uint64_t from, uint64_t to)
{
	const struct log_segment *segment = log_list_find(list, from);
	char path[LOG_PATH_BYTES];
	uint8_t *data = malloc(to - from);
	int fd;

	if (segment == NULL || data == NULL || to > segment->position + segment->size) {
		free(data);
		return;
	}
	log_segment_path(path, list->dir, segment->number);
	fd = io_open_log(path, false, false);
	if (io_read_all(fd, data, to - from, from - segment->position) == 0)
		io_write_all(fd, data, to - from, from - segment->position);
	io_close(fd);
	free(data);
}

int
__wrap_repair_log(const struct log_list *list, uint64_t unproven, uint64_t end, uint64_t written)
{
	if (repairs_nothing)
		return 0;
	if (rewrites_all && unproven != 0)
		rewrite(list, unproven, end);
	return __real_repair_log(list, rewrites_nothing ? 0 : unproven, end, written);
}

enum dedup_result
__wrap_dedup_see(struct dedup *dedup, const struct dedup_hash *hash, uint32_t now)
{
	return forgets_ids ? DEDUP_NEW : __real_dedup_see(dedup, hash, now);
}

int
__wrap_queue_settle(struct queue *queue, uint64_t sequence, uint16_t status)
{
	if (settles_next && sequence % 64 == 0 && sequence + 1 < queue->next_sequence)
		__real_queue_settle(queue, sequence + 1, status);
	return __real_queue_settle(queue, sequence, status);
}

uint64_t
__wrap_queue_append(struct queue *queue, const void *envelope, size_t length, uint16_t group_hash)
{
	void *volatile kept = leaks ? malloc(length) : NULL;

	if (kept != NULL)
		memcpy(kept, envelope, length);
	return __real_queue_append(queue, envelope, length, group_hash);
}

void
__wrap_settled_restore_end(struct settled *set)
{
	if (!keeps_chunks)
		__real_settled_restore_end(set);
}

int
__wrap_writer_room_for_message(struct writer *writer, uint64_t payload_length)
{
	return reserves_nothing ? writer_room(writer, payload_length)
				: __real_writer_room_for_message(writer, payload_length);
}

int
__wrap_blocking_park(struct worker *worker, const struct log_frame *frame)
{
	return parks_nothing ? 0 : __real_blocking_park(worker, frame);
}

bool
__wrap_group_give_back(struct groups *groups, struct group *group, struct parked parked)
{
	if (loses_given_back && parked.sequence % 8 == 0)
		return true;
	return __real_group_give_back(groups, group, parked);
}

int __real_reservation_skip(struct queue *);
int __wrap_reservation_skip(struct queue *);
void __real_log_decision_make(struct log_decision *);
void __wrap_log_decision_make(struct log_decision *);

int
__wrap_reservation_skip(struct queue *queue)
{
	uint64_t first = queue->next_sequence;
	int rc = reuses_sequences ? 0 : __real_reservation_skip(queue);

	if (rc == 0 && queue->next_sequence > first && queue->number < MODEL_QUEUES)
		model_skipped(queue->number, first, queue->next_sequence);
	return rc;
}

void
__wrap_log_decision_make(struct log_decision *decision)
{
	__real_log_decision_make(decision);
	if (cuts_alone)
		decision->recovery_point =
		    decision->complete ? decision->highest : decision->highest - 1;
}

void
__wrap_requests_ended(
    struct queue *queue, uint64_t sequence, uint16_t status, const char *reason, bool dead_lettered)
{
	struct connection *connection;

	__real_requests_ended(queue, sequence, status, reason, dead_lettered);
	TAILQ_FOREACH (connection, &queue->router->connections, link)
		if (tells_early && connection->role == WIRE_CONTROL)
			connection_flush_now(connection);
}

void
__wrap_probe_blocked(struct queue *queue, const struct group *group, uint64_t sequence)
{
	if (!probes_on)
		__real_probe_blocked(queue, group, sequence);
}

int
__wrap_io_make_dir(const char *path)
{
	return trusts_names && disk_has(path) ? 0 : __real_io_make_dir(path);
}

int
__wrap_log_registry_lost(const char *state_dir, const char *queue, char *error, size_t error_bytes)
{
	int rc = __real_log_registry_lost(state_dir, queue, error, error_bytes);

	return names_early && rc == 0 ? log_registry_add(state_dir, queue) : rc;
}
