/*
 * headgatectl check
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/file.h"
#include "config/command.h"
#include "config/output.h"
#include "ctl/ctl.h"
#include "ctl/files.h"
#include "ctl/message.h"
#include "ctl/text.h"
#include "log/key.h"
#include "log/registry.h"
#include "log/salvage.h"

#define SECOND_NS UINT64_C(1000000000)

/* All logs that the router writes, as recovery decides by all of them together which batches count.
 * Or one log that is not in the configuration, which a router reads alone at its start. */
struct check {
	const struct ctl *ctl;
	bool configured;
	struct log_audit audits[CONFIG_QUEUES];
	struct log_decision_log logs[CONFIG_QUEUES];
	const char *queues[CONFIG_QUEUES];
	unsigned count;
	struct log_decision decision;
	const char *gone[CONFIG_QUEUES]; /* queues whose log is not there */
	bool foreign[CONFIG_QUEUES];     /* and another log is in its place */
	unsigned gone_count;
	int key_rc; /* of the deduplication key: 0, -EBADMSG or -ESTALE */
};

static bool
is_asked_for(const struct ctl *ctl, const char *queue)
{
	return ctl->queue_count == 0 || queues_is_selected(ctl, queue);
}

/* Gives a file made by root to the directory's owner, the router's user. */
static void
give_to_owner(const char *dir, int fd)
{
	struct stat st;

	if (stat(dir, &st) == 0 && st.st_uid != geteuid() && fchown(fd, st.st_uid, st.st_gid) != 0)
		err(EX_NOPERM, "%s", dir);
}

/* Opens the router's lock file, and makes a missing one, so that no router can start meanwhile. */
static int
open_lock(const struct ctl *ctl, const char *path)
{
	int fd = file_open(path, ctl->salvage ? O_RDWR : O_RDONLY, 0);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	fd = file_open(path, O_RDWR | O_CREAT, 0600);
	if (fd >= 0)
		give_to_owner(ctl->config.state_dir, fd);
	/* If the file cannot be made, no router of this user can start either. */
	if (fd < 0 && !ctl->salvage && (errno == EROFS || errno == EACCES))
		errno = ENOENT;
	return fd;
}

static _Noreturn void
refuse_to_look(const struct ctl *ctl)
{
	errx(EX_TEMPFAIL,
	    "%s: a router runs here, or something else reads its files: end it first, and try "
	    "again",
	    ctl->config.state_dir);
}

