/*
 * lane_lock - the right to lanes of a queue: locks on RUN/QUEUE.lock, one byte per lane.
 *
 * Open file description locks, fcntl(2): a child inherits the locks, a descriptor sent over a
 * socket carries them, and they end with the last descriptor, at the latest with the processes. The
 * owner of a whole queue with its store locks the bytes of all possible lanes.
 */
#ifndef HEADGATE_SHM_LANE_LOCK_H
#define HEADGATE_SHM_LANE_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#define LANE_LOCK_ALL UINT64_MAX /* lanes: bit n for lane n */

/* Opens the lock file, and makes a missing one. Returns a descriptor or -errno. */
int lane_lock_open(const char *run_dir, const char *queue);

/* Locks all of these lanes; some may be locked by the caller already. Returns 0; -EAGAIN if another
 * process has one of them; or another -errno. After an error none of these lanes is locked. */
int lane_lock_take(int fd, uint64_t lanes);

/* Checks a descriptor from another process: returns 1 if it locks the lanes, 0 if not, or -errno if
 * resources for the check are missing (-EMFILE, ...). Free lanes are locked through the descriptor,
 * and count. */
int lane_lock_holds(const char *run_dir, const char *queue, int fd, uint64_t lanes);

/* False if the descriptor's file is no longer the queue's lock file (removed, for instance). True
 * if that cannot be checked. */
bool lane_lock_is_there(const char *run_dir, const char *queue, int fd);

#endif
