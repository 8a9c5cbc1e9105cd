#include "message/envelope.h"

#include <errno.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { FIELDS = 8, HASH_BYTES = 32 };

uint32_t
envelope_topic_id(const char *name)
{
	uint32_t id = (uint32_t)XXH3_64bits(name, strlen(name));

	return id ? id : 1;
}

/*
 * Reading: a cursor over msgpack, for the types of an envelope only. Each function returns false if
 * the next bytes are missing or of another type.
 */

struct cursor {
	const uint8_t *at, *end;
	/* Furthest end of a reference so far. The body comes last, so references are checked behind
	 * the loop over the attributes, and all at once. */
	uint64_t reach;
};

/* A text as encoded: its bytes, or a reference to the body, which has not been read yet. */
struct text {
	const char *data; /* NULL: a reference of `length` bytes at `offset` */
	uint64_t offset, length;
};

static bool
take(struct cursor *cursor, size_t bytes, const uint8_t **data)
{
	if ((size_t)(cursor->end - cursor->at) < bytes)
		return false;
	*data = cursor->at;
	cursor->at += bytes;
	return true;
}

static bool
take_big_endian(struct cursor *cursor, size_t bytes, uint64_t *value)
{
	const uint8_t *data;

	if (!take(cursor, bytes, &data))
		return false;
	*value = 0;
	for (size_t i = 0; i < bytes; i++)
		*value = *value << 8 | data[i];
	return true;
}

static bool
take_tag(struct cursor *cursor, uint8_t *tag)
{
	if (cursor->at == cursor->end)
		return false;
	*tag = *cursor->at++;
	return true;
}

static bool
read_large_uint(struct cursor *cursor, uint64_t *value)
{
	uint8_t tag;

	return take_tag(cursor, &tag) && tag >= 0xcc && tag <= 0xcf &&
	    take_big_endian(cursor, (size_t)1 << (tag - 0xcc), value);
}

/* Most uints of an envelope are parts of references, and small: the first two branches are fast
 * paths. */
static inline bool
read_uint(struct cursor *cursor, uint64_t *value)
{
	const uint8_t *at = cursor->at;
	size_t left = (size_t)(cursor->end - at);

	if (left >= 1 && at[0] < 0x80) {
		*value = at[0];
		cursor->at = at + 1;
		return true;
	}
	if (left >= 2 && at[0] == 0xcc) {
		*value = at[1];
		cursor->at = at + 2;
		return true;
	}
	return read_large_uint(cursor, value);
}

/* Reads the length of a value with this tag. The "fix" form of a type has the length in the tag's
 * low bits (fix_mask; 0: the type has no such form). The other forms are consecutive tags from
 * `first`, with big-endian lengths of `smallest` bytes, twice as many, ... up to 4. */
static bool
read_length(struct cursor *cursor, uint8_t tag, uint8_t fix, uint8_t fix_mask, uint8_t first,
    size_t smallest, uint64_t *length)
{
	if (fix_mask != 0 && (tag & (uint8_t)~fix_mask) == fix) {
		*length = tag & fix_mask;
		return true;
	}
	if (tag < first || (size_t)1 << (tag - first) > 4 / smallest)
		return false;
	return take_big_endian(cursor, smallest << (tag - first), length);
}

static bool
read_array(struct cursor *cursor, uint64_t *count)
{
	uint8_t tag;

	return take_tag(cursor, &tag) && read_length(cursor, tag, 0x90, 0x0f, 0xdc, 2, count);
}

static bool
read_map(struct cursor *cursor, uint64_t *count)
{
	uint8_t tag;

	return take_tag(cursor, &tag) && read_length(cursor, tag, 0x80, 0x0f, 0xde, 2, count);
}

static bool
read_string(struct cursor *cursor, struct span *span)
{
	const uint8_t *data;
	uint64_t length;
	uint8_t tag;

	if (!take_tag(cursor, &tag) || !read_length(cursor, tag, 0xa0, 0x1f, 0xd9, 1, &length) ||
	    !take(cursor, length, &data))
		return false;
	*span = (struct span){ .data = (const char *)data, .length = length };
	return true;
}

static bool
read_bin(struct cursor *cursor, struct span *span)
{
	const uint8_t *data;
	uint64_t length;
	uint8_t tag;

	if (!take_tag(cursor, &tag) || !read_length(cursor, tag, 0, 0, 0xc4, 1, &length) ||
	    !take(cursor, length, &data))
		return false;
	*span = (struct span){ .data = (const char *)data, .length = length };
	return true;
}

static bool
peek_tag(const struct cursor *cursor, uint8_t *tag)
{
	if (cursor->at == cursor->end)
		return false;
	*tag = *cursor->at;
	return true;
}

