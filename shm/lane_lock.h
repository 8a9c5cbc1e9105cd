/*
 * lane_lock - which process may have which lanes of a queue: RUN/QUEUE.lock, one byte a lane.
 *
 * The locks are those of fcntl(2) that belong to the open file: a child inherits them, a descriptor that is
 * sent takes them along, and they end when the last of its descriptors is closed, at the latest with the
 * processes. Who owns the whole queue, with its store, has the bytes of all lanes that there can be.
 */
#ifndef HEADGATE_SHM_LANE_LOCK_H
#define HEADGATE_SHM_LANE_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#define LANE_LOCK_ALL UINT64_MAX /* lanes: bit n for lane n */

/* Opens the file, which is made when it is not there. Returns a descriptor, or -errno. */
int lane_lock_open(const char *run_dir, const char *queue);

/* Takes all of these lanes, of which some may be held already. Returns 0; -EAGAIN when somebody else has
 * one of them, or -errno: then none of them is held. */
int lane_lock_take(int fd, uint64_t lanes);

/* Does this descriptor, which came from somebody else, hold the lanes? One that could hold them does so
 * from now on. Returns 1, 0, or -errno: it could not be looked (-EMFILE ...). */
int lane_lock_holds(const char *run_dir, const char *queue, int fd, uint64_t lanes);

/* Is the file that this descriptor is of still the queue's? It may have been removed. Yes when that cannot be seen. */
bool lane_lock_is_there(const char *run_dir, const char *queue, int fd);

#endif
