/*
 * pidfile - RUN/PROGRAM.pid: the process to signal, a line with its number. It is locked for as long as that process
 * lives, by a record lock (fcntl), whose holder the kernel names: who wants to signal it never believes the number in the
 * file, which is that of the process before for an instant. Such a lock is this process's only, and goes when it closes
 * any descriptor of the file.
 */
#ifndef HEADGATE_CONFIG_PIDFILE_H
#define HEADGATE_CONFIG_PIDFILE_H

#include <stdbool.h>
#include <sys/types.h>

/* Makes the file and holds it until the process exits, which removes it. A second process of the same program, such as a
 * standby, has PROGRAM.2.pid, and so on. Returns 0 or -errno. */
int pidfile_hold(const char *run_dir, const char *program);

/* To be called once a second: cleaners remove the file. Makes it again, also where it could not be made at first. Returns 1
 * when it did, 0 when it was there; -ENOENT when there is no RUN; or another -errno. */
int pidfile_again(const char *run_dir, const char *program);

/* The process that holds this file, other than the caller; 0: none. -EXDEV: one of a pid namespace whose processes the
 * caller cannot see. Or another -errno. */
pid_t pidfile_holder(const char *path);

#endif
