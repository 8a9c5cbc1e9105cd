/*
 * title - extends the command line in ps(1) by the program's instance.
 */
#ifndef HEADGATE_CONFIG_TITLE_H
#define HEADGATE_CONFIG_TITLE_H

/* Call in main() before any pointer into argv or the environment is kept: both are copied, as
 * title_set() overwrites their bytes, which the kernel shows. Without this call, or with a part of
 * main()'s argv, title_set() has no effect. */
void title_begin(int argc, char **argv);

/* Sets the title, for instance "headgate-router -d [/var/lib/headgate]", followed by `role` if not
 * "". */
void title_set(const char *instance, const char *role);

#endif
