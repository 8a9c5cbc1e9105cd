/*
 * model - the promises to check: each message with all that publishers, workers and people were
 * told about it, and its outcome.
 *
 * The model also holds the workers' stores: per queue an array by sequence. Committed rows stay.
 */
#ifndef HEADGATE_TESTS_SIM_MODEL_H
#define HEADGATE_TESTS_SIM_MODEL_H

#include "router/state.h"
#include "shm/gate.h"
#include "tests/sim/world.h"

enum { MODEL_QUEUES = 2, MODEL_GROUPS = 5 };

/* The behaviour of a handler on a message, in one of the queues. */
enum fate { FATE_DONE, FATE_FAILED, FATE_SERVER_ERROR, FATE_DEATH, FATE_HANG, FATE_LATER };

struct message {
	unsigned first;     /* the first message with this deduplication id; may be this one */
	bool shared;        /* a later message has the same id, and may be sent first */
	unsigned publisher; /* a number for each process */
	unsigned group;
	unsigned queues; /* that accept the message: 1, or both */
	unsigned length; /* of the text */
	enum fate fate[MODEL_QUEUES];
	unsigned tries[MODEL_QUEUES]; /* failures left before the handler succeeds */
	/* Attempts to publish the message. */
	unsigned attempts;
	bool open;      /* an attempt has no answer yet */
	bool lost;      /* an attempt ended without an answer */
	bool answered;  /* an attempt was acknowledged */
	bool unsynced;  /* acknowledged before the sync, with durability "os" */
	bool forgotten; /* acknowledged so shortly before a power cut that it may be lost */
	uint64_t first_sent_ns, last_ended_ns;
	uint64_t ran_ns[MODEL_QUEUES];   /* the queue's running time at the first attempt */
	uint64_t sequence[MODEL_QUEUES]; /* from a receipt or a delivery; 0: unknown */
	unsigned copies[MODEL_QUEUES];   /* above 1 if the window passed between two attempts */
};

void model_begin(const struct config *);
void model_end(void);

/* From now on all messages are long and go to so many queues; 0: as before. */
void model_fill(unsigned queues);
/* From now on all texts are shorter than `length`. */
void model_be_brief(unsigned length);
/* Makes a message, now and then with the deduplication id of another one. Returns its number. */
unsigned model_make(unsigned publisher);
struct message *model_message(unsigned i);
unsigned model_count(void);

/* The events of message i's publication. */
void model_sent(unsigned i);
/* The connection ended, or the router refused the message. */
void model_not_answered(unsigned i, bool refused);
void model_answered(unsigned i, bool duplicate);
/* A receipt or a delivery has this sequence. */
void model_located(unsigned i, unsigned queue, uint64_t sequence);

/* The events of message i's handling. */
/* Before a handler starts: returns the status in the store; 0: no row. */
int model_find(unsigned queue, uint64_t sequence, unsigned i);
/* The router gives the message up because of its age. */
void model_expired(unsigned queue, unsigned i);
/* A handler starts on the message, or the message is given up. */
void model_started(unsigned queue, uint64_t sequence, unsigned i);
/* The handler's status blocks the message's group. */
void model_failed(unsigned queue, uint64_t sequence, unsigned i, int status);
/* The router has the message given up with its last status. retry_max: allowed tries; 0: no
 * limit. */
void model_given_up(unsigned queue, uint64_t sequence, int status, unsigned retry_max);
/* A person allows this message to be given up; sequence 0: any head of the group. */
void model_skip(unsigned queue, uint64_t sequence, unsigned group);
/* The sequence of a failed message that has not ended, with its group; 0: none. */
uint64_t model_failing(unsigned queue, unsigned *group);
/* A person is told that a message is blocked, or has ended. */
void model_told_blocked(unsigned queue, uint64_t sequence, unsigned group);
void model_told_ended(unsigned queue, uint64_t sequence, int status, bool dead_lettered);
/* The message with this sequence. False if unknown. */
bool model_at(unsigned queue, uint64_t sequence, unsigned *i);
/* A worker commits an outcome. */
void model_commit(unsigned queue, uint64_t sequence, unsigned i, int status);
/* Unsynced pages are lost. Call before a power cut, and after a failed sync on a disk that is read
 * through the page cache. */
void model_pages_lost(void);
/* The router will never assign the sequences [first, end) again. */
void model_skipped(unsigned queue, uint64_t first, uint64_t end);
/* A worker died during the handling of this message. */
void model_count_death(unsigned queue, uint64_t sequence);

/* Call after each step while a router runs. */
void model_check(const struct router *);
/* Call when a router ends in order: its control segment may be lost. */
void model_check_stopped(const struct router *);
/* Call when a router has opened its logs: no promise may be broken. */
void model_check_opened(const struct router *);
/* A number that grows with each accepted or ended message. */
uint64_t model_progress(const struct router *);
/* True if all messages are published and handled. */
bool model_is_at_rest(const struct router *);
void model_check_at_rest(const struct router *);

#endif
