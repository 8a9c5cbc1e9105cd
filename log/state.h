/*
 * state - a subscription's state as it stands in the log and in the control segment.
 */
#ifndef HEADGATE_LOG_STATE_H
#define HEADGATE_LOG_STATE_H

#include "log/format.h"
#include "shm/control.h"

/* A control_detail from a logged state, and back. */
void log_state_to_detail(const struct log_state *, struct control_detail *);
void log_state_from_detail(
    struct log_state *, enum control_state, uint64_t generation, const struct control_detail *);

#endif
