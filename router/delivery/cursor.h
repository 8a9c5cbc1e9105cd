/*
 * cursor - where a worker reads the log: from the writer's memory while it keeps up, from disk, through a window, when
 * it fell behind.
 */
#ifndef HEADGATE_ROUTER_DELIVERY_CURSOR_H
#define HEADGATE_ROUTER_DELIVERY_CURSOR_H

#include "router/delivery/worker.h"

/* Makes a new worker's window. Returns 0 or -ENOMEM. */
int cursor_begin(struct worker *);
/* The frame at the cursor from wherever it is, or NULL for now. */
const struct log_frame *cursor_frame(struct worker *);
/* Segments of a queue's log were replaced by this one: what was in front of a cursor may now be in it. */
void cursor_rewind(struct queue *, const struct log_segment *);

#endif
