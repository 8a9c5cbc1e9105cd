/*
 * zeros - a piece of them, aligned for O_DIRECT.
 */
#ifndef HEADGATE_ROUTER_JOURNAL_ZEROS_H
#define HEADGATE_ROUTER_JOURNAL_ZEROS_H

#include <stdint.h>

enum { ZEROS_BYTES = 256 << 10 };

extern const uint8_t zeros[ZEROS_BYTES];

#endif
