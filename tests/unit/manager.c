/*
 * The rules of the subscription manager: statuses and results for control messages, and the changes
 * of state words. The control segment is real; the test is its router.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/control.h"
#include "workers/managed.h"
#include "workers/service.h"

enum { TEXT_BYTES = 1 << 16, MUTATIONS = 20000 };

enum queue { ACCOUNTS, PAYMENTS, CONTROL, DEAD, QUEUES };
static const char *const queues[QUEUES] = { "bank-account-setup", "payment-processing",
	"subscription-control", "payment-processing-dlq" };

static char dir[64], file[96];
static struct config_options options = { .base_dir = dir };
static struct control control;
static int lock_fd = -1;
static struct config_queue config;
static struct service_context context = { .config = &config, .now = "2026-11-20T10:00:00.000Z" };
static struct outcome outcome;
static char *text; /* in an allocation of its exact length, so that ASan finds a read beyond */

static void
set_state(enum queue queue, enum control_state state)
{
	const struct control_detail detail = { .sequence = 7,
		.status = 500,
		.message_id = "p7",
		.error = "gateway",
		.user = "router",
		.program = "headgate-router" };
	uint64_t now, word = atomic_load(&control.shared->queue[queue].state);

	cr_assert(
	    control_change_state(&control, queue, 0, word, state, &detail, &now) == 0, "state");
}

static struct control_detail
detail_of(enum queue queue)
{
	struct control_detail detail;
	uint64_t word;

	control_read_state(&control, queue, &word, &detail);
	return detail;
}

static enum control_state
state_of(enum queue queue)
{
	return control_word_state(atomic_load(&control.shared->queue[queue].state));
}

static void
make_router(void)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/run", dir);
	cr_assert(mkdir(path, 0700) == 0, "%s", path);
	lock_fd = open(path, O_RDONLY | O_DIRECTORY);
	cr_assert(lock_fd >= 0 && flock(lock_fd, LOCK_EX | LOCK_NB) == 0, "%s", path);
	snprintf(path, sizeof(path), "%s/run/control", dir);
	cr_assert(control_create(&control, path) == 0, "%s", path);
	control.shared->queues = QUEUES;
	for (int i = 0; i < QUEUES; i++) {
		strlcpy(control.shared->queue[i].name, queues[i], CONTROL_NAME_BYTES);
		control.shared->queue[i].dead_letter_queue = DEAD;
		atomic_store(&control.shared->queue[i].logged,
		    UINT64_MAX); /* each change counts as logged */
		set_state((enum queue)i, CONTROL_RUNNING);
	}
	atomic_store(&control.shared->router_pid, (uint32_t)getpid());
	control_publish(&control);
}

static void
begin(void)
{
	char error[512];

	cr_assert(service_manager.begin(&options, error, sizeof(error)) == 0, "%s", error);
}

