/*
 * unpack - msgpack payloads from the router as objects to look at, checked before they are read.
 */
#ifndef HEADGATE_PUBLISHER_UNPACK_H
#define HEADGATE_PUBLISHER_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <msgpack.h>

/* Unpacks all of payload, an array; what root refers to lives in payload and in zone. Returns 0 or
 * -EPROTO. */
int unpack_array(
    const void *payload, size_t length, msgpack_zone *zone, msgpack_object_array *root);

/* Each returns false when the object is something else, or does not fit. */
bool unpack_uint(const msgpack_object *, uint64_t most, uint64_t *value);
bool unpack_bool(const msgpack_object *, bool *value);
/* Copies the text and ends it with a NUL; a text with a NUL in it is refused. */
bool unpack_text(const msgpack_object *, char *buffer, size_t capacity);

#endif
