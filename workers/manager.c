/*
 * headgate-subscription-manager(8): the worker of queue subscription-control.
 *
 * The worker changes state words in the control segment before the message's row is stored. After a
 * crash in between, the message is handled again and finds the change made: the result counts the
 * mapping as "already" enabled or disabled.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "message/wire.h"
#include "shm/subscription.h"
#include "telemetry/event.h"
#include "workers/managed.h"
#include "workers/service.h"

static const char program[] = "headgate-subscription-manager";

/* Limits for all queues of a message together, below a usual visibility_timeout. */
#define LOGGED_NS UINT64_C(10000000000) /* for the router to log the changes */
#define SEEN_NS   UINT64_C(2000000000)  /* for the workers to see the changes */

enum field { ACTION, SERVICE, REASON, OPERATOR, TIMESTAMP, FIELDS };
static const char *const names[FIELDS] = { "action", "service", "reason", "operator", "timestamp" };

enum { POKE_MS = 5000, AGAIN_S = 3, LOCK_S = 5 };
#define SECOND_NS UINT64_C(1000000000)

enum verb { ENABLE, DISABLE, STATUS, REFRESH };

struct action {
	const char *name;
	enum verb verb;
};
static const struct action actions[] = {
	{ "start", ENABLE },
	{ "enable", ENABLE },
	{ "stop", DISABLE },
	{ "disable", DISABLE },
	{ "status", STATUS },
	{ "refresh", REFRESH },
};

struct request {
	const struct action *action;
	const struct managed_function *function; /* NULL: all but those set apart */
	struct json_value values[FIELDS];
	char reason[CONTROL_TEXT_BYTES], operator[CONTROL_NAME_BYTES]; /* for the state's detail */
	const char *now;
};

/* The outcome for one function. */
struct handled {
	const struct managed_function *function;
	unsigned queue; /* index in the control segment */
	enum subscription_result result;
	struct subscription_change change;
};

struct row {
	struct span result; /* JSON text of an object */
};

static struct managed managed;
static char *result_text; /* of the last message's row */
static const struct config_options *options;

static int
manager_begin(const struct config_options *given, char *error, size_t error_bytes)
{
	options = given;
	return managed_load(&managed, given, error, error_bytes);
}

static bool
is_meant(const struct request *request, const struct managed_function *function)
{
	return request->function != NULL ? request->function == function : !function->apart;
}

/*
 * The request.
 */

