/*
 * world - what a program cannot tell from a machine of its own: a clock, chance, memory that ends with
 * its process, and the end, which may come at any step.
 *
 * The programs of a simulated machine run in one process and one thread; the party says whose code runs.
 * All that is not known in advance is drawn from the seed, in the order in which it is asked for: the same
 * seed gives the same run.
 */
#ifndef HEADGATE_TESTS_SIM_WORLD_H
#define HEADGATE_TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum party { PARTY_NONE, PARTY_ROUTER, PARTY_WORKER };

enum {
	WORLD_DIED = 4096, /* what world_as() returns for a party that did not live to return */
	WORLD_PAGE = 4096
};

struct world {
	uint64_t seed, step;
	uint64_t now_ns; /* CLOCK_MONOTONIC */
	int64_t wall_ns; /* CLOCK_REALTIME is so much ahead of it */
	enum party party;
	uint64_t dies_in; /* so many steps further the party dies; 0: it does not */
	unsigned fault;   /* chance that a call fails, of 100000 */
	bool disk_full;
	uint64_t faults;     /* that there were */
	uint64_t trace_hash; /* of all that happened */
	bool trace;          /* print it */
};
extern struct world world;

void world_begin(uint64_t seed);

uint64_t world_random(void);
/* Below n. */
uint64_t world_below(uint64_t n);
bool world_chance(unsigned of_100000);
/* Does this call fail? Counts it. */
bool world_fault(const char *what);

/* Says what happens, for the hash and for who looks on. */
void world_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Something that must not be: says what, and how to see it again, and ends the program. */
_Noreturn void world_violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Runs act() as a party. Returns what it returns, or WORLD_DIED. */
int world_as(enum party, int (*act)(void));
/* A step at which the party may die. */
void world_step(const char *name);
/* The router's memory and mappings end with it. Returns how many bytes there were. */
size_t world_free_router(void);
/* That it has now. */
size_t world_router_bytes(void);

/* Memory of the world's own. */
void *world_alloc(void *old, size_t bytes);
void world_free(void *);

#endif
