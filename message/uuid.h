/*
 * uuid - message ids for messages that come without one: UUID version 7, RFC 9562 section 5.7.
 */
#ifndef HEADGATE_MESSAGE_UUID_H
#define HEADGATE_MESSAGE_UUID_H

enum { UUID_TEXT_BYTES = 37 }; /* with the terminating NUL */

/* Writes a new id as lower-case text. Ids of one process are distinct and ascend. Not
 * thread-safe. */
void uuid_v7(char out[UUID_TEXT_BYTES]);

#endif
