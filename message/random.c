#include "message/random.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

static uint64_t state[4];
static bool seeded;

/* A forked child must not repeat the parent's numbers. */
static void
forget_seed(void)
{
	seeded = false;
}

static void
seed(void)
{
	static bool registered;

	if (!registered)
		pthread_atfork(NULL, NULL, forget_seed);
	registered = true;
	arc4random_buf(state, sizeof(state));
	state[0] |= 1; /* a state of all zeros would yield zeros for ever */
	seeded = true;
}

static uint64_t
rotate(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

uint64_t
random_next(void)
{
	uint64_t result, t;

	if (!seeded)
		seed();
	result = rotate(state[1] * 5, 7) * 9;
	t = state[1] << 17;
	state[2] ^= state[0];
	state[3] ^= state[1];
	state[1] ^= state[2];
	state[0] ^= state[3];
	state[2] ^= t;
	state[3] = rotate(state[3], 45);
	return result;
}
