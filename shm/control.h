/*
 * control - the control segment: what is running, what is stopped, by whom and why.
 *
 * One file, RUN/control, written by the router, headgatectl and the subscription manager, mapped read-only
 * by everybody else.
 * Described for users in headgate-control(5).
 *
 * The state of a subscription is one 64-bit word, so that one compare-and-swap changes it:
 *
 *      63           56 55          48 47                                     0
 *      +--------------+--------------+----------------------------------------+
 *      |    state     | detail slot  |              generation                |
 *      +--------------+--------------+----------------------------------------+
 *
 * The detail slot (who, when, why) is filled before the word names it. Slots 0 to 3 are the
 * router's, 4 to 7 headgatectl's and the subscription manager's, which hold an flock on the file while
 * they change anything; so no two writers ever fill one slot, and the slot that the current word names
 * is not refilled.
 *
 * Words that one side reads together, and why that is right:
 *   state word and its detail      a slot is filled before the word names it (release and acquire), and not again while the
 *                                  word does. A reader copies the slot, looks at the word again (fences on both sides),
 *                                  and compares the generation
 *   magic and all else             the magic is stored last: release and acquire
 *   a worker's pid and its entry   the pid is stored last: release and acquire. An entry that is freed and filled again
 *                                  meanwhile is another worker's: it attached after the change that is waited for, and
 *                                  has never seen an older state
 *   a worker's state_seen          of headgatectl and the router: release and acquire, as in the lane (lane.h)
 *   a worker's starting            start.h
 *   logged and the state           release and acquire: who sees the generation logged knows that it is on disk
 *   counters in_flight, returned   returned is added to before in_flight is stored: release and acquire
 *   counters published, done,      each by itself; they may be of different moments. published is read first: when it
 *   failed                         equals the others' sum, as many were settled as had been published by then
 *   router_pid, ready, heartbeat   each by itself; whether the router lives says its lock
 *
 * Changing the layout: change CONTROL_MAGIC's last digit; the fingerprint follows by itself.
 */
#ifndef HEADGATE_SHM_CONTROL_H
#define HEADGATE_SHM_CONTROL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/start.h"

#define CONTROL_MAGIC "HGCTRL08"

enum {
	CONTROL_QUEUES = 64,
	CONTROL_WORKERS = 128,
	CONTROL_TOPICS = 32,
	CONTROL_NAME_BYTES = 64, /* with the terminating NUL */
	CONTROL_ID_BYTES = 132,  /* message id, 128 bytes and NUL */
	CONTROL_TEXT_BYTES = 256,
	CONTROL_PATH_BYTES = 4096,
	CONTROL_SLOTS = 8,   /* of detail, for each queue */
	CONTROL_CTL_SLOT = 4 /* the first of headgatectl's */
};

enum control_state { CONTROL_RUNNING = 1, CONTROL_STOPPED, CONTROL_TRIPPED, CONTROL_PROBING };

/* "RUNNING" ..., or NULL for what is no state. */
const char *control_state_name(enum control_state);
/* 0 for what is no state's name. Any case. */
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
	CONTROL_SKIP = 1, /* PROBING: the message is not tried, but given up */
	CONTROL_DRAIN = 2 /* STOPPED: what was handed to workers before is handled */
};

/* Why a queue, or a topic, takes no messages at the moment: publishers are asked to try again. Each
 * ends by itself when what is the matter has ended. */
enum control_refusal {
	CONTROL_TAKES,
	CONTROL_DISK_FULL,
	CONTROL_LOG_FAILS, /* its log cannot grow for another reason */
	CONTROL_MAX_BYTES,
	CONTROL_DEAD_LETTERS_FULL, /* its dead-letter queue's log cannot grow */
	CONTROL_DEDUP_FULL,        /* a topic's: new ids */
	CONTROL_FILES_GONE         /* somebody removed its log's files, which the router has open */
};
/* For a person; NULL for CONTROL_TAKES. */
const char *control_refusal_text(enum control_refusal);

