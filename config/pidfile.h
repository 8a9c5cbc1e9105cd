/*
 * pidfile - RUN/PROGRAM.pid: the process to signal, a line with its number. It is locked (flock) for as long as that
 * process lives, so a file that is left over is told from one that counts.
 */
#ifndef HEADGATE_CONFIG_PIDFILE_H
#define HEADGATE_CONFIG_PIDFILE_H

#include <stdbool.h>
#include <sys/types.h>

/* Makes the file and holds it until the process exits, which removes it. A second process of the same program, such as a
 * standby, has PROGRAM.2.pid, and so on. Returns 0 or -errno. */
int pidfile_hold(const char *run_dir, const char *program);

/* The process that holds this file; 0: none does. Or -errno. */
pid_t pidfile_holder(const char *path);

#endif
