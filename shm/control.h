/*
 * control - the control segment: the state of each subscription, who changed it and why; workers,
 * counters.
 *
 * One file, RUN/control. The router, headgatectl and the subscription manager write to it; all
 * other programs map it read-only. Users find its description in headgate-control(5).
 *
 * The state of a subscription is one 64-bit word, so that one compare-and-swap changes the state:
 *
 *      63           56 55          48 47                                     0
 *      +--------------+--------------+----------------------------------------+
 *      |    state     | detail slot  |              generation                |
 *      +--------------+--------------+----------------------------------------+
 *
 * The detail slot (who, when, why) is filled before a word refers to the slot. The router fills
 * slots 0 to 3. headgatectl and the subscription manager fill slots 4 to 7, under an flock on the
 * file. No two writers therefore fill one slot, and no writer refills the slot of the current word.
 *
 * Words that a reader reads together, with the reason why the combination is consistent:
 *   state word and its detail      A slot is filled before the word refers to the slot (release and
 *                                  acquire), and not refilled while the word does. A reader copies
 *                                  the slot, loads the word again (fences on both sides), and
 *                                  compares the generation.
 *   magic and all else             The magic is stored last: release and acquire.
 *   a worker's pid and its entry   The pid is stored last: release and acquire. An entry that is
 *                                  freed and filled again meanwhile belongs to another worker. That
 *                                  worker attached after the change waited for, so has never seen
 *                                  an older state.
 *   a worker's state_seen          Between router and headgatectl: release and acquire, as in the
 *                                  lane (lane.h).
 *   a worker's starting            See start.h.
 *   logged and the state           Release and acquire: a reader of a logged generation knows that
 *                                  the state is on disk.
 *   counters in_flight, returned   `returned` is increased before in_flight is stored: release and
 *                                  acquire.
 *   counters published, done,      Independent; may be of different moments. A reader loads
 *   failed                         `published` first: if the sum of the others equals it, all
 *                                  messages published by then are settled.
 *   router_pid, ready, heartbeat   Independent. The lock on RUN decides whether the router lives.
 *
 * After a change of the layout, change CONTROL_MAGIC's last digit. The fingerprint follows
 * automatically.
 */
#ifndef HEADGATE_SHM_CONTROL_H
#define HEADGATE_SHM_CONTROL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/namespace.h"
#include "shm/start.h"

#define CONTROL_MAGIC "HGCTRL09"

enum {
	CONTROL_QUEUES = 64,
	CONTROL_WORKERS = 128,
	CONTROL_TOPICS = 32,
	CONTROL_NAME_BYTES = 64, /* with the terminating NUL */
	CONTROL_ID_BYTES = 132,  /* message id: 128 bytes and NUL */
	CONTROL_TEXT_BYTES = 256,
	CONTROL_PATH_BYTES = 4096,
	CONTROL_SLOTS = 8,   /* detail slots per queue */
	CONTROL_CTL_SLOT = 4 /* first slot of headgatectl and the subscription manager */
};

enum control_state { CONTROL_RUNNING = 1, CONTROL_STOPPED, CONTROL_TRIPPED, CONTROL_PROBING };

/* "RUNNING", ...; NULL for an invalid state. */
const char *control_state_name(enum control_state);
/* The state of this name, in any case; 0 for an unknown name. */
enum control_state control_state_parse(const char *name);

static inline uint64_t
control_word(enum control_state state, unsigned slot, uint64_t generation)
{
	return (uint64_t)state << 56 | (uint64_t)slot << 48 | generation;
}
static inline enum control_state
control_word_state(uint64_t word)
{
	return (enum control_state)(word >> 56);
}
static inline unsigned
control_word_slot(uint64_t word)
{
	return word >> 48 & 0xff;
}
static inline uint64_t
control_word_generation(uint64_t word)
{
	return word & 0xffffffffffffu;
}

enum control_flag {
	CONTROL_SKIP = 1, /* PROBING: give the message up instead of handling */
	CONTROL_DRAIN = 2 /* STOPPED: workers still handle messages handed out before */
};

/* The reason why a queue or topic accepts no messages at the moment; publishers are asked to try
 * again. A refusal ends with its cause. */
enum control_refusal {
	CONTROL_TAKES, /* accepts */
	CONTROL_DISK_FULL,
	CONTROL_LOG_FAILS,         /* the queue's log cannot grow, for another reason */
	CONTROL_MAX_BYTES,         /* the queue's max_bytes is reached */
	CONTROL_DEAD_LETTERS_FULL, /* the log of the queue's dead-letter queue cannot grow */
	CONTROL_DEDUP_FULL,        /* the topic's deduplication has no room for new ids */
	CONTROL_FILES_GONE         /* the log's files, open in the router, were removed */
};
/* A text for people; NULL for CONTROL_TAKES. */
const char *control_refusal_text(enum control_refusal);

