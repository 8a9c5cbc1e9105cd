#include "workers/invoke.h"

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "config/output.h"

/* Reads one message from stdin, as headgate-publish reads a line: without byte order mark and line
 * ending. Returns its length. */
static size_t
read_input(char *text, size_t capacity)
{
	size_t length = 0;
	ssize_t n;

	while (
	    length < capacity && (n = read(STDIN_FILENO, text + length, capacity - length)) != 0) {
		struct pollfd poller = { .fd = STDIN_FILENO, .events = POLLIN };

		if (n >= 0)
			length += (size_t)n;
		else if (errno != EAGAIN || poll(&poller, 1, -1) < 0)
			err(EX_IOERR, "stdin");
	}
	while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
		length--;
	if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		memmove(text, text + 3, length -= 3);
	return length;
}

int
invoke_main(const struct service *service, const struct config *config)
{
	size_t capacity = config->max_message_bytes + 1;
	char *text = calloc(1, capacity + JSON_PADDING);
	struct service_context context = {
		.config = config_find_queue(config, service->queue),
		.reader = json_reader_new(capacity),
		.row = calloc(1, service->row_bytes),
	};
	struct message message = { 0 };
	struct outcome outcome;

	if (text == NULL || context.reader == NULL || context.row == NULL)
		errx(EX_OSERR, "out of memory");
	service_time(context.now);
	message.envelope.body = (struct span){ text, read_input(text, capacity) };
	if (message.envelope.body.length > config->max_message_bytes)
		service_answer(&outcome, 413, "message too large");
	else
		service->handle(&context, &message, &outcome);
	printf("{\"status\":%d", outcome.status);
	if (outcome.status < 300)
		service->print(&context, &message, stdout);
	else
		service_print_text(
		    stdout, "error", (struct span){ outcome.reason, strlen(outcome.reason) });
	puts("}");
	json_reader_free(context.reader);
	free(context.row);
	free(text);
	if (outcome.status < 300)
		return output_end(0);
	return output_end(outcome.status < 500 ? EX_DATAERR : EX_SOFTWARE);
}
