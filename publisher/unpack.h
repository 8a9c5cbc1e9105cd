/*
 * unpack - unpacks msgpack payloads from the router, after wire_check().
 */
#ifndef HEADGATE_PUBLISHER_UNPACK_H
#define HEADGATE_PUBLISHER_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <msgpack.h>

/* Unpacks a payload that is one array. `root` refers to memory of `payload` and `zone`. Returns 0
 * or -EPROTO. */
int unpack_array(
    const void *payload, size_t length, msgpack_zone *zone, msgpack_object_array *root);

/* Each returns false if the object is of another type, or out of bounds. */
bool unpack_uint(const msgpack_object *, uint64_t most, uint64_t *value);
bool unpack_bool(const msgpack_object *, bool *value);
/* Copies a text and appends a NUL. A text that contains a NUL is refused. */
bool unpack_text(const msgpack_object *, char *buffer, size_t capacity);

#endif
