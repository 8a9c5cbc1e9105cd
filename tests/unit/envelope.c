/*
 * The envelope: packing and opening are inverse, msgpack-c agrees, and damaged bytes are refused.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "message/envelope.h"
#include "message/wire.h"

static const char body[] =
    "{\"message_id\":\"m-1\",\"customer_id\":\"CUST-1\",\"n\":1.50,\"b\":true}";

static struct span
in_body(const char *text)
{
	return (struct span){ strstr(body, text), strlen(text) };
}

static long
pack(uint8_t *buffer, size_t capacity)
{
	static const uint8_t trace[ENVELOPE_TRACE_BYTES] = { 1, 2, 3 };
	const struct envelope_attribute_source attributes[] = {
		{ .name = in_body("customer_id"), .text = in_body("CUST-1"), .type = JSON_STRING },
		{ .name = in_body("n"), .text = in_body("1.50"), .type = JSON_NUMBER },
		{ .name = { "other", 5 }, .text = { "value", 5 }, .type = JSON_STRING },
		{ .name = in_body("b"), .text = in_body("true"), .type = JSON_BOOL, .value = true },
	};
	const struct envelope_source source = {
		.head = {
			.topic = 7,
			.group = in_body("CUST-1"),
			.dedup_id = in_body("m-1"),
			.message_id = in_body("m-1"),
			.published_ns = 1234567890123456789u,
			.trace = trace,
			.body = { body, sizeof(body) - 1 },
		},
		.attributes = attributes,
		.count = 4,
	};

	return envelope_pack(buffer, capacity, &source);
}

/* Opens a copy in an allocation of exactly this length, so that ASan finds a read beyond. */
static int
open_exact(const uint8_t *bytes, size_t length)
{
	uint8_t *copy = malloc(length ? length : 1);
	struct envelope envelope;
	struct json_value value;
	struct span name;
	size_t position = 0;
	int rc;

	memcpy(copy, bytes, length);
	rc = envelope_open(&envelope, copy, length, ENVELOPE_BODY_BYTES, NULL);
	if (rc == 0) {
		unsigned seen = 0;

		while (envelope_attribute(&envelope, &position, &name, &value))
			seen++;
		cr_assert(seen == envelope.attribute_count, "%u attributes", seen);
		cr_assert(wire_check(copy, length, 8), "what is opened is good msgpack");
	}
	free(copy);
	return rc;
}

Test(envelope, round_trip)
{
	uint8_t bytes[512];
	long length = pack(bytes, sizeof(bytes));
	struct envelope envelope;
	struct json_value value;

	cr_assert(length > 0 && open_exact(bytes, (size_t)length) == 0, "length %ld", length);
	cr_assert(envelope_open(&envelope, bytes, (size_t)length, 1000, NULL) == 0, "open");
	cr_assert(envelope.topic == 7 && envelope.published_ns == 1234567890123456789u, "numbers");
	cr_assert(envelope.group.length == 6 && memcmp(envelope.group.data, "CUST-1", 6) == 0, "g");
	cr_assert(envelope.body.length == sizeof(body) - 1 &&
		memcmp(envelope.body.data, body, sizeof(body) - 1) == 0,
	    "body");
	cr_assert(envelope_find_attribute(&envelope, "n", 1, &value) && value.type == JSON_NUMBER &&
		value.raw.length == 4,
	    "number");
	cr_assert(
	    envelope_find_attribute(&envelope, "other", 5, &value) && value.type == JSON_STRING,
	    "string");
	cr_assert(!envelope_find_attribute(&envelope, "none", 4, &value), "absent");
	cr_assert(
	    envelope_open(&envelope, bytes, (size_t)length, 10, NULL) == -EBADMSG, "too long");
	for (size_t capacity = 0; capacity < (size_t)length; capacity++)
		cr_assert(pack(bytes, capacity) == -ENOBUFS, "%zu bytes of room", capacity);
}

Test(envelope, msgpack_c_reads_the_same)
{
	uint8_t bytes[512];
	long length = pack(bytes, sizeof(bytes));
	msgpack_unpacked unpacked;

	msgpack_unpacked_init(&unpacked);
	cr_assert(msgpack_unpack_next(&unpacked, (char *)bytes, (size_t)length, NULL) ==
		MSGPACK_UNPACK_SUCCESS,
	    "unpack");
	cr_assert(unpacked.data.type == MSGPACK_OBJECT_ARRAY && unpacked.data.via.array.size == 8,
	    "an array of 8");
	cr_assert(unpacked.data.via.array.ptr[6].via.map.size == 4, "4 attributes");
	cr_assert(unpacked.data.via.array.ptr[7].via.str.size == sizeof(body) - 1, "the body");
	msgpack_unpacked_destroy(&unpacked);
}

static void
text_by_msgpack(msgpack_packer *packer, size_t offset, size_t length, const char *elsewhere)
{
	if (elsewhere != NULL) {
		msgpack_pack_str(packer, length);
		msgpack_pack_str_body(packer, elsewhere, length);
		return;
	}
	msgpack_pack_array(packer, 2);
	msgpack_pack_uint64(packer, offset);
	msgpack_pack_uint64(packer, length);
}

