#include "publisher/report.h"

#include <err.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "base/clock.h"

enum { PROGRESS_NS = 500000000 };

static void
print_quoted(const char *text, size_t length)
{
	char quoted[6 * PATH_MAX + 2]; /* the longest text is a file's name */
	long n = json_quote(quoted, sizeof(quoted), text, length < PATH_MAX ? length : PATH_MAX);

	fwrite(quoted, 1, n > 0 ? (size_t)n : 0, stdout);
}

static void
print_message_id(const struct window_entry *entry)
{
	struct envelope envelope;

	fputs(",\"message_id\":", stdout);
	if (envelope_open(&envelope, entry->message.data, entry->message.length,
		ENVELOPE_BODY_BYTES_MAX, NULL) == 0)
		print_quoted(envelope.message_id.data, envelope.message_id.length);
	else
		fputs("null", stdout);
}

/* Begins the JSON object. A line's number counts within its file, so several files need names. */
static void
begin_receipt(const struct report *report, const char *source, uint64_t line)
{
	printf("{\"line\":%" PRIu64, line);
	if (!report->name_files)
		return;
	fputs(",\"file\":", stdout);
	print_quoted(source, strlen(source));
}

void
report_durable(struct report *report, const struct topic_settings *topic,
    const struct window_entry *entry, const struct session_result *result, bool resent)
{
	report->durable++;
	if (result->duplicate && resent)
		report->resent++;
	else if (result->duplicate)
		report->duplicates++;
	if (!report->receipts)
		return;
	begin_receipt(report, entry->source, entry->line);
	print_message_id(entry);
	printf(
	    ",\"status\":200,\"duplicate\":%s,\"queues\":[", result->duplicate ? "true" : "false");
	for (size_t i = 0; i < result->place_count; i++) {
		const struct session_place *place = &result->places[i];
		const char *name =
		    place->queue < topic->queue_count ? topic->queues[place->queue] : "";

		printf("%s{\"name\":", i ? "," : "");
		print_quoted(name, strlen(name));
		printf(",\"sequence\":%" PRIu64 "}", place->sequence);
	}
	puts("]}");
}

static void
keep(struct report *report, struct span text, const char *end)
{
	if (report->rejects == NULL)
		return;
	fwrite(text.data, 1, text.length, report->rejects);
	fputs(end, report->rejects);
}

static void
receipt_error(
    const struct report *report, const char *source, uint64_t line, int status, const char *reason)
{
	if (!report->receipts)
		return;
	begin_receipt(report, source, line);
	printf(",\"status\":%d,\"error\":", status);
	print_quoted(reason, strlen(reason));
	puts("}");
}

static void
tell_refused(
    struct report *report, const char *source, uint64_t line, int status, const char *reason)
{
	report->refused++;
	report_end_progress(report);
	warnx("%s:%" PRIu64 ": %s", source, line, reason);
	receipt_error(report, source, line, status, reason);
}

void
report_refused(
    struct report *report, const struct window_entry *entry, int status, const char *reason)
{
	tell_refused(report, entry->source, entry->line, status, reason);
	if (entry->text.data != NULL)
		keep(report, entry->text, entry->end);
}

void
report_given_up(struct report *report, const struct window_entry *entry, const char *reason)
{
	receipt_error(report, entry->source, entry->line, 503, reason);
}

void
report_piece(struct report *report, const struct input_line *line)
{
	if (line->first) {
		char reason[256];

		snprintf(reason, sizeof(reason), "%s%s", line->refusal,
		    line->status == 400 ? "; nothing of it is published" : "");
		tell_refused(report, line->source, line->number, line->status, reason);
	}
	keep(report, line->text, line->end);
}

void
report_progress(struct report *report, bool now)
{
	uint64_t now_ns;
	double rate;

	if (!report->progress)
		return;
	now_ns = clock_monotonic_ns();
	if (report->started_ns == 0)
		report->started_ns = report->shown_ns = now_ns;
	if (!now && now_ns - report->shown_ns < PROGRESS_NS)
		return;
	rate = now_ns > report->shown_ns ? (double)(report->durable - report->shown_durable) * 1e9 /
		(double)(now_ns - report->shown_ns)
					 : 0;
	fprintf(stderr,
	    "\r%" PRIu64 " durable, %" PRIu64 " of them duplicates, %" PRIu64 " refused, %.0f/s   ",
	    report->durable, report->duplicates, report->refused, rate);
	report->shown_ns = now_ns;
	report->shown_durable = report->durable;
}

void
report_end_progress(struct report *report)
{
	if (report->progress && report->shown_durable > 0)
		fputc('\n', stderr);
}

void
report_duplicates(const struct report *report)
{
	if (report->duplicates > 0)
		warnx("%" PRIu64 " of %" PRIu64 " lines %s and not delivered: see Duplicates in "
		      "headgate-publish(1)",
		    report->duplicates, report->durable + report->refused,
		    report->duplicates == 1 ? "is a duplicate" : "are duplicates");
	if (report->resent > 0)
		warnx("%" PRIu64
		      " %s sent again after a lost connection; the router had %s already",
		    report->resent, report->resent == 1 ? "line was" : "lines were",
		    report->resent == 1 ? "it" : "them");
}
