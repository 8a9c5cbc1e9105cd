/*
 * paths - the directories that a configuration stands for.
 */
#ifndef HEADGATE_CONFIG_PATHS_H
#define HEADGATE_CONFIG_PATHS_H

#include "config/config.h"

/* Fills run_dir and state_dir. Returns 0 or -errno with error filled. */
int paths_resolve(struct config *, const char *base_dir, char *error, size_t error_bytes);

#endif
