/*
 * pidfile - RUN/PROGRAM.pid: a line with the pid of the process to signal.
 *
 * The process holds a record lock (fcntl) on the file for its life, and the kernel names the holder
 * of a record lock. A program that wants to signal the process asks the kernel instead of reading
 * the file, which has the previous process's pid for an instant. Children do not inherit a record
 * lock, and a close of any descriptor of the file frees it.
 */
#ifndef HEADGATE_CONFIG_PIDFILE_H
#define HEADGATE_CONFIG_PIDFILE_H

#include <stdbool.h>
#include <sys/types.h>

/* Makes and locks the file until the process's exit, which removes the file. A second process of
 * the program, such as a standby, gets PROGRAM.2.pid, and so on. Returns 0 or -errno. */
int pidfile_hold(const char *run_dir, const char *program);

/* Call once a second. Makes a file again that was removed, or could not be made before. Returns 1
 * if made, 0 if present, -ENOENT if RUN is missing, or another -errno. */
int pidfile_again(const char *run_dir, const char *program);

/* The pid of the file's holder other than the caller; 0: no holder; -EXDEV: a holder in a pid
 * namespace that the caller cannot see; or another -errno. */
pid_t pidfile_holder(const char *path);

#endif
