#include "publisher/unpack.h"

#include <errno.h>
#include <string.h>

#include "message/wire.h"

enum { DEPTH = 8 }; /* RESULT needs four */

int
unpack_array(const void *payload, size_t length, msgpack_zone *zone, msgpack_object_array *root)
{
	msgpack_object object;
	size_t offset = 0;

	if (!wire_check(payload, length, DEPTH))
		return -EPROTO;
	if (msgpack_unpack(payload, length, &offset, zone, &object) != MSGPACK_UNPACK_SUCCESS)
		return -EPROTO;
	if (object.type != MSGPACK_OBJECT_ARRAY)
		return -EPROTO;
	*root = object.via.array;
	return 0;
}

bool
unpack_uint(const msgpack_object *object, uint64_t most, uint64_t *value)
{
	if (object->type != MSGPACK_OBJECT_POSITIVE_INTEGER || object->via.u64 > most)
		return false;
	*value = object->via.u64;
	return true;
}

bool
unpack_bool(const msgpack_object *object, bool *value)
{
	if (object->type != MSGPACK_OBJECT_BOOLEAN)
		return false;
	*value = object->via.boolean;
	return true;
}

bool
unpack_text(const msgpack_object *object, char *buffer, size_t capacity)
{
	const msgpack_object_str *text = &object->via.str;

	if (object->type != MSGPACK_OBJECT_STR || text->size >= capacity)
		return false;
	if (memchr(text->ptr, '\0', text->size) != NULL)
		return false;
	memcpy(buffer, text->ptr, text->size);
	buffer[text->size] = '\0';
	return true;
}
