/*
 * container_of - from a pointer to a member to the struct that contains the member.
 */
#ifndef HEADGATE_BASE_CONTAINER_OF_H
#define HEADGATE_BASE_CONTAINER_OF_H

#include <stddef.h>
#include <stdint.h>

/* The struct `type` whose `member` the pointer points to. The comparison within sizeof() is not
 * executed: the compiler warns if the pointer is not one to the member's type. */
#define CONTAINER_OF(pointer, type, member)                     \
	((type *)((uintptr_t)(pointer)-offsetof(type, member) + \
	    0 * sizeof((pointer) == &((const type *)0)->member)))

#endif
