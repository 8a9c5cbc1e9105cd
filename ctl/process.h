/*
 * process - what /proc says of another process. Nothing is known of one in another pid namespace.
 */
#ifndef HEADGATE_CTL_PROCESS_H
#define HEADGATE_CTL_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

struct process {
	pid_t parent; /* 0: not known */
	bool frozen;  /* stopped by a signal, such as SIGSTOP, or by a debugger */
};

struct process process_look(pid_t);

/* A child of the process that is frozen; 0: none is known to be. */
pid_t process_frozen_child(pid_t);

/* The process that is to be signalled to end a worker: its parent, if that runs the same program and would start it
 * again, else itself. 0: it is not there. */
pid_t process_supervisor(pid_t worker);

#endif
