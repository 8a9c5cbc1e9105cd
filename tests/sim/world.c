#include "tests/sim/world.h"

#include <malloc.h>
#include <pwd.h>
#include <search.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "telemetry/crash.h"
#include "tests/random.h"
#include "tests/sim/disk.h"

#define WALL_NS 1800000000000000000 /* in 2027 */

struct world world;
_Noreturn void __real__exit(int);
_Noreturn void __wrap__exit(int);
static uint64_t random_state;
static jmp_buf end_of_party;

/*
 * Chance and words.
 */

void
world_begin(uint64_t seed)
{
	world = (struct world){
		.seed = seed,
		.now_ns = 1000000000,
		.wall_ns = WALL_NS,
		.trace_hash =
		    14695981039346656037u, /* FNV-1a: http://www.isthe.com/chongo/tech/comp/fnv/ */
		.trace = world.trace,
	};
	random_state = seed;
}

uint64_t
world_random(void)
{
	return random_next(&random_state);
}

uint64_t
world_below(uint64_t n)
{
	return world_random() % n;
}

bool
world_chance(unsigned of_100000)
{
	return of_100000 > 0 && world_below(100000) < of_100000;
}

bool
world_fault(const char *what)
{
	if (world.party != PARTY_ROUTER || !world_chance(world.fault))
		return false;
	world.faults++;
	world_trace("fault: %s", what);
	return true;
}

void
world_trace(const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	for (const char *at = text; *at != '\0'; at++)
		world.trace_hash = (world.trace_hash ^ (uint8_t)*at) * 1099511628211u;
	if (world.trace)
		fprintf(stderr, "%llu %llu.%06llu %s\n", (unsigned long long)world.step,
		    (unsigned long long)(world.now_ns / 1000000000),
		    (unsigned long long)(world.now_ns / 1000 % 1000000), text);
}

void
world_violation(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fprintf(stderr, "seed %llu, step %llu: ", (unsigned long long)world.seed,
	    (unsigned long long)world.step);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\nto see it: tests/sim/run --seed %llu --trace\n",
	    (unsigned long long)world.seed);
	__real__exit(1);
}

/*
 * Life and death.
 */

/* The router ends itself only to protect a log from its own errors. */
void
__wrap__exit(int status)
{
	world_violation("the router ends itself with status %d", status);
}

int
world_as(enum party party, int (*act)(void))
{
	int rc = WORLD_DIED;

	world.party = party;
	if (setjmp(end_of_party) == 0)
		rc = act();
	world.party = PARTY_NONE;
	return rc;
}

void
world_step(const char *name)
{
	if (world.party != PARTY_ROUTER || world.dies_in == 0 || --world.dies_in > 0)
		return;
	world_trace("dies at %s", name);
	longjmp(end_of_party, 1);
}

void
crash_point(const char *name)
{
	world_step(name);
}

/*
 * Memory. All allocations of the router are recorded, by address.
 */

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__real_aligned_alloc(size_t, size_t);
void __real_free(void *);
void *__real_mmap(void *, size_t, int, int, int, off_t);
int __real_munmap(void *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_aligned_alloc(size_t, size_t);
void __wrap_free(void *);
void *__wrap_mmap(void *, size_t, int, int, int, off_t);
int __wrap_munmap(void *, size_t);

enum { MAPPINGS = 1024 };

static void *blocks; /* a tree of tsearch(3) */
static size_t block_bytes;
static struct {
	void *at;
	size_t length;
} mappings[MAPPINGS];
static size_t mapping_count;

static int
compare_addresses(const void *a, const void *b)
{
	return (uintptr_t)a < (uintptr_t)b ? -1 : a != b;
}

static void *
remember(void *block)
{
	if (block == NULL || world.party != PARTY_ROUTER)
		return block;
	if (tsearch(block, &blocks, compare_addresses) == NULL)
		abort();
	block_bytes += malloc_usable_size(block);
	return block;
}

static void
forget(void *block)
{
	if (block == NULL || tdelete(block, &blocks, compare_addresses) == NULL)
		return;
	block_bytes -= malloc_usable_size(block);
}

void *
__wrap_malloc(size_t bytes)
{
	return remember(__real_malloc(bytes));
}

void *
__wrap_calloc(size_t count, size_t bytes)
{
	return remember(__real_calloc(count, bytes));
}

void *
__wrap_realloc(void *old, size_t bytes)
{
	forget(old);
	return remember(__real_realloc(old, bytes));
}

void *
__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
	return remember(__real_aligned_alloc(alignment, bytes));
}

void
__wrap_free(void *block)
{
	forget(block);
	__real_free(block);
}

void *
world_alloc(void *old, size_t bytes)
{
	void *block = __real_realloc(old, bytes ? bytes : 1);

	if (block == NULL)
		abort();
	return block;
}

void
world_free(void *block)
{
	__real_free(block);
}

void *
__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
	void *mapped = disk_map(fd);

	if (mapped == NULL)
		mapped = __real_mmap(at, length, protection, flags, fd, offset);
	if (world.party != PARTY_ROUTER || mapped == MAP_FAILED || flags & MAP_FIXED)
		return mapped;
	if (mapping_count == MAPPINGS)
		abort();
	mappings[mapping_count].at = mapped;
	mappings[mapping_count++].length = length;
	return mapped;
}

int
__wrap_munmap(void *at, size_t length)
{
	for (size_t i = mapping_count; i-- > 0 && world.party == PARTY_ROUTER;)
		if (mappings[i].at == at) {
			mappings[i] = mappings[--mapping_count];
			break;
		}
	return disk_unmap(at) ? 0 : __real_munmap(at, length);
}

size_t
world_router_bytes(void)
{
	return block_bytes;
}

size_t
world_free_router(void)
{
	size_t bytes = block_bytes;

	for (size_t i = 0; i < mapping_count; i++) {
		bytes += mappings[i].length;
		if (!disk_unmap(mappings[i].at))
			__real_munmap(mappings[i].at, mappings[i].length);
	}
	mapping_count = 0;
	tdestroy(blocks, __real_free);
	blocks = NULL;
	block_bytes = 0;
	return bytes;
}

/*
 * Clock, randomness and identity: the system calls.
 */

int __wrap_clock_gettime(clockid_t, struct timespec *);
int __wrap_nanosleep(const struct timespec *, struct timespec *);
ssize_t __wrap_getrandom(void *, size_t, unsigned);
pid_t __wrap_getpid(void);
uid_t __wrap_geteuid(void);
struct passwd *__wrap_getpwuid(uid_t);

int
__wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	uint64_t ns = world.now_ns; /* time passes during waits and between steps only */

	if (clock == CLOCK_REALTIME)
		ns += (uint64_t)world.wall_ns;
	*now = (struct timespec){ (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
	return 0;
}

int
__wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)left;
	world.now_ns += (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
	return 0;
}

ssize_t
__wrap_getrandom(void *buffer, size_t length, unsigned flags)
{
	(void)flags;
	for (size_t i = 0; i < length; i++)
		((uint8_t *)buffer)[i] = (uint8_t)world_random();
	return (ssize_t)length;
}

pid_t
__wrap_getpid(void)
{
	return 1;
}

uid_t
__wrap_geteuid(void)
{
	return 1000;
}

struct passwd *
__wrap_getpwuid(uid_t uid)
{
	(void)uid;
	return NULL;
}
