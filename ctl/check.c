/*
 * headgatectl check
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sysexits.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/text.h"
#include "log/audit.h"

/* All logs that a router writes: what counts in one is told by the others. */
struct check {
	const struct ctl *ctl;
	struct log_audit audits[CONFIG_QUEUES];
	struct log_judge_log logs[CONFIG_QUEUES];
	const char *queues[CONFIG_QUEUES];
	unsigned count;
	struct log_judge judge;
};

/* As a router locks it. The lock lasts until the program ends. */
static void
lock_state(const struct ctl *ctl, int how)
{
	char path[CONFIG_PATH_BYTES + 32];
	int fd;

	snprintf(path, sizeof(path), "%s/router.lock", ctl->config.state_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 && errno == ENOENT)
		return; /* there is no such directory, and so no log */
	if (fd < 0)
		err(errno == EACCES || errno == EPERM ? EX_NOPERM : EX_OSERR, "%s", path);
	if (flock(fd, how | LOCK_NB) == 0)
		return;
	if (errno != EWOULDBLOCK)
		err(EX_OSERR, "%s", path);
	errx(EX_TEMPFAIL,
	    "%s: a router runs here, or something else reads its files: end it first, and try "
	    "again",
	    ctl->config.state_dir);
}

static _Noreturn void
give_up(int rc, const char *error)
{
	switch (rc) {
	case -EACCES:
	case -EPERM:
		errx(EX_NOPERM, "%s", error);
	case -ESTALE:
	case -EBADMSG:
		errx(EX_DATAERR, "%s", error);
	case -EIO:
		errx(EX_IOERR, "%s", error);
	default:
		errx(EX_OSERR, "%s", error);
	}
}

static void
open_logs(struct check *check, const struct ctl *ctl)
{
	char dir[LOG_PATH_BYTES];

	*check = (struct check){ .ctl = ctl };
	for (size_t i = 0; i < ctl->config.queue_count; i++) {
		const char *name = ctl->config.queues[i].name;
		struct log_audit *audit = &check->audits[check->count];
		int rc;

		snprintf(dir, sizeof(dir), "%s/queues/%s", ctl->config.state_dir, name);
		rc = log_audit_open(audit, dir, &check->judge);
		if (rc == -ENOENT)
			continue; /* nothing was ever published */
		if (rc != 0)
			give_up(rc, audit->error);
		check->logs[check->count] = (struct log_judge_log){
			.log_id = audit->list.log_id,
			.tail = &audit->tail,
		};
		check->queues[check->count++] = name;
	}
	check->judge.logs = check->logs;
	check->judge.count = check->count;
	log_judge_decide(&check->judge);
}

static void
close_logs(struct check *check)
{
	for (unsigned i = 0; i < check->count; i++)
		log_audit_close(&check->audits[i]);
	log_judge_free(&check->judge);
}

/*
 * What was found: a line that sums it up, then one for each bad place and for what is missing.
 */

static void
put_queue(const char *queue)
{
	fputs("{\"queue\":", stdout);
	text_put_json(queue, strlen(queue));
}

static void
print_json(const struct check *check, unsigned i)
{
	const struct log_audit *audit = &check->audits[i];

	put_queue(check->queues[i]);
	printf(",\"whole\":%s,\"segments\":%zu,\"bytes\":%" PRIu64 ",\"waiting\":%" PRIu64
	       ",\"settled\":%" PRIu64 ",\"first_sequence\":%" PRIu64 ",\"last_sequence\":%" PRIu64
	       ",\"torn_bytes\":%" PRIu64 ",\"missing\":%" PRIu64 "}\n",
	    audit->bad_count == 0 ? "true" : "false", audit->list.count, audit->bytes,
	    audit->waiting, audit->head.done + audit->head.failed, audit->first_sequence,
	    audit->head.next_sequence - 1, audit->torn_bytes, audit->missing_total);
	for (size_t k = 0; k < audit->bad_count; k++) {
		const struct log_bad *bad = &audit->bad[k];
		char path[LOG_PATH_BYTES + LOG_FILE_BYTES];

		snprintf(path, sizeof(path), "%s/%s", audit->list.dir, bad->file);
		put_queue(check->queues[i]);
		fputs(",\"file\":", stdout);
		text_put_json(path, strlen(path));
		printf(",\"offset\":%" PRIu64 ",\"length\":%" PRIu64 ",\"what\":", bad->offset,
		    bad->end - bad->offset);
		text_put_json(bad->what, strlen(bad->what));
		puts("}");
	}
	for (size_t k = 0; k < audit->missing_count; k++) {
		put_queue(check->queues[i]);
		printf(",\"missing_first\":%" PRIu64 ",\"missing_last\":%" PRIu64 "}\n",
		    audit->missing[k].first, audit->missing[k].last);
	}
}

static void
print_text(const struct check *check, unsigned i)
{
	const struct log_audit *audit = &check->audits[i];

	printf("%s: %s, %zu segments, %" PRIu64 " bytes; %" PRIu64 " messages wait, %" PRIu64
	       " are settled; sequences %" PRIu64 " to %" PRIu64 "\n",
	    check->queues[i], audit->bad_count == 0 ? "whole" : "DAMAGED", audit->list.count,
	    audit->bytes, audit->waiting, audit->head.done + audit->head.failed,
	    audit->first_sequence, audit->head.next_sequence - 1);
	if (audit->torn_bytes != 0)
		printf("    %" PRIu64 " bytes at the end are of a batch that was not finished, and "
		       "are cut when the router starts: nobody was told of it\n",
		    audit->torn_bytes);
	for (size_t k = 0; k < audit->bad_count; k++) {
		const struct log_bad *bad = &audit->bad[k];

		printf("    %s/%s: offset %" PRIu64 ", %" PRIu64 " bytes: %s\n", audit->list.dir,
		    bad->file, bad->offset, bad->end - bad->offset, bad->what);
	}
	for (size_t k = 0; k < audit->missing_count; k++)
		printf("    missing: sequences %" PRIu64 " to %" PRIu64 ", not settled\n",
		    audit->missing[k].first, audit->missing[k].last);
}

static void
print(const struct check *check, unsigned i)
{
	if (check->ctl->json)
		print_json(check, i);
	else
		print_text(check, i);
}

static bool
is_asked_for(const struct ctl *ctl, const char *queue)
{
	return ctl->queue_count == 0 || ctl_is_selected(ctl, queue);
}

int
check_main(struct ctl *ctl)
{
	static struct check check;
	int status = 0;

	lock_state(ctl, LOCK_SH);
	open_logs(&check, ctl);
	for (unsigned i = 0; i < check.count; i++) {
		struct log_audit *audit = &check.audits[i];
		int rc;

		if (!is_asked_for(ctl, check.queues[i]))
			continue;
		rc = log_audit_read(audit, &check.judge, i);
		if (rc != 0)
			give_up(rc, audit->error);
		print(&check, i);
		if (audit->bad_count > 0)
			status = EX_DATAERR;
	}
	close_logs(&check);
	return status;
}
