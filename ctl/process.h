/*
 * process - what /proc says of another process. Nothing is known of one that is not in /proc, or whose number in a
 * control segment is one of another pid namespace.
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
/* ... of one whose number stands in this control segment. */
struct process process_look_in(const struct control *, uint32_t pid);

/* A child of the process that is frozen; 0: none is known to be. */
pid_t process_frozen_child(pid_t);

/* The process that is to be signalled to end a worker: its parent, if that runs the same program and would start it
 * again, else itself. 0: it is not there. */
pid_t process_supervisor(pid_t worker);

#endif