static void
setup(void)
{
	strcpy(dir, "/tmp/hg-manager-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL, "%s", dir);
	snprintf(file, sizeof(file), "%s/headgate.conf", dir);
	unsetenv("MANAGED_FUNCTIONS");
	unsetenv("HEADGATE_ENVIRONMENT");
	options.file = NULL;
	context.reader = json_reader_new(TEXT_BYTES);
	context.row = calloc(1, service_manager.row_bytes);
	make_router();
	begin();
}

static void
teardown(void)
{
	char command[128];

	control_close(&control);
	close(lock_fd);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert(system(command) == 0, "%s", command);
}

TestSuite(manager, .init = setup, .fini = teardown, .timeout = 600);

static int
handle_bytes(const char *bytes, size_t length)
{
	struct message message = { .log = 77, .sequence = 1 };

	free(text);
	text = calloc(1, length + JSON_PADDING);
	memcpy(text, bytes, length);
	message.envelope.body = (struct span){ text, length };
	memset(&outcome, 0xff, sizeof(outcome));
	service_manager.handle(&context, &message, &outcome);
	cr_assert(memchr(outcome.reason, '\0', sizeof(outcome.reason)) != NULL, "endless reason");
	return outcome.status;
}

static int
handle(const char *json)
{
	return handle_bytes(json, strlen(json));
}

/* Handles a control message, which must succeed, and returns its result. */
static const char *
result(const char *json)
{
	static char *out;
	struct message message = { .log = 77 };
	size_t length;
	FILE *stream;

	cr_assert(handle(json) == 200, "%s: %d %s", json, outcome.status, outcome.reason);
	free(out);
	stream = open_memstream(&out, &length);
	service_manager.print(&context, &message, stream);
	fclose(stream);
	return out;
}

static void
expect(const char *json, const char *part)
{
	const char *got = result(json);

	cr_assert(strstr(got, part) != NULL, "%s: no %s in %s", json, part, got);
}

#define STOP(members) "{\"action\":\"stop\"," members "}"
#define PAY           "\"service\":\"payment-processing\""

Test(manager, what_is_refused_changes_nothing)
{
	static const char malformed[] = "Invalid event format or missing action";
	static const char invalid[] = "Invalid service format";
	static const struct {
		const char *json, *reason;
		int status;
	} rules[] = {
		{ "", malformed, 400 },
		{ "stop", malformed, 400 },
		{ "\"stop\"", malformed, 400 },
		{ "[]", malformed, 400 },
		{ "[{\"action\":\"stop\"}]", malformed, 400 },
		{ "{}", malformed, 400 },
		{ "{\"action\":\"stop\"", malformed, 400 },
		{ "{\"action\":\"stop\"} {}", malformed, 400 },
		{ "{\"action\":\"start\",\"action\":\"stop\"}", malformed, 400 },
		{ "{\"action\":null}", malformed, 400 },
		{ "{\"action\":\"\"}", malformed, 400 },
		{ "{\"action\":\"pause\"}", malformed, 400 },
		{ "{\"action\":\"stop \"}", malformed, 400 },
		{ "{\"action\":\"stopp\"}", malformed, 400 },
		{ "{\"action\":\"sto\"}", malformed, 400 },
		{ "{\"action\":\"stop\\u0000\"}", malformed, 400 },
		{ "{\"action\":5}", malformed, 400 },
		{ "{\"action\":true}", malformed, 400 },
		{ "{\"action\":[\"stop\"]}", malformed, 400 },
		{ "{\"action\":{\"action\":\"stop\"}}", malformed, 400 },
		{ "{\"Action\":\"stop\"}", malformed, 400 },
		{ "{\"service\":\"payment-processing\"}", malformed, 400 },
		{ "{\"error\":\"Payment gateway temporarily unavailable\",\"service\":"
		  "\"payment-processing\"}",
		    malformed, 400 },
		{ STOP("\"service\":\"\""), invalid, 400 },
		{ STOP("\"reason\":5"), "Invalid reason format", 400 },
		{ STOP("\"reason\":[\"x\"]"), "Invalid reason format", 400 },
		{ STOP("\"operator\":false"), "Invalid operator format", 400 },
		{ STOP("\"operator\":{}"), "Invalid operator format", 400 },
		{ STOP("\"timestamp\":{}"), "Invalid timestamp format", 400 },
		{ STOP("\"timestamp\":true"), "Invalid timestamp format", 400 },
		{ STOP("\"service\":5"), invalid, 400 },
		{ STOP("\"service\":false"), invalid, 400 },
		{ STOP("\"service\":[\"payment-processing\"]"), invalid, 400 },
		{ STOP("\"service\":{}"), invalid, 400 },
		{ STOP("\"service\":\"payment\""), "Unknown service: payment", 404 },
		{ STOP("\"service\":\"payment-processing \""),
		    "Unknown service: payment-processing ", 404 },
		{ STOP("\"service\":\"all\""), "Unknown service: all", 404 },
		{ STOP("\"service\":\"a\\u0000\\u001b[2J\""), "Unknown service: a  [2J", 404 },
		{ "{\"action\":\"status\",\"service\":\"x\"}", "Unknown service: x", 404 },
	};

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		int status = handle(rules[i].json);

		cr_assert(status == rules[i].status, "%s: %d", rules[i].json, status);
		cr_assert(strcmp(outcome.reason, rules[i].reason) == 0, "%s: %s", rules[i].json,
		    outcome.reason);
	}
	for (int i = 0; i < QUEUES; i++)
		cr_assert(state_of((enum queue)i) == CONTROL_RUNNING, "%s", queues[i]);
}

