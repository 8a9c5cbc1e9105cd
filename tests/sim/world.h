/*
 * world - the simulated machine's clock, randomness, process memory, and process death, possible at
 * each step.
 *
 * All programs of the machine run in one process and one thread; `party` is the running one. All
 * choices come from the seed, in order of their use, so the same seed repeats the run.
 */
#ifndef HEADGATE_TESTS_SIM_WORLD_H
#define HEADGATE_TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum party { PARTY_NONE, PARTY_ROUTER, PARTY_WORKER };

enum {
	WORLD_DIED = 4096, /* returned by world_as() for a party that died */
	WORLD_PAGE = 4096
};

struct world {
	uint64_t seed, step;
	uint64_t now_ns; /* CLOCK_MONOTONIC */
	int64_t wall_ns; /* CLOCK_REALTIME minus CLOCK_MONOTONIC */
	enum party party;
	uint64_t dies_in; /* steps until the party dies; 0: never */
	unsigned fault;   /* chance that a call fails, of 100000 */
	bool disk_full;
	uint64_t faults;     /* number of failed calls */
	uint64_t trace_hash; /* of all world_trace() texts */
	bool trace;          /* prints the texts, too */
};
extern struct world world;

void world_begin(uint64_t seed);

uint64_t world_random(void);
/* A random number below n. */
uint64_t world_below(uint64_t n);
bool world_chance(unsigned of_100000);
/* True, by chance, if this call is to fail. */
bool world_fault(const char *what);

/* Records an event: hashes the text, and prints it if wanted. */
void world_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Reports a broken promise with the command that repeats the run, and ends the program. */
_Noreturn void world_violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Runs act() as a party. Returns the result of act(), or WORLD_DIED. */
int world_as(enum party, int (*act)(void));
/* A step: the party may die here. */
void world_step(const char *name);
/* Frees memory and mappings of a dead router. Returns the number of bytes of memory. */
size_t world_free_router(void);
/* Bytes of memory that the router has allocated. */
size_t world_router_bytes(void);

/* Memory of the simulation itself, not of a party. */
void *world_alloc(void *old, size_t bytes);
void world_free(void *);

#endif