/* Why a subscription is in the state it is in. Plain bytes: published by the state word. */
struct control_detail {
	uint64_t generation; /* of the word that names this slot; readers compare */
	uint64_t since_ns;   /* CLOCK_REALTIME */
	uint64_t sequence;   /* of the message that tripped it, 0 for none */
	uint32_t uid, pid;   /* who changed it */
	uint32_t status;     /* of the message that tripped it, 0 for none */
	uint32_t flags;      /* enum control_flag */
	char user[CONTROL_NAME_BYTES];
	char program[CONTROL_NAME_BYTES];
	char message_id[CONTROL_ID_BYTES];
	char error[CONTROL_TEXT_BYTES];  /* what the handler said */
	char reason[CONTROL_TEXT_BYTES]; /* what the person said */
	uint32_t
	    tripped_s; /* CLOCK_REALTIME, seconds: when that message failed first; 0: not known */
};
_Static_assert(sizeof(struct control_detail) == 816, "shared layout");

/* When the message that tripped it failed first. */
static inline uint64_t
control_tripped_ns(const struct control_detail *detail)
{
	return detail->tripped_s != 0 ? detail->tripped_s * UINT64_C(1000000000) : detail->since_ns;
}

struct control_counters { /* each since the queue's log began, as far as the log still knows */
	_Atomic uint64_t published, duplicates, done, failed, dead_lettered, expired;
	_Atomic uint64_t depth;     /* messages not settled */
	_Atomic uint64_t in_flight; /* of these, handed to a worker */
	_Atomic uint64_t
	    oldest_ns; /* CLOCK_REALTIME publish time of the oldest unsettled, 0: none */
	_Atomic uint64_t log_bytes;              /* on disk */
	_Atomic uint64_t blocked_groups, parked; /* groups that wait, and messages of theirs */
	_Atomic uint64_t returned; /* came back from a worker unsettled, since the router began: the
				      worker is gone, or their group is blocked */
};

struct control_queue {
	char name[CONTROL_NAME_BYTES];
	uint64_t log_id;
	uint32_t lanes, topic;      /* topic: index in topics */
	uint32_t dead_letter_queue; /* index in queues; its own: it is a dead-letter queue */
	uint32_t pad0;
	uint64_t visibility_ns;               /* a handler that takes longer is ended */
	_Alignas(128) _Atomic uint64_t state; /* the word drawn above */
	_Atomic uint64_t logged;              /* generation that is on disk */
	_Atomic uint32_t refuses;             /* enum control_refusal */
	uint32_t pad;
	_Atomic uint64_t probe_due_ns; /* CLOCK_MONOTONIC: auto_probe tries next; 0: it does not */
	struct control_detail detail[CONTROL_SLOTS];
	_Alignas(128) struct control_counters counters;
};

enum control_worker_flag {
	CONTROL_STORE_EMPTY =
	    1 /* its store has nothing of the log, although messages of it were done */
};

struct control_worker {
	_Atomic uint32_t pid;          /* 0: free entry */
	uint32_t queue;                /* index in queues */
	uint64_t lanes;                /* bit n: it has lane n */
	_Atomic uint64_t heartbeat_ns; /* CLOCK_MONOTONIC, from its lane */
	_Atomic uint64_t state_seen;   /* state word, from its lane */
	uint64_t attached_ns;          /* CLOCK_REALTIME */
	struct start starting;         /* what it is at, from its lane */
	_Atomic uint64_t flags;        /* enum control_worker_flag, from its lane */
};

struct control_topic {
	char name[CONTROL_NAME_BYTES];
	_Atomic uint64_t published, refused, unroutable, duplicates;
	_Atomic uint64_t ids,
	    ids_bytes; /* that the deduplication remembers; the router's memory for them */
	_Atomic uint32_t refuses; /* enum control_refusal */
	uint32_t pad;
};

struct control_shared {
	_Atomic uint64_t magic; /* the bytes of CONTROL_MAGIC; published last */
	uint32_t endian, fingerprint;
	uint64_t size;
	uint32_t queues, topics;              /* entries in use */
	_Atomic uint32_t router_pid;          /* 0: no router */
	_Atomic uint32_t ready;               /* 1: it takes messages */
	_Atomic uint64_t router_heartbeat_ns; /* CLOCK_MONOTONIC */
	_Atomic uint64_t router_since_ns;     /* CLOCK_REALTIME */
	char config_file
	    [CONTROL_PATH_BYTES]; /* that the router read, from the root on; "": built in */
	_Alignas(128) struct control_topic topic[CONTROL_TOPICS];
	_Alignas(128) struct control_worker worker[CONTROL_WORKERS];
	_Alignas(128) struct control_queue queue[CONTROL_QUEUES];
};