/* Packs an envelope with `count` attributes of `length` bytes, inside the body at `offset` or
 * outside, and compares with msgpack-c's bytes. */
static void
same_as_msgpack(size_t count, size_t offset, size_t length, uint64_t published_ns, bool inside)
{
	static char text[200000], other[70000], bytes[400000];
	static struct envelope_attribute_source attributes[ENVELOPE_ATTRIBUTES];
	struct span whole = { text, sizeof(text) };
	struct span value = { inside ? text + offset : other, length };
	struct envelope_source source = {
		.head = {
			.topic = UINT32_MAX,
			.group = { text + offset, length },
			.message_id = { other, length },
			.published_ns = published_ns,
			.body = whole,
		},
		.attributes = attributes,
		.count = count,
	};
	msgpack_sbuffer buffer;
	msgpack_packer packer;
	long packed;

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 8);
	msgpack_pack_uint64(&packer, UINT32_MAX);
	text_by_msgpack(&packer, offset, length, NULL);
	msgpack_pack_nil(&packer);
	text_by_msgpack(&packer, 0, length, other);
	msgpack_pack_uint64(&packer, published_ns);
	msgpack_pack_nil(&packer);
	msgpack_pack_map(&packer, count);
	for (size_t i = 0; i < count; i++) {
		attributes[i] = (struct envelope_attribute_source){
			.name = value, .text = value, .type = JSON_NUMBER
		};
		text_by_msgpack(&packer, offset, length, inside ? NULL : other);
		msgpack_pack_array(&packer, 1);
		text_by_msgpack(&packer, offset, length, inside ? NULL : other);
	}
	msgpack_pack_str(&packer, whole.length);
	msgpack_pack_str_body(&packer, whole.data, whole.length);
	packed = envelope_pack(bytes, sizeof(bytes), &source);
	cr_assert(packed == (long)buffer.size && memcmp(bytes, buffer.data, buffer.size) == 0,
	    "%zu attributes of %zu bytes at %zu: %ld and %zu bytes", count, length, offset, packed,
	    buffer.size);
	msgpack_sbuffer_destroy(&buffer);
}

Test(envelope, packed_as_msgpack_c_packs)
{
	static const size_t edges[] = { 0, 31, 32, 127, 128, 255, 256, 65535, 65536 };

	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		same_as_msgpack(1, edges[i], edges[i], edges[i], true);
		same_as_msgpack(1, edges[i], edges[i], (uint64_t)edges[i] << 16, false);
		if (edges[i] <= ENVELOPE_ATTRIBUTES)
			same_as_msgpack(edges[i], 1, 1, UINT64_MAX, true);
	}
	same_as_msgpack(15, 1, 1, UINT32_MAX, false);
	same_as_msgpack(16, 1, 1, UINT32_MAX + UINT64_C(1), false);
}

Test(envelope, every_truncation_is_refused)
{
	uint8_t bytes[513];
	long length = pack(bytes, sizeof(bytes));

	for (long i = 0; i < length; i++)
		cr_assert(open_exact(bytes, (size_t)i) == -EBADMSG, "%ld bytes", i);
	bytes[length] = 0;
	cr_assert(open_exact(bytes, (size_t)length + 1) == -EBADMSG, "a byte behind it");
}

Test(envelope, every_changed_byte_is_survived)
{
	uint8_t bytes[512];
	long length = pack(bytes, sizeof(bytes));

	for (long i = 0; i < length; i++) {
		uint8_t was = bytes[i];

		for (int value = 0; value < 256; value++) {
			bytes[i] = (uint8_t)value;
			open_exact(bytes, (size_t)length);
		}
		bytes[i] = was;
	}
}

Test(envelope, random_bytes_are_survived)
{
	unsigned seed = (unsigned)getpid();
	uint8_t bytes[200];

	fprintf(stderr, "# seed %u\n", seed);
	for (int round = 0; round < 100000; round++) {
		size_t length = (size_t)rand_r(&seed) % sizeof(bytes);

		for (size_t i = 0; i < length; i++)
			bytes[i] = (uint8_t)(rand_r(&seed) >> 7);
		bytes[0] = 0x98;
		open_exact(bytes, length);
		wire_check(bytes, length, 8);
	}
}

Test(wire, bombs_are_refused_without_memory)
{
	static const uint8_t bomb[] = { 0xdd, 0xff, 0, 0, 0 };
	static const uint8_t map[] = { 0xdf, 0xff, 0xff, 0xff, 0xff };
	uint8_t deep[40];

	memset(deep, 0x91, sizeof(deep));
	deep[39] = 0xc0;
	cr_assert(!wire_check(bomb, sizeof(bomb), 8), "array");
	cr_assert(!wire_check(map, sizeof(map), 8), "map");
	cr_assert(!wire_check(deep, sizeof(deep), 8), "depth");
	cr_assert(wire_check(deep + 32, 8, 8), "7 deep");
	cr_assert(!wire_check("", 0, 8), "nothing");
	cr_assert(!wire_check("\xc1", 1, 8), "the tag that is none");
	cr_assert(!wire_check("\x01\x01", 2, 8), "two objects");
}
