#include "config/config.h"

#include <confuse.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/command.h"
#include "config/paths.h"
#include "config/suggest.h"
#include "config/text.h"
#include "message/envelope.h"

/* The utility system, the default without a configuration file. */
static const char built_in[] =
    "topic transaction-processing {\n"
    "    group_by = {customer_id}  dedup_by = {message_id, content}  dedup_window = 5m\n"
    "}\n"
    "topic subscription-control { dedup_by = {message_id} }\n"
    "queue bank-account-setup {\n"
    "    topic = transaction-processing\n"
    "    filter_policy = '{\"transaction_type\": [\"bank_account_setup\"]}'\n"
    "}\n"
    "queue payment-processing {\n"
    "    topic = transaction-processing\n"
    "    filter_policy = '{\"transaction_type\": [\"payment\"]}'\n"
    "}\n"
    "queue subscription-control { topic = subscription-control  lanes = 1 }\n";

#define RETENTION_NS    (14 * 86400 * UINT64_C(1000000000)) /* default */
#define RETENTION_UNSET UINT64_MAX

static const char control_topic[] = "subscription-control";

struct loader {
	struct config *config;
	const char *name; /* of the file, for errors */
	char *text;       /* that is parsed */
	char *error;
	size_t error_bytes;
};

static int __attribute__((format(printf, 3, 4)))
fail(struct loader *loader, int line, const char *format, ...)
{
	va_list arguments;
	int n;

	if (line > 0)
		n = snprintf(loader->error, loader->error_bytes, "%s:%d: ", loader->name, line);
	else
		n = snprintf(loader->error, loader->error_bytes, "%s: ", loader->name);
	va_start(arguments, format);
	if (n >= 0 && (size_t)n < loader->error_bytes)
		vsnprintf(loader->error + n, loader->error_bytes - (size_t)n, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/*
 * Values.
 */

/* Parses a number of digits only; *unit points behind. */
static int
parse_number(const char *text, uint64_t *number, const char **unit)
{
	uint64_t value = 0;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
			return -ERANGE;
	*number = value;
	*unit = text;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static int
parse_with_unit(const char *text, const struct unit *units, uint64_t *value)
{
	const char *name;
	uint64_t number;
	int rc = parse_number(text, &number, &name);

	if (rc != 0)
		return rc;
	for (; units->name != NULL; units++)
		if (strcmp(units->name, name) == 0)
			return __builtin_mul_overflow(number, units->factor, value) ? -ERANGE : 0;
	return -EINVAL;
}

int
config_parse_duration(const char *text, uint64_t *ns)
{
	static const struct unit units[] = {
		{ "", 1000000000 },
		{ "ms", 1000000 },
		{ "s", 1000000000 },
		{ "m", 60000000000 },
		{ "h", 3600000000000 },
		{ "d", 86400000000000 },
		{ NULL, 0 },
	};

	return parse_with_unit(text, units, ns);
}

int
config_parse_size(const char *text, uint64_t *bytes)
{
	static const struct unit units[] = {
		{ "", 1 },
		{ "K", 1 << 10 },
		{ "M", 1 << 20 },
		{ "G", 1 << 30 },
		{ NULL, 0 },
	};

	return parse_with_unit(text, units, bytes);
}

#define NAME_RULE "a name is 1 to 63 of a-z 0-9 . _ - and begins with a letter or digit"

static bool
name_valid(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length < CONFIG_NAME_BYTES &&
	    (islower((unsigned char)name[0]) || isdigit((unsigned char)name[0])) &&
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}

/* A word that a setting may have as its value. */
struct word {
	const char *name;
	int value;
};

static int
read_word(
    struct loader *loader, cfg_t *section, const char *option, const struct word *words, int *value)
{
	const char *text = cfg_getstr(section, option);
	char all[128] = "";

	if (text == NULL)
		return 0;
	for (; words->name != NULL; words++) {
		if (strcmp(words->name, text) == 0) {
			*value = words->value;
			return 0;
		}
		strlcat(all, all[0] != '\0' ? ", " : "", sizeof(all));
		strlcat(all, words->name, sizeof(all));
	}
	return fail(loader, section->line, "%s: \"%s\" is no value for it: there are %s", option,
	    text, all);
}

static int
read_bool(struct loader *loader, cfg_t *section, const char *option, bool *value)
{
	static const struct word words[] = { { "on", 1 }, { "off", 2 }, { NULL, 0 } };
	int word = *value ? 1 : 2;
	int rc = read_word(loader, section, option, words, &word);

	*value = word == 1;
	return rc;
}

/* The range of a setting, in the file's syntax. */
struct range {
	const char *min, *max;
};

static int
check_duration(struct loader *loader, int line, const char *option, const char *text, uint64_t *ns,
    struct range range)
{
	uint64_t min = 0, max = 0;

	if (config_parse_duration(text, ns) == -EINVAL)
		return fail(loader, line,
		    "%s: \"%s\" is no duration: seconds, or with ms, s, m, h, d", option, text);
	if (config_parse_duration(text, ns) != 0 || config_parse_duration(range.min, &min) != 0 ||
	    config_parse_duration(range.max, &max) != 0 || *ns < min || *ns > max)
		return fail(loader, line, "%s: \"%s\" is not from %s to %s", option, text,
		    range.min, range.max);
	return 0;
}

static int
read_duration(
    struct loader *loader, cfg_t *section, const char *option, uint64_t *ns, struct range range)
{
	const char *text = cfg_getstr(section, option);

	return text != NULL ? check_duration(loader, (int)section->line, option, text, ns, range)
			    : 0;
}

static int
read_count(struct loader *loader, cfg_t *section, const char *option, unsigned max, unsigned *count)
{
	const char *text = cfg_getstr(section, option), *rest;
	uint64_t number;

	if (text == NULL)
		return 0;
	if (parse_number(text, &number, &rest) != 0 || *rest != '\0' || number < 1 || number > max)
		return fail(
		    loader, section->line, "%s: \"%s\" is not from 1 to %u", option, text, max);
	*count = (unsigned)number;
	return 0;
}

/*
 * Sections.
 */

static int
read_fields(struct loader *loader, cfg_t *section, const char *option,
    char fields[CONFIG_FIELDS][CONFIG_NAME_BYTES], size_t *count)
{
	unsigned size = cfg_size(section, option);

	if (size > CONFIG_FIELDS)
		return fail(loader, section->line, "%s: more than %d", option, CONFIG_FIELDS);
	for (unsigned i = 0; i < size; i++) {
		const char *field = cfg_getnstr(section, option, i);

		if (field[0] == '\0' || strlen(field) >= CONFIG_NAME_BYTES)
			return fail(loader, section->line, "%s: bad name \"%s\"", option, field);
		strcpy(fields[i], field);
	}
	*count = size;
	return 0;
}

static int
check_dedup_by(struct loader *loader, const cfg_t *section, const struct config_topic *topic)
{
	for (size_t i = 0; i < topic->dedup_by_count; i++)
		if (strcmp(topic->dedup_by[i], "message_id") != 0 &&
		    strcmp(topic->dedup_by[i], "content") != 0)
			return fail(loader, (int)section->line,
			    "dedup_by: \"%s\" is neither message_id nor content",
			    topic->dedup_by[i]);
	return 0;
}

static int
read_topic(struct loader *loader, cfg_t *section)
{
	static const struct word durabilities[] = {
		{ "sync", CONFIG_DURABILITY_SYNC },
		{ "os", CONFIG_DURABILITY_OS },
		{ NULL, 0 },
	};
	struct config *config = loader->config;
	struct config_topic *topic = &config->topics[config->topic_count];
	const char *name = cfg_title(section);
	int durability = CONFIG_DURABILITY_SYNC, rc;

	if (!name_valid(name))
		return fail(loader, section->line, "topic \"%s\": " NAME_RULE, name);
	if (config->topic_count == CONFIG_TOPICS)
		return fail(loader, section->line, "more than %d topics", CONFIG_TOPICS);
	for (size_t i = 0; i < config->topic_count; i++)
		if (envelope_topic_id(config->topics[i].name) == envelope_topic_id(name))
			return fail(loader, section->line,
			    "topic %s: its name collides with %s: choose another", name,
			    config->topics[i].name);
	strcpy(topic->name, name);
	topic->control = strcmp(name, control_topic) == 0;
	topic->dedup_window_ns = 300000000000;
	topic->dedup_max = 50000000;
	rc = read_fields(loader, section, "group_by", topic->group_by, &topic->group_by_count);
	if (rc == 0)
		rc = read_fields(
		    loader, section, "dedup_by", topic->dedup_by, &topic->dedup_by_count);
	if (rc == 0)
		rc = check_dedup_by(loader, section, topic);
	if (rc == 0)
		rc = read_duration(loader, section, "dedup_window", &topic->dedup_window_ns,
		    (struct range){ "1ms", "1d" });
	if (rc == 0)
		rc = read_count(loader, section, "dedup_max", CONFIG_DEDUP_MAX, &topic->dedup_max);
	if (rc == 0)
		rc = read_word(loader, section, "durability", durabilities, &durability);
	topic->durability = (enum config_durability)durability;
	config->topic_count++;
	return rc;
}

/* A queue without a topic is accepted here. link_dead_letter_queues() refuses the queue unless used
 * as a dead-letter queue. */
static int
find_topic(struct loader *loader, cfg_t *section, unsigned *topic)
{
	const struct config *config = loader->config;
	const char *name = cfg_getstr(section, "topic");
	struct suggestion meant = { .word = name };

	*topic = CONFIG_TOPICS;
	if (name == NULL)
		return 0;
	for (unsigned i = 0; i < config->topic_count; i++) {
		if (strcmp(config->topics[i].name, name) == 0) {
			*topic = i;
			return 0;
		}
		suggest_consider(&meant, config->topics[i].name);
	}
	return fail(loader, section->line, "queue %s: there is no topic \"%s\"%s%s%s",
	    cfg_title(section), name, meant.best != NULL ? "; did you mean " : "",
	    meant.best != NULL ? meant.best : "", meant.best != NULL ? "?" : "");
}

static int
read_policies(struct loader *loader, cfg_t *section, struct config_queue *queue)
{
	static const struct word server_errors[] = {
		{ "stop", CONFIG_SERVER_STOP },
		{ "block-group", CONFIG_SERVER_BLOCK_GROUP },
		{ "retry", CONFIG_SERVER_RETRY },
		{ NULL, 0 },
	};
	static const struct word client_errors[] = {
		{ "dead-letter", CONFIG_CLIENT_DEAD_LETTER },
		{ "record", CONFIG_CLIENT_RECORD },
		{ "retry", CONFIG_CLIENT_RETRY },
		{ NULL, 0 },
	};
	static const struct word routing_checks[] = { { "none", 1 }, { "aba", 2 }, { NULL, 0 } };
	int server = CONFIG_SERVER_STOP, client = CONFIG_CLIENT_DEAD_LETTER, check = 1;
	int rc = read_word(loader, section, "server_error", server_errors, &server);

	if (rc == 0)
		rc = read_word(loader, section, "client_error", client_errors, &client);
	if (rc == 0)
		rc = read_word(loader, section, "routing_check", routing_checks, &check);
	if (rc == 0)
		rc = read_bool(loader, section, "fault_markers", &queue->fault_markers);
	if (rc == 0)
		rc = read_bool(loader, section, "require_account", &queue->require_account);
	queue->server_error = (enum config_server_error)server;
	queue->client_error = (enum config_client_error)client;
	queue->routing_check_aba = check == 2;
	return rc;
}

static int
read_size(struct loader *loader, cfg_t *section, const char *option, uint64_t *bytes)
{
	const char *text = cfg_getstr(section, option);

	if (text == NULL)
		return 0;
	if (config_parse_size(text, bytes) == -EINVAL)
		return fail(loader, section->line, "%s: \"%s\" is no size: bytes, or with K, M, G",
		    option, text);
	if (config_parse_size(text, bytes) != 0 || *bytes == 0 || *bytes > CONFIG_BYTES_MAX)
		return fail(
		    loader, section->line, "%s: \"%s\" is not from 1 to 1048576G", option, text);
	return 0;
}

static int
read_retention(struct loader *loader, cfg_t *section, struct config_queue *queue)
{
	const char *text = cfg_getstr(section, "retention");

	queue->retention_ns = RETENTION_UNSET;
	if (text == NULL)
		return 0;
	if (strcmp(text, "never") == 0) {
		queue->retention_ns = 0;
		return 0;
	}
	return check_duration(loader, (int)section->line, "retention", text, &queue->retention_ns,
	    (struct range){ "1s", "36500d" });
}

static int
read_limits(struct loader *loader, cfg_t *section, struct config_queue *queue)
{
	int rc = read_duration(loader, section, "visibility_timeout", &queue->visibility_ns,
	    (struct range){ "1s", "12h" });

	if (rc == 0)
		rc = read_count(loader, section, "max_receive_count", CONFIG_RECEIVES_MAX,
		    &queue->max_receive_count);
	if (rc == 0)
		rc = read_duration(loader, section, "auto_probe", &queue->auto_probe_ns,
		    (struct range){ "1ms", "30d" });
	if (rc == 0)
		rc =
		    read_count(loader, section, "retry_max", CONFIG_RETRIES_MAX, &queue->retry_max);
	if (rc == 0)
		rc = read_duration(loader, section, "retry_base", &queue->retry_base_ns,
		    (struct range){ "1ms", "10m" });
	if (rc == 0)
		rc = read_count(
		    loader, section, "retry_factor", CONFIG_FACTOR_MAX, &queue->retry_factor);
	if (rc == 0)
		rc = read_retention(loader, section, queue);
	return rc == 0 ? read_size(loader, section, "max_bytes", &queue->max_bytes) : rc;
}

/*
 * Dead-letter queues: a queue that another queue names, or NAME-dlq, which is added if missing.
 */

static int
add_dead_letter_queue(struct loader *loader, const struct config_queue *source, const char *name)
{
	struct config *config = loader->config;

	if (config->queue_count == CONFIG_QUEUES)
		return fail(loader, source->line,
		    "more than %d queues, dead-letter queues among them", CONFIG_QUEUES);
	config->queues[config->queue_count] = (struct config_queue){
		.line = source->line,
		.topic = CONFIG_TOPICS,
		.lanes = source->lanes,
		.visibility_ns = source->visibility_ns,
		.max_receive_count = source->max_receive_count,
		.retry_max = source->retry_max,
		.retry_base_ns = source->retry_base_ns,
		.retry_factor = source->retry_factor,
		.server_error = CONFIG_SERVER_STOP,
		.client_error = CONFIG_CLIENT_RECORD,
	};
	strcpy(config->queues[config->queue_count++].name, name);
	return 0;
}

static int
link_dead_letter_queue(struct loader *loader, unsigned source)
{
	static const char suffix[] = "-dlq";
	struct config *config = loader->config;
	struct config_queue *queue = &config->queues[source];
	char name[CONFIG_NAME_BYTES + sizeof(suffix)];
	struct config_queue *dead;
	unsigned i = 0;
	int rc = 0;

	if (queue->dead_letter_name[0] != '\0')
		strcpy(name, queue->dead_letter_name);
	else
		snprintf(name, sizeof(name), "%s%s", queue->name, suffix);
	if (!name_valid(name))
		return fail(loader, queue->line,
		    "queue %s: no name for a dead-letter queue: \"%s\"", queue->name, name);
	while (i < config->queue_count && strcmp(config->queues[i].name, name) != 0)
		i++;
	if (i == config->queue_count)
		rc = add_dead_letter_queue(loader, queue, name);
	if (rc != 0)
		return rc;
	dead = &config->queues[i];
	if (dead->topic != CONFIG_TOPICS && !dead->dead_letters)
		return fail(loader, dead->line,
		    "queue %s: it is the dead-letter queue of %s and cannot have a topic", name,
		    queue->name);
	if (dead->filter_policy != NULL || dead->dead_letter_name[0] != '\0')
		return fail(loader, dead->line, "queue %s: a dead-letter queue has no %s", name,
		    dead->filter_policy ? "filter_policy" : "dead_letter_queue");
	if (dead->server_error == CONFIG_SERVER_RETRY)
		return fail(loader, dead->line,
		    "queue %s: server_error = retry gives messages up, and there is nowhere for a "
		    "dead "
		    "letter to go",
		    name);
	if (!dead->dead_letters)
		dead->topic = queue->topic;
	if (dead->retention_ns != RETENTION_UNSET && dead->retention_ns != 0)
		return fail(loader, dead->line,
		    "queue %s: a dead-letter queue has no retention: what is in it waits for a "
		    "person",
		    name);
	dead->retention_ns = 0;
	dead->dead_letters = true;
	dead->dead_letter_queue = i;
	/* Dead letters have no further dead-letter queue. */
	dead->client_error = CONFIG_CLIENT_RECORD;
	queue->dead_letter_queue = i;
	return 0;
}

static int
link_dead_letter_queues(struct loader *loader)
{
	struct config *config = loader->config;
	size_t count = config->queue_count;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < count; i++)
		if (config->queues[i].topic != CONFIG_TOPICS && !config->queues[i].dead_letters)
			rc = link_dead_letter_queue(loader, i);
	for (unsigned i = 0; rc == 0 && i < count; i++)
		if (config->queues[i].retention_ns == RETENTION_UNSET)
			config->queues[i].retention_ns = RETENTION_NS;
	for (unsigned i = 0; rc == 0 && i < count; i++)
		if (config->queues[i].topic == CONFIG_TOPICS)
			rc = fail(loader, config->queues[i].line, "queue %s: topic is missing",
			    config->queues[i].name);
	return rc;
}

static int
read_queue(struct loader *loader, cfg_t *section)
{
	struct config *config = loader->config;
	struct config_queue *queue = &config->queues[config->queue_count];
	const char *name = cfg_title(section);
	const char *policy = cfg_getstr(section, "filter_policy");
	const char *on_trip = cfg_getstr(section, "on_trip");
	const char *dead_letters = cfg_getstr(section, "dead_letter_queue");
	int rc;

	if (!name_valid(name))
		return fail(loader, section->line, "queue \"%s\": " NAME_RULE, name);
	if (config->queue_count == CONFIG_QUEUES)
		return fail(loader, section->line, "more than %d queues", CONFIG_QUEUES);
	*queue = (struct config_queue){
		.line = (int)section->line,
		.lanes = 4,
		.visibility_ns = 300000000000,
		.max_receive_count = 3,
		.retry_max = 3,
		.retry_base_ns = 1000000000,
		.retry_factor = 2,
		.fault_markers = strcmp(config->environment, "dev") == 0,
	};
	strcpy(queue->name, name);
	if (dead_letters != NULL && (!name_valid(dead_letters) || strcmp(dead_letters, name) == 0))
		return fail(
		    loader, section->line, "dead_letter_queue: bad name \"%s\"", dead_letters);
	strcpy(queue->dead_letter_name, dead_letters ? dead_letters : "");
	rc = find_topic(loader, section, &queue->topic);
	if (rc == 0)
		rc = read_count(loader, section, "lanes", CONFIG_LANES_MAX, &queue->lanes);
	if (rc == 0)
		rc = read_limits(loader, section, queue);
	if (rc == 0)
		rc = read_policies(loader, section, queue);
	if (rc == 0 && on_trip != NULL && on_trip[strspn(on_trip, " \t")] == '\0')
		rc = fail(loader, section->line, "on_trip: an empty command");
	if (rc == 0 && on_trip != NULL) {
		queue->on_trip = strdup(on_trip);
		rc = queue->on_trip ? 0 : -ENOMEM;
	}
	if (rc == 0 && policy != NULL) {
		queue->filter_policy = strdup(policy);
		rc = queue->filter_policy ? 0 : -ENOMEM;
	}
	config->queue_count++;
	return rc;
}

static int
read_top(struct loader *loader, cfg_t *top)
{
	struct config *config = loader->config;
	const char *from_environment = getenv("HEADGATE_ENVIRONMENT");
	const char *environment = cfg_getstr(top, "environment");
	const char *size = cfg_getstr(top, "max_message_size");
	uint64_t bytes = ENVELOPE_BODY_BYTES;

	if (from_environment != NULL && from_environment[0] != '\0') {
		if (!name_valid(from_environment)) {
			snprintf(loader->error, loader->error_bytes,
			    "HEADGATE_ENVIRONMENT: bad name \"%s\": " NAME_RULE, from_environment);
			return -EINVAL;
		}
		environment = from_environment;
	}
	if (environment == NULL)
		environment = "dev";
	if (!name_valid(environment))
		return fail(loader, text_line_of(loader->text, "environment"),
		    "environment: bad name \"%s\": " NAME_RULE, environment);
	strcpy(config->environment, environment);
	if (size != NULL &&
	    (config_parse_size(size, &bytes) != 0 || bytes < 1024 ||
		bytes > ENVELOPE_BODY_BYTES_MAX))
		return fail(loader, text_line_of(loader->text, "max_message_size"),
		    "max_message_size: \"%s\" is not from 1K to 1M", size);
	config->max_message_bytes = bytes;
	return 0;
}

static int
read_sections(struct loader *loader, cfg_t *top)
{
	int rc = read_top(loader, top);

	for (unsigned i = 0; rc == 0 && i < cfg_size(top, "topic"); i++)
		rc = read_topic(loader, cfg_getnsec(top, "topic", i));
	for (unsigned i = 0; rc == 0 && i < cfg_size(top, "queue"); i++)
		rc = read_queue(loader, cfg_getnsec(top, "queue", i));
	if (rc == 0)
		rc = link_dead_letter_queues(loader);
	if (rc == 0 && loader->config->queue_count == 0)
		rc = fail(loader, 0, "no queue");
	return rc;
}

/* libconfuse's error callback has no context argument. */
static struct loader *parsing;

static void __attribute__((format(printf, 2, 0)))
parse_error(cfg_t *cfg, const char *format, va_list arguments)
{
	char text[512], name[128];
	struct suggestion meant = { .word = name };

	vsnprintf(text, sizeof(text), format, arguments);
	if (cfg != NULL && sscanf(text, "no such option '%127[^']'", name) == 1)
		for (const cfg_opt_t *option = cfg->opts; option->name != NULL; option++)
			suggest_consider(&meant, option->name);
	if (parsing->error[0] == '\0')
		fail(parsing, cfg != NULL ? (int)cfg->line : 0, "%s%s%s%s", text,
		    meant.best != NULL ? "; did you mean " : "",
		    meant.best != NULL ? meant.best : "", meant.best != NULL ? "?" : "");
}

static int
parse(struct loader *loader, const char *text)
{
	/* All settings are texts for libconfuse, whose numbers read 010 as 8. */
	static char dedup_default[] = "{message_id, content}";
	cfg_opt_t topic_options[] = {
		CFG_STR_LIST("group_by", NULL, CFGF_NONE),
		CFG_STR_LIST("dedup_by", dedup_default, CFGF_NONE),
		CFG_STR("dedup_window", NULL, CFGF_NONE),
		CFG_STR("durability", NULL, CFGF_NONE),
		CFG_STR("dedup_max", NULL, CFGF_NONE),
		CFG_END(),
	};
	cfg_opt_t queue_options[] = {
		CFG_STR("topic", NULL, CFGF_NONE),
		CFG_STR("filter_policy", NULL, CFGF_NONE),
		CFG_STR("lanes", NULL, CFGF_NONE),
		CFG_STR("server_error", NULL, CFGF_NONE),
		CFG_STR("client_error", NULL, CFGF_NONE),
		CFG_STR("fault_markers", NULL, CFGF_NONE),
		CFG_STR("routing_check", NULL, CFGF_NONE),
		CFG_STR("visibility_timeout", NULL, CFGF_NONE),
		CFG_STR("max_receive_count", NULL, CFGF_NONE),
		CFG_STR("max_bytes", NULL, CFGF_NONE),
		CFG_STR("retention", NULL, CFGF_NONE),
		CFG_STR("auto_probe", NULL, CFGF_NONE),
		CFG_STR("retry_max", NULL, CFGF_NONE),
		CFG_STR("retry_base", NULL, CFGF_NONE),
		CFG_STR("retry_factor", NULL, CFGF_NONE),
		CFG_STR("on_trip", NULL, CFGF_NONE),
		CFG_STR("dead_letter_queue", NULL, CFGF_NONE),
		CFG_STR("require_account", NULL, CFGF_NONE),
		CFG_END(),
	};
	cfg_opt_t options[] = {
		CFG_STR("environment", NULL, CFGF_NONE),
		CFG_STR("max_message_size", NULL, CFGF_NONE),
		CFG_SEC("topic", topic_options, CFGF_TITLE | CFGF_MULTI | CFGF_NO_TITLE_DUPES),
		CFG_SEC("queue", queue_options, CFGF_TITLE | CFGF_MULTI | CFGF_NO_TITLE_DUPES),
		CFG_END(),
	};
	cfg_t *top = cfg_init(options, CFGF_NONE);
	int rc;

	if (top == NULL)
		return -ENOMEM;
	cfg_set_error_function(top, parse_error);
	parsing = loader;
	loader->error[0] = '\0';
	if (cfg_parse_buf(top, text) == CFG_SUCCESS)
		rc = read_sections(loader, top);
	else
		rc = loader->error[0] ? -EINVAL : fail(loader, 0, "cannot be read");
	cfg_free(top);
	return rc;
}

/*
 * Loading.
 */

static int
load_text(struct loader *loader, const char *text)
{
	char *clean = strdup(text);
	char why[256];
	int line, rc;

	if (clean == NULL)
		return -ENOMEM;
	loader->text = clean;
	rc = text_prepare(clean, &line, why, sizeof(why));
	if (rc != 0)
		fail(loader, line, "%s", why);
	else
		rc = parse(loader, clean);
	loader->text = NULL;
	free(clean);
	return rc;
}

int
config_load(
    struct config *config, const struct config_options *options, char *error, size_t error_bytes)
{
	struct loader loader = {
		.config = config,
		.name = options->file ? options->file : "built-in configuration",
		.error = error,
		.error_bytes = error_bytes,
	};
	char *text = NULL;
	int rc = 0;

	memset(config, 0, sizeof(*config));
	error[0] = '\0';
	config->options = command_options(options);
	config->env = command_env(options);
	if (options->file != NULL) {
		config->file = strdup(options->file);
		config->file_path = command_absolute(options->file);
	}
	if (config->options == NULL || config->env == NULL ||
	    (options->file != NULL && (config->file == NULL || config->file_path == NULL))) {
		snprintf(error, error_bytes, "%s", strerror(ENOMEM));
		config_free(config);
		return -ENOMEM;
	}
	if (options->file != NULL) {
		rc = text_read_file(options->file, &text);
		if (rc != 0)
			snprintf(error, error_bytes, "%s: %s", options->file,
			    rc == -ENOTSUP ? "not a plain file, which programs that are started "
					     "later could read as well"
				: rc == -EILSEQ ? "has a NUL in it: not a configuration in UTF-8"
						: strerror(-rc));
	}
	if (rc == 0)
		rc = load_text(&loader, text ? text : built_in);
	free(text);
	if (rc == 0)
		rc = paths_resolve(config, options->base_dir, error, error_bytes);
	if (rc != 0)
		config_free(config);
	return rc;
}

void
config_free(struct config *config)
{
	for (size_t i = 0; i < config->queue_count; i++) {
		free(config->queues[i].filter_policy);
		free(config->queues[i].on_trip);
	}
	free(config->file);
	free(config->file_path);
	free(config->options);
	free(config->env);
	config->file = config->file_path = config->options = config->env = NULL;
	config->queue_count = 0;
}

const struct config_queue *
config_find_queue(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->queue_count; i++)
		if (strcmp(config->queues[i].name, name) == 0)
			return &config->queues[i];
	return NULL;
}

const struct config_topic *
config_find_topic(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->topic_count; i++)
		if (strcmp(config->topics[i].name, name) == 0)
			return &config->topics[i];
	return NULL;
}

