/*
 * null-worker QUEUE [worker's options]: a service without a store that answers 200 to everything, to
 * measure all but the services.
 */
#include <stdio.h>
#include <sysexits.h>

#include "workers/worker.h"

static void
handle(struct service_context *context, const struct message *message, struct outcome *outcome)
{
	(void)context;
	(void)message;
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
	struct service service = { .program = "null-worker", .handle = handle, .print = print };

	if (argc < 2) {
		fputs("usage: null-worker QUEUE [-dhVv] [-c FILE] [-D DIR]\n", stderr);
		return EX_USAGE;
	}
	service.queue = argv[1];
	return worker_main(&service, argc - 1, argv + 1);
}
