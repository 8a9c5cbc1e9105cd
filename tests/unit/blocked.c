#include <criterion/criterion.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "message/blocked.h"
#include "message/wire.h"

static const struct blocked_ask ask = { .queue = "payment-processing", .from = UINT64_MAX - 3 };
static const struct blocked_try order = {
	.queue = "payment-processing",
	.group = "K\xc3\xb6ln-7",
	.skip = true,
	.message_id = "m-1",
	.reason = "by hand",
};
static const struct blocked_tried tried = {
	.outcome = BLOCKED_FAILED_AGAIN,
	.sequence = UINT64_MAX,
	.message_id = "m-1",
	.status = 503,
	.text = "no answer",
};
static struct blocked_page page, got;

static void
fill_page(uint32_t count)
{
	page = (struct blocked_page){ .known = true, .total = 100000, .count = count };
	for (uint32_t i = 0; i < count; i++) {
		page.groups[i] = (struct blocked_group){
			.hash = UINT64_MAX - count + i,
			.sequence = UINT64_MAX - i,
			.since_ns = UINT64_MAX,
			.due_in_ns = UINT64_MAX,
			.behind = UINT64_MAX,
			.tries = UINT32_MAX,
			.status = 599,
			.state = BLOCKED_RELEASING,
		};
		memset(page.groups[i].error, 'x', sizeof(page.groups[i].error) - 1);
	}
}

static bool
same_page(void)
{
	if (got.known != page.known || got.more != page.more || got.total != page.total ||
	    got.count != page.count)
		return false;
	for (uint32_t i = 0; i < page.count; i++) {
		const struct blocked_group *a = &got.groups[i], *b = &page.groups[i];

		if (a->hash != b->hash || a->sequence != b->sequence ||
		    a->since_ns != b->since_ns || a->due_in_ns != b->due_in_ns ||
		    a->behind != b->behind || a->tries != b->tries || a->status != b->status ||
		    a->state != b->state || strcmp(a->error, b->error) != 0)
			return false;
	}
	return true;
}

Test(blocked, what_is_packed_is_read, .timeout = 600)
{
	struct blocked_ask ask_got;
	struct blocked_try order_got;
	struct blocked_tried tried_got;
	msgpack_sbuffer buffer;

	msgpack_sbuffer_init(&buffer);
	blocked_pack_ask(&buffer, &ask);
	cr_assert(blocked_read_ask(&ask_got, buffer.data, buffer.size), "ask");
	cr_assert(strcmp(ask_got.queue, ask.queue) == 0 && ask_got.from == ask.from, "ask");
	msgpack_sbuffer_clear(&buffer);
	blocked_pack_try(&buffer, &order);
	cr_assert(blocked_read_try(&order_got, buffer.data, buffer.size), "try");
	cr_assert(strcmp(order_got.queue, order.queue) == 0 &&
		strcmp(order_got.group, order.group) == 0 && order_got.skip &&
		strcmp(order_got.message_id, order.message_id) == 0 &&
		strcmp(order_got.reason, order.reason) == 0,
	    "try");
	msgpack_sbuffer_clear(&buffer);
	blocked_pack_tried(&buffer, &tried);
	cr_assert(blocked_read_tried(&tried_got, buffer.data, buffer.size), "tried");
	cr_assert(tried_got.outcome == tried.outcome && tried_got.sequence == tried.sequence &&
		strcmp(tried_got.message_id, tried.message_id) == 0 &&
		tried_got.status == tried.status && strcmp(tried_got.text, tried.text) == 0,
	    "tried");
	msgpack_sbuffer_destroy(&buffer);
}

Test(blocked, the_longest_page_is_one_frame, .timeout = 600)
{
	msgpack_sbuffer buffer;

	for (uint32_t count = 0; count <= BLOCKED_PAGE; count += 64) {
		msgpack_sbuffer_init(&buffer);
		fill_page(count);
		blocked_pack_page(&buffer, &page);
		cr_assert(buffer.size <= WIRE_SMALL_BYTES, "%u groups: %zu", count, buffer.size);
		cr_assert(blocked_read_page(&got, 0, buffer.data, buffer.size), "%u", count);
		cr_assert(same_page(), "%u", count);
		msgpack_sbuffer_destroy(&buffer);
	}
}