/*
 * Printing.
 */

static void
print_list(
    FILE *out, const char *name, const char fields[CONFIG_FIELDS][CONFIG_NAME_BYTES], size_t count)
{
	fprintf(out, "    %s = {", name);
	for (size_t i = 0; i < count; i++)
		fprintf(out, "%s'%s'", i ? ", " : "", fields[i]);
	fputs("}\n", out);
}

static void
print_topic(FILE *out, const struct config_topic *topic)
{
	fprintf(out, "topic %s {\n", topic->name);
	print_list(out, "group_by", topic->group_by, topic->group_by_count);
	print_list(out, "dedup_by", topic->dedup_by, topic->dedup_by_count);
	fprintf(out, "    dedup_window = %llums\n    dedup_max = %u\n    durability = %s\n}\n",
	    (unsigned long long)(topic->dedup_window_ns / 1000000), topic->dedup_max,
	    topic->durability == CONFIG_DURABILITY_OS ? "os" : "sync");
}

/* Prints a single-quoted string, in which only ' and \ need a backslash. */
static void
print_quoted(FILE *out, const char *text)
{
	putc('\'', out);
	for (; *text != '\0'; text++) {
		if (*text == '\'' || *text == '\\')
			putc('\\', out);
		putc(*text, out);
	}
	putc('\'', out);
}

