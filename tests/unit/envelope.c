/*
 * The envelope: what is packed is read back, msgpack-c agrees, and nothing else is believed.
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

/* Opens a copy of exactly this length, so that ASan sees one byte too many. */
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