static bool
page_is_read(uint64_t from)
{
	msgpack_sbuffer buffer;
	bool good;

	msgpack_sbuffer_init(&buffer);
	blocked_pack_page(&buffer, &page);
	good = blocked_read_page(&got, from, buffer.data, buffer.size);
	msgpack_sbuffer_destroy(&buffer);
	return good;
}

Test(blocked, a_page_that_cannot_be_is_refused, .timeout = 600)
{
	fill_page(3);
	cr_assert(page_is_read(page.groups[0].hash), "as it is");
	cr_assert(!page_is_read(page.groups[0].hash + 1), "lower than what was asked for");
	page.groups[1].hash = page.groups[0].hash;
	cr_assert(!page_is_read(0), "the same twice: whoever asks would go round for ever");
	fill_page(3);
	page.groups[2].hash = UINT64_MAX;
	cr_assert(page_is_read(0), "the highest");
	page.more = true;
	cr_assert(!page_is_read(0), "nothing comes behind the highest");
	fill_page(0);
	cr_assert(page_is_read(0), "nobody");
	page.more = true;
	cr_assert(!page_is_read(0), "more, and none");
	fill_page(1);
	page.groups[0].status = 200;
	cr_assert(!page_is_read(0), "a status that blocks nobody");
	page.groups[0].status = 600;
	cr_assert(!page_is_read(0), "no status");
	fill_page(1);
	page.groups[0].state = (enum blocked_state)0;
	cr_assert(!page_is_read(0), "no state");
	page.groups[0].state = (enum blocked_state)(BLOCKED_RELEASING + 1);
	cr_assert(!page_is_read(0), "no state");
}

static void
pack_order(msgpack_sbuffer *buffer, const char *group, size_t length)
{
	msgpack_packer packer;

	msgpack_packer_init(&packer, buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 5);
	msgpack_pack_str(&packer, 1);
	msgpack_pack_str_body(&packer, "q", 1);
	msgpack_pack_str(&packer, length);
	msgpack_pack_str_body(&packer, group, length);
	msgpack_pack_true(&packer);
	msgpack_pack_str(&packer, 0);
	msgpack_pack_str(&packer, 0);
}

Test(blocked, a_group_has_a_name_of_at_most_128_bytes, .timeout = 600)
{
	static char name[BLOCKED_ID_BYTES];
	struct blocked_try got_order;
	msgpack_sbuffer buffer;

	memset(name, 'g', sizeof(name));
	for (size_t length = 0; length <= sizeof(name); length++) {
		msgpack_sbuffer_init(&buffer);
		pack_order(&buffer, name, length);
		cr_assert(blocked_read_try(&got_order, buffer.data, buffer.size) ==
			(length > 0 && length < BLOCKED_ID_BYTES),
		    "%zu bytes", length);
		msgpack_sbuffer_destroy(&buffer);
	}
	msgpack_sbuffer_init(&buffer);
	pack_order(&buffer, "a\0b", 3);
	cr_assert(!blocked_read_try(&got_order, buffer.data, buffer.size), "with a NUL in it");
	msgpack_sbuffer_destroy(&buffer);
}

/* Replaces each field by one of another type, and adds or leaves out a field. */
Test(blocked, fields_of_other_types_are_refused, .timeout = 600)
{
	for (unsigned wrong = 0; wrong < 7; wrong++) {
		struct blocked_tried got_tried;
		msgpack_sbuffer buffer;
		msgpack_packer packer;

		msgpack_sbuffer_init(&buffer);
		msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
		msgpack_pack_array(&packer, wrong == 6 ? 6 : 5);
		for (unsigned i = 0; i < (wrong == 6 ? 6u : 5u); i++) {
			if (i == wrong)
				msgpack_pack_nil(&packer);
			else if (i == 2 || i == 4)
				msgpack_pack_str(&packer, 0);
			else
				msgpack_pack_int(&packer, i == 3 ? 503 : 1);
		}
		cr_assert(blocked_read_tried(&got_tried, buffer.data, buffer.size) == (wrong == 5),
		    "field %u", wrong);
		msgpack_sbuffer_destroy(&buffer);
	}
}

