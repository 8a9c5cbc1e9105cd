/*
 * retention - which messages of a queue are too old to be handled.
 *
 * A queue has a clock that goes only while a router runs and the subscription is RUNNING: what waits
 * behind a closed gate does not get older. A *mark* says which sequences were there at a time of that
 * clock; 64 of them within the queue's retention are enough, so a message lives at most a 64th of it
 * longer than it should, and never shorter.
 *
 *      expired_end        marks[0]    marks[1]    marks[2]      next sequence
 *      ... expired | older than ..|...........|...........|  not marked yet
 */
#ifndef HEADGATE_ROUTER_TABLES_RETENTION_H
#define HEADGATE_ROUTER_TABLES_RETENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log/format.h"

enum {
	RETENTION_PARTS = 64, /* marks within the limit */
	RETENTION_MARKS = RETENTION_PARTS + 2,
	RETENTION_STATUS = 504 /* what expired ends with */
};
#define RETENTION_REASON "expired"

struct retention {
	uint64_t limit_ns;    /* 0: nothing expires */
	uint64_t clock_ns;    /* the queue's clock */
	uint64_t seen_ns;     /* router_clock_ns() when it was looked at last ... */
	bool running;         /* ... and whether the subscription was RUNNING */
	uint64_t marked_ns;   /* clock_ns of the last mark */
	uint64_t expired_end; /* sequences below this one are expired */
	struct log_clock marks[RETENTION_MARKS];
	size_t count;
};

/* now_ns: router_clock_ns(). */
void retention_init(struct retention *, uint64_t limit_ns, uint64_t now_ns);

/* Moves the clock, if the subscription is RUNNING and was so the last time: called from time to time, and
 * when that changes. depth: messages that are not settled. Returns true when it is time for a mark: there
 * is something that may expire, and a part of the limit has passed. */
bool retention_tick(struct retention *, uint64_t now_ns, bool running, uint64_t depth);

/* Adds a mark: now, or what the log says, in order. One that goes back is left out. */
void retention_mark(struct retention *, const struct log_clock *);

static inline bool
retention_expired(const struct retention *retention, uint64_t sequence)
{
	return sequence < retention->expired_end;
}

#endif
