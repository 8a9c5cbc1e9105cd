/*
 * service - what a worker program is about: a handler, and the table that its effects go into.
 */
#ifndef HEADGATE_WORKERS_SERVICE_H
#define HEADGATE_WORKERS_SERVICE_H

#include <sqlite3.h>

#include "config/config.h"
#include "message/envelope.h"

enum { SERVICE_REASON_BYTES = 256 };

/* One message as a handler sees it. */
struct message {
	uint64_t log, sequence; /* 0 with --invoke */
	unsigned lane;
	struct envelope envelope; /* JSON_PADDING readable bytes follow the body */
};

struct outcome {
	int status; /* like HTTP: 2xx done, 4xx the client's fault, 5xx the service's */
	char reason[SERVICE_REASON_BYTES];
};

/* What a handler reads with, and where a good message's columns go. */
struct service_context {
	const struct config_queue *config;
	struct json_reader *reader;
	void *row;      /* the service's own, row_bytes long: filled by handle() */
	uint64_t batch; /* which one this is in this process, from 1; 0 with --invoke */
	char now[32];   /* this batch's time: ISO 8601, UTC, milliseconds */
};

struct service {
	const char *program, *queue;
	const char *name;   /* of the table, which has the columns log, sequence and message_id */
	const char *table;  /* its CREATE TABLE statement; NULL: a service without a store */
	const char *insert; /* ?1 log, ?2 sequence, ?3 lane, ?4 message id, ?5 customer id, ?6 time,
			     * ?7 processing time in milliseconds; ?5 and from ?8 on bind() fills */
	size_t row_bytes;

	/* Decides: fills the outcome and, for a 2xx, context->row. Writes nothing. */
	void (*handle)(struct service_context *, const struct message *, struct outcome *);
	/* Binds the service's own columns from context->row. Texts stay valid until the step. */
	void (*bind)(const struct service_context *, const struct message *, sqlite3_stmt *);
	/* --invoke: prints the row's fields as JSON members, each with a comma in front. */
	void (*print)(const struct service_context *, const struct message *, FILE *);

	/* Optional: called before anything else, and again in each child that is started. Returns 0, or
	 * -errno with error filled; then the program ends, and a child goes on with what it has. */
	int (*begin)(const struct config_options *, char *error, size_t error_bytes);
	/* handle() has effects outside of the store, idempotent ones. So each message is a batch of its own:
	 * after a crash at most the last one is handled again. */
	bool acts;
};

/* The services that come with Headgate. */
extern const struct service service_bank_account, service_payment, service_manager;

/* The time now, as ISO 8601, UTC, milliseconds. */
void service_time(char text[32]);
/* Sets an outcome. */
void service_answer(struct outcome *, int status, const char *reason);
/* 400 "Missing required field: NAME". */
void service_missing(struct outcome *, const char *field);
/* 400, of a body that the context's reader has just refused with this error: where, and why. */
void service_not_json(
    struct outcome *, const struct service_context *, struct span body, enum json_error);
/* 400 "Invalid NAME format". */
void service_invalid(struct outcome *, const char *field);
/* Is a required field missing: absent, null, or an empty string? What is there and of another type is not missing, but
 * invalid. */
bool service_is_missing(const struct json_value *);
/* A required field: a string that is not empty. */
bool service_has_text(const struct json_value *);
/* An optional field: absent, null, or a string. */
bool service_may_have_text(const struct json_value *);
/* The fault that a customer id asks for, where the configuration allows it: 0, 400 or 500. */
int service_fault(const struct service_context *, struct span customer_id);
/* Does the text contain the word, in any case? */
bool service_contains(struct span, const char *word);
/* Prints ,"name":"text" escaped; nothing for an absent text. */
void service_print_text(FILE *, const char *name, struct span text);
/* Binds a text, or NULL when it is absent. It stays where it is until the statement is stepped. */
void service_bind_text(sqlite3_stmt *, int index, struct span text);

/* For ids: sixteen digits, upper case, or a number as long as it is; a NUL ends it. Return where that stands. As
 * snprintf() does it, in a fifth of the time. */
char *service_put_hex(char *to, uint64_t value);
char *service_put_decimal(char *to, uint64_t value);

/* Room for the values of strings that have escapes. */
struct service_scratch {
	char *data;
	size_t used, capacity;
};
/* The process's scratch, empty, with room for this many bytes. */
struct service_scratch *service_scratch_begin(size_t capacity);
/* A string's value: where it stands, or unescaped in scratch. data NULL: it is no string. */
struct span service_text(struct service_scratch *, const struct json_value *);

#endif
