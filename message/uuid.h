/*
 * uuid - message ids for messages that come without one: UUID version 7, RFC 9562 section 5.7.
 */
#ifndef HEADGATE_MESSAGE_UUID_H
#define HEADGATE_MESSAGE_UUID_H

enum { UUID_TEXT_BYTES = 37 }; /* with the terminating NUL */

/* Writes a new one; no two calls of a process give the same, and later ones sort behind earlier ones.
 * No system call but for the clock's. */
void uuid_v7(char out[UUID_TEXT_BYTES]);

#endif
