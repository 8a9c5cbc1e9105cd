/*
 * sink - where the lines of event() go: standard error, or a log file. Writing never waits for a reader.
 */
#ifndef HEADGATE_TELEMETRY_SINK_H
#define HEADGATE_TELEMETRY_SINK_H

#include <stdbool.h>
#include <stddef.h>

/* Makes standard error a descriptor that never waits, for this process and its children only: the open file that a
 * shell or another program shares with us keeps its flags. Without this call a full pipe stops the writer. */
void sink_never_wait(void);

/* Lines go to this file from here on; it is made if need be (0600), and appended to. The path must be absolute.
 * Returns 0 or -errno. */
int sink_open(const char *path);

/* Opens the file anew under its name, for log rotation; standard error follows if it is the same file. The old file
 * stays in use when that fails. Async-signal-safe. Nothing happens where lines go to standard error. */
void sink_reopen(void);

/* To be called once a second: opens the file anew if it was removed; not one that has another name now, as in log rotation.
 * Returns whether it did. */
bool sink_restore(void);

/* Why the last sink_reopen() failed, an errno, and the file's path; said once. 0: it did not. */
int sink_not_reopened(const char **path);

/* Standard error becomes the log file, too. Nothing happens where there is none. */
void sink_take_stderr(void);

/* A terminal, for a person. */
bool sink_is_terminal(void);

/* Writes one line with one write(2). False when it, or its end, was dropped: nobody reads, or the disk is full. */
bool sink_write(const char *line, size_t length);

#endif
