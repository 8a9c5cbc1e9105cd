/*
 * known - which queues have a log: STATE/known/QUEUE.log, an empty file, is made when the log's first segment is durable,
 * and before a message is taken for it. So a log of which no file is left is told from one that was never made.
 */
#ifndef HEADGATE_LOG_KNOWN_H
#define HEADGATE_LOG_KNOWN_H

#include "log/list.h"

void log_known_path(char path[LOG_PATH_BYTES], const char *state_dir, const char *queue);

/* Router. Makes a log known, and that durable; again at each start, for the router before may have died before it
 * was. The log itself is durable. Returns 0 or -errno. */
int log_known_add(const char *state_dir, const char *queue);

/* Anyone. Of a queue of which log_list_open() says that it has no log: returns 0 when it never had one; -EBADMSG, with
 * error filled, when it had, for it is known or ids of its segments are left; or another -errno, likewise. */
int log_known_lost(const char *state_dir, const char *queue, char *error, size_t error_bytes);

#endif
