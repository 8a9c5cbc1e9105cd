#include "message/blocked.h"

#include <msgpack.h>
#include <string.h>

#include "message/wire.h"

enum {
	DEPTH = 4,
	ASK_FIELDS = 2,
	PAGE_FIELDS = 4,
	GROUP_FIELDS = 9,
	TRY_FIELDS = 5,
	TRIED_FIELDS = 5,
	/* Longest group on the wire: array tag, seven integers, status, state, and error. */
	GROUP_BYTES = 1 + 7 * 9 + 3 + 2 + BLOCKED_ERROR_BYTES
};
_Static_assert(BLOCKED_PAGE *GROUP_BYTES + 32 <= WIRE_SMALL_BYTES, "a page is one frame");

const char *
blocked_state_name(enum blocked_state state)
{
	static const char *const names[] = {
		[BLOCKED_WAITING] = "waiting",
		[BLOCKED_TRYING] = "trying",
		[BLOCKED_RELEASING] = "releasing",
	};

	return state >= BLOCKED_WAITING && state <= BLOCKED_RELEASING ? names[state] : NULL;
}

void
blocked_copy(char *to, size_t size, const char *text, size_t length)
{
	size_t n = strnlen(text, length);

	if (n >= size) {
		n = size - 1;
		/* Back to the first byte of a character. */
		while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
			n--;
	}
	memcpy(to, text, n);
	to[n] = '\0';
}

/*
 * Packing.
 */

static void
pack_text(msgpack_packer *packer, const char *text)
{
	size_t length = strlen(text);

	msgpack_pack_str(packer, length);
	msgpack_pack_str_body(packer, text, length);
}

static void
pack_bool(msgpack_packer *packer, bool value)
{
	if (value)
		msgpack_pack_true(packer);
	else
		msgpack_pack_false(packer);
}

static void
begin(msgpack_packer *packer, struct msgpack_sbuffer *buffer, size_t fields)
{
	msgpack_packer_init(packer, buffer, msgpack_sbuffer_write);
	msgpack_pack_array(packer, fields);
}

void
blocked_pack_ask(struct msgpack_sbuffer *buffer, const struct blocked_ask *ask)
{
	msgpack_packer packer;

	begin(&packer, buffer, ASK_FIELDS);
	pack_text(&packer, ask->queue);
	msgpack_pack_uint64(&packer, ask->from);
}

static void
pack_group(msgpack_packer *packer, const struct blocked_group *group)
{
	msgpack_pack_array(packer, GROUP_FIELDS);
	msgpack_pack_uint64(packer, group->hash);
	msgpack_pack_uint64(packer, group->sequence);
	msgpack_pack_uint64(packer, group->since_ns);
	msgpack_pack_uint64(packer, group->due_in_ns);
	msgpack_pack_uint64(packer, group->behind);
	msgpack_pack_uint32(packer, group->tries);
	msgpack_pack_uint16(packer, group->status);
	msgpack_pack_uint8(packer, (uint8_t)group->state);
	pack_text(packer, group->error);
}

void
blocked_pack_page(struct msgpack_sbuffer *buffer, const struct blocked_page *page)
{
	msgpack_packer packer;

	begin(&packer, buffer, PAGE_FIELDS);
	pack_bool(&packer, page->known);
	pack_bool(&packer, page->more);
	msgpack_pack_uint64(&packer, page->total);
	msgpack_pack_array(&packer, page->count);
	for (uint32_t i = 0; i < page->count; i++)
		pack_group(&packer, &page->groups[i]);
}

void
blocked_pack_try(struct msgpack_sbuffer *buffer, const struct blocked_try *try)
{
	msgpack_packer packer;

	begin(&packer, buffer, TRY_FIELDS);
	pack_text(&packer, try->queue);
	pack_text(&packer, try->group);
	pack_bool(&packer, try->skip);
	pack_text(&packer, try->message_id);
	pack_text(&packer, try->reason);
}

void
blocked_pack_tried(struct msgpack_sbuffer *buffer, const struct blocked_tried *tried)
{
	msgpack_packer packer;

	begin(&packer, buffer, TRIED_FIELDS);
	msgpack_pack_uint8(&packer, (uint8_t)tried->outcome);
	msgpack_pack_uint64(&packer, tried->sequence);
	pack_text(&packer, tried->message_id);
	msgpack_pack_uint16(&packer, tried->status);
	pack_text(&packer, tried->text);
}

/*
 * Reading.
 */

/* The fields of an array of `count` fields; NULL for any other object. */
static const msgpack_object *
fields_of(const msgpack_object *object, uint32_t count)
{
	return object->type == MSGPACK_OBJECT_ARRAY && object->via.array.size == count
	    ? object->via.array.ptr
	    : NULL;
}

static bool
read_text(char *to, size_t size, const msgpack_object *from)
{
	size_t length = from->type == MSGPACK_OBJECT_STR ? from->via.str.size : size;

	if (length >= size)
		return false;
	if (length > 0) /* the pointer of an empty text may be NULL, which memcpy() forbids */
		memcpy(to, from->via.str.ptr, length);
	to[length] = '\0';
	return strlen(to) == length; /* a NUL inside would cut the text for its readers */
}

static bool
read_bool(bool *to, const msgpack_object *from)
{
	*to = from->type == MSGPACK_OBJECT_BOOLEAN && from->via.boolean;
	return from->type == MSGPACK_OBJECT_BOOLEAN;
}

