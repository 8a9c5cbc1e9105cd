#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "tests/unit/mutate.h"

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
		{ "topic t {}\nqueue q { topic = t colour = red }", ":2: no such option 'colour'" },
		{ "topic t {}\nqueue q { topic = t\nserver_eror = stop }",
		    "no such option 'server_eror'; did you mean server_error?" },
		{ "topic t {}\nqeue q { topic = t }", "did you mean queue?" },
		{ "topic orders {}\nqueue q { topic = order }",
		    ":2: queue q: there is no topic \"order\"; did you mean orders?" },
		{ "topic t {}\nqueue q { topic = t server_error = block }",
		    "no value for it: there are stop, block-group, retry" },
		{ "topic t {}\nqueue q { topic = t require_account = maybe }", "no value" },
		{ "topic t {}\nqueue q { topic = t retry_max = 0 }", "retry_max" },
		{ "topic t {}\nqueue q { topic = t retry_base = soon }", "retry_base" },
		{ "topic t {}\nqueue q { topic = t retry_factor = 1.5 }", "retry_factor" },
		{ "topic t {}\nqueue q { topic = t server_error = maybe }", "no value" },
		{ "topic t {}\nqueue q { topic = t visibility_timeout = 10ms }",
		    "not from 1s to 12h" },
		{ "topic t {}\nqueue q { topic = t visibility_timeout = 13h }",
		    "not from 1s to 12h" },
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
		{ "max_message_size = 2M\ntopic t {}\nqueue q { topic = t }",
		    ":1: max_message_size" },
		{ "topic t {}\n# max_message_size = 1\nqueue q { topic = t }\n\nmax_message_size = 2M",
		    ":5: max_message_size" },
		{ "topic t {}\nenvironment\n= 'a b'\nqueue q { topic = t }",
		    ":3: environment: bad name \"a b\": a name is" },
		{ "topic t {}", "no queue" },
		{ "}", "closes nothing" },
		{ "= dev\n= prod", ":1: no name in front of '='" },
		{ "topic t { group_by += {a} }\nqueue q { topic = t }", "no name in front of '='" },
		{ "topic 't", "quote" },
		{ "topic t {}\nqueue q { topic = t\n on_trip = \"echo ${HEADGATE_QUEUE}\" }",
		    ":3: ${ outside single quotes" },
		{ "topic t {}\nqueue q { topic = t\n on_trip = \"echo \\\\${HOME}\" }",
		    ":3: ${ outside single quotes" },
		{ "environment = ${HOME}\ntopic t {}\nqueue q { topic = t }",
		    ":1: ${ outside single quotes" },
		{ "environment = dev${HOME}\ntopic t {}\nqueue q { topic = t }",
		    ":1: ${ outside single quotes" },
		{ "topic t { group_by = {\"${HOME}\"} }\nqueue q { topic = t }",
		    ":1: ${ outside single quotes" },
		{ "/* never closed", "comment" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_expect(load(bad[i][0]) < 0, "taken: %s", bad[i][0]);
		cr_expect(strstr(error, bad[i][1]) != NULL, "%s\n-> %s", bad[i][0], error);
	}
}

Test(config, a_bad_variable_is_named)
{
	struct config_options options = { .base_dir = "/tmp/hg" };

	setenv("HEADGATE_ENVIRONMENT", "a b", 1);
	cr_expect(config_load(&config, &options, error, sizeof(error)) == -EINVAL);
	cr_expect(strncmp(error, "HEADGATE_ENVIRONMENT: bad name \"a b\"", 36) == 0, "%s", error);
	unsetenv("HEADGATE_ENVIRONMENT");
}

Test(config, a_command_keeps_the_variables_of_its_shell)
{
	static const char *const commands[] = { "'echo ${HOME} $X'", "\"echo \\${HOME} $X\"" };

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		char text[256];

		snprintf(text, sizeof(text), "topic t {}\nqueue q { topic = t on_trip = %s }",
		    commands[i]);
		cr_assert(load(text) == 0, "%s", error);
		cr_expect(strcmp(config.queues[0].on_trip, "echo ${HOME} $X") == 0, "%s",
		    config.queues[0].on_trip);
		config_free(&config);
	}
}

