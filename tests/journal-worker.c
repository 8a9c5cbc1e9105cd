/*
 * journal-worker QUEUE JOURNAL [worker's options]: a service without a store. For each handler that is
 * started it appends a line to JOURNAL: "sequence lane pid customer n", the last two from the body. Then,
 * while JOURNAL.hold.CUSTOMER is there, it waits; and answers 500 when JOURNAL.CUSTOMER is there, else 200.
 */
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "workers/worker.h"

static const char *journal;
static int fd;

static bool
is_there(const char *suffix)
{
	char path[512];

	snprintf(path, sizeof(path), "%s.%s", journal, suffix);
	return access(path, F_OK) == 0;
}

static void
handle(struct service_context *context, const struct message *message, struct outcome *outcome)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	const char *body = message->envelope.body.data;
	char customer[64] = "", n[32] = "", line[256], hold[80];
	int length;

	(void)context;
	sscanf(body, "{\"customer_id\":\"%63[^\"]\",\"n\":%31[0-9]", customer, n);
	length = snprintf(line, sizeof(line), "%" PRIu64 " %u %d %s %s\n", message->sequence,
	    message->lane, (int)getpid(), customer, n);
	if (write(fd, line, (size_t)length) != length)
		err(1, "%s", journal);
	snprintf(hold, sizeof(hold), "hold.%s", customer);
	while (is_there(hold))
		nanosleep(&pause, NULL);
	if (is_there(customer))
		service_answer(outcome, 500, "the customer's file is there");
	else
		service_answer(outcome, 200, "");
}

static void
print(const struct service_context *context, const struct message *message, FILE *out)
{
	(void)context;
	(void)message;
	(void)out;
}

int
main(int argc, char **argv)
{
	static struct service service = {
		.program = "journal-worker", .handle = handle, .print = print
	};

	if (argc < 3) {
		fputs("usage: journal-worker QUEUE JOURNAL [-dhVv] [-c FILE] [-D DIR] [-j N]\n",
		    stderr);
		return EX_USAGE;
	}
	/* worker_main() writes the process's title over its arguments. */
	service.queue = strdup(argv[1]);
	journal = strdup(argv[2]);
	if (service.queue == NULL || journal == NULL)
		err(EX_OSERR, NULL);
	fd = open(journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		err(EX_CANTCREAT, "%s", journal);
	return worker_main(&service, argc - 2, argv + 2);
}
