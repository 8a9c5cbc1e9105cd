/*
 * random - random bits for ids, without a system call each. Not for secrets.
 */
#ifndef HEADGATE_MESSAGE_RANDOM_H
#define HEADGATE_MESSAGE_RANDOM_H

#include <stdint.h>

/* 64 random bits. xoshiro256** (Blackman and Vigna, https://prng.di.unimi.it/), seeded from
 * arc4random(3), and seeded anew in a forked child. Not thread-safe. */
uint64_t random_next(void);

#endif
