/*
 * paths - the directories that a configuration stands for.
 */
#ifndef HEADGATE_CONFIG_PATHS_H
#define HEADGATE_CONFIG_PATHS_H

#include "config/config.h"

/* The base directory: what -D said (NULL: nothing), else HEADGATE_DIR. NULL: the default directories. */
const char *paths_base(const char *base_dir);

/* Why a relative name means nothing. */
#define PATHS_NO_CWD \
	"relative to the working directory, which is not there any more: cd to another one, or " \
	"give an absolute name"

/* Fills run_dir and state_dir. Returns 0 or -errno with error filled. */
int paths_resolve(struct config *, const char *base_dir, char *error, size_t error_bytes);

/* Makes a directory, and those above it, if it is not there. Returns 0; -EPERM when it is another user's, or others may
 * write to it; or another -errno; with error filled. */
int paths_make(const char *dir, char *error, size_t error_bytes);

/* Is the file that fd is of still there under this name? */
bool paths_is_there(const char *path, int fd);

/* Does the file system of a directory write anew what is written again (copy on write)? Then a segment's room is not
 * kept. New files in the directory are excepted where that can be told it (btrfs). Returns its name, or NULL. */
const char *paths_copies_on_write(const char *dir);

#endif
