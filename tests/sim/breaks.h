/*
 * breaks - bugs that are planted to see whether the simulation finds them.
 */
#ifndef HEADGATE_TESTS_SIM_BREAKS_H
#define HEADGATE_TESTS_SIM_BREAKS_H

#include <stdbool.h>

/* False when there is none of this name; says which there are. */
bool breaks_plant(const char *name);

#endif
