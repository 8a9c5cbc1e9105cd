/*
 * mix-worker QUEUE [worker's options]: a service with a store, for tests/generate-mix's messages {"g":group,"q":queue,
 * "n":number ...}. Table mix holds them. While HEADGATE_DIR/down is there it answers 500 to each 50th, and 400 always
 * to each 97th.
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "workers/service.h"
#include "workers/worker.h"

enum { DOWN_EVERY = 50, BAD_EVERY = 97 };

struct row {
	struct span group;
	uint64_t n;
};

static char down[CONFIG_PATH_BYTES];

static void
handle(struct service_context *context, const struct message *message, struct outcome *outcome)
{
	static const char *const names[] = { "g", "n" };
	struct row *row = context->row;
	struct span body = message->envelope.body;
	struct service_scratch *scratch = service_scratch_begin(body.length);
	struct json_value values[2];
	enum json_error error =
	    json_pick(context->reader, body.data, body.length, names, 2, values);

	if (error != JSON_OK) {
		service_not_json(outcome, context, body, error);
		return;
	}
	row->group = service_text(scratch, &values[0]);
	row->n = values[1].type == JSON_NUMBER ? strtoull(values[1].raw.data, NULL, 10) : 0;
	if (row->n % BAD_EVERY == 0)
		service_answer(outcome, 400, "one that is refused");
	else if (row->n % DOWN_EVERY == 0 && access(down, F_OK) == 0)
		service_answer(outcome, 500, "the service is down");
	else
		service_answer(outcome, 200, "");
}

static void
bind(const struct service_context *context, const struct message *message, sqlite3_stmt *insert)
{
	const struct row *row = context->row;

	service_bind_text(insert, 5, row->group);
	sqlite3_bind_int64(insert, 8, (int64_t)row->n);
	sqlite3_bind_int64(insert, 9, (int64_t)message->envelope.body.length);
}

static void
print(const struct service_context *context, const struct message *message, FILE *out)
{
	(void)message;
	fprintf(out, ",\"n\":%" PRIu64, ((const struct row *)context->row)->n);
}

int
main(int argc, char **argv)
{
	static struct service service = {
		.program = "mix-worker",
		.name = "mix",
		.table = "CREATE TABLE IF NOT EXISTS mix (log INTEGER NOT NULL, sequence INTEGER "
			 "NOT NULL, "
			 "lane INTEGER NOT NULL, message_id TEXT NOT NULL, g TEXT NOT NULL, at "
			 "TEXT NOT NULL, "
			 "ms REAL NOT NULL, n INTEGER NOT NULL, bytes INTEGER NOT NULL, UNIQUE "
			 "(log, sequence))",
		.insert = "INSERT INTO mix (log, sequence, lane, message_id, g, at, ms, n, bytes) "
			  "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)",
		.row_bytes = sizeof(struct row),
		.handle = handle,
		.bind = bind,
		.print = print,
	};
	const char *dir = getenv("HEADGATE_DIR");

	if (argc < 2 || dir == NULL)
		errx(EX_USAGE, "usage: HEADGATE_DIR=DIR mix-worker QUEUE [-dhVv] [-c FILE]");
	snprintf(down, sizeof(down), "%s/down", dir);
	/* worker_main() writes the title of the process over its arguments. */
	service.queue = strdup(argv[1]);
	if (service.queue == NULL)
		err(EX_OSERR, NULL);
	return worker_main(&service, argc - 1, argv + 1);
}