Test(manager, stop_and_start_of_one_queue)
{
	cr_assert(strcmp(result(STOP(PAY ",\"operator\":\"ann\",\"reason\":\"holiday\","
					 "\"timestamp\":\"t\",\"x\":[{}]")),
		      ",\"action\":\"stop\",\"timestamp\":\"t\",\"operator\":\"ann\",\"reason\":"
		      "\"holiday\","
		      "\"functions_processed\":[{\"service_name\":\"payment-processing\","
		      "\"function_name\":\"payment-processing\",\"success\":true,"
		      "\"mappings_processed\":1,\"mappings_disabled\":1,"
		      "\"mappings_already_disabled\":0,\"state\":\"STOPPED\"}],"
		      "\"success_count\":1,\"error_count\":0") == 0,
	    "%s", result(STOP(PAY)));
	cr_assert(state_of(PAYMENTS) == CONTROL_STOPPED, "stopped");
	cr_assert(state_of(ACCOUNTS) == CONTROL_RUNNING, "the other one is not");
	cr_assert(strcmp(detail_of(PAYMENTS).user, "ann") == 0, "%s", detail_of(PAYMENTS).user);
	cr_assert(strcmp(detail_of(PAYMENTS).reason, "holiday") == 0, "reason");
	cr_assert(
	    strcmp(detail_of(PAYMENTS).program, "headgate-subscription-manager") == 0, "program");
	cr_assert(detail_of(PAYMENTS).pid == (uint32_t)getpid(), "pid");
	expect(STOP(PAY),
	    "\"mappings_disabled\":0,\"mappings_already_disabled\":1,\"state\":\"STOPPED\"");
	cr_assert(strcmp(detail_of(PAYMENTS).user, "ann") == 0, "who stopped it first stays known");
	expect("{\"action\":\"start\"," PAY "}",
	    "\"mappings_enabled\":1,\"mappings_already_enabled\":0,\"state\":\"RUNNING\"");
	expect("{\"action\":\"start\"," PAY "}",
	    "\"mappings_enabled\":0,\"mappings_already_enabled\":1");
	cr_assert(strcmp(detail_of(PAYMENTS).user, "system") == 0, "%s", detail_of(PAYMENTS).user);
	cr_assert(strcmp(detail_of(PAYMENTS).reason, "Manual control") == 0, "reason");
}

Test(manager, the_old_words_and_any_case)
{
	expect("{\"action\":\"DISABLE\",\"service\":\"Payment-PROCESSING\"}",
	    "\"action\":\"disable\"");
	cr_assert(state_of(PAYMENTS) == CONTROL_STOPPED, "disable");
	expect("{\"action\":\"en\\u0061bLe\",\"service\":\"p\\u0061yment-processing\"}",
	    "\"action\":\"enable\"");
	cr_assert(state_of(PAYMENTS) == CONTROL_RUNNING, "enable");
}

