#include "publisher/topic.h"

#include <errno.h>
#include <string.h>

#include "message/envelope.h"
#include "publisher/unpack.h"

enum { ID, NAME, MAX_BODY, GROUP_BY, DEDUP_BY, CONTROL, QUEUES, ELEMENTS };

static bool
names_decode(
    const msgpack_object *object, char names[][CONFIG_NAME_BYTES], size_t capacity, size_t *count)
{
	if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size > capacity)
		return false;
	*count = object->via.array.size;
	for (size_t i = 0; i < *count; i++)
		if (!unpack_text(&object->via.array.ptr[i], names[i], CONFIG_NAME_BYTES))
			return false;
	return true;
}

static bool
dedup_decode(const msgpack_object *object, struct topic_settings *topic)
{
	char names[CONFIG_FIELDS][CONFIG_NAME_BYTES];

	if (!names_decode(object, names, CONFIG_FIELDS, &topic->dedup_by_count))
		return false;
	for (size_t i = 0; i < topic->dedup_by_count; i++) {
		if (strcmp(names[i], "message_id") == 0)
			topic->dedup_by[i] = TOPIC_DEDUP_MESSAGE_ID;
		else if (strcmp(names[i], "content") == 0)
			topic->dedup_by[i] = TOPIC_DEDUP_CONTENT;
		else
			return false;
	}
	return true;
}

static bool
elements_decode(const msgpack_object *elements, struct topic_settings *topic)
{
	uint64_t id, max_body_bytes;

	if (!unpack_uint(&elements[ID], UINT32_MAX, &id) ||
	    !unpack_text(&elements[NAME], topic->name, sizeof(topic->name)) ||
	    !unpack_uint(&elements[MAX_BODY], ENVELOPE_BODY_BYTES_MAX, &max_body_bytes) ||
	    !unpack_bool(&elements[CONTROL], &topic->control))
		return false;
	topic->id = (uint32_t)id;
	topic->max_body_bytes = max_body_bytes;
	return names_decode(
		   &elements[GROUP_BY], topic->group_by, CONFIG_FIELDS, &topic->group_by_count) &&
	    names_decode(&elements[QUEUES], topic->queues, CONFIG_QUEUES, &topic->queue_count) &&
	    dedup_decode(&elements[DEDUP_BY], topic);
}

int
topic_decode(struct topic_settings *topic, const void *payload, size_t length)
{
	msgpack_object_array root;
	msgpack_zone zone;
	int error;

	if (!msgpack_zone_init(&zone, 4096))
		return -ENOMEM;
	error = unpack_array(payload, length, &zone, &root);
	/* Later versions may append elements. */
	if (error == 0 && (root.size < ELEMENTS || !elements_decode(root.ptr, topic)))
		error = -EPROTO;
	msgpack_zone_destroy(&zone);
	return error;
}
