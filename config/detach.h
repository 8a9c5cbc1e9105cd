/*
 * detach - a program that goes to the background once it is ready.
 */
#ifndef HEADGATE_CONFIG_DETACH_H
#define HEADGATE_CONFIG_DETACH_H

/* Goes on in a new process, in the background, and returns a descriptor there; does not return in the
 * one that was started. That one waits until detach_ready() was called so many times, by the new process
 * and its children, and ends; when one of them is not to become ready it ends with that status, behind the new
 * process. Stopped by SIGINT or SIGTERM it stops the new process too. */
int detach_begin(unsigned times);

/* Ready (status 0), or not to become ready (an exit status). *fd: as detach_begin() returned it, or -1
 * for nothing to tell; -1 afterwards. */
void detach_ready(int *fd, int status);

/* Standard input and output are not ours any more: of a process in the background that leaves it to its
 * children to be ready. What goes wrong is still said on standard error. */
void detach_standard(void);

#endif