/* The origin, time and reason of a subscription's state. Plain bytes, published by the state
 * word. */
struct control_detail {
	uint64_t generation; /* of the word that refers to this slot; readers compare */
	uint64_t since_ns;   /* CLOCK_REALTIME */
	uint64_t sequence;   /* of the message that tripped the queue; 0: none */
	uint32_t uid, pid;   /* of the process that changed the state */
	uint32_t status;     /* of the message that tripped the queue; 0: none */
	uint32_t flags;      /* enum control_flag */
	char user[CONTROL_NAME_BYTES];
	char program[CONTROL_NAME_BYTES];
	char message_id[CONTROL_ID_BYTES];
	char error[CONTROL_TEXT_BYTES];  /* from the handler */
	char reason[CONTROL_TEXT_BYTES]; /* from the person */
	uint32_t tripped_s; /* first failure of the message, CLOCK_REALTIME, seconds; 0: unknown */
};
_Static_assert(sizeof(struct control_detail) == 816, "shared layout");

/* The time of the first failure of the message that tripped the queue. */
static inline uint64_t
control_tripped_ns(const struct control_detail *detail)
{
	return detail->tripped_s != 0 ? detail->tripped_s * UINT64_C(1000000000) : detail->since_ns;
}

struct control_counters {
	/* Messages since the log's beginning, as far as the log has a record. */
	_Atomic uint64_t published, duplicates, done, failed, dead_lettered, expired;
	_Atomic uint64_t depth;     /* unsettled messages */
	_Atomic uint64_t in_flight; /* unsettled messages handed to a worker */
	_Atomic uint64_t oldest_ns; /* publish time of the oldest one, CLOCK_REALTIME; 0: none */
	_Atomic uint64_t log_bytes; /* on disk */
	_Atomic uint64_t blocked_groups; /* groups that wait for a retry */
	_Atomic uint64_t parked;         /* messages of blocked groups */
	/* Messages that came back from a worker unsettled, since the router's start: the worker is
	 * gone, or the group blocked. */
	_Atomic uint64_t returned;
};

struct control_queue {
	char name[CONTROL_NAME_BYTES];
	uint64_t log_id;
	uint32_t lanes, topic;      /* topic: index in topics */
	uint32_t dead_letter_queue; /* index in queues; a dead-letter queue has its own index */
	uint32_t pad0;
	uint64_t visibility_ns;               /* longest time of a handler */
	_Alignas(128) _Atomic uint64_t state; /* the word drawn above */
	_Atomic uint64_t logged;              /* highest generation on disk */
	_Atomic uint32_t refuses;             /* enum control_refusal */
	uint32_t pad;
	_Atomic uint64_t probe_due_ns; /* next auto_probe, CLOCK_MONOTONIC; 0: none */
	struct control_detail detail[CONTROL_SLOTS];
	_Alignas(128) struct control_counters counters;
};

enum control_worker_flag {
	CONTROL_STORE_EMPTY = 1 /* the store has no row of the log, although messages were done */
};

struct control_worker {
	_Atomic uint32_t pid;          /* 0: free entry */
	uint32_t queue;                /* index in queues */
	uint64_t lanes;                /* bit n: the worker has lane n */
	_Atomic uint64_t heartbeat_ns; /* CLOCK_MONOTONIC, from the worker's lane */
	_Atomic uint64_t state_seen;   /* state word, from the worker's lane */
	uint64_t attached_ns;          /* CLOCK_REALTIME */
	struct start starting;         /* message being handled, from the worker's lane */
	_Atomic uint64_t flags;        /* enum control_worker_flag, from the worker's lane */
};

struct control_topic {
	char name[CONTROL_NAME_BYTES];
	_Atomic uint64_t published, refused, unroutable, duplicates;
	_Atomic uint64_t ids;       /* in the deduplication window */
	_Atomic uint64_t ids_bytes; /* the router's memory for ids */
	_Atomic uint32_t refuses;   /* enum control_refusal */
	uint32_t pad;
};

struct control_shared {
	_Atomic uint64_t magic; /* the bytes of CONTROL_MAGIC; published last */
	uint32_t endian, fingerprint;
	uint64_t size;
	uint32_t queues, topics;                /* entries in use */
	_Atomic uint32_t router_pid;            /* 0: no router */
	_Atomic uint32_t ready;                 /* 1: the router accepts messages */
	_Atomic uint64_t router_heartbeat_ns;   /* CLOCK_MONOTONIC */
	_Atomic uint64_t router_since_ns;       /* CLOCK_MONOTONIC */
	uint64_t pid_namespace, time_namespace; /* the router's (namespace.h) */
	char config_file[CONTROL_PATH_BYTES];   /* the router's, absolute; "": built in */
	_Alignas(128) struct control_topic topic[CONTROL_TOPICS];
	_Alignas(128) struct control_worker worker[CONTROL_WORKERS];
	_Alignas(128) struct control_queue queue[CONTROL_QUEUES];
};

