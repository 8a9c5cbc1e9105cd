/*
 * state - what the router knows: its topics, its queues, and itself. Types only; each module has its functions.
 */
#ifndef HEADGATE_ROUTER_STATE_H
#define HEADGATE_ROUTER_STATE_H

#include <sys/queue.h>

#include "config/policy.h"
#include "log/settled.h"
#include "router/filter.h"
#include "router/io/io.h"
#include "router/io/place_lock.h"
#include "router/journal/types.h"
#include "router/tables/dedup.h"
#include "router/tables/groups.h"
#include "router/tables/received.h"
#include "router/tables/retention.h"
#include "shm/control.h"

struct compactor;
struct connection;
struct notify;
struct worker;
struct router;

struct topic {
	const struct config_topic *config;
	struct control_topic *control;
	struct dedup *dedup;
	uint32_t id; /* envelope_topic_id() */
};

/* A known place in a log: where a cursor may start, and how old messages are there. */
struct mark {
	uint64_t position; /* a batch starts here, or the message with this sequence */
	uint64_t sequence; /* every message from here on has this one or a higher */
	uint64_t time_ns;  /* CLOCK_REALTIME */
};

/* A file beside a log (log/ids.h). */
struct ids_file {
	uint64_t number, newest_clock_s;
};

TAILQ_HEAD(connection_list, connection);
TAILQ_HEAD(worker_list, worker);

struct queue {
	struct router *router;
	const struct config_queue *config;
	struct policy policy; /* the part of it that workers are told */
	struct control_queue *control;
	unsigned index, topic;
	struct filter *filter;
	struct writer writer;

	uint64_t next_sequence;
	uint64_t batch_first_sequence; /* first of the gathered batch, 0: none */
	uint64_t reserved_end;         /* sequences below this are promised in the log */
	uint64_t skipped, skipped_end; /* were skipped, which is not logged yet; 0: none were */
	struct settled settled;
	struct received received; /* by whose handlers workers died */
	struct received answered; /* how often they answered 5xx under the gate, since our start */
	struct retention retention;
	struct log_settled *pending; /* settled, not yet in the log */
	size_t pending_count, pending_capacity;
	struct mark *marks;
	size_t mark_count, mark_capacity;
	uint64_t head_sequence; /* that the oldest age was worked out for */
	bool over_max_bytes;    /* takes no message until some are settled */
	uint64_t looked_ns;     /* when it was looked for room in vain last */
	int read_error;         /* -errno of the last read of a message, if it failed */

	uint64_t state_gathered, state_flying; /* generations in the batches; 0: none */
	uint64_t state_appended;               /* newest generation in the log's memory */
	uint64_t probing_word;   /* the state under which the last probe was begun ... */
	uint64_t probe_sequence; /* ... of this message */
	uint16_t probe_status;   /* as what it was ended; 0: it was not */
	uint64_t probe_group;    /* ... of the group with this hash; 0: it is not known */
	bool probe_looked_up;    /* ... or was not looked up yet */
	uint64_t probe_generation, probe_delay_ns, probe_due_ns; /* auto_probe */

	/* The checkpoint of the active segment, while parts of it are not appended yet. */
	bool checkpoint_open;
	size_t checkpoint_entry;      /* segments told so far */
	uint64_t checkpoint_received; /* receive counts of messages below this sequence are told */
	uint64_t checkpoint_base;     /* chunks of unsettled told so far */
	uint64_t checkpoint_highest;  /* up to here they are told */
	struct log_totals checkpoint_totals; /* of what it says is settled */
	uint64_t segment_messages;           /* in the active segment */
	/* What is in the batches: number of the segment whose checkpoint ended there; how many
	 * settlements are in the log. durable: also after a power cut. */
	struct logged {
		uint64_t checkpoint, settled;
	} gathered, flying, durable;
	uint64_t settled_count; /* settlements since the start */
	uint64_t wanted_segment,
	    wanted_settled;   /* the compactor waits for so many, to free this one */
	struct ids_file *ids; /* of segments that are gone */
	size_t ids_count, ids_capacity;

	struct groups groups;
	uint64_t lane_generation;
	struct worker_list workers; /* attached; no lane is with two of them */
	struct notify *notify;      /* on_trip; NULL: there was nothing to tell */
};

struct router {
	struct io *io;
	const struct config *config;
	struct control control;
	struct topic topics[CONFIG_TOPICS];
	struct queue queues[CONFIG_QUEUES];
	unsigned topic_count, queue_count;
	uint64_t key; /* log_key.checksum of deduplication's */
	struct connection_list connections;
	unsigned requests; /* connections that wait for what becomes of a message */
	struct compactor *compactor;
	uint8_t *scratch; /* for lookup_frame() and lookup_find(): what is read from the disk */
	char user[CONTROL_NAME_BYTES]; /* whose process this is; "": the name is not known */
	int listen_fd;
	struct place_lock run_lock, state_lock;
	bool listens_again; /* on a new socket, as soon as the back end has let go of the old one */
	/* RLIMIT_NOFILE, and what it was before it was raised; 0: there is none. Of these descriptors some are kept for
	 * the router's own files, and some for workers and headgatectl, whatever publishers do. */
	uint64_t descriptors, descriptors_before;
	uint64_t kept_own, kept_workers;
	struct io_request accept_request;
	uint64_t accept_again_ns; /* accepting ended: when to go on; 0: it did not */
	bool accept_failing;      /* ... with an error, and that was said */

	uint64_t batch;                                       /* number of the one being gathered */
	uint64_t previous_batch, previous_ids[CONFIG_QUEUES]; /* the one before, and its logs */
	uint32_t previous_logs;
	bool batch_dirty;       /* something in it waits for the disk (settlements do not) */
	uint64_t barrier;       /* the last batch that was synced (log/format.h) */
	uint64_t unsynced_ns;   /* CLOCK_MONOTONIC, of the first one since that was not; 0: none */
	bool batch_synced;      /* the one being gathered is to be */
	bool flying_synced;     /* the one on its way to the disk will be */
	bool flying;            /* a batch is on its way to the disk */
	unsigned flying_logs;   /* that are not durable yet */
	uint64_t committed_ns;  /* CLOCK_MONOTONIC, when the last batch was closed */
	uint64_t clock_ns;      /* router_clock_ns() ... */
	uint64_t clock_base_ns; /* ... at this CLOCK_MONOTONIC */
	uint64_t ticked_ns;
	uint64_t looked_ns; /* CLOCK_MONOTONIC: places_look() */
	/* Why the last look could not make again what was removed, -errno: each reason is logged once. */
	int state_error, run_error, control_error, listen_error, pid_file_error;

	bool stopping; /* takes no more, ends when all is durable */
	int failed;    /* -errno: a write failed; nothing is acknowledged any more */
};

/* Whose log it is. */
static inline const struct queue *
queue_of(const struct writer *writer)
{
	return (const void *)((const char *)writer - offsetof(struct queue, writer));
}

/* Time that routers have spent running on these logs. It never goes back, whatever happens to the wall
 * clock, and stands still while no router runs. */
static inline uint64_t
router_clock_ns(const struct router *router)
{
	return router->clock_ns + io_monotonic_ns() - router->clock_base_ns;
}

static inline uint32_t
router_seconds(const struct router *router)
{
	return (uint32_t)(router_clock_ns(router) / 1000000000);
}

#endif
