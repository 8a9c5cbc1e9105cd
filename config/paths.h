/*
 * paths - the directories of an instance.
 */
#ifndef HEADGATE_CONFIG_PATHS_H
#define HEADGATE_CONFIG_PATHS_H

#include "config/config.h"

/* The base directory: -D's argument, unless NULL, else HEADGATE_DIR. NULL: the default
 * directories. */
const char *paths_base(const char *base_dir);

/* The error for a relative name without a working directory. */
#define PATHS_NO_CWD                                                                             \
	"relative to the working directory, which is not there any more: cd to another one, or " \
	"give an absolute name"

/* Fills run_dir and state_dir. Returns 0, or -errno with `error` filled. */
int paths_resolve(struct config *, const char *base_dir, char *error, size_t error_bytes);

/* Makes a missing directory with its parents. Returns 0; or with `error` filled -EPERM if another
 * user owns the directory or may write to it, or another -errno. */
int paths_make(const char *dir, char *error, size_t error_bytes);

/* The name of the directory's file system if it is copy-on-write: preallocated space of a segment
 * would not be kept. NULL for other file systems, and if copy-on-write could be switched off for
 * new files of the directory (btrfs). */
const char *paths_copies_on_write(const char *dir);

#endif