static void
read_all(const void *payload, size_t length)
{
	static struct blocked_page a_page;
	struct blocked_ask a;
	struct blocked_try b;
	struct blocked_tried c;

	/* Accepted fields must be within bounds. */
	if (blocked_read_ask(&a, payload, length))
		cr_assert(memchr(a.queue, '\0', sizeof(a.queue)) != NULL, "queue");
	if (blocked_read_try(&b, payload, length))
		cr_assert(memchr(b.group, '\0', sizeof(b.group)) != NULL && b.group[0] != '\0' &&
			memchr(b.message_id, '\0', sizeof(b.message_id)) != NULL,
		    "try");
	if (blocked_read_tried(&c, payload, length))
		cr_assert(c.outcome >= BLOCKED_ENDED && c.outcome <= BLOCKED_NO_QUEUE &&
			c.status <= 599 && memchr(c.text, '\0', sizeof(c.text)) != NULL,
		    "tried");
	if (blocked_read_page(&a_page, 0, payload, length))
		for (uint32_t i = 0; i < a_page.count; i++)
			cr_assert(blocked_state_name(a_page.groups[i].state) != NULL &&
				memchr(a_page.groups[i].error, '\0', BLOCKED_ERROR_BYTES) != NULL &&
				(i == 0 || a_page.groups[i].hash > a_page.groups[i - 1].hash),
			    "group %u", i);
}

/* Reads a copy at the end of an allocation, so that ASan finds a read beyond. */
static void
read_copy(const void *payload, size_t length)
{
	char *copy = malloc(length > 0 ? length : 1);

	cr_assert(copy != NULL, "memory");
	memcpy(copy, payload, length);
	read_all(copy, length);
	free(copy);
}

Test(blocked, garbage_is_refused, .timeout = 1000)
{
	unsigned seed = 1;

	for (int what = 0; what < 4; what++) {
		msgpack_sbuffer buffer;

		msgpack_sbuffer_init(&buffer);
		fill_page(3);
		if (what == 0)
			blocked_pack_ask(&buffer, &ask);
		else if (what == 1)
			blocked_pack_try(&buffer, &order);
		else if (what == 2)
			blocked_pack_tried(&buffer, &tried);
		else
			blocked_pack_page(&buffer, &page);
		for (size_t length = 0; length < buffer.size; length++) {
			struct blocked_ask a;
			struct blocked_try b;
			struct blocked_tried c;

			read_copy(buffer.data, length);
			cr_assert(!blocked_read_ask(&a, buffer.data, length) &&
				!blocked_read_try(&b, buffer.data, length) &&
				!blocked_read_tried(&c, buffer.data, length) &&
				!blocked_read_page(&got, 0, buffer.data, length),
			    "payload %d cut to %zu", what, length);
		}
		for (size_t i = 0; i < buffer.size; i++)
			for (unsigned bit = 0; bit < 8; bit++) {
				buffer.data[i] = (char)(buffer.data[i] ^ (1 << bit));
				read_copy(buffer.data, buffer.size);
				buffer.data[i] = (char)(buffer.data[i] ^ (1 << bit));
			}
		for (int n = 0; n < 20000; n++) {
			size_t at = (size_t)rand_r(&seed) % buffer.size;
			char before = buffer.data[at];

			buffer.data[at] = (char)rand_r(&seed);
			read_copy(buffer.data, buffer.size);
			if (n % 5 != 0) /* a fifth of the changes stay, and add up */
				buffer.data[at] = before;
		}
		msgpack_sbuffer_destroy(&buffer);
	}
}

Test(blocked, a_text_is_cut_between_two_characters, .timeout = 600)
{
	char to[6];

	blocked_copy(to, sizeof(to), "abc", 3);
	cr_assert(strcmp(to, "abc") == 0, "%s", to);
	blocked_copy(to, sizeof(to), "abcd\xc3\xa4", 6);
	cr_assert(strcmp(to, "abcd") == 0, "%s", to);
	blocked_copy(to, sizeof(to), "abc\xc3\xa4", 5);
	cr_assert(strcmp(to, "abc\xc3\xa4") == 0, "%s", to);
	blocked_copy(to, sizeof(to), "ab\0cd", 5);
	cr_assert(strcmp(to, "ab") == 0, "%s", to);
	blocked_copy(to, sizeof(to), "\x80\x80\x80\x80\x80\x80\x80", 7);
	cr_assert(strcmp(to, "") == 0, "no characters at all: %s", to);
}
