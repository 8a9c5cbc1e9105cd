/*
 * place_lock - that there is one router for a directory: RUN, and STATE.
 *
 * The directory itself is locked (flock), so the lock does not go when files are removed, and systemd-tmpfiles, which
 * takes the same lock for whatever it cleans, leaves the directory alone. So is the file router.lock in it, which holds
 * the number of the process, for who comes second.
 */
#ifndef HEADGATE_ROUTER_IO_PLACE_LOCK_H
#define HEADGATE_ROUTER_IO_PLACE_LOCK_H

#include <stddef.h>

struct place_lock {
	int dir_fd, file_fd; /* -1: not held */
};

void place_lock_init(struct place_lock *);
/* Returns 0; -EBUSY when another router has it, or -errno, with error filled. */
int place_lock(struct place_lock *, const char *dir, char *error, size_t error_bytes);
/*
 * The file was removed or moved, or the whole directory: makes it again. The old directory is let go; with first, which
 * is not held then, the one that was locked at the start stays locked in it until it has its name back. Returns 1 when
 * it did, 0 when all was there; -EBUSY or another -errno likewise.
 */
int place_lock_again(struct place_lock *, struct place_lock *first, const char *dir, char *error,
    size_t error_bytes);
void place_unlock(struct place_lock *);

#endif