Test(manager, all_are_all_but_dead_letters_and_control_messages)
{
	expect("{\"action\":\"stop\"}", "\"success_count\":2,\"error_count\":0");
	cr_assert(
	    state_of(ACCOUNTS) == CONTROL_STOPPED && state_of(PAYMENTS) == CONTROL_STOPPED, "two");
	cr_assert(
	    state_of(CONTROL) == CONTROL_RUNNING && state_of(DEAD) == CONTROL_RUNNING, "not these");
	expect("{\"action\":\"start\",\"service\":null}", "\"success_count\":2,\"error_count\":0");
	cr_assert(
	    state_of(ACCOUNTS) == CONTROL_RUNNING && state_of(PAYMENTS) == CONTROL_RUNNING, "two");
	expect(STOP("\"service\":\"payment-processing-dlq\""), "\"success_count\":1");
	expect(STOP("\"service\":\"subscription-control\""), "\"success_count\":1");
	cr_assert(
	    state_of(CONTROL) == CONTROL_STOPPED && state_of(DEAD) == CONTROL_STOPPED, "by name");
}

Test(manager, what_is_a_dead_letter_queue_the_router_says)
{
	control.shared->queue[PAYMENTS].dead_letter_queue = PAYMENTS;
	expect("{\"action\":\"stop\"}", "\"success_count\":1,\"error_count\":0");
	cr_assert(state_of(ACCOUNTS) == CONTROL_STOPPED, "one");
	cr_assert(state_of(PAYMENTS) == CONTROL_RUNNING, "not the other");
	expect(STOP(PAY), "\"success_count\":1");
	cr_assert(state_of(PAYMENTS) == CONTROL_STOPPED, "by name");
}

Test(manager, a_tripped_queue_is_probed)
{
	set_state(PAYMENTS, CONTROL_TRIPPED);
	expect("{\"action\":\"status\"," PAY "}",
	    "\"overall_status\":\"disabled\",\"state\":\"TRIPPED\"}],\"summary\":{\"total_"
	    "functions\":1,"
	    "\"enabled_functions\":0,\"disabled_functions\":1,\"mixed_state_functions\":0,"
	    "\"error_functions\":0}");
	expect("{\"action\":\"start\"," PAY "}",
	    "\"mappings_enabled\":1,\"mappings_already_enabled\":0,"
	    "\"state\":\"PROBING\"");
	cr_assert(detail_of(PAYMENTS).sequence == 7, "by the message that tripped it");
	expect("{\"action\":\"status\"}",
	    "\"summary\":{\"total_functions\":2,\"enabled_functions\":1,\"disabled_functions\":0,"
	    "\"mixed_state_functions\":1,\"error_functions\":0}");
	expect(STOP(PAY), "\"state\":\"STOPPED\"");
	cr_assert(strcmp(detail_of(PAYMENTS).error, "gateway") == 0, "the trip stays known");
}

Test(manager, who_when_and_why_are_echoed)
{
	static const struct {
		const char *members, *part;
	} echoes[] = {
		{ "\"x\":1",
		    "\"timestamp\":\"2026-11-20T10:00:00.000Z\",\"operator\":\"system\","
		    "\"reason\":\"Manual control\"" },
		{ "\"timestamp\":1.50e3", "\"timestamp\":1.50e3," },
		{ "\"timestamp\":\"\\\"\\u00e9\"", "\"timestamp\":\"\\\"\\u00e9\"," },
		{ "\"timestamp\":\"\"", "\"timestamp\":\"2026-" },
		{ "\"operator\":null,\"reason\":\"\"",
		    "\"operator\":\"system\",\"reason\":\"Manual control\"" },
		{ "\"reason\":\"a\\nb\"", "\"reason\":\"a\\nb\"" },
	};
	char json[1024];

	for (size_t i = 0; i < sizeof(echoes) / sizeof(echoes[0]); i++) {
		snprintf(json, sizeof(json), STOP("%s"), echoes[i].members);
		expect(json, echoes[i].part);
	}
	result("{\"action\":\"start\"}");
	snprintf(json, sizeof(json), STOP("\"reason\":\"a\\n\\u001b%0253d\\u00e9\""), 0);
	result(json);
	cr_assert(strncmp(detail_of(PAYMENTS).reason, "a  000", 6) == 0, "%s",
	    detail_of(PAYMENTS).reason);
	cr_assert(strlen(detail_of(PAYMENTS).reason) == CONTROL_TEXT_BYTES - 1, "cut");
	result("{\"action\":\"start\"}");
	snprintf(json, sizeof(json), STOP("\"reason\":\"%0254d\\u00e9\""), 0);
	result(json);
	cr_assert(
	    strlen(detail_of(PAYMENTS).reason) == CONTROL_TEXT_BYTES - 2, "not within a character");
}

