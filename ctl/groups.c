/*
 * headgatectl peek --groups, and start --group
 *
 * The router lists blocked groups with the sequences of their heads, page by page. Group names and
 * message ids are in the log, and this program reads them there, so that the router need not read
 * its disk for people.
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/command.h"
#include "ctl/message.h"
#include "ctl/router.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "message/answer.h"

/* The groups to show, by the sequences of their heads. */
struct list {
	const struct ctl *ctl;
	struct blocked_group *groups;
	size_t count, capacity, next; /* next: first group not printed */
	uint64_t total, printed, now_ns;
	struct table *table;
	/* Group and head of the first printed group, as words for a shell; "": unknown. */
	char group[COMMAND_WORD_BYTES(ENVELOPE_ID_BYTES)],
	    message_id[COMMAND_WORD_BYTES(ENVELOPE_ID_BYTES)];
	bool of_store; /* the first printed group's message failed because of the store */
};

/*
 * Asking.
 */

static int
compare(const void *a, const void *b)
{
	const struct blocked_group *first = a, *second = b;

	if (first->sequence != second->sequence)
		return first->sequence < second->sequence ? -1 : 1;
	return first->hash < second->hash ? -1 : first->hash > second->hash;
}

/* Keeps the first ctl->count groups only, so that memory stays bounded. */
static void
keep_first(struct list *list)
{
	if (list->count > 1)
		qsort(list->groups, list->count, sizeof(*list->groups), compare);
	if (list->count > list->ctl->count)
		list->count = list->ctl->count;
}

static void
add_page(struct list *list, const struct blocked_page *page)
{
	size_t wanted = list->count + page->count;

	if (wanted > list->capacity) {
		list->capacity = 2 * wanted;
		list->groups = reallocarray(list->groups, list->capacity, sizeof(*list->groups));
		if (list->groups == NULL)
			err(EX_OSERR, "%zu groups", list->capacity);
	}
	if (page->count > 0)
		memcpy(
		    list->groups + list->count, page->groups, page->count * sizeof(*list->groups));
	list->count = wanted;
	list->total += page->count;
	if (list->count > 2 * list->ctl->count + BLOCKED_PAGE)
		keep_first(list);
}

/* Reads all pages. Returns 0 or the exit status. */
static int
read_groups(struct list *list, const char *queue)
{
	static struct blocked_page page;
	int fd = router_connect(list->ctl, ROUTER_ANSWER_MS), rc;
	uint64_t from = 0;

	do {
		rc = router_blocked(fd, queue, from, &page);
		if (rc != 0) {
			warnx("%s: %s", queue,
			    rc == -EPIPE || rc == -ECONNRESET
				? "the router is gone, or of another version"
				: strerror(-rc));
			break;
		}
		add_page(list, &page);
		if (page.count > 0)
			from = page.groups[page.count - 1].hash + 1;
	} while (page.more);
	close(fd);
	if (rc != 0)
		return rc == -EPROTO ? EX_PROTOCOL : EX_UNAVAILABLE;
	if (!page.known) {
		warnx("%s: the router does not have this queue: it was started with another "
		      "configuration",
		    queue);
		return EX_CONFIG;
	}
	keep_first(list);
	return 0;
}

/*
 * Printing. message: the group's head; NULL if unknown.
 */

static double
age_s(const struct list *list, const struct blocked_group *group)
{
	return text_seconds(group->since_ns, list->now_ns);
}

static void
print_json(
    const struct list *list, const struct blocked_group *group, const struct message *message)
{
	const struct envelope none = { 0 }, *envelope = message ? &message->envelope : &none;

	putchar('{');
	message_put_json_text("group", envelope->group.data, envelope->group.length, true);
	printf(",\"state\":\"%s\",\"sequence\":", blocked_state_name(group->state));
	if (group->sequence > 0)
		printf("%" PRIu64, group->sequence);
	else
		fputs("null", stdout);
	message_put_json_text(
	    "message_id", envelope->message_id.data, envelope->message_id.length, false);
	fputs(",\"blocked_since\":", stdout);
	text_put_json_time(group->since_ns);
	printf(",\"age_s\":%.3f,\"tries\":%" PRIu32 ",\"next_try_s\":", age_s(list, group),
	    group->tries);
	if (group->state == BLOCKED_WAITING)
		printf("%.3f", (double)group->due_in_ns / 1e9);
	else
		fputs("null", stdout);
	printf(",\"status\":%u,\"error\":", group->status);
	text_put_json(group->error, strlen(group->error));
	printf(",\"behind\":%" PRIu64 "}\n", group->behind);
}