/* Each setting with a range: both ends are accepted, values beyond are refused with an error that
 * has the range, and the page has the same range. */
static const struct range {
	const char *section, *setting, *min, *max, *below, *above;
} ranges[] = {
	{ "topic", "dedup_window", "1ms", "1d", "0", "86401" },
	{ "topic", "dedup_max", "1", "1000000000", "0", "1000000001" },
	{ "queue", "lanes", "1", "64", "0", "65" },
	{ "queue", "visibility_timeout", "1s", "12h", "999ms", "43201" },
	{ "queue", "max_receive_count", "1", "1000", "0", "1001" },
	{ "queue", "max_bytes", "1", "1048576G", "0", "1048577G" },
	{ "queue", "retention", "1s", "36500d", "999ms", "36501d" },
	{ "queue", "auto_probe", "1ms", "30d", "0", "31d" },
	{ "queue", "retry_max", "1", "1000", "0", "1001" },
	{ "queue", "retry_base", "1ms", "10m", "0", "601" },
	{ "queue", "retry_factor", "1", "100", "0", "101" },
	{ "", "max_message_size", "1K", "1M", "1023", "1025K" },
};

static int
load_setting(const struct range *range, const char *value)
{
	char text[512];
	bool topic = range->section[0] == 't', queue = range->section[0] == 'q';
	char setting[128];
	int rc;

	snprintf(setting, sizeof(setting), "%s = %s", range->setting, value);
	snprintf(text, sizeof(text), "%s\ntopic t { %s }\nqueue q { topic = t %s }\n",
	    topic || queue ? "" : setting, topic ? setting : "", queue ? setting : "");
	rc = load(text);
	if (rc == 0)
		config_free(&config);
	return rc;
}

static void
refuses(const struct range *range, const char *value)
{
	char words[128];

	snprintf(words, sizeof(words), "%s: \"%s\" is not from %s to %s", range->setting, value,
	    range->min, range->max);
	cr_expect(load_setting(range, value) == -EINVAL, "%s = %s is taken", range->setting, value);
	cr_expect(strstr(error, words) != NULL, "%s\nnot %s", error, words);
}

/* True if the setting's entry on the page contains `words`. */
static bool
page_says(const char *page, const char *setting, const char *words)
{
	char item[64];
	const char *begin, *end;

	snprintf(item, sizeof(item), "\n.It Ic %s =", setting);
	begin = strstr(page, item);
	if (begin == NULL)
		return false;
	end = strstr(begin + 1, "\n.It ");
	return memmem(begin, (size_t)(end - begin), words, strlen(words)) != NULL;
}

Test(config, each_range_is_kept_and_on_the_page)
{
	static char page[65536];
	const char *source = getenv("top_srcdir");
	char path[512], words[64];
	FILE *file;

	snprintf(path, sizeof(path), "%s/man/headgate.conf.5", source != NULL ? source : "..");
	file = fopen(path, "r");
	cr_assert(file != NULL && fread(page, 1, sizeof(page) - 1, file) > 0, "%s", path);
	fclose(file);
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		const struct range *range = &ranges[i];

		cr_expect(load_setting(range, range->min) == 0, "%s", error);
		cr_expect(load_setting(range, range->max) == 0, "%s", error);
		refuses(range, range->below);
		refuses(range, range->above);
		snprintf(words, sizeof(words), "from %s to %s", range->min, range->max);
		cr_expect(page_says(page, range->setting, words), "%s: the page does not say %s",
		    range->setting, words);
	}
}

