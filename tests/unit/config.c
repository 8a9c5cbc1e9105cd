#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"

static struct config config;
static char error[8192];

/* Loads a configuration from a file with this text. */
static int
load(const char *text)
{
	char path[] = "/tmp/hg-config-XXXXXX";
	struct config_options options = { .file = path, .base_dir = "/tmp/hg" };
	int fd = mkstemp(path);
	int rc;

	unsetenv("HEADGATE_ENVIRONMENT");
	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s", path);
	close(fd);
	rc = config_load(&config, &options, error, sizeof(error));
	unlink(path);
	return rc;
}

Test(config, built_in_is_the_utility_system)
{
	struct config_options options = { .base_dir = "/tmp/hg" };

	cr_assert(config_load(&config, &options, error, sizeof(error)) == 0, "%s", error);
	cr_expect(config.topic_count == 2 && config.queue_count == 6,
	    "two topics, three queues and theirs for dead letters");
	cr_expect(strcmp(config.queues[4].name, "payment-processing-dlq") == 0, "%s",
	    config.queues[4].name);
	cr_expect(
	    config.queues[1].dead_letter_queue == 4 && config.queues[4].dead_letters, "linked");
	cr_expect(config_find_queue(&config, "payment-processing")->lanes == 4, "lanes");
	cr_expect(config_find_topic(&config, "subscription-control")->control, "control");
	cr_expect(
	    config_find_queue(&config, "subscription-control")->lanes == 1, "one group, one lane");
	cr_expect(strcmp(config.run_dir, "/tmp/hg/run") == 0, "%s", config.run_dir);
	config_free(&config);
}

Test(config, what_is_printed_reads_back_the_same)
{
	char *first, *second;
	size_t length;
	FILE *out;

	cr_assert(
	    load("# a comment\nenvironment = prod\ntopic t { group_by = {a, b} dedup_window = "
		 "90s durability = os }\nqueue q { topic = t lanes = 7 on_trip = 'mail \"it\\'s "
		 "$X\"' "
		 "filter_policy = "
		 "'{\"a\": [\"it\\'s\"]}' routing_check = aba }\n") == 0,
	    "%s", error);
	cr_expect(!config.queues[0].fault_markers, "off in prod");
	cr_expect(config.queues[0].routing_check_aba, "aba");
	cr_expect(strcmp(config.queues[0].on_trip, "mail \"it's $X\"") == 0, "%s",
	    config.queues[0].on_trip);
	cr_expect(config.topics[0].dedup_window_ns == 90000000000, "window");
	cr_expect(config.topics[0].durability == CONFIG_DURABILITY_OS, "durability");
	out = open_memstream(&first, &length);
	config_print(&config, out);
	fclose(out);
	config_free(&config);
	cr_assert(load(first) == 0, "%s", error);
	out = open_memstream(&second, &length);
	config_print(&config, out);
	fclose(out);
	cr_expect(strcmp(first, second) == 0, "%s\n%s", first, second);
	config_free(&config);
	free(first);
	free(second);
}

