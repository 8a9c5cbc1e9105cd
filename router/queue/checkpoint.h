/*
 * checkpoint - what each segment begins with: all that recovery needs of the segments before it.
 */
#ifndef HEADGATE_ROUTER_QUEUE_CHECKPOINT_H
#define HEADGATE_ROUTER_QUEUE_CHECKPOINT_H

#include "router/state.h"

/* The simulation draws it. */
#ifndef CHECKPOINT_PIECE
#define CHECKPOINT_PIECE 512 /* entries of a frame of a checkpoint, so many at most */
#endif

/* A new segment became the active one: describes the one before and begins its checkpoint. Callback of
 * the writer. */
void checkpoint_begin(struct writer *);
/* Bytes of a checkpoint, about. Likewise. */
uint64_t checkpoint_bytes(const struct writer *);
/* Puts what is left of the checkpoint into the gathered batch, as far as there is room. */
void checkpoint_log(struct queue *);
/* Is some of it left, and room for that? May begin a segment. */
bool checkpoint_due(struct queue *);

/* Does the open checkpoint say of this message that it is settled, which it is only now? Its chunk comes yet. */
bool checkpoint_tells(const struct queue *, uint64_t sequence);

#endif