/* Repeats a section or field `count` times, for tests of the largest number and one more. */
static char *
repeat(const char *head, const char *before, const char *after, int count, const char *tail)
{
	static char text[16384];
	size_t n = (size_t)snprintf(text, sizeof(text), "%s", head);

	for (int i = 0; i < count; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%d%s", before, i, after);
	snprintf(text + n, sizeof(text) - n, "%s", tail);
	return text;
}

Test(config, more_than_there_may_be_is_refused)
{
	static const char one[] = "queue q { topic = t0 }";

	cr_expect(load(repeat("", "topic t", " {}\n", 32, one)) == 0, "%s", error);
	config_free(&config);
	cr_expect(load(repeat("", "topic t", " {}\n", 33, one)) < 0);
	cr_expect(strstr(error, ":33: more than 32 topics") != NULL, "%s", error);
	cr_expect(
	    load(repeat("topic t {}\n", "queue q", " { topic = t }\n", 32, "")) == 0, "%s", error);
	config_free(&config);
	cr_expect(load(repeat("topic t {}\n", "queue q", " { topic = t }\n", 33, "")) < 0);
	cr_expect(strstr(error, "more than 64 queues, dead-letter queues among them") != NULL, "%s",
	    error);
	cr_expect(load(repeat("topic t0 { group_by = {", "f", ", ", 8,
		      "g} }\nqueue q { topic = t0 }")) < 0);
	cr_expect(strstr(error, "group_by: more than 8") != NULL, "%s", error);
	cr_expect(load("topic t { group_by = "
		       "{a123456789b123456789c123456789d123456789e123456789f123456789g12} }\n"
		       "queue q { topic = t }") == 0,
	    "%s", error);
	config_free(&config);
	cr_expect(load("topic t { group_by = "
		       "{a123456789b123456789c123456789d123456789e123456789f123456789g123} }\n"
		       "queue q { topic = t }") < 0);
	cr_expect(strstr(error, "bad name") != NULL, "%s", error);
}

/* Writes a good file with random pieces inserted. */
static void
mutate_file(char *text)
{
	static const char *const pieces[] = { "topic t {", "queue q {", "}", "{", "=", "+=", ",",
		"\\", "'", "\"", "#", "/*", "*/", "\n", "${HOME}", "include(\"/dev/null\")",
		"lanes = 4", "group_by = {a, b}", "dead_letter_queue = d", "environment = dev",
		"99999999999999999999" };
	size_t length;

	strcpy(text,
	    "environment = dev\ntopic t { group_by = {a} dedup_window = 5m }\n"
	    "queue q { topic = t lanes = 4 filter_policy = '{\"a\": [\"b\"]}' on_trip = 'x y' }\n");
	length = strlen(text);
	for (unsigned changes = mutate_below(4); changes > 0; changes--)
		length = mutate_once(text, length);
	for (unsigned changes = mutate_below(3); changes > 0; changes--) {
		const char *piece = pieces[mutate_below(sizeof(pieces) / sizeof(pieces[0]))];

		length =
		    mutate_insert(text, length, mutate_below(length + 1), piece, strlen(piece));
	}
	text[length] = '\0';
}

Test(config, whatever_a_file_has_is_taken_or_refused_with_words, .timeout = 6000)
{
	static char text[MUTATED_BYTES + 1];

	mutate_seed("CONFIG_SEED", 20261130);
	for (int i = 0; i < 3000; i++) {
		mutate_file(text);
		error[0] = '\0';
		if (load(text) == 0)
			config_free(&config);
		else
			cr_assert(error[0] != '\0', "%s", text);
	}
}

Test(config, files_from_other_systems_are_read)
{
	cr_assert(
	    load("\xef\xbb\xbftopic t {}\r\nqueue q {\r\n topic = t\r\n lanes = 7\r\n}\r\n") == 0,
	    "%s", error);
	cr_expect(config.queues[0].lanes == 7);
	config_free(&config);
}

Test(config, a_directory_is_no_configuration)
{
	struct config_options options = { .file = "/tmp" };

	cr_expect(config_load(&config, &options, error, sizeof(error)) == -EISDIR, "%s", error);
}

Test(config, what_is_no_plain_file_is_no_configuration)
{
	struct config_options options = { .file = "/dev/null" };
	char path[32];
	int ends[2];

	cr_expect(config_load(&config, &options, error, sizeof(error)) < 0);
	cr_expect(strstr(error, "/dev/null: not a plain file") != NULL, "%s", error);
	/* A shell's <(command). */
	cr_assert(pipe(ends) == 0);
	snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]);
	options.file = path;
	cr_expect(config_load(&config, &options, error, sizeof(error)) < 0);
	cr_expect(strstr(error, "not a plain file") != NULL, "%s", error);
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
