/*
 * space - the next segment is preallocated while the active one is filled; and what is done when the disk has no room.
 *
 * It is allocated, zeroed piece by piece, gets its header, then its name. One file that was freed is kept to be used again.
 */
#ifndef HEADGATE_ROUTER_JOURNAL_SPACE_H
#define HEADGATE_ROUTER_JOURNAL_SPACE_H

#include "router/journal/types.h"

/* Starts the next segment once a quarter of this one is used, or too little is left of it. */
void space_prepare(struct writer *, uint64_t bytes, uint64_t spare);
/* Starts to make the segment behind position, with this number: smaller than others when the disk has no
 * room for more. bytes: of the frame that it is wanted for. */
void space_make_next(struct writer *, uint64_t number, uint64_t position, uint64_t bytes);
/* Makes room to remember one more old segment, so that switch_segment() cannot fail. */
int space_reserve_old(struct writer *);
/* Segments double from the smallest to the largest. */
uint64_t space_next_size(uint64_t number);
/* Name of the file that is kept. */
void space_spare_path(const struct writer *, uint64_t number, char path[LOG_PATH_BYTES]);

/* Is no more than that quarter left? Then each batch costs a block that there may be no other of. */
bool space_is_short(const struct writer *);
/* Tries, from time to time, whether a next segment can be made now. */
void space_look(struct writer *);
/* Where none could be made, and the file system has room by now for a message such as was refused last and as much
 * again: does not say any more that there is none. Takes nothing of it, for a store may need it first. */
void space_see_room(struct writer *);
/* Why messages are refused, or were when there was one last: -errno; 0: they are not. */
int space_shortage(const struct writer *);

/* The disk is full. The file that is kept to be used again is removed, and none is kept before there is room
 * for a segment of the usual size. */
void space_drop_spare(struct writer *);
/* Likewise: removes the next segment while the active one has room. For a log in which all is settled. */
void space_drop_next(struct writer *);

#endif
