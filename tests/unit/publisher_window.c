/*
 * The window keeps unsettled lines in order, within bounds, and yields them again after a lost
 * connection.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "publisher/window.h"

enum { LINE_BYTES = 600 };

static char text[LINE_BYTES];

static struct input_line
make_line(uint64_t number)
{
	snprintf(text, sizeof(text), "{\"n\":\"%08llu\",\"pad\":\"%0500d\"}",
	    (unsigned long long)number, 0);
	return (struct input_line){ .source = "f",
		.number = number,
		.text = { text, strlen(text) },
		.end = "\n",
		.first = true };
}

static void
add(struct window *window, uint64_t number, bool keep)
{
	struct input_line line = make_line(number);
	struct envelope_source source = { .head = { .topic = 1,
					      .group = { "g", 1 },
					      .message_id = { text + 6, 8 },
					      .body = line.text } };

	cr_assert(window_add_message(window, &line, &source, keep) == 0);
}

static void
refuse(struct window *window, uint64_t number)
{
	struct input_line line = make_line(number);

	cr_assert(window_add_refusal(window, &line, 400, "no", true) == 0);
}

/* Checks that the message ids of a frame count up from `first`. */
static void
check_frame(const struct window_frame *frame, uint64_t first)
{
	const char *at = frame->payload, *end = at + frame->length;

	for (uint32_t i = 0; i < frame->count; i++) {
		struct envelope envelope;
		uint32_t length;

		memcpy(&length, at, sizeof(length));
		cr_assert(envelope_open(&envelope, at + sizeof(length), length,
			      ENVELOPE_BODY_BYTES_MAX, NULL) == 0);
		cr_assert(strtoull(envelope.message_id.data, NULL, 10) == first + i);
		at += sizeof(length) + length;
	}
	cr_assert(at == end);
}

Test(publisher_window, frames_and_entries_keep_the_order)
{
	struct window *window = window_new();
	struct window_frame frame;
	uint64_t sent = 1;

	for (uint64_t i = 1; i <= 3000; i++)
		add(window, i, false);
	while (window_next_frame(window, &frame)) {
		check_frame(&frame, sent);
		sent += frame.count;
	}
	cr_assert(sent == 3001);
	for (uint64_t i = 1; i <= 3000; i++) {
		cr_assert(window_head(window)->line == i);
		window_pop(window);
	}
	cr_assert(window_empty(window));
	window_free(window);
}

Test(publisher_window, a_rewind_gives_again_exactly_what_is_not_settled)
{
	for (uint64_t settled = 0; settled <= 1000; settled += 37) {
		struct window *window = window_new();
		struct window_frame frame;
		uint64_t sent = settled + 1;

		for (uint64_t i = 1; i <= 1000; i++)
			add(window, i, false);
		while (window_next_frame(window, &frame))
			;
		for (uint64_t i = 0; i < settled; i++)
			window_pop(window);
		window_rewind(window, true);
		while (window_next_frame(window, &frame)) {
			check_frame(&frame, sent);
			sent += frame.count;
		}
		cr_assert(sent == 1001, "settled %llu", (unsigned long long)settled);
		window_free(window);
	}
}

Test(publisher_window, what_may_have_been_taken_before_is_known)
{
	struct window *window = window_new();
	struct window_frame frame;

	for (uint64_t i = 1; i <= 10; i++)
		add(window, i, false);
	while (window_next_frame(window, &frame))
		;
	for (int i = 0; i < 4; i++)
		window_pop(window);
	add(window, 11, false);
	cr_assert(!window_head_resent(window));
	window_rewind(window, true);
	window_rewind(window, true);
	for (uint64_t i = 5; i <= 10; i++) {
		cr_assert(window_head_resent(window), "%llu", (unsigned long long)i);
		window_pop(window);
	}
	cr_assert(!window_head_resent(window), "it was never sent");
	while (window_next_frame(window, &frame))
		;
	window_rewind(window, false);
	cr_assert(!window_head_resent(window), "it was not taken");
	window_free(window);
}

Test(publisher_window, refusals_wait_for_their_turn_and_are_not_sent)
{
	struct window *window = window_new();
	struct window_frame frame;

	refuse(window, 1);
	add(window, 2, true);
	refuse(window, 3);
	add(window, 4, true);
	cr_assert(window_head(window)->message.data == NULL && window_head(window)->status == 400);
	window_pop(window);
	cr_assert(window_next_frame(window, &frame) && frame.count == 2);
	cr_assert(!window_next_frame(window, &frame));
	window_pop(window);
	cr_assert(window_head(window)->line == 3);
	window_pop(window);
	window_rewind(window, true);
	cr_assert(window_next_frame(window, &frame) && frame.count == 1);
	check_frame(&frame, 4);
	window_free(window);
}

Test(publisher_window, kept_lines_are_the_bytes_that_were_read)
{
	struct window *window = window_new();
	struct input_line line;

	for (uint64_t i = 1; i <= 2000; i++) {
		if (i % 3 == 0)
			refuse(window, i);
		else
			add(window, i, true);
	}
	for (uint64_t i = 1; i <= 2000; i++) {
		const struct window_entry *entry = window_head(window);

		line = make_line(i);
		cr_assert(entry->line == i && entry->text.length == line.text.length);
		cr_assert(memcmp(entry->text.data, line.text.data, line.text.length) == 0);
		window_pop(window);
	}
	window_free(window);
}

Test(publisher_window, it_is_full_before_it_grows_beyond_its_bound)
{
	struct window *window = window_new();
	uint64_t count = 0;

	while (!window_full(window))
		add(window, ++count, false);
	cr_assert(count * LINE_BYTES < 2 * (uint64_t)WINDOW_BYTES && count > 1000);
	while (!window_empty(window))
		window_pop(window);
	cr_assert(!window_full(window));
	window_free(window);
}

Test(publisher_window, a_trickle_settled_at_once_takes_no_more_memory)
{
	struct window *window = window_new();
	struct window_frame frame;

	for (uint64_t i = 1; i <= 100000; i++) {
		add(window, i, false);
		cr_assert(window_next_frame(window, &frame) && frame.count == 1);
		window_pop(window);
		cr_assert(!window_full(window) && window_empty(window));
	}
	window_free(window);
}

Test(publisher_window, what_makes_no_envelope_leaves_nothing_behind)
{
	static char name[ENVELOPE_OVERHEAD_BYTES + 1];
	struct envelope_attribute_source attribute = {
		.name = { name, sizeof(name) }, .text = { "x", 1 }, .type = JSON_STRING
	};
	struct window *window = window_new();
	struct input_line line = make_line(1);
	struct envelope_source source = {
		.head = { .group = { "g", 1 }, .message_id = { "m", 1 }, .body = line.text },
		.attributes = &attribute,
		.count = 1
	};

	cr_assert(window_add_message(window, &line, &source, false) == -EMSGSIZE);
	cr_assert(window_empty(window));
	add(window, 2, false);
	cr_assert(window_head(window)->line == 2);
	window_free(window);
}
