/*
 * answer - what the error text of a worker's answer says to those who read it.
 */
#ifndef HEADGATE_MESSAGE_ANSWER_H
#define HEADGATE_MESSAGE_ANSWER_H

#include <stdbool.h>
#include <string.h>

/* An error of a store, the worker's own or one that it reads, begins so. The message is not at fault: the store is to be
 * mended, and the message is not to be given up. */
#define ANSWER_STORE "store: "

static inline bool
answer_is_of_store(const char *error)
{
	return strncmp(error, ANSWER_STORE, sizeof(ANSWER_STORE) - 1) == 0;
}

#endif
