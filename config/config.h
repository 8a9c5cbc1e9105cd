/*
 * config - reads and checks headgate.conf(5), and determines the directories.
 */
#ifndef HEADGATE_CONFIG_CONFIG_H
#define HEADGATE_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	CONFIG_NAME_BYTES = 64, /* name of a queue or topic with NUL: [a-z0-9][a-z0-9._-]* */
	CONFIG_TOPICS = 32,
	CONFIG_QUEUES = 64,
	CONFIG_FIELDS = 8, /* group_by, dedup_by */
	CONFIG_LANES_MAX = 64,
	CONFIG_RECEIVES_MAX = 1000,
	CONFIG_RETRIES_MAX = 1000,
	CONFIG_FACTOR_MAX = 100,
	CONFIG_DEDUP_MAX = 1000000000,
	CONFIG_PATH_BYTES = 4096
};
#define CONFIG_BYTES_MAX (UINT64_C(1) << 50) /* max_bytes: 1048576G */

/* Policies for failed messages. BLOCK_GROUP: the message's group waits, and the message is retried
 * without limit. RETRY: likewise, but after retry_max tries in all the message is given up. */
enum config_server_error { CONFIG_SERVER_STOP = 1, CONFIG_SERVER_BLOCK_GROUP, CONFIG_SERVER_RETRY };
enum config_client_error {
	CONFIG_CLIENT_DEAD_LETTER = 1,
	CONFIG_CLIENT_RECORD,
	CONFIG_CLIENT_RETRY
};

/* The time of the acknowledgement. SYNC: after the sync. OS: before; a power cut may lose the last
 * second. */
enum config_durability { CONFIG_DURABILITY_SYNC = 1, CONFIG_DURABILITY_OS };

struct config_topic {
	char name[CONFIG_NAME_BYTES];
	char group_by[CONFIG_FIELDS][CONFIG_NAME_BYTES];
	char dedup_by[CONFIG_FIELDS][CONFIG_NAME_BYTES]; /* "message_id", "content" */
	size_t group_by_count, dedup_by_count;
	uint64_t dedup_window_ns;
	unsigned dedup_max; /* ids in the window at once */
	enum config_durability durability;
	bool control; /* subscription-control: one constant group, no deduplication by content */
};

struct config_queue {
	char name[CONFIG_NAME_BYTES];
	unsigned topic;    /* index in topics; of a dead-letter queue: its first source's topic */
	bool dead_letters; /* a dead-letter queue: accepts no messages of a topic */
	unsigned dead_letter_queue; /* index in queues; a dead-letter queue has its own index */
	char dead_letter_name[CONFIG_NAME_BYTES]; /* from the file; "": not set */
	char *on_trip;                            /* command to run after a trip; NULL: none */
	char *filter_policy; /* JSON text; NULL: accepts all messages of the topic */
	int line;            /* in the file, for errors; 0: built in */
	unsigned lanes;
	uint64_t visibility_ns;     /* longest time of a handler */
	unsigned max_receive_count; /* handlers of a message that may die */
	uint64_t auto_probe_ns;     /* from a trip to the router's probe; 0: only people probe */
	uint64_t retention_ns;      /* a message that waits longer expires; 0: no limit */
	uint64_t max_bytes;         /* of unsettled messages; 0: no limit */
	enum config_server_error server_error;
	enum config_client_error client_error;
	unsigned retry_max;
	uint64_t retry_base_ns; /* until the second try; retry_factor times as long each time */
	unsigned retry_factor;
	bool fault_markers;
	bool routing_check_aba;
	bool require_account; /* payments need a bank account of the customer */
};

struct config {
	char *file;      /* as given; NULL: built in */
	char *file_path; /* absolute; NULL: built in */
	char *options;   /* -c and -D for a command that is printed, see command_options() */
	char *env;       /* what stands before such a command, see command_env() */
	char environment[CONFIG_NAME_BYTES];
	size_t max_message_bytes; /* max_message_size */
	struct config_topic topics[CONFIG_TOPICS];
	struct config_queue queues[CONFIG_QUEUES];
	size_t topic_count, queue_count;
	bool paranoid; /* headgate-router --paranoid; not a setting of the file */
	char run_dir[CONFIG_PATH_BYTES], state_dir[CONFIG_PATH_BYTES];
};

/* Arguments of -c and -D; NULL: not given. */
struct config_options {
	const char *file, *base_dir;
};

/* Reads the file, or the built-in utility system; applies HEADGATE_ENVIRONMENT; determines the
 * directories by the rules of headgate(7), DIRECTORIES. Makes no directories. Returns 0, or -errno
 * with "file:line: fault" in `error`. */
int config_load(struct config *, const struct config_options *, char *error, size_t error_bytes);
void config_free(struct config *);

/* Makes run_dir and state_dir (0700), and checks that this user owns them. Returns 0, or -errno
 * with `error` filled. */
int config_make_dirs(const struct config *, char *error, size_t error_bytes);

/* Find an entry by name; NULL if absent. */
const struct config_queue *config_find_queue(const struct config *, const char *name);
const struct config_topic *config_find_topic(const struct config *, const char *name);

/* Prints the effective configuration in the file's own syntax. */
void config_print(const struct config *, FILE *);

/* Parse durations ("300" seconds, "500ms", "5m") and sizes ("64K"), as in the file and on command
 * lines. Return 0, -EINVAL or -ERANGE. */
int config_parse_duration(const char *text, uint64_t *ns);
int config_parse_size(const char *text, uint64_t *bytes);

#endif
