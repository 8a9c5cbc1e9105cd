/*
 * service - the definition of a worker program: a handler, and the table for its effects.
 */
#ifndef HEADGATE_WORKERS_SERVICE_H
#define HEADGATE_WORKERS_SERVICE_H

#include <sqlite3.h>

#include "config/config.h"
#include "message/envelope.h"

enum { SERVICE_REASON_BYTES = 256 };

/* A message, as passed to a handler. */
struct message {
	uint64_t log, sequence; /* 0 with --invoke */
	unsigned lane;
	struct envelope envelope; /* JSON_PADDING readable bytes follow the body */
};

struct outcome {
	int status; /* as in HTTP: 2xx done, 4xx the client's fault, 5xx the service's fault */
	char reason[SERVICE_REASON_BYTES];
};

/* Passed to each function of a service. */
struct service_context {
	const struct config_queue *config;
	struct json_reader *reader;
	void *row;      /* row_bytes, for the service: filled by handle() for bind() and print() */
	uint64_t batch; /* number of the batch in this process, from 1; 0 with --invoke */
	char now[32];   /* time of the batch: ISO 8601, UTC, milliseconds */
};

struct service {
	const char *program, *queue;
	const char *name;   /* of the table; needs the columns log, sequence and message_id */
	const char *table;  /* CREATE TABLE statement; NULL: a service without a store */
	/* Names its columns: somebody may have altered the table. */
	const char *insert; /* ?1 log, ?2 sequence, ?3 lane, ?4 message id, ?5 customer id, ?6 time,
			     * ?7 processing time in milliseconds; bind() binds ?5, ?8 and above */
	size_t row_bytes;

	/* Decides on a message: fills the outcome and, for 2xx, context->row. Writes nothing
	 * else. */
	void (*handle)(struct service_context *, const struct message *, struct outcome *);
	/* Binds the service's own columns from context->row. Texts must stay valid until the
	 * step. */
	void (*bind)(const struct service_context *, const struct message *, sqlite3_stmt *);
	/* --invoke: prints the row's fields as JSON members, each with a comma in front. */
	void (*print)(const struct service_context *, const struct message *, FILE *);

	/* Optional. Called at the program's start, and again in each child that is started. Returns
	 * 0, or -errno with `error` filled: the program ends; a child goes on with its inherited
	 * settings. */
	int (*begin)(const struct config_options *, char *error, size_t error_bytes);
	/* handle() has effects outside of the store, and is idempotent. Each message is a batch of
	 * its own then, so that a crash repeats at most one message. */
	bool acts;
};

/* The services that come with Headgate. */
extern const struct service service_bank_account, service_payment, service_manager;

/* Writes the current time: ISO 8601, UTC, milliseconds. */
void service_time(char text[32]);
/* Sets an outcome. */
void service_answer(struct outcome *, int status, const char *reason);
/* 400 "Missing required field: NAME". */
void service_missing(struct outcome *, const char *field);
/* 400 with place and reason of the fault in a body that the context's reader has just refused with
 * this error. */
void service_not_json(
    struct outcome *, const struct service_context *, struct span body, enum json_error);
/* 400 "Invalid NAME format". */
void service_invalid(struct outcome *, const char *field);
/* True for a required field that is absent, null, or an empty string. */
bool service_is_missing(const struct json_value *);
/* True for a string that is not empty. */
bool service_has_text(const struct json_value *);
/* True for an optional field that is absent, null, or a string. */
bool service_may_have_text(const struct json_value *);
/* 400 or 500 if the customer id contains ERROR400 or ERROR500 and fault_markers is set; else 0. */
int service_fault(const struct service_context *, struct span customer_id);
/* True if the text contains the word, in any case. */
bool service_contains(struct span, const char *word);
/* Prints ,"name":"text" with escapes; prints nothing for an absent text. */
void service_print_text(FILE *, const char *name, struct span text);
/* Binds a text, or NULL for an absent text. The bytes must stay in place until the step. */
void service_bind_text(sqlite3_stmt *, int index, struct span text);

/* Write a number for use in ids, and a NUL: 16 digits in upper case, or decimal without leading
 * zeros. Return the position of the NUL. Five times as fast as snprintf(). */
char *service_put_hex(char *to, uint64_t value);
char *service_put_decimal(char *to, uint64_t value);

/* Memory for unescaped strings. */
struct service_scratch {
	char *data;
	size_t used, capacity;
};
/* Empties the process's one scratch, and makes room for `capacity` bytes. */
struct service_scratch *service_scratch_begin(size_t capacity);
/* A string's value, in place, or unescaped in the scratch. data NULL: no string, or no memory. */
struct span service_text(struct service_scratch *, const struct json_value *);

#endif