Test(manager, without_a_router)
{
	atomic_store(&control.shared->router_pid, 0);
	cr_assert(handle(STOP(PAY)) == 503, "%d", outcome.status);
	cr_assert(strstr(outcome.reason, "no router") != NULL, "%s", outcome.reason);
	cr_assert(state_of(PAYMENTS) == CONTROL_RUNNING, "nothing is changed");
	cr_assert(handle("{\"action\":\"status\"}") == 503, "%d", outcome.status);
	cr_assert(strstr(outcome.reason, "no router") != NULL, "%s", outcome.reason);
	atomic_store(&control.shared->router_pid, (uint32_t)getpid());
	flock(lock_fd, LOCK_UN);
	cr_assert(handle(STOP(PAY)) == 503, "its pid is another's");
}

Test(manager, a_queue_that_the_router_does_not_have)
{
	control.shared->queue[PAYMENTS].name[0] = 'P';
	cr_assert(handle("{\"action\":\"stop\"}") == 503, "%d", outcome.status);
	cr_assert(strstr(outcome.reason, "payment-processing") != NULL, "%s", outcome.reason);
	cr_assert(state_of(ACCOUNTS) == CONTROL_RUNNING, "nothing is changed");
	expect("{\"action\":\"status\"}", "\"error_functions\":1}");
}

Test(manager, a_state_that_is_none)
{
	set_state(PAYMENTS, (enum control_state)9);
	expect("{\"action\":\"stop\"}",
	    "\"error\":\"its state cannot be changed\"}],\"success_count\":1,"
	    "\"error_count\":1");
	expect("{\"action\":\"status\"," PAY "}", "\"overall_status\":\"error\"");
}

/*
 * MANAGED_FUNCTIONS.
 */

#define FUNCTION(name, service) "{\"function_name\":\"" name "\",\"service_name\":\"" service "\"}"

Test(manager, what_is_managed_can_be_narrowed)
{
	setenv("MANAGED_FUNCTIONS",
	    " [{\"function_name\":\"prod-pay\",\"service_name\":\"PAYMENT-processing\","
	    "\"description\":\"caf\\u00e9 \\\"x\\\"\",\"more\":[]}] ",
	    1);
	begin();
	expect("{\"action\":\"stop\"}",
	    "\"functions_processed\":[{\"service_name\":\"payment-processing\","
	    "\"function_name\":\"prod-pay\",");
	cr_assert(
	    state_of(PAYMENTS) == CONTROL_STOPPED && state_of(ACCOUNTS) == CONTROL_RUNNING, "one");
	expect("{\"action\":\"status\"}", "\"description\":\"caf\xc3\xa9 \\\"x\\\"\"");
	cr_assert(handle(STOP("\"service\":\"bank-account-setup\"")) == 404, "%d", outcome.status);
	setenv("MANAGED_FUNCTIONS", "[]", 1);
	begin();
	expect("{\"action\":\"stop\"}", "\"functions_processed\":[],\"success_count\":0");
}

