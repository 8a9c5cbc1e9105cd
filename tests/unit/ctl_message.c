/*
 * What headgatectl shows of what others wrote.
 */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/message.h"
#include "ctl/text.h"

static struct body
body_of(const char *text, const char *unreadable, bool reveal)
{
	struct message message = {
		.envelope.body = { text, strlen(text) },
		.unreadable = unreadable,
	};

	return message_body(&message, reveal);
}

Test(ctl_message, a_body_is_masked_unless_revealed)
{
	static const char text[] = "{\"account_number\":\"12345678\"}";
	struct body body = body_of(text, NULL, false);

	cr_assert(body.length == strlen(text) &&
		memcmp(body.text, "{\"account_number\":\"****5678\"}", body.length) == 0,
	    "masked");
	free(body.text);
	body = body_of(text, NULL, true);
	cr_assert(
	    body.length == strlen(text) && memcmp(body.text, text, body.length) == 0, "revealed");
	free(body.text);
}

Test(ctl_message, nothing_is_shown_of_what_is_no_json_unless_revealed)
{
	static const char text[] = "account_number=12345678";
	struct body body = body_of(text, NULL, false);

	cr_assert(body.text == NULL && body.length == 0, "nothing");
	cr_assert(strcmp(body.why, "invalid JSON") == 0, "%s", body.why);
	body = body_of(text, NULL, true);
	cr_assert(
	    body.length == strlen(text) && memcmp(body.text, text, body.length) == 0, "revealed");
	free(body.text);
}

Test(ctl_message, an_envelope_that_cannot_be_read_has_no_body)
{
	struct body body = body_of("", "truncated", true);

	cr_assert(body.text == NULL && strcmp(body.why, "truncated") == 0, "why");
}

Test(ctl_message, text_cannot_take_over_the_terminal, .init = cr_redirect_stdout)
{
	static const char text[] = "a\x1b[2Jb\tc\nd\x7f\xc2\x9b\xc2\xa0\xc3\xa9\xe2\x82\xac";

	text_put_safe(text, sizeof(text) - 1);
	fflush(stdout);
	cr_assert_stdout_eq_str("a?[2Jb c d??\xc2\xa0\xc3\xa9\xe2\x82\xac");
}

Test(ctl_message, a_column_counts_characters)
{
	cr_assert(text_width("a\xc3\xa9\xe2\x82\xac", 6) == 3, "three");
	cr_assert(text_width(NULL, 0) == 0, "none");
}