Test(config, what_is_doubtful_is_refused_with_its_line)
{
	static const char *const bad[][2] = {
		{ "topic t {}\n\n# c\n/* two\nlines */ queue q { topic = u }", ":5: " },
		{ "topic t {}\nqueue q { topic = t\n lanes = 4\n lanes = 5 }", ":4: set twice" },
		{ "topic t {}\nqueue q { topic = t lanes = 4", ":2: a brace is not closed" },
		{ "topic t {}\nqueue q { topic = t lanes = 0 }", "lanes" },
		{ "topic t {}\nqueue q { topic = t lanes = 65 }", "lanes" },
		{ "topic t {}\nqueue q { topic = t lanes = 4x }", "lanes" },
		{ "topic t {}\nqueue ../q { topic = t }", "a name is" },
		{ "topic t {}\nqueue Q { topic = t }", "a name is" },
		{ "topic t {}\nqueue q { }", "topic is missing" },
		{ "topic t {}\nqueue q { topic = t colour = red }", "colour" },
		{ "topic t {}\nqueue q { topic = t require_account = maybe }", "no value" },
		{ "topic t {}\nqueue q { topic = t retry_max = 0 }", "retry_max" },
		{ "topic t {}\nqueue q { topic = t retry_base = soon }", "retry_base" },
		{ "topic t {}\nqueue q { topic = t retry_factor = 1.5 }", "retry_factor" },
		{ "topic t {}\nqueue q { topic = t server_error = maybe }", "no value" },
		{ "topic t {}\nqueue q { topic = t visibility_timeout = 10ms }", "not within" },
		{ "topic t {}\nqueue q { topic = t visibility_timeout = 13h }", "not within" },
		{ "topic t {}\nqueue q { topic = t max_receive_count = 0 }", "max_receive_count" },
		{ "topic t {}\nqueue q { topic = t max_bytes = 0 }", "max_bytes" },
		{ "topic t {}\nqueue q { topic = t max_bytes = many }", "max_bytes" },
		{ "topic t {}\nqueue q { topic = t retention = 10ms }", "retention" },
		{ "topic t {}\nqueue q { topic = t retention = forever }", "retention" },
		{ "topic t {}\nqueue q { topic = t }\nqueue q-dlq { retention = 1d }",
		    ":3: queue q-dlq: a dead-letter queue has no retention" },
		{ "topic t {}\nqueue q { topic = t dead_letter_queue = q }", "dead_letter_queue" },
		{ "topic t {}\nqueue q { topic = t dead_letter_queue = p }\nqueue p { topic = t }",
		    ":3: queue p: it is the dead-letter queue of q" },
		{ "topic t {}\nqueue q { topic = t dead_letter_queue = p }\nqueue p { "
		  "filter_policy = '{}' }",
		    "has no filter_policy" },
		{ "topic t {}\ntopic t {}\nqueue q { topic = t }", "t" },
		{ "topic t { dedup_window = 5x }\nqueue q { topic = t }", "no duration" },
		{ "topic t { durability = maybe }\nqueue q { topic = t }", "durability" },
		{ "topic t { dedup_by = {colour} }\nqueue q { topic = t }", "neither" },
		{ "max_message_size = 2M\ntopic t {}\nqueue q { topic = t }", "max_message_size" },
		{ "topic t {}", "no queue" },
		{ "}", "closes nothing" },
		{ "topic 't", "quote" },
		{ "/* never closed", "comment" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_expect(load(bad[i][0]) < 0, "taken: %s", bad[i][0]);
		cr_expect(strstr(error, bad[i][1]) != NULL, "%s\n-> %s", bad[i][0], error);
	}
}

Test(config, a_directory_is_no_configuration)
{
	struct config_options options = { .file = "/tmp" };

	cr_expect(config_load(&config, &options, error, sizeof(error)) == -EISDIR, "%s", error);
}

Test(config, messages_expire_after_two_weeks_and_dead_letters_never)
{
	cr_assert(load("topic t {}\nqueue q { topic = t }\n"
		       "queue r { topic = t retention = never }\n"
		       "queue s { topic = t retention = 3h }") == 0,
	    "%s", error);
	cr_expect(config.queues[0].retention_ns == 14 * 86400 * UINT64_C(1000000000), "unset");
	cr_expect(config.queues[1].retention_ns == 0, "never");
	cr_expect(config.queues[2].retention_ns == 3 * 3600 * UINT64_C(1000000000), "set");
	cr_expect(
	    config.queues[config.queues[0].dead_letter_queue].retention_ns == 0, "dead letters");
	config_free(&config);
}

Test(config, durations_and_sizes)
{
	uint64_t value;

	cr_expect(config_parse_duration("300", &value) == 0 && value == 300000000000, "300");
	cr_expect(config_parse_duration("500ms", &value) == 0 && value == 500000000, "500ms");
	cr_expect(config_parse_duration("010", &value) == 0 && value == 10000000000, "ten");
	cr_expect(config_parse_duration("-1", &value) == -EINVAL, "-1");
	cr_expect(config_parse_duration("", &value) == -EINVAL, "nothing");
	cr_expect(config_parse_duration("1 s", &value) == -EINVAL, "a blank");
	cr_expect(config_parse_duration("99999999999999d", &value) == -ERANGE, "too long");
	cr_expect(config_parse_size("64K", &value) == 0 && value == 65536, "64K");
	cr_expect(config_parse_size("64k", &value) == -EINVAL, "64k");
	cr_expect(config_parse_size("18446744073709551616", &value) == -ERANGE, "2^64");
}
