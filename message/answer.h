/*
 * answer - the meaning of a worker's error text to other programs.
 */
#ifndef HEADGATE_MESSAGE_ANSWER_H
#define HEADGATE_MESSAGE_ANSWER_H

#include <stdbool.h>
#include <string.h>

/* Begins the error of a store, the worker's own or another one. The message is not at fault: people
 * should mend the store instead of giving the message up. */
#define ANSWER_STORE "store: "

static inline bool
answer_is_of_store(const char *error)
{
	return strncmp(error, ANSWER_STORE, sizeof(ANSWER_STORE) - 1) == 0;
}

#endif
