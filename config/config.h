/*
 * config - headgate.conf(5), read and checked, and the directories that everything lives in.
 */
#ifndef HEADGATE_CONFIG_CONFIG_H
#define HEADGATE_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	CONFIG_NAME_BYTES = 64, /* of a queue's or topic's name, with NUL: [a-z0-9][a-z0-9._-]* */
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

/* What is done when a message fails. BLOCK_GROUP: its group waits, and it is tried again and again;
 * RETRY: the same, retry_max times in all, then it is given up. */
enum config_server_error { CONFIG_SERVER_STOP = 1, CONFIG_SERVER_BLOCK_GROUP, CONFIG_SERVER_RETRY };
enum config_client_error {
	CONFIG_CLIENT_DEAD_LETTER = 1,
	CONFIG_CLIENT_RECORD,
	CONFIG_CLIENT_RETRY
};

/* When a message is acknowledged. SYNC: a power cut does not take it; OS: it may, for a second. */
enum config_durability { CONFIG_DURABILITY_SYNC = 1, CONFIG_DURABILITY_OS };

struct config_topic {
	char name[CONFIG_NAME_BYTES];
	char group_by[CONFIG_FIELDS][CONFIG_NAME_BYTES];
	char dedup_by[CONFIG_FIELDS][CONFIG_NAME_BYTES]; /* "message_id", "content" */
	size_t group_by_count, dedup_by_count;
	uint64_t dedup_window_ns;
	unsigned dedup_max; /* ids remembered at once */
	enum config_durability durability;
	bool control; /* subscription-control: one constant group, no deduplication by content */
};

struct config_queue {
	char name[CONFIG_NAME_BYTES];
	unsigned topic; /* index in topics; of a dead-letter queue: of the first that it serves */
	bool dead_letters;          /* a dead-letter queue: takes no messages of a topic */
	unsigned dead_letter_queue; /* index in queues; its own, of a dead-letter queue */
	char dead_letter_name[CONFIG_NAME_BYTES]; /* as it was set; "" */
	char *on_trip;       /* command that is run when it trips, NULL: none */
	char *filter_policy; /* JSON text, NULL: takes everything of its topic */
	int line;            /* in the file, for messages; 0: built in */
	unsigned lanes;
	uint64_t visibility_ns;     /* a handler that takes longer is ended */
	unsigned max_receive_count; /* starts that a message may cost the worker's life */
	uint64_t
	    auto_probe_ns; /* a tripped queue is probed by itself after this; 0: by a person only */
	uint64_t retention_ns; /* a message that waits longer expires; 0: none does */
	uint64_t max_bytes;    /* of messages that are not settled; 0: no limit */
	enum config_server_error server_error;
	enum config_client_error client_error;
	unsigned retry_max;
	uint64_t retry_base_ns; /* until the second try; each time retry_factor times as long */
	unsigned retry_factor;
	bool fault_markers;
	bool routing_check_aba;
	bool require_account; /* of payments: the customer has set up a bank account */
};

struct config {
	char *file;      /* as it was named; NULL: built in */
	char *file_path; /* from the root on; NULL: built in */
	char *options;   /* -c and -D for a command that is printed, see command_options() */
	char *env;       /* what stands before such a command, see command_env() */
	char environment[CONFIG_NAME_BYTES];
	size_t max_message_bytes; /* max_message_size */
	struct config_topic topics[CONFIG_TOPICS];
	struct config_queue queues[CONFIG_QUEUES];
	size_t topic_count, queue_count;
	bool paranoid; /* headgate-router --paranoid; no setting of the file */
	char run_dir[CONFIG_PATH_BYTES], state_dir[CONFIG_PATH_BYTES];
};

/* What -c and -D said; NULL where they did not. */
struct config_options {
	const char *file, *base_dir;
};

/* Reads the file (or the built-in utility system), applies HEADGATE_ENVIRONMENT, and works out the
 * directories as DIRECTORIES in headgate(7) says. Returns 0, or -errno with error filled:
 * "file:line: what is wrong". Directories are not made. */
int config_load(struct config *, const struct config_options *, char *error, size_t error_bytes);
void config_free(struct config *);

/* Makes run_dir and state_dir (0700) and checks that they are ours. Returns 0 or -errno with error
 * filled. */
int config_make_dirs(const struct config *, char *error, size_t error_bytes);

/* NULL when there is none of this name. */
const struct config_queue *config_find_queue(const struct config *, const char *name);
const struct config_topic *config_find_topic(const struct config *, const char *name);

/* Prints the effective configuration in the file's own syntax. */
void config_print(const struct config *, FILE *);

/* Durations and sizes as the file and the command lines take them: "300", "500ms", "5m"; "64K".
 * Return 0 or -EINVAL, -ERANGE. */
int config_parse_duration(const char *text, uint64_t *ns);
int config_parse_size(const char *text, uint64_t *bytes);

#endif
