/*
 * paths - the directories that a configuration stands for.
 */
#ifndef HEADGATE_CONFIG_PATHS_H
#define HEADGATE_CONFIG_PATHS_H

#include "config/config.h"

/* The base directory: what -D said (NULL: nothing), else HEADGATE_DIR. NULL: the default directories. */
const char *paths_base(const char *base_dir);

/* Fills run_dir and state_dir. Returns 0 or -errno with error filled. */
int paths_resolve(struct config *, const char *base_dir, char *error, size_t error_bytes);

#endif
