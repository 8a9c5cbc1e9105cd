/*
 * state - converts a subscription's state between the log and the control segment.
 */
#ifndef HEADGATE_LOG_STATE_H
#define HEADGATE_LOG_STATE_H

#include "log/format.h"
#include "shm/control.h"

/* Copies a logged state into a control_detail, and back. */
void log_state_to_detail(const struct log_state *, struct control_detail *);
void log_state_from_detail(
    struct log_state *, enum control_state, uint64_t generation, const struct control_detail *);

#endif
