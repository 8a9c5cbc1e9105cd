/*
 * sink - the output of event(): standard error or a log file. Writes never block on a reader.
 */
#ifndef HEADGATE_TELEMETRY_SINK_H
#define HEADGATE_TELEMETRY_SINK_H

#include <stdbool.h>
#include <stddef.h>

/* Makes standard error a non-blocking descriptor, for this process and its children only: the flags
 * of the open file, shared with a shell or another program, do not change. Without this call a full
 * pipe blocks the writer. */
void sink_never_wait(void);

/* Sends lines to this file: opens for appending, and makes a missing file (0600). The path must be
 * absolute. Returns 0 or -errno. */
int sink_open(const char *path);

/* Opens the file again by its path, for log rotation; standard error follows if it was the same
 * file. After an error the old file stays in use. Async-signal-safe. No effect without a log
 * file. */
void sink_reopen(void);

/* Call once a second. Opens the file again if it was removed, and not if it was renamed, as log
 * rotation does. Returns true if it was opened. */
bool sink_restore(void);

/* The errno of a failed sink_reopen(), with the file's path; each error is returned once. 0: no
 * error. */
int sink_not_reopened(const char **path);

/* Makes standard error the log file, too. No effect without a log file. */
void sink_take_stderr(void);

/* True if lines go to a terminal. */
bool sink_is_terminal(void);

/* Writes a line with one write(2). False if the line or its end was dropped: no reader, or the disk
 * is full. */
bool sink_write(const char *line, size_t length);

#endif
