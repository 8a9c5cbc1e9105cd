/*
 * Text of others on headgatectl's output: escaped for terminals and shells.
 */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/command.h"
#include "ctl/message.h"
#include "ctl/text.h"

int
ctl_open_living(const struct ctl *ctl, struct control *control, bool writable)
{
	(void)ctl, (void)control, (void)writable;
	return -ENOENT; /* no router */
}

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

Test(ctl_message, nor_can_bytes_that_are_no_text, .init = cr_redirect_stdout)
{
	/* a C1 control of one byte, an overlong form, a direction mark, a cut character */
	static const char text[] = "a\x9b"
				   "2J\xc0\x9b"
				   "b\xe2\x80\xae"
				   "c\xe2\x82";

	text_put_safe(text, sizeof(text) - 1);
	fflush(stdout);
	cr_assert_stdout_eq_str("a?2J??b?c??");
}

Test(ctl_message, text_is_made_safe_in_place)
{
	char text[] = "a\x1b[2J\nb\xc2\x9b\xc3\xa9";

	text_make_safe(text);
	cr_assert(strcmp(text, "a?[2J b?\xc3\xa9") == 0, "%s", text);
}

/* A shell must expand the word to the text, and run nothing. */
static void
check_word(const char *shell, const char *text)
{
	char word[COMMAND_WORD_BYTES(64)], command[1024], got[64] = "";
	FILE *pipe;
	size_t n;

	command_word(word, sizeof(word), text);
	for (const char *c = word; *c != '\0'; c++)
		cr_assert(*c >= 0x20 && *c < 0x7f, "%s", word);
	snprintf(command, sizeof(command), "exec %s <<\\END\nprintf %%s %s\nEND\n", shell, word);
	pipe = popen(command, "r");
	cr_assert(pipe != NULL, "%s", shell);
	n = fread(got, 1, sizeof(got) - 1, pipe);
	cr_assert(pclose(pipe) == 0 && n == strlen(text) && memcmp(got, text, n) == 0, "%s: %s: %s",
	    shell, word, got);
}

Test(ctl_message, a_word_for_a_shell)
{
	char word[COMMAND_WORD_BYTES(64)];

	command_word(word, sizeof(word), "A-1_b.c:d/e");
	cr_assert(strcmp(word, "A-1_b.c:d/e") == 0, "plain: %s", word);
	check_word("sh", "x; touch /tmp/PWNED #");
	check_word("sh", "$(touch x) `touch x` \\ \" * !1");
	check_word("sh", "");
	check_word("sh", "it's $(touch x) \\");
	check_word("sh",
	    "/srv/donn\xc3\xa9"
	    "es of 'all' 100% \\x $(touch x) !1");
	check_word("sh", "\xff");
	check_word("sh", "it's /\xc3\xbc! `touch x`");
	check_word("sh", "a tab\tand \x7f");
	check_word("sh", "an end\n");
	check_word("sh", "\n\n");
	check_word("sh", "'\n\x1b[2J\\'1\xc3\xa9");
	check_word("bash", "'\n\x1b[2J\\'1!\xc3\xa9\n");
}

Test(ctl_message, a_column_counts_characters)
{
	cr_assert(text_width("a\xc3\xa9\xe2\x82\xac", 6) == 3, "three");
	cr_assert(text_width(NULL, 0) == 0, "none");
}