/* What stays as it is while a router runs: copied and checked when a segment is opened. Who may write to the segment
 * may change the original at any time, so only the copy is used. */
struct control_facts {
	unsigned queues, topics;
	struct {
		char name[CONTROL_NAME_BYTES];
		unsigned dead_letter_queue;
		uint64_t visibility_ns;
	} queue[CONTROL_QUEUES];
	char topic[CONTROL_TOPICS][CONTROL_NAME_BYTES];
	char config_file[CONTROL_PATH_BYTES];
};

struct control {
	struct control_shared *shared; /* mapped read-only unless opened for writing */
	struct control_facts facts; /* of a segment that was opened; zero for one that was made */
	int fd;
	int lock_fd; /* RUN, whose lock (flock) a living router holds; -1: it could not be opened */
};

uint32_t control_fingerprint(void);

/* Router. Makes a new segment beside path and renames it into place, so that a reader sees a whole
 * one or none; magic and fingerprint are set by control_publish(). Returns 0 or -errno. */
int control_create(struct control *, const char *path);
void control_publish(struct control *);
/* Router, as soon as it holds the lock of RUN: the router that made the segment at path, if there is one, is dead. What
 * it says of the subscriptions stays. */
void control_disown(const char *path);
/* Router. Somebody removed the segment at path: makes another one there, in which all is as it was, also at the same
 * address. Nobody finds a router in the old one any more, and its subscriptions are STOPPED: workers that have it are
 * to be let go. Returns 0; -EAGAIN while somebody has its lock; -EFAULT when nothing can go on; or another -errno. */
int control_replace(struct control *, const char *path);

/* Anyone. Returns 0; -ENOENT when there is none; -EAGAIN when it is not published yet; -ESTALE when
 * it is another version's; -EPROTO when it is damaged; -EPERM when it belongs to another user, who is not
 * root either; or -errno. */
int control_open(struct control *, const char *path, bool writable);
void control_close(struct control *);

/* Opens RUN/control of a router that lives. As long as a router holds RUN or STATE without such a segment, because it
 * starts or because somebody removed the segment, waits for one, until deadline_ns (CLOCK_MONOTONIC). Returns 0; -ESRCH
 * when the segment is that of a router that is gone; or as control_open(). Nothing is open unless it returns 0. */
int control_open_living(struct control *, const char *run_dir, const char *state_dir, bool writable,
    uint64_t deadline_ns);

/* Anyone. Does a router have the locks of this directory, RUN or STATE (router/place_lock.h)? It may be one that starts.
 * Returns 1, 0, or -errno: for want of something that could not be looked at. */
int control_dir_held(const char *dir);
/* True while the router that made the segment is alive (it holds the lock of RUN). */
bool control_router_alive(const struct control *);

/* Index of the queue with this name, or -1. */
int control_find_queue(const struct control *, const char *name);

/* A consistent copy of a queue's state and its detail; *word is the state word they belong to. The
 * detail is zero when the word names none. Strings are terminated whatever stood there. */
void control_read_state(
    const struct control *, unsigned queue, uint64_t *word, struct control_detail *);

/* Changes the state with one compare-and-swap from expected. first_slot is 0 (router) or
 * CONTROL_CTL_SLOT. detail->generation is filled in. Returns 0 with *now the new word, or -EAGAIN
 * when the word is no longer expected (*now says what it is). */
int control_change_state(struct control *, unsigned queue, unsigned first_slot, uint64_t expected,
    enum control_state to, const struct control_detail *detail, uint64_t *now);

/* headgatectl, subscription manager: the lock that makes it the only one to use its slots. Returns 0, -ESRCH when no
 * router has this segment any more, -ETIMEDOUT when another process keeps it until deadline_ns (CLOCK_MONOTONIC), or -errno. */
int control_lock(struct control *, uint64_t deadline_ns);
void control_unlock(struct control *);

#endif