static bool
is_array(uint8_t tag)
{
	return (tag & 0xf0) == 0x90 || tag == 0xdc || tag == 0xdd;
}

static inline bool
read_reference(struct cursor *cursor, struct text *text)
{
	uint64_t end;

	text->data = NULL;
	if (!read_uint(cursor, &text->offset) || !read_uint(cursor, &text->length) ||
	    __builtin_add_overflow(text->offset, text->length, &end))
		return false;
	if (end > cursor->reach)
		cursor->reach = end;
	return true;
}

/* A text that is not a reference in its shortest form. */
static bool
read_other_text(struct cursor *cursor, struct text *text)
{
	struct span span;
	uint64_t count;
	uint8_t tag;

	if (!peek_tag(cursor, &tag))
		return false;
	if (is_array(tag))
		return read_array(cursor, &count) && count == 2 && read_reference(cursor, text);
	if (!read_string(cursor, &span))
		return false;
	*text = (struct text){ .data = span.data, .length = span.length };
	return true;
}

static inline bool
read_text(struct cursor *cursor, struct text *text)
{
	if (cursor->at == cursor->end || *cursor->at != 0x92)
		return read_other_text(cursor, text);
	cursor->at++;
	return read_reference(cursor, text);
}

/* Turns a text into a span once the body is known. False if a reference leaves the body. */
static bool
resolve(const struct text *text, struct span body, struct span *span)
{
	if (text->data != NULL) {
		*span = (struct span){ .data = text->data, .length = text->length };
		return true;
	}
	if (text->offset > body.length || text->length > body.length - text->offset)
		return false;
	*span = (struct span){ .data = body.data + text->offset, .length = text->length };
	return true;
}

static bool
resolve_id(const struct text *text, struct span body, struct span *span)
{
	return resolve(text, body, span) && span->length >= 1 &&
	    span->length <= ENVELOPE_ID_BYTES && memchr(span->data, '\0', span->length) == NULL;
}

static bool
read_dedup(struct cursor *cursor, struct envelope *envelope, struct text *text, bool *is_text)
{
	uint8_t tag;

	*is_text = false;
	envelope->dedup_id = (struct span){ 0 };
	envelope->dedup_is_hash = false;
	if (!peek_tag(cursor, &tag))
		return false;
	if (tag == 0xc0) {
		cursor->at++;
		return true;
	}
	if (tag < 0xc4 || tag > 0xc6) {
		*is_text = true;
		return read_text(cursor, text);
	}
	envelope->dedup_is_hash = true;
	return read_bin(cursor, &envelope->dedup_id) && envelope->dedup_id.length == HASH_BYTES;
}

static bool
read_trace(struct cursor *cursor, struct envelope *envelope)
{
	struct span span;
	uint8_t tag;

	envelope->trace = NULL;
	if (!peek_tag(cursor, &tag))
		return false;
	if (tag == 0xc0) {
		cursor->at++;
		return true;
	}
	if (!read_bin(cursor, &span) || span.length != ENVELOPE_TRACE_BYTES)
		return false;
	envelope->trace = (const uint8_t *)span.data;
	return true;
}

static bool
read_attribute(
    struct cursor *cursor, struct text *name, struct text *value, enum json_type *type, bool *truth)
{
	uint64_t count;
	uint8_t tag;

	if (!read_text(cursor, name) || !peek_tag(cursor, &tag))
		return false;
	if (tag == 0xc2 || tag == 0xc3) {
		cursor->at++;
		*type = JSON_BOOL;
		*truth = tag == 0xc3;
		return true;
	}
	if (tag == 0x91) {
		*type = JSON_NUMBER;
		return read_array(cursor, &count) && read_text(cursor, value);
	}
	*type = JSON_STRING;
	return read_text(cursor, value);
}

static bool
read_attributes(struct cursor *cursor, struct envelope *envelope)
{
	struct text name, value;
	enum json_type type;
	uint64_t count;
	bool truth = false;

	if (!read_map(cursor, &count) || count > ENVELOPE_ATTRIBUTES)
		return false;
	envelope->attribute_count = (uint32_t)count;
	envelope->attributes.data = (const char *)cursor->at;
	for (uint64_t i = 0; i < count; i++)
		if (!read_attribute(cursor, &name, &value, &type, &truth))
			return false;
	envelope->attributes.length =
	    (size_t)((const char *)cursor->at - envelope->attributes.data);
	return true;
}

int
envelope_open(
    struct envelope *envelope, const void *data, size_t length, size_t max_body, const char **why)
{
	struct cursor cursor = { .at = data, .end = (const uint8_t *)data + length };
	struct text group, dedup, message_id;
	bool dedup_is_text;
	const char *unused;
	uint64_t count, topic;