static const struct table_column columns[] = {
	{ "SEQUENCE", TABLE_NUMBER },
	{ "BLOCKED", TABLE_NUMBER },
	{ "TRIES", TABLE_NUMBER },
	{ "NEXT TRY", TABLE_NUMBER },
	{ "BEHIND", TABLE_NUMBER },
	{ "GROUP", TABLE_NAME },
	{ "MESSAGE ID", TABLE_NAME },
};

static void
add_row(const struct list *list, const struct blocked_group *group, const struct message *message)
{
	static const char unknown[] = "(not known before a worker is attached)";
	struct span name =
	    message ? message->envelope.group : (struct span){ unknown, sizeof(unknown) - 1 };
	struct span id = message ? message->envelope.message_id : (struct span){ "", 0 };
	char age[TEXT_AGE_BYTES], due[TEXT_AGE_BYTES], error[sizeof(group->error) + 16];

	text_age(age, age_s(list, group));
	text_age(due, (double)group->due_in_ns / 1e9);
	table_number(list->table, group->sequence);
	table_text(list->table, age);
	table_number(list->table, group->tries);
	table_text(
	    list->table, group->state == BLOCKED_WAITING ? due : blocked_state_name(group->state));
	table_number(list->table, group->behind);
	table_bytes(list->table, name.data, name.length);
	table_bytes(list->table, id.data, id.length);
	snprintf(error, sizeof(error), "%u: %s", group->status, group->error);
	table_under(list->table, error, strlen(error));
	table_row_done(list->table);
}

static void
keep_word(char *to, size_t capacity, struct span text)
{
	char copy[ENVELOPE_ID_BYTES + 1];

	if (text.length == 0 || text.length >= sizeof(copy))
		return;
	memcpy(copy, text.data, text.length);
	copy[text.length] = '\0';
	if (strlen(copy) == text.length) /* a text with a NUL cannot be typed */
		command_word(to, capacity, copy);
}

static void
keep_words(struct list *list, const struct message *message)
{
	keep_word(list->group, sizeof(list->group), message->envelope.group);
	keep_word(list->message_id, sizeof(list->message_id), message->envelope.message_id);
}

/* Prints the commands for the first group. */
static void
print_next(const struct list *list)
{
	const char *options = list->ctl->config.options, *env = list->ctl->config.env;
	const char *queue = list->ctl->queues[0];

	if (list->ctl->json || list->group[0] == '\0')
		return;
	printf("\nnext:    mend the cause, then: %sheadgatectl%s start --group %s %s\n", env,
	    options, list->group, queue);
	if (list->message_id[0] != '\0' && !list->of_store)
		printf("         or give its message up: %sheadgatectl%s start --group %s "
		       "--skip-head --message %s %s\n",
		    env, options, list->group, list->message_id, queue);
}

static void
print_group(struct list *list, const struct blocked_group *group, const struct message *message)
{
	if (list->group[0] == '\0' && message != NULL) {
		keep_words(list, message);
		list->of_store = answer_is_of_store(group->error);
	}
	if (list->ctl->json)
		print_json(list, group, message);
	else
		add_row(list, group, message);
	list->printed++;
}

/* Called for each message of the log, in order. A head that is no longer in the log has ended
 * meanwhile, so its group is not blocked by it. */
static int
match(void *context, const struct message *message)
{
	struct list *list = context;

	while (list->next < list->count && list->groups[list->next].sequence < message->sequence)
		list->next++;
	while (list->next < list->count && list->groups[list->next].sequence == message->sequence)
		print_group(list, &list->groups[list->next++], message);
	return list->next == list->count || ferror(stdout);
}

int
peek_groups_main(struct ctl *ctl)
{
	struct list list = {
		.ctl = ctl,
		.now_ns = clock_wall_ns(),
		.table = table_new(
		    columns, sizeof(columns) / sizeof(columns[0]), text_columns(ctl->wide), 0),
	};
	const char *queue = ctl->queues[0];
	int status = read_groups(&list, queue), rc = 0;

	if (status != 0)
		return status;
	if (list.total == 0 && !ctl->json)
		printf("%s: no group is blocked\n", queue);
	for (; list.next < list.count && list.groups[list.next].sequence == 0; list.next++)
		print_group(&list, &list.groups[list.next], NULL);
	if (list.next < list.count)
		rc = message_read(ctl, queue, list.groups[list.next].sequence - 1, match, &list);
	if (list.printed > 0 && !ctl->json)
		table_flush(list.table);
	table_free(list.table);
	print_next(&list);
	if (list.total > list.count)
		fprintf(stderr, "%s: %" PRIu64 " groups are blocked; -n %" PRIu64 " shows all\n",
		    queue, list.total, list.total);
	free(list.groups);
	return message_exit_status(rc);
}

