/*
 * namespace - the pid and time namespaces of a process. A process number means another process in
 * another pid namespace, and CLOCK_MONOTONIC shows another time in another time namespace. Both
 * pass a border of shared memory as plain numbers, which the reader must not use then.
 */
#ifndef HEADGATE_SHM_NAMESPACE_H
#define HEADGATE_SHM_NAMESPACE_H

#include <stdint.h>

/* Inode numbers, distinct per namespace. 0: unknown, without /proc or kernel support. */
struct namespaces {
	uint64_t pid, time;
};

/* The caller's. */
struct namespaces namespaces_get(void);

#endif