	if (why == NULL)
		why = &unused;
	*why = "envelope: not a msgpack array of 8";
	if (!read_array(&cursor, &count) || count != FIELDS)
		return -EBADMSG;
	*why = "envelope: bad topic";
	if (!read_uint(&cursor, &topic) || topic == 0 || topic > UINT32_MAX)
		return -EBADMSG;
	*why = "envelope: bad group";
	if (!read_text(&cursor, &group))
		return -EBADMSG;
	*why = "envelope: bad deduplication id";
	if (!read_dedup(&cursor, envelope, &dedup, &dedup_is_text))
		return -EBADMSG;
	*why = "envelope: bad message id";
	if (!read_text(&cursor, &message_id))
		return -EBADMSG;
	*why = "envelope: bad publish time";
	if (!read_uint(&cursor, &envelope->published_ns))
		return -EBADMSG;
	*why = "envelope: bad trace context";
	if (!read_trace(&cursor, envelope))
		return -EBADMSG;
	*why = "envelope: bad attributes";
	if (!read_attributes(&cursor, envelope))
		return -EBADMSG;
	*why = "envelope: bad body";
	if (!read_string(&cursor, &envelope->body) || cursor.at != cursor.end ||
	    envelope->body.length == 0)
		return -EBADMSG;
	*why = "message too large";
	if (envelope->body.length > max_body ||
	    length - envelope->body.length > ENVELOPE_OVERHEAD_BYTES)
		return -EBADMSG;
	*why = "envelope: an id is empty, longer than 128 bytes, or outside of the body";
	if (!resolve_id(&group, envelope->body, &envelope->group) ||
	    !resolve_id(&message_id, envelope->body, &envelope->message_id) ||
	    (dedup_is_text && !resolve_id(&dedup, envelope->body, &envelope->dedup_id)))
		return -EBADMSG;
	*why = "envelope: an attribute outside of the body";
	if (cursor.reach > envelope->body.length)
		return -EBADMSG;
	envelope->topic = (uint32_t)topic;
	*why = NULL;
	return 0;
}

static struct cursor
attributes_from(const struct envelope *envelope, size_t position)
{
	const uint8_t *data = (const uint8_t *)envelope->attributes.data;

	return (struct cursor){ .at = data + position, .end = data + envelope->attributes.length };
}

static bool
resolve_value(
    const struct envelope *envelope, const struct text *text, bool truth, struct json_value *value)
{
	static const struct span truth_texts[] = { { "false", 5 }, { "true", 4 } };

	if (value->type != JSON_BOOL)
		return resolve(text, envelope->body, &value->raw);
	value->raw = truth_texts[truth];
	return true;
}

bool
envelope_attribute(
    const struct envelope *envelope, size_t *position, struct span *name, struct json_value *value)
{
	struct cursor cursor = attributes_from(envelope, *position);
	struct text name_text, value_text;
	bool truth = false;

	*value = (struct json_value){ 0 };
	if (cursor.at == cursor.end ||
	    !read_attribute(&cursor, &name_text, &value_text, &value->type, &truth) ||
	    !resolve(&name_text, envelope->body, name) ||
	    !resolve_value(envelope, &value_text, truth, value))
		return false;
	*position = (size_t)((const char *)cursor.at - envelope->attributes.data);
	return true;
}

bool
envelope_find_attribute(
    const struct envelope *envelope, const char *name, size_t name_length, struct json_value *value)
{
	struct cursor cursor = attributes_from(envelope, 0);
	struct text name_text, value_text;
	struct span found;
	bool truth = false;

	*value = (struct json_value){ 0 };
	while (cursor.at != cursor.end &&
	    read_attribute(&cursor, &name_text, &value_text, &value->type, &truth))
		if (name_text.length == name_length &&
		    resolve(&name_text, envelope->body, &found) &&
		    memcmp(found.data, name, name_length) == 0)
			return resolve_value(envelope, &value_text, truth, value);
	return false;
}

/*
 * Packing: each value in its shortest form, the same bytes as msgpack-c would write. msgpack-c
 * itself calls two functions per value, a packer and a write callback, which cost too much here.
 */

struct packer {
	uint8_t *at, *end;
	bool full; /* a value did not fit; the rest is dropped */
};

/* Reserves `bytes` bytes, or returns NULL and marks the packer full. */
static inline uint8_t *
make_room(struct packer *packer, size_t bytes)
{
	uint8_t *at = packer->at;

	if (bytes > (size_t)(packer->end - at)) {
		packer->full = true;
		packer->end = at;
		return NULL;
	}
	packer->at += bytes;
	return at;
}

