/*
 * error - why the router does not start, in one line.
 */
#ifndef HEADGATE_ROUTER_IO_ERROR_H
#define HEADGATE_ROUTER_IO_ERROR_H

#include <stddef.h>
#include <stdio.h>

/* Says what cannot be had, and why. Returns rc. */
static inline int
error_fill(char *error, size_t error_bytes, int rc, const char *what, const char *why)
{
	snprintf(error, error_bytes, "%s: %s", what, why);
	return rc;
}

#endif
