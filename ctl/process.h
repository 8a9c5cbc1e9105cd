/*
 * process - facts about other processes from /proc. Unknown for processes that are not in /proc,
 * and for pids of a control segment from another pid namespace.
 */
#ifndef HEADGATE_CTL_PROCESS_H
#define HEADGATE_CTL_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "shm/control.h"

struct process {
	pid_t parent; /* 0: not known */
	bool frozen;  /* stopped by a signal, such as SIGSTOP, or by a debugger */
};

struct process process_look(pid_t);
/* As process_look(), for a pid from this control segment. */
struct process process_look_in(const struct control *, uint32_t pid);

/* The pid of a frozen child of the process; 0: none is known. */
pid_t process_frozen_child(pid_t);

/* The process to signal for the end of a worker: the parent, if it runs the same program, as it
 * would restart the worker; else the worker. 0: no such process. */
pid_t process_supervisor(pid_t worker);

#endif