/*
 * One group.
 */

/* Reports an error of the request, or an unknown outcome. Returns the exit status. */
static int
groups_error(const struct ctl *ctl, int rc)
{
	const char *queue = ctl->queues[0];

	if (rc == -ETIMEDOUT && ctl->skip_head)
		warnx("%s: the message is not ended yet; it will be given up as soon as a worker "
		      "takes it, unless the router is restarted before",
		    queue);
	else if (rc == -ETIMEDOUT)
		warnx("%s: the message is not ended yet: see %sheadgatectl%s peek --groups %s",
		    queue, ctl->config.env, ctl->config.options, queue);
	else if (rc == -EPIPE || rc == -ECONNRESET)
		warnx("%s: the router is gone, or of another version; look again: the next one "
		      "knows nothing of this, and tries each group anew",
		    queue);
	else
		warnx("%s: %s", queue, strerror(-rc));
	return rc == -ETIMEDOUT ? EX_TEMPFAIL : rc == -EPROTO ? EX_PROTOCOL : EX_UNAVAILABLE;
}

/* Reports a message that ended; its group goes on. */
static void
report_ended(const struct ctl *ctl, const struct blocked_tried *tried)
{
	const char *queue = ctl->queues[0];

	if (tried->status < 400)
		printf("%s: opened: message %s answered %u%s\n", queue, tried->message_id,
		    tried->status, ctl->skip_head ? ", so it was not given up" : "");
	else if (tried->outcome == BLOCKED_DEAD_LETTER)
		printf("%s: opened: message %s was given up and is in %s: %u: %s\n", queue,
		    tried->message_id, queues_dead_name(ctl, queue), tried->status, tried->text);
	else
		printf("%s: opened: message %s is recorded as failed: %u: %s\n", queue,
		    tried->message_id, tried->status, tried->text);
}

static int
report(const struct ctl *ctl, const struct blocked_tried *tried)
{
	const char *queue = ctl->queues[0];

	switch (tried->outcome) {
	case BLOCKED_ENDED:
	case BLOCKED_DEAD_LETTER:
		report_ended(ctl, tried);
		return 0;
	case BLOCKED_FAILED_AGAIN:
		warnx("%s: failed again: message %s answered %u: %s", queue, tried->message_id,
		    tried->status, tried->text);
		return EX_TEMPFAIL;
	case BLOCKED_GOES_ON:
		printf("%s: already open: what waited is being handled\n", queue);
		return ctl->skip_head ? EX_TEMPFAIL : 0;
	case BLOCKED_NOT_BLOCKED:
		warnx("%s: group %s is not blocked", queue, ctl->group);
		return EX_NOINPUT;
	case BLOCKED_OTHER_HEAD:
		warnx("%s: the message that blocks the group is now %s", queue, tried->message_id);
		return EX_TEMPFAIL;
	case BLOCKED_REFUSED:
		warnx("%s: %s", queue, tried->text);
		return EX_TEMPFAIL;
	case BLOCKED_NO_QUEUE:
		warnx("%s: the router does not have this queue: it was started with another "
		      "configuration",
		    queue);
		return EX_CONFIG;
	}
	return EX_PROTOCOL;
}

static void
copy_id(char to[BLOCKED_ID_BYTES], const char *option, const char *id)
{
	if (id[0] == '\0' || strlcpy(to, id, BLOCKED_ID_BYTES) >= BLOCKED_ID_BYTES)
		errx(EX_USAGE, "%s: 1 to %d bytes", option, ENVELOPE_ID_BYTES);
}

int
start_group_main(struct ctl *ctl)
{
	struct blocked_try try = { .skip = ctl->skip_head };
	struct blocked_tried tried;
	int fd, rc;

	copy_id(try.group, "--group", ctl->group);
	if (ctl->message != NULL)
		copy_id(try.message_id, "--message", ctl->message);
	blocked_copy(try.reason, sizeof(try.reason), ctl->reason, strlen(ctl->reason));
	strlcpy(try.queue, ctl->queues[0], sizeof(try.queue));
	fd = router_connect(ctl, ctl_left_ms(ctl, ROUTER_ANSWER_MS));
	rc = router_try(fd, &try, ctl_left_ms(ctl, INT_MAX), &tried);
	close(fd);
	if (rc != 0)
		return groups_error(ctl, rc);
	text_make_safe(tried.message_id);
	text_make_safe(tried.text);
	return report(ctl, &tried);
}