static void
print_queue(FILE *out, const struct config *config, const struct config_queue *queue)
{
	static const char *const server_errors[] = {
		[CONFIG_SERVER_STOP] = "stop",
		[CONFIG_SERVER_BLOCK_GROUP] = "block-group",
		[CONFIG_SERVER_RETRY] = "retry",
	};
	static const char *const client_errors[] = {
		[CONFIG_CLIENT_DEAD_LETTER] = "dead-letter",
		[CONFIG_CLIENT_RECORD] = "record",
		[CONFIG_CLIENT_RETRY] = "retry",
	};

	fprintf(out, "queue %s {\n", queue->name);
	if (!queue->dead_letters)
		fprintf(out, "    topic = %s\n    dead_letter_queue = %s\n    client_error = %s\n",
		    config->topics[queue->topic].name,
		    config->queues[queue->dead_letter_queue].name,
		    client_errors[queue->client_error]);
	if (queue->filter_policy != NULL) {
		fputs("    filter_policy = ", out);
		print_quoted(out, queue->filter_policy);
		putc('\n', out);
	}
	fprintf(out, "    lanes = %u\n    server_error = %s\n", queue->lanes,
	    server_errors[queue->server_error]);
	fprintf(out, "    retry_max = %u\n    retry_base = %llums\n    retry_factor = %u\n",
	    queue->retry_max, (unsigned long long)(queue->retry_base_ns / 1000000),
	    queue->retry_factor);
	fprintf(out, "    visibility_timeout = %llums\n    max_receive_count = %u\n",
	    (unsigned long long)(queue->visibility_ns / 1000000), queue->max_receive_count);
	if (queue->auto_probe_ns > 0)
		fprintf(out, "    auto_probe = %llums\n",
		    (unsigned long long)(queue->auto_probe_ns / 1000000));
	if (queue->on_trip != NULL) {
		fputs("    on_trip = ", out);
		print_quoted(out, queue->on_trip);
		putc('\n', out);
	}
	if (queue->retention_ns > 0)
		fprintf(out, "    retention = %llums\n",
		    (unsigned long long)(queue->retention_ns / 1000000));
	else
		fputs("    retention = never\n", out);
	if (queue->max_bytes > 0)
		fprintf(out, "    max_bytes = %llu\n", (unsigned long long)queue->max_bytes);
	fprintf(out,
	    "    fault_markers = %s\n    routing_check = %s\n    require_account = %s\n}\n",
	    queue->fault_markers ? "on" : "off", queue->routing_check_aba ? "aba" : "none",
	    queue->require_account ? "on" : "off");
}

void
config_print(const struct config *config, FILE *out)
{
	fprintf(out, "# run directory   %s\n# state directory %s\n", config->run_dir,
	    config->state_dir);
	fprintf(out, "environment = %s\nmax_message_size = %zu\n", config->environment,
	    config->max_message_bytes);
	for (size_t i = 0; i < config->topic_count; i++)
		print_topic(out, &config->topics[i]);
	for (size_t i = 0; i < config->queue_count; i++)
		print_queue(out, config, &config->queues[i]);
}