static inline void
pack_tag(struct packer *packer, uint8_t tag)
{
	uint8_t *at = make_room(packer, 1);

	if (at != NULL)
		*at = tag;
}

/* Packs a tag and a big-endian integer of `bytes` bytes. */
static inline void
pack_big_endian(struct packer *packer, uint8_t tag, uint64_t value, size_t bytes)
{
	uint8_t *at = make_room(packer, 1 + bytes);

	if (at == NULL)
		return;
	at[0] = tag;
	for (; bytes > 0; bytes--, value >>= 8)
		at[bytes] = (uint8_t)value;
}

static void
pack_uint(struct packer *packer, uint64_t value)
{
	if (value < 0x80)
		pack_tag(packer, (uint8_t)value);
	else if (value <= UINT8_MAX)
		pack_big_endian(packer, 0xcc, value, 1);
	else if (value <= UINT16_MAX)
		pack_big_endian(packer, 0xcd, value, 2);
	else if (value <= UINT32_MAX)
		pack_big_endian(packer, 0xce, value, 4);
	else
		pack_big_endian(packer, 0xcf, value, 8);
}

static void
pack_bytes(struct packer *packer, const void *data, size_t length)
{
	uint8_t *at = make_room(packer, length);

	if (at != NULL)
		memcpy(at, data, length);
}

static void
pack_string(struct packer *packer, struct span text)
{
	if (text.length < 0x20)
		pack_tag(packer, (uint8_t)(0xa0 | text.length));
	else if (text.length <= UINT8_MAX)
		pack_big_endian(packer, 0xd9, text.length, 1);
	else if (text.length <= UINT16_MAX)
		pack_big_endian(packer, 0xda, text.length, 2);
	else
		pack_big_endian(packer, 0xdb, text.length, 4);
	pack_bytes(packer, text.data, text.length);
}

/* At most 255 bytes. */
static void
pack_bin(struct packer *packer, const void *data, size_t length)
{
	pack_big_endian(packer, 0xc4, length, 1);
	pack_bytes(packer, data, length);
}

static void
pack_map(struct packer *packer, size_t count)
{
	if (count < 0x10)
		pack_tag(packer, (uint8_t)(0x80 | count));
	else
		pack_big_endian(packer, 0xde, count, 2);
}

static void
pack_text(struct packer *packer, struct span text, struct span body)
{
	uintptr_t from = (uintptr_t)text.data, start = (uintptr_t)body.data;

	/* Addresses decide, not contents: a text outside the body is packed as its bytes, even if
	 * equal bytes stand in the body. */
	if (from < start || from + text.length > start + body.length) {
		pack_string(packer, text);
		return;
	}
	pack_tag(packer, 0x92);
	pack_uint(packer, from - start);
	pack_uint(packer, text.length);
}

static void
pack_dedup(struct packer *packer, const struct envelope *head)
{
	if (head->dedup_id.data == NULL)
		pack_tag(packer, 0xc0);
	else if (head->dedup_is_hash)
		pack_bin(packer, head->dedup_id.data, head->dedup_id.length);
	else
		pack_text(packer, head->dedup_id, head->body);
}

static void
pack_trace(struct packer *packer, const uint8_t *trace)
{
	if (trace == NULL)
		pack_tag(packer, 0xc0);
	else
		pack_bin(packer, trace, ENVELOPE_TRACE_BYTES);
}

static void
pack_attribute(
    struct packer *packer, const struct envelope_attribute_source *attribute, struct span body)
{
	pack_text(packer, attribute->name, body);
	if (attribute->type == JSON_BOOL) {
		pack_tag(packer, attribute->value ? 0xc3 : 0xc2);
		return;
	}
	if (attribute->type == JSON_NUMBER)
		pack_tag(packer, 0x91);
	pack_text(packer, attribute->text, body);
}

long
envelope_pack(void *buffer, size_t capacity, const struct envelope_source *source)
{
	const struct envelope *head = &source->head;
	struct packer packer = { .at = buffer, .end = (uint8_t *)buffer + capacity };

	pack_tag(&packer, 0x90 | FIELDS);
	pack_uint(&packer, head->topic);
	pack_text(&packer, head->group, head->body);
	pack_dedup(&packer, head);
	pack_text(&packer, head->message_id, head->body);
	pack_uint(&packer, head->published_ns);
	pack_trace(&packer, head->trace);
	pack_map(&packer, source->count);
	for (size_t i = 0; i < source->count; i++)
		pack_attribute(&packer, &source->attributes[i], head->body);
	pack_string(&packer, head->body);
	return packer.full ? -ENOBUFS : (long)(packer.at - (uint8_t *)buffer);
}