/* Copies a text, cut between two UTF-8 characters if too long. Control characters become blanks. */
static void
copy_text(char *to, size_t size, struct span text)
{
	size_t length = text.length < size ? text.length : size - 1;

	while (length < text.length && length > 0 && (text.data[length] & 0xc0) == 0x80)
		length--;
	for (size_t i = 0; i < length; i++)
		to[i] =
		    (unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f ? ' ' : text.data[i];
	to[length] = '\0';
}

static const struct action *
find_action(struct span name)
{
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (strlen(actions[i].name) == name.length &&
		    strncasecmp(actions[i].name, name.data, name.length) == 0)
			return &actions[i];
	return NULL;
}

static void
read_detail(char *to, size_t size, struct service_scratch *scratch, const struct json_value *value,
    struct span otherwise)
{
	struct span text = service_has_text(value) ? service_text(scratch, value) : otherwise;

	copy_text(to, size, text.data != NULL ? text : otherwise);
}

static struct span
span_of(const char *text)
{
	return (struct span){ text, strlen(text) };
}

/* Reads the member `service`. Returns false with the outcome set. */
static bool
read_service(struct request *request, struct service_scratch *scratch, struct outcome *outcome)
{
	const struct json_value *value = &request->values[SERVICE];
	char name[CONTROL_NAME_BYTES], reason[SERVICE_REASON_BYTES];
	struct span text;

	request->function = NULL;
	if (value->type == 0 || value->type == JSON_NULL)
		return true;
	if (!service_has_text(value)) { /* "" is no "all": a script's variable may be empty */
		service_invalid(outcome, names[SERVICE]);
		return false;
	}
	text = service_text(scratch, value);
	request->function = text.data != NULL ? managed_find(&managed, text) : NULL;
	if (request->function != NULL)
		return true;
	copy_text(name, sizeof(name), text);
	snprintf(reason, sizeof(reason), "Unknown service: %s", name);
	service_answer(outcome, 404, reason);
	return false;
}

static bool
read_request(struct request *request, const struct service_context *context,
    const struct message *message, struct outcome *outcome)
{
	struct span body = message->envelope.body;
	struct service_scratch *scratch = service_scratch_begin(body.length);
	const struct json_value *values = request->values;
	struct span action = { 0 };

	if (json_pick(context->reader, body.data, body.length, names, FIELDS, request->values) ==
	    JSON_OK)
		action = service_text(scratch, &values[ACTION]);
	request->action = action.data != NULL ? find_action(action) : NULL;
	if (request->action == NULL) {
		service_answer(outcome, 400, "Invalid event format or missing action");
		return false;
	}
	if (!read_service(request, scratch, outcome))
		return false;
	for (enum field i = 0; i < FIELDS; i++) {
		if (i == ACTION || i == SERVICE || service_may_have_text(&values[i]) ||
		    (i == TIMESTAMP && values[i].type == JSON_NUMBER))
			continue;
		service_invalid(outcome, names[i]);
		return false;
	}
	read_detail(request->reason, sizeof(request->reason), scratch, &values[REASON],
	    span_of("Manual control"));
	read_detail(request->operator, sizeof(request->operator), scratch, &values[OPERATOR],
	    span_of("system"));
	request->now = context->now;
	return true;
}

/*
 * The result's text.
 */

/* Prints a member as in the message, else with a default. */
static void
print_echo(FILE *out, const struct request *request, enum field field, const char *otherwise)
{
	const struct json_value *value = &request->values[field];

	fprintf(out, ",\"%s\":", names[field]);
	if (service_has_text(value))
		fprintf(out, "\"%.*s\"", (int)value->raw.length, value->raw.data);
	else if (field == TIMESTAMP && value->type == JSON_NUMBER)
		fprintf(out, "%.*s", (int)value->raw.length, value->raw.data);
	else
		fprintf(out, "\"%s\"", otherwise);
}

static void
print_head(FILE *out, const struct request *request)
{
	fprintf(out, "{\"action\":\"%s\"", request->action->name);
	print_echo(out, request, TIMESTAMP, request->now);
	print_echo(out, request, OPERATOR, "system");
	print_echo(out, request, REASON, "Manual control");
}

static void
print_function(FILE *out, const struct managed_function *function, bool first)
{
	/* The characters of a queue's name need no escapes. */
	fprintf(out, "%s{\"service_name\":\"%s\"", first ? "" : ",", function->queue);
	service_print_text(out, "function_name", span_of(function->name));
}

/*
 * start and stop.
 */

/* Opens the control segment of a running router. Returns 0, or -EIO with the outcome set. */
static int
open_control(struct control *control, bool writable, struct outcome *outcome)
{
	uint64_t deadline_ns = clock_monotonic_ns() + AGAIN_S * SECOND_NS;
	const char *why = "no router is running";
	char reason[SERVICE_REASON_BYTES];
	int rc;

	rc = control_open_living(
	    control, managed.run_dir, managed.state_dir, writable, deadline_ns);
	if (rc == 0)
		return 0;
	if (rc == -ESTALE)
		why = "another version's";
	else if (rc != -ENOENT && rc != -EAGAIN && rc != -ESRCH)
		why = strerror(-rc);
	snprintf(reason, sizeof(reason), "control segment: %s; nothing was changed", why);
	service_answer(outcome, 503, reason);
	return -EIO;
}

/* True if the request is for all services and the router has this queue as a dead-letter queue. The
 * worker's own configuration may differ. */
static bool
is_dead(const struct control *control, const struct request *request, int queue)
{
	return request->function == NULL && queue >= 0 &&
	    control->facts.queue[queue].dead_letter_queue == (unsigned)queue;
}

/* Finds the request's queues in the control segment. A queue that the router does not have (the
 * router has read another configuration) is an error before any change. */
static int
find_queues(const struct control *control, const struct request *request, struct handled *handled,
    size_t *count, struct outcome *outcome)
{
	char reason[SERVICE_REASON_BYTES];

	*count = 0;
	for (size_t i = 0; i < managed.count; i++) {
		const struct managed_function *function = &managed.functions[i];
		int queue = control_find_queue(control, function->queue);

		if (!is_meant(request, function) || is_dead(control, request, queue))
			continue;
		if (queue < 0) {
			snprintf(reason, sizeof(reason),
			    "the router that is running does not have queue %s; nothing was "
			    "changed",
			    function->queue);
			service_answer(outcome, 503, reason);
			return -ENOENT;
		}
		handled[(*count)++] =
		    (struct handled){ .function = function, .queue = (unsigned)queue };
	}
	return 0;
}

static uint64_t
left_ns(uint64_t start_ns, uint64_t limit_ns)
{
	uint64_t passed_ns = clock_monotonic_ns() - start_ns;

	return passed_ns < limit_ns ? limit_ns - passed_ns : 0;
}

/* Waits until the changes are on disk, and up to SEEN_NS for the workers to see the changes. A
 * worker in a long handler may see a change later: a warning is enough, as no handler starts after
 * the change. */
static int
wait_until_logged(const struct control *control, const struct handled *handled, size_t count)
{
	uint64_t start_ns = clock_monotonic_ns();
	uint32_t worker;

	for (size_t i = 0; i < count; i++) {
		const struct handled *one = &handled[i];
		int rc;

		if (one->result == SUBSCRIPTION_REFUSED)
			continue;
		rc = subscription_wait(control, one->queue, one->change.generation,
		    left_ns(start_ns, SEEN_NS), &worker);
		if (rc == -EAGAIN)
			rc = subscription_wait(control, one->queue, one->change.generation,
			    left_ns(start_ns, LOGGED_NS), &worker);
		if (rc == -ETIMEDOUT)
			event(EVENT_WARN, "control.unseen", "s:queue", one->function->queue,
			    "u:pid", (uint64_t)worker, NULL);
		else if (rc != 0)
			return rc;
	}
	return 0;
}

/* With the segment's lock held, which is released. */
static int
change_states(
    struct control *control, const struct request *request, struct handled *handled, size_t count)
{
	const struct subscription_by by = {
		.program = program,
		.user = request->operator,
		.reason = request->reason,
	};
	enum gate_event what = request->action->verb == ENABLE ? GATE_START : GATE_STOP;

	for (size_t i = 0; i < count; i++)
		handled[i].result =
		    subscription_change(control, handled[i].queue, what, &by, &handled[i].change);
	control_unlock(control);
	wire_poke(managed.run_dir, program, POKE_MS);
	return wait_until_logged(control, handled, count);
}

static void
print_handled(FILE *out, const struct request *request, const struct handled *handled, size_t count)
{
	const char *did = request->action->verb == ENABLE ? "enabled" : "disabled";
	size_t errors = 0;

	print_head(out, request);
	fputs(",\"functions_processed\":[", out);
	for (size_t i = 0; i < count; i++) {
		const struct handled *one = &handled[i];
		bool good = one->result != SUBSCRIPTION_REFUSED;

		errors += !good;
		print_function(out, one->function, i == 0);
		fprintf(out,
		    ",\"success\":%s,\"mappings_processed\":1,\"mappings_%s\":%d,"
		    "\"mappings_already_%s\":%d",
		    good ? "true" : "false", did, one->result == SUBSCRIPTION_CHANGED, did,
		    one->result == SUBSCRIPTION_SAME);
		if (good)
			fprintf(out, ",\"state\":\"%s\"}", control_state_name(one->change.to));
		else
			fputs(",\"error\":\"its state cannot be changed\"}", out);
	}
	fprintf(out, "],\"success_count\":%zu,\"error_count\":%zu}", count - errors, errors);
}

static void
set_gates(const struct request *request, FILE *out, struct outcome *outcome)
{
	struct handled handled[CONFIG_QUEUES];
	struct control control;
	char reason[SERVICE_REASON_BYTES];
	size_t count;
	int rc;

	if (open_control(&control, true, outcome) != 0)
		return;
	if (find_queues(&control, request, handled, &count, outcome) != 0) {
		control_close(&control);
		return;
	}
	rc = control_lock(&control, clock_monotonic_ns() + LOCK_S * SECOND_NS);
	if (rc != 0) {
		snprintf(reason, sizeof(reason), "control segment: %s; nothing was changed",
		    rc == -ESRCH ? "the router is gone"
			: rc == -ETIMEDOUT
			? "another process, such as headgatectl, keeps RUN/control locked"
			: strerror(-rc));
		control_close(&control);
		service_answer(outcome, 503, reason);
		return;
	}
	rc = change_states(&control, request, handled, count);
	control_close(&control);
	if (rc != 0) {
		snprintf(reason, sizeof(reason), "the change may not be on disk: %s",
		    rc == -ESRCH        ? "the router is gone"
			: rc == -EAGAIN ? "the router has not logged it yet"
					: strerror(-rc));
		service_answer(outcome, 503, reason);
		return;
	}
	print_handled(out, request, handled, count);
}

/*
 * status.
 */

enum overall { ENABLED, DISABLED, MIXED, ERROR, OVERALLS };
static const char *const overall_names[OVERALLS] = { "enabled", "disabled", "mixed", "error" };

static enum overall
overall_of(enum control_state state)
{
	switch (state) {
	case CONTROL_RUNNING:
		return ENABLED;
	case CONTROL_STOPPED:
	case CONTROL_TRIPPED:
		return DISABLED;
	case CONTROL_PROBING:
		return MIXED; /* only the head is let through */
	}
	return ERROR;
}

static enum overall
print_status_of(
    FILE *out, const struct managed_function *function, const struct control *control, bool first)
{
	int queue = control_find_queue(control, function->queue);
	enum overall overall = ERROR;
	struct control_detail detail;
	uint64_t word = 0;

	if (queue >= 0) {
		control_read_state(control, (unsigned)queue, &word, &detail);
		overall = overall_of(control_word_state(word));
	}
	print_function(out, function, first);
	if (function->description[0] != '\0')
		service_print_text(out, "description", span_of(function->description));
	fprintf(out, ",\"overall_status\":\"%s\"", overall_names[overall]);
	if (overall != ERROR)
		service_print_text(
		    out, "state", span_of(control_state_name(control_word_state(word))));
	else
		service_print_text(out, "error",
		    span_of(queue < 0 ? "the router that is running does not have this queue"
				      : "its state is damaged"));
	putc('}', out);
	return overall;
}

static void
tell_status(const struct request *request, FILE *out, struct outcome *outcome)
{
	size_t count[OVERALLS] = { 0 }, total = 0;
	struct control control;

	if (open_control(&control, false, outcome) != 0)
		return;
	print_head(out, request);
	fputs(",\"functions\":[", out);
	for (size_t i = 0; i < managed.count; i++)
		if (is_meant(request, &managed.functions[i]))
			count[print_status_of(
			    out, &managed.functions[i], &control, total++ == 0)]++;
	control_close(&control);
	fprintf(out,
	    "],\"summary\":{\"total_functions\":%zu,\"enabled_functions\":%zu,"
	    "\"disabled_functions\":%zu,\"mixed_state_functions\":%zu,\"error_functions\":%zu}}",
	    total, count[ENABLED], count[DISABLED], count[MIXED], count[ERROR]);
}

/*
 * refresh.
 */

/* Prints the names of the functions in `in` that are not in `not_in`. */
static void
print_difference(
    FILE *out, const char *name, const struct managed *in, const struct managed *not_in)
{
	bool first = true;

	fprintf(out, ",\"%s\":[", name);
	for (size_t i = 0; i < in->count; i++) {
		const struct managed_function *function = &in->functions[i];

		if (function->apart || managed_find(not_in, span_of(function->queue)) != NULL)
			continue;
		fprintf(out, "%s\"%s\"", first ? "" : ",", function->queue);
		first = false;
	}
	putc(']', out);
}

static void
refresh(const struct request *request, FILE *out)
{
	static struct managed before;
	char error[CONFIG_PATH_BYTES + 512];
	int rc;

	before = managed;
	rc = managed_load(&managed, options, error, sizeof(error));
	print_head(out, request);
	fprintf(out, ",\"refreshed\":%s,\"old_count\":%zu,\"new_count\":%zu",
	    rc == 0 ? "true" : "false", managed_count(&before), managed_count(&managed));
	print_difference(out, "added_functions", &managed, &before);
	print_difference(out, "removed_functions", &before, &managed);
	if (rc != 0)
		service_print_text(out, "error", span_of(error));
	putc('}', out);
}

/*
 * The service.
 */

static void
act(const struct request *request, FILE *out, struct outcome *outcome)
{
	service_answer(outcome, 200, "");
	switch (request->action->verb) {
	case ENABLE:
	case DISABLE:
		set_gates(request, out, outcome);
		break;
	case STATUS:
		tell_status(request, out, outcome);
		break;
	case REFRESH:
		refresh(request, out);
		break;
	}
	event(EVENT_INFO, "control.handled", "s:action", request->action->name, "s:queue",
	    request->function != NULL ? request->function->queue : "all", "s:operator",
	    request->operator, "s:reason", request->reason, "d:status", outcome->status, NULL);
}

static void
manager_handle(
    struct service_context *context, const struct message *message, struct outcome *outcome)
{
	struct row *row = context->row;
	struct request request;
	FILE *out;

	free(result_text);
	result_text = NULL;
	*row = (struct row){ 0 };
	if (!read_request(&request, context, message, outcome))
		return;
	out = open_memstream(&result_text, &row->result.length);
	if (out == NULL) {
		service_answer(outcome, 503, strerror(errno));
		return;
	}
	act(&request, out, outcome);
	if (fclose(out) != 0)
		service_answer(outcome, 503, strerror(errno));
	row->result.data = result_text;
}

static void
manager_bind(
    const struct service_context *context, const struct message *message, sqlite3_stmt *insert)
{
	const struct row *row = context->row;

	(void)message;
	sqlite3_bind_null(insert, 5); /* no customer id */
	service_bind_text(insert, 8, row->result);
}

static void
manager_print(const struct service_context *context, const struct message *message, FILE *out)
{
	const struct row *row = context->row;

	(void)message;
	/* The members without the braces around them. */
	fprintf(out, ",%.*s", (int)row->result.length - 2, row->result.data + 1);
}

const struct service service_manager = {
	.program = program,
	.queue = "subscription-control",
	.name = "results",
	.table =
	    "CREATE TABLE IF NOT EXISTS results ("
	    "log INTEGER NOT NULL, sequence INTEGER NOT NULL, lane INTEGER NOT NULL, "
	    "message_id TEXT NOT NULL, processed_at TEXT NOT NULL, processing_ms REAL NOT NULL, "
	    "status INTEGER NOT NULL, result TEXT NOT NULL, UNIQUE (log, sequence))",
	.insert = "INSERT INTO results (log, sequence, lane, message_id, processed_at, "
		  "processing_ms, status, result) VALUES (?1,?2,?3,?4,?6,?7,200,?8)",
	.row_bytes = sizeof(struct row),
	.handle = manager_handle,
	.bind = manager_bind,
	.print = manager_print,
	.begin = manager_begin,
	.acts = true,
};