Test(manager, a_list_that_is_doubtful_is_refused)
{
	static const struct {
		const char *list, *error;
	} lists[] = {
		{ "x", "no JSON array" },
		{ "{}", "no JSON array" },
		{ "\"payment-processing\"", "no JSON array" },
		{ "[] []", "no JSON array" },
		{ "[],\"list\":[]", "no JSON array" },
		{ "[" FUNCTION("f", "payment-processing") ",]", "no JSON array" },
		{ "[5]", "an array of objects is wanted" },
		{ "[[]]", "an array of objects is wanted" },
		{ "[{}]", "service_name is missing" },
		{ "[{\"service_name\":null}]", "service_name is missing" },
		{ "[{\"service_name\":5}]", "service_name: not a text of at most 255 bytes" },
		{ "[{\"service_name\":\"payment-processing\\u0000\"}]",
		    "service_name: not a text of at most 255 bytes" },
		{ "[{\"service_name\":\"payment-processing\",\"function_name\":{}}]",
		    "function_name: not a text of at most 255 bytes" },
		{ "[" FUNCTION("f", "payments") "]",
		    "there is no queue payments in the configuration" },
		{ "[" FUNCTION("f", "payment-processing") "," FUNCTION(
		      "g", "Payment-Processing") "]",
		    "payment-processing stands there twice" },
	};
	char error[512], wanted[256];

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		setenv("MANAGED_FUNCTIONS", lists[i].list, 1);
		snprintf(wanted, sizeof(wanted), "MANAGED_FUNCTIONS: %s", lists[i].error);
		cr_assert(service_manager.begin(&options, error, sizeof(error)) != 0, "%s",
		    lists[i].list);
		cr_assert(strcmp(error, wanted) == 0, "%s: %s", lists[i].list, error);
	}
	expect(
	    "{\"action\":\"status\"}", "\"total_functions\":2,"); /* the old list stays in force */
}

static void
write_config(const char *content)
{
	FILE *out = fopen(file, "w");

	cr_assert(out != NULL && fputs(content, out) >= 0 && fclose(out) == 0, "%s", file);
	options.file = file;
}

Test(manager, refresh_reads_the_configuration_again)
{
	expect("{\"action\":\"refresh\"}",
	    "\"refreshed\":true,\"old_count\":2,\"new_count\":2,"
	    "\"added_functions\":[],\"removed_functions\":[]");
	write_config(
	    "topic t {}\nqueue payment-processing { topic = t }\nqueue refunds { topic = t }\n"
	    "queue claims { topic = t }\n");
	expect("{\"action\":\"refresh\"}",
	    "\"refreshed\":true,\"old_count\":2,\"new_count\":3,"
	    "\"added_functions\":[\"refunds\",\"claims\"],"
	    "\"removed_functions\":[\"bank-account-setup\"]");
	write_config("queue payment-processing { topic = t }\n");
	expect("{\"action\":\"refresh\"}",
	    "\"refreshed\":false,\"old_count\":3,\"new_count\":3,"
	    "\"added_functions\":[],\"removed_functions\":[],\"error\":\"");
	expect("{\"action\":\"status\"," PAY "}", "\"overall_status\":\"enabled\"");
}

/* Any body is either executed or the client's fault. */
Test(manager, garbage_is_the_clients_fault)
{
	static const char good[] = "{\"action\":\"stop\",\"service\":\"payment-processing\","
				   "\"operator\":\"a\\u00e9\",\"reason\":\"r\",\"timestamp\":1.5}";
	char bytes[sizeof(good)];
	unsigned seed = (unsigned)getpid();

	for (int i = 0; i < MUTATIONS; i++) {
		size_t length = sizeof(good) - 1;

		memcpy(bytes, good, sizeof(good));
		for (int n = rand_r(&seed) % 3; n >= 0; n--)
			bytes[(size_t)rand_r(&seed) % length] = (char)rand_r(&seed);
		if (rand_r(&seed) % 4 == 0)
			length = (size_t)rand_r(&seed) % length;
		if (handle_bytes(bytes, length) != 200)
			cr_assert(outcome.status == 400 || outcome.status == 404,
			    "seed %d: %.*s: %d", getpid(), (int)length, bytes, outcome.status);
	}
}
