/*
 * model - what must hold, whatever happens: every message that was made, what was said of it to whom, and
 * what became of it.
 *
 * The stores of the workers are in here too: an array a queue, by sequence. What is committed stays.
 */
#ifndef HEADGATE_TESTS_SIM_MODEL_H
#define HEADGATE_TESTS_SIM_MODEL_H

#include "router/state.h"
#include "shm/gate.h"
#include "tests/sim/world.h"

enum { MODEL_QUEUES = 2, MODEL_GROUPS = 5 };

/* What the handler does with it, in one of the queues. */
enum fate { FATE_DONE, FATE_FAILED, FATE_SERVER_ERROR, FATE_DEATH, FATE_HANG, FATE_LATER };

struct message {
	unsigned first; /* message with the same deduplication id that was made first; or itself */
	unsigned publisher; /* a number for each process */
	unsigned group;
	unsigned queues; /* that take it: the first, or both */
	unsigned length; /* of its text */
	enum fate fate[MODEL_QUEUES];
	unsigned tries[MODEL_QUEUES]; /* before it is done after all */
	/* Attempts to publish it. */
	unsigned attempts;
	bool open, lost, answered; /* one is under way; was not answered; was answered well */
	bool unsynced;             /* ... from the page cache */
	bool forgotten;            /* ... so late before a power cut that it may be gone */
	uint64_t first_sent_ns, last_ended_ns;
	uint64_t ran_ns[MODEL_QUEUES];   /* of the queue's time, when it was sent first */
	uint64_t sequence[MODEL_QUEUES]; /* a receipt or a delivery said so; 0: none yet */
	unsigned copies[MODEL_QUEUES];   /* the window may pass while it is tried again */
};

void model_begin(const struct config *);
void model_end(void);

/* From now on all messages are for so many queues, and long; 0: as before. */
void model_fill(unsigned queues);
/* From now on all texts are shorter than this. */
void model_be_brief(unsigned length);
/* A new message; now and then one with the deduplication id of another. */
unsigned model_make(unsigned publisher);
struct message *model_message(unsigned i);
unsigned model_count(void);

void model_sent(unsigned i);
/* Its connection ended, or it was refused. */
void model_not_answered(unsigned i, bool refused);
void model_answered(unsigned i, bool duplicate);
/* A receipt or a delivery says where it is. */
void model_located(unsigned i, unsigned queue, uint64_t sequence);

/* A handler is about to be started on it. Returns the recorded status, 0: none. */
int model_find(unsigned queue, uint64_t sequence, unsigned i);
/* The router says that it has waited too long. */
void model_expired(unsigned queue, unsigned i);
/* A handler is started on it, or it is given up; it answered what blocks its group; the router orders that it is
 * given up, as what it answered last. retry_max: tries that it has; 0: any number. */
void model_started(unsigned queue, uint64_t sequence, unsigned i);
void model_failed(unsigned queue, uint64_t sequence, unsigned i, int status);
void model_given_up(unsigned queue, uint64_t sequence, int status, unsigned retry_max);
/* A person wants this message given up, or, with sequence 0, whatever is the first of a group; from now on. */
void model_skip(unsigned queue, uint64_t sequence, unsigned group);
/* A message that failed and is not ended; 0: there is none. */
uint64_t model_failing(unsigned queue, unsigned *group);
/* A person is told that a message is blocked; that it was ended. */
void model_told_blocked(unsigned queue, uint64_t sequence, unsigned group);
void model_told_ended(unsigned queue, uint64_t sequence, int status, bool dead_lettered);
/* The message with this sequence. False when it is not known which. */
bool model_at(unsigned queue, uint64_t sequence, unsigned *i);
/* A commit. */
void model_commit(unsigned queue, uint64_t sequence, unsigned i, int status);
/* Before a power cut. */
void model_power_cut(void);
/* The router gives the sequences [first, end) to no message any more. */
void model_skipped(unsigned queue, uint64_t first, uint64_t end);
/* A worker died while a handler was at work on it. */
void model_count_death(unsigned queue, uint64_t sequence);

/* After each step, while a router runs. */
void model_check(const struct router *);
/* A router opened: nothing that was promised is gone. */
void model_check_opened(const struct router *);
/* Grows while something is accepted or ended. */
uint64_t model_progress(const struct router *);
/* Everything was published and handled. */
bool model_is_at_rest(const struct router *);
void model_check_at_rest(const struct router *);

#endif