/* Locks the state as a router does, until the program's end. */
static void
lock_state(const struct ctl *ctl)
{
	char path[CONFIG_PATH_BYTES + 32];
	int fd;

	/* A router whose lock file was removed still holds the directory's lock. */
	if (ctl_router_holds_state(ctl))
		refuse_to_look(ctl);
	snprintf(path, sizeof(path), "%s/router.lock", ctl->config.state_dir);
	fd = open_lock(ctl, path);
	if (fd < 0 && errno == ENOENT)
		return; /* also without the directory, so without any log */
	if (fd < 0 && errno == ENOTDIR)
		errx(EX_NOINPUT, "%s: not a directory: nothing was checked", ctl->config.state_dir);
	if (fd < 0)
		err(errno == EACCES || errno == EPERM ? EX_NOPERM : EX_OSERR, "%s", path);
	if (flock(fd, (ctl->salvage ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
		return;
	if (errno != EWOULDBLOCK)
		err(EX_OSERR, "%s", path);
	refuse_to_look(ctl);
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

/* Notes a queue without a log whose log is in the registry, so has been lost. */
static void
look_whether_gone(struct check *check, const char *queue)
{
	char error[LOG_ERROR_BYTES];
	int rc = log_registry_lost(check->ctl->config.state_dir, queue, error, sizeof(error));

	if (rc == -EBADMSG)
		check->gone[check->gone_count++] = queue;
	else if (rc != 0)
		give_up(rc, error);
}

/* Reads the key for hashing ids. A missing key is an error only if .ids files exist. Returns the
 * key's fingerprint in these files, or 0. */
static uint64_t
read_key(struct check *check)
{
	char path[LOG_PATH_BYTES];
	struct log_key key;
	int rc = log_key_read(check->ctl->config.state_dir, &key);

	check->key_rc = rc == -ENOENT ? 0 : rc;
	log_key_path(path, check->ctl->config.state_dir);
	if (rc != 0 && rc != -ENOENT && rc != -EBADMSG && rc != -ESTALE)
		errx(rc == -EACCES ? EX_NOPERM : EX_OSERR, "%s: %s", path, strerror(-rc));
	return key.checksum;
}

/* Determines the deduplication windows as a router would that starts now: its clock goes on from
 * the newest log's end. */
static void
find_windows(struct check *check)
{
	const struct config *config = &check->ctl->config;
	uint64_t now_ns = 0;

	for (unsigned i = 0; i < check->count; i++)
		if (check->audits[i].tail.clock_ns > now_ns)
			now_ns = check->audits[i].tail.clock_ns;
	for (unsigned i = 0; i < check->count; i++) {
		const struct config_queue *queue = config_find_queue(config, check->queues[i]);
		uint64_t window_s;

		if (queue == NULL) { /* a log without a queue: its ids are not needed */
			check->audits[i].window_begin_s = UINT64_MAX;
			continue;
		}
		window_s =
		    (config->topics[queue->topic].dedup_window_ns + SECOND_NS - 1) / SECOND_NS;
		if (now_ns / SECOND_NS > window_s)
			check->audits[i].window_begin_s = now_ns / SECOND_NS - window_s;
	}
}

/* Opens the logs of the configuration; or `only`, a log that is not in the configuration. */
static void
open_logs(struct check *check, const struct ctl *ctl, const char *only)
{
	size_t count = only != NULL ? 1 : ctl->config.queue_count;
	char dir[LOG_PATH_BYTES];
	uint64_t key;

	*check = (struct check){ .ctl = ctl, .configured = only == NULL };
	key = read_key(check);
	for (size_t i = 0; i < count; i++) {
		const char *name = only != NULL ? only : ctl->config.queues[i].name;
		struct log_audit *audit = &check->audits[check->count];
		int rc;

		snprintf(dir, sizeof(dir), "%s/queues/%s", ctl->config.state_dir, name);
		rc = log_audit_open(audit, dir, &check->decision);
		if (only != NULL && (rc == -ENOENT || rc == -ENOTDIR))
			continue;
		if (rc == -ENOENT) {
			look_whether_gone(check, name);
			continue;
		}
		if (rc != 0)
			give_up(rc, audit->error);
		audit->key = key;
		rc = log_registry_read_end(ctl->config.state_dir, name, &audit->list,
		    &audit->registered, audit->error, sizeof(audit->error));
		if (rc == -EBADMSG) {
			check->foreign[check->gone_count] = true;
			check->gone[check->gone_count++] = name;
			log_audit_close(audit);
			continue;
		}
		if (rc != 0)
			give_up(rc, audit->error);
		check->logs[check->count] = (struct log_decision_log){
			.log_id = audit->list.log_id,
			.registered = audit->registered.batch,
			.tail = &audit->tail,
		};
		check->queues[check->count++] = name;
	}
	find_windows(check);
	check->decision.logs = check->logs;
	check->decision.count = check->count;
	log_decision_make(&check->decision);
}

static void
close_logs(struct check *check)
{
	for (unsigned i = 0; i < check->count; i++)
		log_audit_close(&check->audits[i]);
	log_decision_free(&check->decision);
}

enum { SHOWN = 20 }; /* lines of a list without -v, as a list may be as long as a log */

/*
 * Results: a summary line, then a line for each bad place and each missing range.
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
	       ",\"torn_bytes\":%" PRIu64 ",\"torn_unsynced\":%s,\"missing\":%" PRIu64 "}\n",
	    audit->bad_count == 0 ? "true" : "false", audit->list.count, audit->bytes,
	    audit->waiting, audit->totals.done + audit->totals.failed, audit->first_sequence,
	    audit->head.next_sequence - 1, audit->torn_bytes,
	    audit->torn_unsynced ? "true" : "false", audit->missing_total);
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

/* The number of lines to show. A salvage shows all, as the information is lost afterwards. */
static size_t
shown(const struct check *check, size_t count)
{
	return check->ctl->verbose || check->ctl->salvage || count < SHOWN ? count : SHOWN;
}

static void
print_missing(const struct check *check, const struct log_audit *audit)
{
	size_t count = shown(check, audit->missing_count);

	for (size_t k = 0; k < count; k++) {
		const struct log_range *range = &audit->missing[k];

		if (range->first == range->last)
			printf("    missing: sequence %" PRIu64 ", not settled\n", range->first);
		else
			printf("    missing: sequences %" PRIu64 " to %" PRIu64 ", not settled\n",
			    range->first, range->last);
	}
	if (count < audit->missing_count)
		printf("    ... and %zu more; %" PRIu64 " messages are missing in all (-v)\n",
		    audit->missing_count - count, audit->missing_total);
}

static void
print_text(const struct check *check, unsigned i)
{
	const struct log_audit *audit = &check->audits[i];

	printf("%s: %s, %zu segments, %" PRIu64 " bytes; %" PRIu64 " messages wait, %" PRIu64
	       " are settled; the next sequence is %" PRIu64 "\n",
	    check->queues[i], audit->bad_count == 0 ? "whole" : "DAMAGED", audit->list.count,
	    audit->bytes, audit->waiting, audit->totals.done + audit->totals.failed,
	    audit->head.next_sequence);
	if (audit->torn_bytes != 0)
		printf("    %" PRIu64 " bytes at the end are of %s\n", audit->torn_bytes,
		    audit->torn_unsynced
			? "batches that were not synced (durability = os), and are cut when the "
			  "router starts: messages that were acknowledged in the last second may "
			  "be "
			  "among them"
			: "a batch that was not finished, and are cut when the router starts: "
			  "nobody was told of it");
	for (size_t k = 0; k < shown(check, audit->bad_count); k++) {
		const struct log_bad *bad = &audit->bad[k];

		printf("    %s/%s: offset %" PRIu64 ", %" PRIu64 " bytes: %s\n", audit->list.dir,
		    bad->file, bad->offset, bad->end - bad->offset, bad->what);
	}
	if (shown(check, audit->bad_count) < audit->bad_count)
		printf("    ... and %zu more bad places (-v)\n", audit->bad_count - SHOWN);
	print_missing(check, audit);
}

static bool
lacks_ids_only(const struct log_audit *audit)
{
	for (size_t i = 0; i < audit->bad_count; i++)
		if (strstr(audit->bad[i].file, ".ids") == NULL)
			return false;
	return true;
}

/* True for faults that a salvage mends. A missing key can be restored, and files of another version
 * need no new log. */
static bool
is_damaged(const struct log_audit *audit)
{
	return audit->bad_count > audit->keyless + audit->stale;
}

static void
print_way_to_key(const struct ctl *ctl)
{
	char path[LOG_PATH_BYTES];

	log_key_path(path, ctl->config.state_dir);
	printf("    put %s back as it was; or, to go on without, though what was published shortly "
	       "before the router ended may be delivered twice: move the .ids files that need it "
	       "away\n",
	    path);
}

/* The remedy for a log with messages of an unknown queue, with which no router starts. */
static void
print_way_home(const struct log_audit *audit)
{
	printf("    not in the configuration, and the router does not start: put the queue back, "
	       "or move %s away\n",
	    audit->list.dir);
}

static void
print_way_out(const struct ctl *ctl, const char *queue, const struct log_audit *audit)
{
	char word[COMMAND_WORD_BYTES(NAME_MAX)];

	if (audit->keyless > 0)
		print_way_to_key(ctl);
	if (ctl->salvage || !is_damaged(audit))
		return;
	if (lacks_ids_only(audit))
		puts("    no message is lost; to go on, though what was published shortly before "
		     "the router ended may be delivered twice: move the damaged files away");
	else {
		command_word(word, sizeof(word), queue);
		printf("    to go on without what is lost: %sheadgatectl%s check --salvage %s\n",
		    ctl->config.env, ctl->config.options, word);
	}
}

static void
print_audit(const struct check *check, unsigned i)
{
	if (check->ctl->json)
		print_json(check, i);
	else
		print_text(check, i);
	if (check->ctl->verbose)
		files_print(check->ctl, check->queues[i], &check->audits[i]);
	if (!check->ctl->json && check->audits[i].bad_count > 0)
		print_way_out(check->ctl, check->queues[i], &check->audits[i]);
	if (!check->ctl->json && !check->configured && check->audits[i].waiting > 0)
		print_way_home(&check->audits[i]);
}

static void
print_gone(const struct ctl *ctl, const char *queue, bool foreign)
{
	char dir[LOG_PATH_BYTES], known[LOG_PATH_BYTES];

	snprintf(dir, sizeof(dir), "%.4000s/queues/%s", ctl->config.state_dir, queue);
	log_registry_path(known, ctl->config.state_dir, queue);
	if (ctl->json) {
		put_queue(queue);
		fputs(",\"whole\":false,\"segments\":0,\"bytes\":0}\n", stdout);
		put_queue(queue);
		fputs(",\"file\":", stdout);
		text_put_json(dir, strlen(dir));
		printf(",\"offset\":0,\"length\":0,\"what\":\"%s\"}\n",
		    foreign ? "this is not the log that was here"
			    : "all files of the log are missing");
		return;
	}
	if (foreign) {
		printf("%s: GONE: this is not the log that was here: %s\n"
		       "    put the files of the queue's log back; or, to go on with another log "
		       "of the "
		       "queue, move this away:\n    %s\n",
		    queue, dir, known);
		return;
	}
	printf("%s: GONE: there was a log, and no file of it is in %s\n"
	       "    put its files back; or, to begin a new log without what was in it, move these "
	       "away:\n    %s\n    %s\n",
	    queue, dir, dir, known);
}

static void
print_key(const struct check *check)
{
	const char *state_dir = check->ctl->config.state_dir;
	char path[LOG_PATH_BYTES], text[LOG_KEY_TEXT_BYTES];
	bool stale = check->key_rc == -ESTALE;

	log_key_path(path, state_dir);
	log_key_explain_stale(text, sizeof(text), state_dir, true);
	if (check->ctl->json) {
		fputs("{\"queue\":null,\"file\":", stdout);
		text_put_json(path, strlen(path));
		printf(",\"offset\":0,\"length\":%zu,\"what\":\"%s\"}\n", sizeof(struct log_key),
		    stale ? LOG_KEY_STALE : "damaged");
	} else if (stale)
		printf("dedup.key: %s\n", text);
	else
		printf("dedup.key: DAMAGED: put %s back as it was; or move it away, with the .ids "
		       "files that need it: then what was published shortly before the router "
		       "ended may be delivered twice\n",
		    path);
}

/* Prints one line for all queues. If the key itself is of another version, its line has said so. */
static void
print_stale_ids(const struct check *check)
{
	char text[LOG_KEY_TEXT_BYTES];
	size_t stale = 0;

	for (unsigned i = 0; i < check->count; i++)
		stale += check->audits[i].stale;
	if (stale == 0 || check->key_rc == -ESTALE || check->ctl->json)
		return;
	log_key_explain_stale(text, sizeof(text), check->ctl->config.state_dir, false);
	printf("*.ids: %s\n", text);
}

/* Reports the faults of the selected queues. Returns the exit status. */
static int
check_logs(struct check *check)
{
	int status = 0;

	if (check->key_rc != 0 && check->configured) {
		print_key(check);
		status = EX_DATAERR;
	}
	for (unsigned i = 0; i < check->count; i++) {
		struct log_audit *audit = &check->audits[i];
		int rc;

		if (!is_asked_for(check->ctl, check->queues[i]))
			continue;
		rc = log_audit_read(audit, &check->decision, i);
		if (rc != 0)
			give_up(rc, audit->error);
		print_audit(check, i);
		if (audit->bad_count > 0)
			status = EX_DATAERR;
	}
	for (unsigned i = 0; i < check->gone_count; i++)
		if (is_asked_for(check->ctl, check->gone[i])) {
			print_gone(check->ctl, check->gone[i], check->foreign[i]);
			status = EX_DATAERR;
		}
	print_stale_ids(check);
	return status;
}

/*
 * Salvage.
 */

static void
print_salvaged(const struct ctl *ctl, const char *queue, const struct log_salvage *salvage)
{
	if (ctl->json) {
		put_queue(queue);
		printf(",\"salvaged\":%" PRIu64 ",\"next_sequence\":%" PRIu64 ",\"aside\":",
		    salvage->waiting, salvage->next_sequence);
		text_put_json(salvage->aside, strlen(salvage->aside));
		puts("}");
		return;
	}
	printf("%s: salvaged: %" PRIu64 " messages wait; new sequences begin at %" PRIu64
	       "; the damaged log is in %s\n",
	    queue, salvage->waiting, salvage->next_sequence, salvage->aside);
}

/* Writes the faults to stdout before any change, as the information is lost afterwards. */
static void
salvage_log(struct check *check, unsigned i)
{
	const struct ctl *ctl = check->ctl;
	char error[2 * LOG_ERROR_BYTES], aside[CONFIG_PATH_BYTES + 16];
	struct log_salvage salvage;
	int rc;

	if (!output_flush()) {
		warnx("%s: nothing was changed", check->queues[i]);
		exit(output_end(EX_IOERR));
	}
	snprintf(aside, sizeof(aside), "%s/damaged", ctl->config.state_dir);
	/* The new log gets a new id, which the entry must not contradict if we die in between. */
	if (check->audits[i].list.log_id == 0) {
		rc = log_registry_clear_end(ctl->config.state_dir, check->queues[i]);
		if (rc != 0)
			errx(EX_OSERR, "%s/known: %s", ctl->config.state_dir, strerror(-rc));
	}
	rc = log_salvage(&salvage, &check->audits[i], &check->decision, aside, check->queues[i],
	    error, sizeof(error));
	if (rc != 0)
		give_up(rc, error);
	rc = log_registry_clear_end(ctl->config.state_dir, check->queues[i]);
	if (rc != 0)
		errx(EX_OSERR, "%s/known: %s: was salvaged, do it once more", ctl->config.state_dir,
		    strerror(-rc));
	if (salvage.new_id)
		warnx("%s: the log's id was nowhere to be read and is a new one: messages whose "
		      "settlement is lost are handled again",
		    check->queues[i]);
	print_salvaged(ctl, check->queues[i], &salvage);
}

/* True if a selected queue has a log, or had one. */
static bool
has_checked(const struct check *check)
{
	for (unsigned i = 0; i < check->count; i++)
		if (is_asked_for(check->ctl, check->queues[i]))
			return true;
	for (unsigned i = 0; i < check->gone_count; i++)
		if (is_asked_for(check->ctl, check->gone[i]))
			return true;
	return check->configured && check->key_rc != 0;
}

/* Checks the logs of the configuration, or `only`. Sets *checked if a log was found. Returns the
 * exit status. */
static int
check_some(const struct ctl *ctl, const char *only, bool *checked)
{
	static struct check check;
	int status;

	open_logs(&check, ctl, only);
	status = check_logs(&check);
	*checked |= has_checked(&check);
	for (unsigned i = 0; ctl->salvage && i < check.count; i++)
		if (is_asked_for(ctl, check.queues[i]) && is_damaged(&check.audits[i])) {
			salvage_log(&check, i);
			status = check.audits[i].keyless > 0 ? EX_DATAERR : 0;
		}
	close_logs(&check);
	return status;
}

static int
is_not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* Checks logs that are not in the configuration, as a router reads them at its start, too. */
static int
check_unconfigured(const struct ctl *ctl, bool *checked)
{
	char path[LOG_PATH_BYTES];
	struct dirent **entries;
	int count, status = 0;

	snprintf(path, sizeof(path), "%s/queues", ctl->config.state_dir);
	count = scandir(path, &entries, is_not_hidden, alphasort);
	if (count < 0 && errno != ENOENT)
		err(errno == EACCES ? EX_NOPERM : EX_OSERR, "%s", path);
	for (int i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;

		if (config_find_queue(&ctl->config, name) == NULL && is_asked_for(ctl, name) &&
		    check_some(ctl, name, checked) != 0)
			status = EX_DATAERR;
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	return status;
}

static bool
has_log(const struct ctl *ctl, const char *name)
{
	char path[LOG_PATH_BYTES];

	snprintf(path, sizeof(path), "%s/queues/%s", ctl->config.state_dir, name);
	return name[0] != '.' && strchr(name, '/') == NULL && access(path, F_OK) == 0;
}

/* True if a queue of the command line is in the configuration. */
static bool
asks_configured(const struct ctl *ctl)
{
	for (int i = 0; i < ctl->queue_count; i++)
		if (config_find_queue(&ctl->config, ctl->queues[i]) != NULL)
			return true;
	return ctl->queue_count == 0;
}

int
check_main(struct ctl *ctl)
{
	bool checked = false;
	int status = 0, others;

	if (ctl->salvage && ctl->queue_count != 1)
		errx(EX_USAGE, "check --salvage: name one queue");
	for (int i = 0; i < ctl->queue_count; i++)
		if (queues_index(ctl, ctl->queues[i]) < 0 && !has_log(ctl, ctl->queues[i]))
			queues_none(ctl, "", ctl->queues[i]);
	if (!message_has_state(ctl)) {
		warnx("no state directory %s: nothing was checked", ctl->config.state_dir);
		return EX_NOINPUT;
	}
	lock_state(ctl);
	if (asks_configured(ctl))
		status = check_some(ctl, NULL, &checked);
	others = check_unconfigured(ctl, &checked);
	if (!checked) {
		warnx("no log in %s/queues: nothing was checked", ctl->config.state_dir);
		return EX_NOINPUT;
	}
	return status != 0 ? status : others;
}
