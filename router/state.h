/*
 * state - what the router knows: its topics, its queues, and itself. Types only; each module has its functions.
 */
#ifndef HEADGATE_ROUTER_STATE_H
#define HEADGATE_ROUTER_STATE_H

#include <sys/queue.h>

#include "base/container_of.h"
#include "base/file.h"
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

/*
 * A queue, by module.
 */

/* Sequences that are promised in the log (queue/reservation.h). */
struct reservation {
	uint64_t end;                  /* sequences below this are promised */
	uint64_t skipped, skipped_end; /* were skipped, which is not logged yet; 0: none were */
};

/* Settled, not yet in the log (queue/queue.h). */
struct pending {
	struct log_settled *ranges;
	size_t count, capacity;
};

/* A known place in a log: where a cursor may start, and how old messages are there (queue/index.h). */
struct index_entry {
	uint64_t position; /* a batch starts here, or the message with this sequence */
	uint64_t sequence; /* every message from here on has this one or a higher */
	uint64_t time_ns;  /* CLOCK_REALTIME */
};

struct index {
	struct index_entry *entries;
	size_t count, capacity;
	uint64_t batch_first; /* first sequence of the gathered batch, 0: none */
};

/* How often a message failed (queue/receives.h). */
struct receives {
	struct received died;     /* by whose handlers workers died */
	struct received answered; /* how often they answered 5xx under the gate, since our start */
};

/* Reading messages back (queue/lookup.h). */
struct lookup {
	uint64_t oldest; /* the head that the oldest age was worked out for */
	int error;       /* -errno of the last read of a message, if it failed */
};

/* Why no message is taken (queue/queue.h). */
struct queue_room {
	bool over_max_bytes; /* until some are settled */
	uint64_t looked_ns;  /* when it was looked for room in vain last */
};

/* Generations of the state (queue/subscription.h). */
struct state_log {
	uint64_t gathered, in_flight; /* in the batches; 0: none */
	uint64_t appended;            /* the newest in the log's memory */
};

/* The last probe (delivery/probe.h). */
struct probe {
	uint64_t word;     /* the state under which it was begun ... */
	uint64_t sequence; /* ... of this message */
	uint16_t status;   /* as what it was ended; 0: it was not */
	uint64_t group;    /* ... of the group with this hash; 0: it is not known */
	bool looked_up;    /* ... or was not looked up yet */
	uint64_t generation, delay_ns, due_ns; /* auto_probe */
};

/* The checkpoint of the active segment, while parts of it are not appended yet (queue/checkpoint.h). */
struct checkpoint {
	bool open;
	size_t entry;             /* segments told so far */
	uint64_t received;        /* receive counts of messages below this sequence are told */
	uint64_t base;            /* chunks of unsettled told so far */
	uint64_t highest;         /* up to here they are told */
	struct log_totals totals; /* of what it says is settled */
	uint64_t messages;        /* in the active segment */
};

/* What is in the batches, and what the compactor waits for. */
struct logged {
	/* Number of the segment whose checkpoint ended there; how many settlements are in the log. durable: also after
	 * a power cut. */
	struct {
		uint64_t checkpoint, settled;
	} gathered, in_flight, durable;
	uint64_t settled_count; /* settlements since the start */
	uint64_t wanted_segment,
	    wanted_settled; /* the compactor waits for so many, to free this one */
};

/* A file beside a log (log/ids.h). */
struct ids_file {
	uint64_t number, newest_clock_s;
};

/* Of segments that are gone. */
struct ids_files {
	struct ids_file *files;
	size_t count, capacity;
};

TAILQ_HEAD(worker_list, worker);

/* No lane is with two of them. */
struct attached {
	struct worker_list workers;
	uint64_t generation; /* of lanes */
};

struct queue {
	struct router *router;
	const struct config_queue *config;
	struct policy policy; /* the part of it that workers are told */
	struct control_queue *control;
	unsigned number, topic;
	struct filter *filter;
	struct writer writer;

	uint64_t next_sequence;
	struct settled settled;
	struct reservation reservation;
	struct pending pending;
	struct index index;
	struct lookup lookup;
	struct queue_room room;
	struct receives receives;
	struct retention retention;
	struct state_log state;
	struct checkpoint checkpoint;
	struct logged logged;
	struct ids_files ids;

	struct probe probe;
	struct groups groups;
	struct attached attached;
	struct notify *notify; /* on_trip; NULL: there was nothing to tell */
};

/*
 * The router, by module.
 */

/* RUN/router.sock (listen.h). */
struct listener {
	int fd;
	struct file_id file; /* that has the socket's name */
	struct io_request request;
	bool restarts;     /* on a new socket, as soon as the back end has let go of the old one */
	bool failing;      /* accepting ended with an error, and that was said */
	uint64_t again_ns; /* accepting ended: when to go on; 0: it did not */
	int error;         /* why no new socket could be made, -errno: each reason is logged once */
};

/* RLIMIT_NOFILE, and what it was before it was raised; 0: there is none. Of these descriptors some are kept for the
 * router's own files, and some for workers and headgatectl, whatever publishers do. */
struct descriptors {
	uint64_t limit, before;
	uint64_t own, workers;
};

/* The batch being gathered, the one on its way to the disk, the one before (upkeep/batch.h). */
struct batch {
	uint64_t number;         /* of the one being gathered */
	bool dirty;              /* something in it waits for the disk (settlements do not) */
	bool synced;             /* it is to be */
	bool in_flight;          /* a batch is on its way to the disk */
	bool in_flight_synced;   /* it will be */
	unsigned in_flight_logs; /* that are not durable yet */
	uint64_t previous;       /* the one before, and its logs */
	uint64_t previous_ids[CONFIG_QUEUES];
	uint32_t previous_logs;
	uint64_t barrier;      /* the last batch that was synced (log/format.h) */
	uint64_t unsynced_ns;  /* CLOCK_MONOTONIC, of the first one since that was not; 0: none */
	uint64_t committed_ns; /* CLOCK_MONOTONIC, when the last batch was closed */
};

/* What the router made in RUN and STATE (places.h). */
struct places {
	struct place_lock run_lock, state_lock;
	struct place_lock logs_lock; /* the first STATE, once another one has its name: the logs in it are open */
	uint64_t looked_ns; /* CLOCK_MONOTONIC */
	/* Why the last look could not make again what was removed, -errno: each reason is logged once. */
	int state_error, run_error, control_error, pid_file_error;
};

TAILQ_HEAD(connection_list, connection);

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
	struct listener listener;
	struct descriptors descriptors;
	struct places places;
	struct batch batch;
	struct {
		uint64_t ns;      /* router_clock_ns() ... */
		uint64_t base_ns; /* ... at this CLOCK_MONOTONIC */
	} clock;
	uint64_t ticked_ns;
	bool stopping; /* takes no more, ends when all is durable */
	int failed;    /* -errno: a write failed; nothing is acknowledged any more */
};

/* Whose log it is. */
static inline const struct queue *
queue_of(const struct writer *writer)
{
	return CONTAINER_OF(writer, struct queue, writer);
}

/* Time that routers have spent running on these logs. It never goes back, whatever happens to the wall
 * clock, and stands still while no router runs. */
static inline uint64_t
router_clock_ns(const struct router *router)
{
	return router->clock.ns + io_monotonic_ns() - router->clock.base_ns;
}

static inline uint32_t
router_seconds(const struct router *router)
{
	return (uint32_t)(router_clock_ns(router) / 1000000000);
}

#endif
