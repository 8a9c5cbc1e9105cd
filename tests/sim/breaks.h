/*
 * breaks - bugs to plant, which the simulation must find.
 */
#ifndef HEADGATE_TESTS_SIM_BREAKS_H
#define HEADGATE_TESTS_SIM_BREAKS_H

#include <stdbool.h>

/* Plants the bug `name`. False for an unknown name; lists the bugs then. */
bool breaks_plant(const char *name);

#endif