static bool
read_number(uint64_t *to, const msgpack_object *from, uint64_t lowest, uint64_t highest)
{
	*to = from->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? from->via.u64 : 0;
	return from->type == MSGPACK_OBJECT_POSITIVE_INTEGER && *to >= lowest && *to <= highest;
}

static bool
unpack_ask(void *to, const msgpack_object *object)
{
	const msgpack_object *field = fields_of(object, ASK_FIELDS);
	struct blocked_ask *ask = to;

	return field != NULL && read_text(ask->queue, sizeof(ask->queue), &field[0]) &&
	    read_number(&ask->from, &field[1], 0, UINT64_MAX);
}

static bool
unpack_group(struct blocked_group *group, const msgpack_object *object)
{
	const msgpack_object *field = fields_of(object, GROUP_FIELDS);
	uint64_t tries = 0, status = 0, state = 0;
	bool good = field != NULL && read_number(&group->hash, &field[0], 0, UINT64_MAX) &&
	    read_number(&group->sequence, &field[1], 0, UINT64_MAX) &&
	    read_number(&group->since_ns, &field[2], 0, UINT64_MAX) &&
	    read_number(&group->due_in_ns, &field[3], 0, UINT64_MAX) &&
	    read_number(&group->behind, &field[4], 0, UINT64_MAX) &&
	    read_number(&tries, &field[5], 0, UINT32_MAX) &&
	    read_number(&status, &field[6], 400, 599) &&
	    read_number(&state, &field[7], BLOCKED_WAITING, BLOCKED_RELEASING) &&
	    read_text(group->error, sizeof(group->error), &field[8]);

	group->tries = (uint32_t)tries;
	group->status = (uint16_t)status;
	group->state = (enum blocked_state)state;
	return good;
}

struct expected_page {
	struct blocked_page *page;
	uint64_t from;
};

static bool
unpack_page(void *to, const msgpack_object *object)
{
	const msgpack_object *field = fields_of(object, PAGE_FIELDS);
	struct blocked_page *page = ((struct expected_page *)to)->page;
	uint64_t lowest = ((struct expected_page *)to)->from;

	if (field == NULL || !read_bool(&page->known, &field[0]) ||
	    !read_bool(&page->more, &field[1]) ||
	    !read_number(&page->total, &field[2], 0, UINT64_MAX) ||
	    field[3].type != MSGPACK_OBJECT_ARRAY || field[3].via.array.size > BLOCKED_PAGE)
		return false;
	page->count = field[3].via.array.size;
	for (uint32_t i = 0; i < page->count; i++) {
		struct blocked_group *group = &page->groups[i];

		if (!unpack_group(group, &field[3].via.array.ptr[i]) || group->hash < lowest)
			return false;
		if (group->hash == UINT64_MAX) /* the highest hash must be the last */
			return i + 1 == page->count && !page->more;
		lowest = group->hash + 1;
	}
	return !page->more || page->count > 0;
}

static bool
unpack_try(void *to, const msgpack_object *object)
{
	const msgpack_object *field = fields_of(object, TRY_FIELDS);
	struct blocked_try *try = to;

	return field != NULL && read_text(try->queue, sizeof(try->queue), &field[0]) &&
	    read_text(try->group, sizeof(try->group), &field[1]) && try->group[0] != '\0' &&
	    read_bool(&try->skip, &field[2]) &&
	    read_text(try->message_id, sizeof(try->message_id), &field[3]) &&
	    read_text(try->reason, sizeof(try->reason), &field[4]);
}

static bool
unpack_tried(void *to, const msgpack_object *object)
{
	const msgpack_object *field = fields_of(object, TRIED_FIELDS);
	struct blocked_tried *tried = to;
	uint64_t outcome = 0, status = 0;
	bool good = field != NULL &&
	    read_number(&outcome, &field[0], BLOCKED_ENDED, BLOCKED_NO_QUEUE) &&
	    read_number(&tried->sequence, &field[1], 0, UINT64_MAX) &&
	    read_text(tried->message_id, sizeof(tried->message_id), &field[2]) &&
	    read_number(&status, &field[3], 0, 599) && (status == 0 || status >= 200) &&
	    read_text(tried->text, sizeof(tried->text), &field[4]);

	tried->outcome = (enum blocked_outcome)outcome;
	tried->status = (uint16_t)status;
	return good;
}

static bool
read_payload(
    bool (*unpack)(void *, const msgpack_object *), void *to, const void *payload, size_t length)
{
	msgpack_unpacked unpacked;
	bool good;

	if (!wire_check(payload, length, DEPTH))
		return false;
	msgpack_unpacked_init(&unpacked);
	good = msgpack_unpack_next(&unpacked, payload, length, NULL) == MSGPACK_UNPACK_SUCCESS &&
	    unpack(to, &unpacked.data);
	msgpack_unpacked_destroy(&unpacked);
	return good;
}

bool
blocked_read_ask(struct blocked_ask *ask, const void *payload, size_t length)
{
	return read_payload(unpack_ask, ask, payload, length);
}

bool
blocked_read_page(struct blocked_page *page, uint64_t from, const void *payload, size_t length)
{
	struct expected_page expected = { .page = page, .from = from };

	return read_payload(unpack_page, &expected, payload, length);
}

bool
blocked_read_try(struct blocked_try *try, const void *payload, size_t length)
{
	return read_payload(unpack_try, try, payload, length);
}

bool
blocked_read_tried(struct blocked_tried *tried, const void *payload, size_t length)
{
	return read_payload(unpack_tried, tried, payload, length);
}