/* The constant part of a segment, copied and checked by control_open(). Any writer of the segment
 * could change the original at any time, so only the copy is used. */
struct control_facts {
	unsigned queues, topics;
	struct {
		char name[CONTROL_NAME_BYTES];
		unsigned dead_letter_queue;
		uint64_t visibility_ns;
	} queue[CONTROL_QUEUES];
	char topic[CONTROL_TOPICS][CONTROL_NAME_BYTES];
	char config_file[CONTROL_PATH_BYTES];
	struct namespaces namespaces;
};

struct control {
	struct control_shared *shared; /* mapped read-only unless opened for writing */
	struct control_facts facts;    /* from control_open(); zero after control_create() */
	int fd;
	int lock_fd; /* RUN, which a living router has locked (flock); -1: cannot be opened */
};

uint32_t control_fingerprint(void);

/* Router. Makes a segment beside `path`, then renames, so that a reader finds a whole segment or
 * none. control_publish() sets magic and fingerprint. Returns 0 or -errno. */
int control_create(struct control *, const char *path);
void control_publish(struct control *);
/* Router, with the lock of RUN held: marks a segment at `path` as one without a router, as its
 * router is dead. The subscriptions' states stay. */
void control_disown(const char *path);
/* Router. Replaces a segment that was removed from `path` by a copy, at the same address. In the
 * old segment no router is found any more, and all subscriptions are STOPPED; the caller detaches
 * workers that have it mapped. Returns 0; -EAGAIN while a process holds the old segment's lock;
 * -EFAULT if the router cannot go on; or another -errno. */
int control_replace(struct control *, const char *path);

/* Anyone. Opens a segment. Returns 0, or:
 *   -ENOENT  no segment
 *   -EAGAIN  not published yet
 *   -ESTALE  of another version
 *   -EPROTO  damaged
 *   -EPERM   owned by neither root nor the caller's user
 *   another -errno */
int control_open(struct control *, const char *path, bool writable);
void control_close(struct control *);

/* Anyone. Opens RUN/control of a living router. While a router holds RUN or STATE without a segment
 * (at its start, or after the segment was removed), waits until deadline_ns (CLOCK_MONOTONIC).
 * Returns as control_open() does, and -ESRCH for the segment of a dead router. Nothing is open
 * after an error. */
int control_open_living(struct control *, const char *run_dir, const char *state_dir, bool writable,
    uint64_t deadline_ns);

/* Anyone. Returns 1 if a router, perhaps a starting one, holds the locks of the directory, RUN or
 * STATE (router/io/place_lock.h); else 0; -errno if resources for the check are missing. */
int control_dir_held(const char *dir);
/* True while the segment's router lives, that is, holds the lock of RUN. */
bool control_router_alive(const struct control *);

/* True if the segment's process numbers mean the same processes to the caller: it is in the
 * router's pid namespace. */
bool control_shares_pids(const struct control *);
/* True if the segment's times are of the caller's CLOCK_MONOTONIC: it is in the router's time
 * namespace. */
bool control_shares_clock(const struct control *);

/* The index of the queue with this name, or -1. */
int control_find_queue(const struct control *, const char *name);

/* Sets *word to a queue's state word, and copies its detail consistently. The detail is zero if the
 * word refers to none. Strings are always terminated. */
void control_read_state(
    const struct control *, unsigned queue, uint64_t *word, struct control_detail *);

/* Changes the state with one compare-and-swap from `expected`. first_slot: 0 (router) or
 * CONTROL_CTL_SLOT. Fills detail->generation in. Returns 0 with *now the new word, or -EAGAIN with
 * *now the current word, if the word is not `expected`. */
int control_change_state(struct control *, unsigned queue, unsigned first_slot, uint64_t expected,
    enum control_state to, const struct control_detail *detail, uint64_t *now);

/* headgatectl, subscription manager: takes the lock for slots CONTROL_CTL_SLOT and above. Returns
 * 0; -ESRCH if no router uses this segment any more; -ETIMEDOUT if another process holds the lock
 * until deadline_ns (CLOCK_MONOTONIC); or another -errno. */
int control_lock(struct control *, uint64_t deadline_ns);
void control_unlock(struct control *);

#endif
