/*
 * title - what ps(1) shows of a program: its command line, as it was, and the instance that it belongs to.
 */
#ifndef HEADGATE_CONFIG_TITLE_H
#define HEADGATE_CONFIG_TITLE_H

/* In main(), before anything points into argv or the environment: both are copied, since the kernel shows the bytes
 * where they were. Without it, or with a part of main()'s argv, title_set() does nothing. */
void title_begin(int argc, char **argv);

/* "headgate-router -d [/var/lib/headgate]", and behind it role, "" for none. */
void title_set(const char *instance, const char *role);

#endif
