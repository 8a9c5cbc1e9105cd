#include "workers/managed.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char variable[] = "MANAGED_FUNCTIONS";
static const char control_queue[] = "subscription-control";

enum field { FUNCTION_NAME, SERVICE_NAME, DESCRIPTION, FIELDS };
static const char *const names[FIELDS] = { "function_name", "service_name", "description" };

/* Context of the reading of MANAGED_FUNCTIONS. */
struct listing {
	struct managed *managed;
	const struct config *config;
	struct json_reader *reader;
	char *error;
	size_t error_bytes;
};

static int __attribute__((format(printf, 2, 3)))
managed_error(struct listing *listing, const char *format, ...)
{
	va_list arguments;
	int n = snprintf(listing->error, listing->error_bytes, "%s: ", variable);

	va_start(arguments, format);
	if (n > 0 && (size_t)n < listing->error_bytes)
		vsnprintf(listing->error + n, listing->error_bytes - (size_t)n, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/* Reads an optional text; "" if absent or null. */
static int
read_text(struct listing *listing, const struct json_value *value, enum field field, char *text)
{
	long length = 0;

	if (value->type != 0 && value->type != JSON_NULL)
		length = value->type == JSON_STRING
		    ? json_unescape(value, text, MANAGED_TEXT_BYTES - 1)
		    : -EINVAL;
	if (length < 0 || memchr(text, '\0', (size_t)length) != NULL)
		return managed_error(listing, "%s: not a text of at most 255 bytes", names[field]);
	text[length] = '\0';
	return 0;
}

static void
add_function(struct managed *managed, const struct config_queue *queue, const char *name,
    const char *description)
{
	struct managed_function *function = &managed->functions[managed->count++];

	strlcpy(function->queue, queue->name, sizeof(function->queue));
	strlcpy(function->name, name, sizeof(function->name));
	strlcpy(function->description, description, sizeof(function->description));
	function->apart = queue->dead_letters || strcmp(queue->name, control_queue) == 0;
}

static const struct config_queue *
find_queue(const struct config *config, const char *service)
{
	for (size_t i = 0; i < config->queue_count; i++)
		if (strcasecmp(config->queues[i].name, service) == 0)
			return &config->queues[i];
	return NULL;
}

static int
read_function(void *context, struct span name, const struct json_value *item)
{
	struct listing *listing = context;
	struct json_value values[FIELDS];
	char text[FIELDS][MANAGED_TEXT_BYTES];
	const struct config_queue *queue;

	(void)name;
	if (item->type != JSON_OBJECT ||
	    json_pick(listing->reader, item->raw.data, item->raw.length, names, FIELDS, values) !=
		JSON_OK)
		return managed_error(listing, "an array of objects is wanted");
	for (int i = 0; i < FIELDS; i++)
		if (read_text(listing, &values[i], (enum field)i, text[i]) != 0)
			return -EINVAL;
	if (text[SERVICE_NAME][0] == '\0')
		return managed_error(listing, "%s is missing", names[SERVICE_NAME]);
	queue = find_queue(listing->config, text[SERVICE_NAME]);
	if (queue == NULL)
		return managed_error(
		    listing, "there is no queue %s in the configuration", text[SERVICE_NAME]);
	if (managed_find(listing->managed, (struct span){ queue->name, strlen(queue->name) }) !=
	    NULL)
		return managed_error(listing, "%s stands there twice", queue->name);
	add_function(listing->managed, queue,
	    text[FUNCTION_NAME][0] != '\0' ? text[FUNCTION_NAME] : queue->name, text[DESCRIPTION]);
	return 0;
}

static int
read_array(struct listing *listing, struct span array)
{
	enum json_error error = json_each(listing->reader, array, read_function, listing);

	if (error != JSON_OK && error != JSON_STOPPED)
		return managed_error(listing, "%s", json_error_text(error));
	return error == JSON_OK ? 0 : -EINVAL;
}

/* json_pick() walks objects only, so the array is made the member of an object. The walk then
 * checks the whole list strictly. */
static int
read_list(struct listing *listing, const char *list)
{
	static const char *const member = "list";
	size_t capacity = strlen(list) + sizeof("{\"list\":}") + JSON_PADDING;
	char *text = calloc(1, capacity);
	struct json_value value;
	int length, rc = -ENOMEM;

	listing->reader = json_reader_new(capacity);
	if (text != NULL && listing->reader != NULL) {
		length = snprintf(text, capacity, "{\"list\":%s}", list);
		if (json_pick(listing->reader, text, (size_t)length, &member, 1, &value) ==
			JSON_OK &&
		    value.type == JSON_ARRAY)
			rc = read_array(listing, value.raw);
		else
			rc = managed_error(listing, "no JSON array");
	}
	json_reader_free(listing->reader);
	free(text);
	return rc;
}

int
managed_load(
    struct managed *managed, const struct config_options *options, char *error, size_t error_bytes)
{
	static struct config config;
	static struct managed fresh;
	struct listing listing = {
		.managed = &fresh,
		.config = &config,
		.error = error,
		.error_bytes = error_bytes,
	};
	const char *list = getenv(variable);
	int rc = config_load(&config, options, error, error_bytes);

	if (rc != 0)
		return rc;
	fresh = (struct managed){ .count = 0 };
	strlcpy(fresh.run_dir, config.run_dir, sizeof(fresh.run_dir));
	strlcpy(fresh.state_dir, config.state_dir, sizeof(fresh.state_dir));
	if (list != NULL && list[0] != '\0')
		rc = read_list(&listing, list);
	else
		for (size_t i = 0; i < config.queue_count; i++)
			add_function(&fresh, &config.queues[i], config.queues[i].name, "");
	config_free(&config);
	if (rc == 0)
		*managed = fresh;
	return rc;
}

const struct managed_function *
managed_find(const struct managed *managed, struct span service)
{
	for (size_t i = 0; i < managed->count; i++) {
		const struct managed_function *function = &managed->functions[i];

		if (strlen(function->queue) == service.length &&
		    strncasecmp(function->queue, service.data, service.length) == 0)
			return function;
	}
	return NULL;
}

size_t
managed_count(const struct managed *managed)
{
	size_t count = 0;

	for (size_t i = 0; i < managed->count; i++)
		count += !managed->functions[i].apart;
	return count;
}
