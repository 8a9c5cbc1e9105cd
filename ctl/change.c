/*
 * headgatectl start and stop.
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/clock.h"
#include "config/output.h"
#include "ctl/ctl.h"
#include "ctl/process.h"
#include "ctl/text.h"
#include "message/wire.h"
#include "shm/subscription.h"

enum {
	SEEN_S = 10,    /* for the router to log a change, and for the workers to see the change */
	LOCK_S = 5,     /* for another headgatectl to change something */
	POKE_MS = 1000, /* the router also polls, later */
	LOOK_MS = 5
};
#define SECOND_NS UINT64_C(1000000000)

static void
warn_refused(
    const struct ctl *ctl, const char *name, enum control_state state, enum gate_event what)
{
	if (what == GATE_SKIP && state == CONTROL_PROBING)
		warnx("%s: it is being probed: see %sheadgatectl%s status %s", name,
		    ctl->config.env, ctl->config.options, name);
	else
		warnx("%s: %s", name,
		    what == GATE_SKIP ? "it is not tripped, so there is no message to give up"
				      : "its state cannot be changed");
}

/* A change to wait for. An unchanged state is waited for, too, as a worker may not have seen it
 * yet. */
struct changed {
	enum subscription_result result; /* 0: nothing is */
	struct subscription_change change;
	uint64_t probed;   /* sequence of the message let through; 0: none */
	bool skips;        /* probed is not tried, but given up */
	bool drains;       /* workers go on with messages handed out before */
	uint64_t returned; /* the counter, before the change */
};

static uint64_t
count_returned(const struct control *control, unsigned queue)
{
	return atomic_load_explicit(
	    &control->shared->queue[queue].counters.returned, memory_order_relaxed);
}

/* Changes one queue. Sets *status after an error. */
static struct changed
change(struct ctl *ctl, struct control *control, unsigned queue, enum gate_event what, int *status)
{
	const char *name = control->facts.queue[queue].name;
	uint64_t returned = count_returned(control, queue);
	const struct subscription_by by = {
		.program = "headgatectl",
		.reason = ctl->reason,
		.new_reason = ctl->reason[0] != '\0',
		.message_id = ctl->message,
		.drain = ctl->drain,
	};
	struct changed changed = {
		.drains = what == GATE_STOP && ctl->drain,
		.returned = returned,
	};
	struct subscription_change *done = &changed.change;

	changed.result = subscription_change(control, queue, what, &by, done);
	text_make_safe(done->before.message_id);
	if (changed.result == SUBSCRIPTION_REFUSED)
		warn_refused(ctl, name, done->from, what);
	if (changed.result == SUBSCRIPTION_OTHER_MESSAGE)
		warnx("%s: the message that tripped it is now %s", name, done->before.message_id);
	if (changed.result != SUBSCRIPTION_CHANGED && changed.result != SUBSCRIPTION_SAME) {
		*status = EX_TEMPFAIL;
		return (struct changed){ 0 };
	}
	changed.probed = done->to == CONTROL_PROBING ? done->before.sequence : 0;
	changed.skips = what == GATE_SKIP ||
	    (done->from == CONTROL_PROBING && done->before.flags & CONTROL_SKIP);
	return changed;
}

/* Programs rely on this line, and read it before the wait for workers ends. So a change that is not
 * on disk is marked. */
static void
report_state(const char *name, const struct changed *changed, bool logged)
{
	const struct subscription_change *change = &changed->change;

	printf("%s: %s%s%s\n", name, changed->result == SUBSCRIPTION_SAME ? "already " : "",
	    control_state_name(change->to), logged ? "" : " (not logged yet)");
	if (change->from == CONTROL_STOPPED && change->to == CONTROL_RUNNING &&
	    change->before.status != 0)
		printf("%s: message %s, which answered %u, is tried again unless it was ended "
		       "meanwhile\n",
		    name, change->before.message_id, change->before.status);
	output_flush();
}

/* The visible reason why this worker does not go on, as a text; "" if unknown. */
static const char *
kept_by(const struct control *control, uint32_t pid)
{
	return process_look_in(control, pid).frozen
	    ? ": it is stopped by a signal, kill -CONT lets it go on"
	    : "";
}

/* The pid of a worker of the queue that is stopped by a signal; 0: none. */
static uint32_t
frozen_worker(const struct control *control, unsigned queue)
{
	for (unsigned i = 0; i < CONTROL_WORKERS; i++) {
		const struct control_worker *worker = &control->shared->worker[i];
		/* Acquire: pairs with the router's release store of the pid, which publishes the
		 * entry. */
		uint32_t pid = atomic_load_explicit(&worker->pid, memory_order_acquire);

		if (pid != 0 && worker->queue == queue && process_look_in(control, pid).frozen)
			return pid;
	}
	return 0;
}

static void
warn_not_logged(const struct ctl *ctl, const struct control *control, unsigned queue)
{
	const char *name = control->facts.queue[queue].name;
	double silent_s = ctl_router_age_s(control);
	const char *no_room = subscription_lacks_room(control, queue);

	if (silent_s > CTL_SILENT_S)
		warnx("%s: the router does not answer, it has been silent for %.0fs: see "
		      "%sheadgatectl%s status",
		    name, silent_s, ctl->config.env, ctl->config.options);
	else if (no_room != NULL)
		warnx("%s: the router has not logged the change yet: %s: see %sheadgatectl%s "
		      "status",
		    name, no_room, ctl->config.env, ctl->config.options);
	else
		warnx("%s: the router has not logged the change yet", name);
}

static uint64_t
left_ns(uint64_t deadline_ns)
{
	uint64_t now_ns = clock_monotonic_ns();

	return deadline_ns > now_ns ? deadline_ns - now_ns : 0;
}

/* Waits until the change is on disk, reports that, and waits until each worker has seen the
 * change. */
static int
wait_until_seen(const struct ctl *ctl, const struct control *control, unsigned queue,
    const struct changed *changed, uint64_t deadline_ns)
{
	const char *name = control->facts.queue[queue].name;
	uint64_t generation = changed->change.generation;
	uint32_t worker;
	int rc = subscription_wait_logged(control, queue, generation, left_ns(deadline_ns));

	report_state(name, changed, rc == 0);
	if (rc == 0)
		rc = subscription_wait(control, queue, generation, left_ns(deadline_ns), &worker);
	switch (rc) {
	case 0:
		return 0;
	case -ESRCH:
		warnx("%s: the router is gone; what it had not logged it will find at its "
		      "next start",
		    name);
		return EX_UNAVAILABLE;
	case -EAGAIN:
		warn_not_logged(ctl, control, queue);
		return EX_TEMPFAIL;
	default:
		warnx("%s: worker %u has not seen the change yet%s", name, worker,
		    kept_by(control, worker));
		return EX_TEMPFAIL;
	}
}

/* Reports the end of PROBING. If a later message has tripped the queue, the message let through has
 * ended, but the queue does not run. */
static int
report_probe(const char *name, enum control_state state, struct control_detail *detail,
    const struct changed *changed)
{
	if (state == CONTROL_TRIPPED) {
		text_make_safe(detail->message_id);
		text_make_safe(detail->error);
		if (detail->sequence > changed->probed)
			printf("%s: message %s %s\n", name, changed->change.before.message_id,
			    changed->skips ? "was given up" : "passed");
		warnx("%s: TRIPPED again: message %s answered %u: %s", name, detail->message_id,
		    detail->status, detail->error);
		return EX_TEMPFAIL;
	}
	text_make_safe(detail->reason);
	if (state != CONTROL_RUNNING) {
		warnx("%s: %s meanwhile: %s", name, control_state_name(state), detail->reason);
		return EX_TEMPFAIL;
	}
	printf("%s: RUNNING%s%s\n", name, detail->reason[0] != '\0' ? ": " : "", detail->reason);
	return 0;
}

/* Time ran out, and the queue is PROBING. */
static int
report_unknown(const struct ctl *ctl, const struct control *control, unsigned queue,
    const struct changed *changed)
{
	const char *name = control->facts.queue[queue].name;
	uint32_t frozen = frozen_worker(control, queue);

	if (frozen != 0)
		warnx("%s: PROBING: worker %u does not go on%s", name, frozen,
		    kept_by(control, frozen));
	if (!ctl_has_worker(control, queue))
		warnx("%s: PROBING: no worker is attached; the message that tripped it is %s when "
		      "one is",
		    name, changed->skips ? "given up" : "tried");
	else
		warnx("%s: PROBING: what comes of the message that is %s first is not known yet: "
		      "to wait for it again: %sheadgatectl%s start %s",
		    name, changed->skips ? "given up" : "tried", ctl->config.env,
		    ctl->config.options, name);
	return EX_TEMPFAIL;
}

/* Waits for the outcome of the message let through. A lack of workers does not end the wait, as a
 * dead worker is restarted. */
static int
wait_for_probe(const struct ctl *ctl, const struct control *control, unsigned queue,
    const struct changed *changed)
{
	uint64_t deadline_ns = ctl_deadline_ns(ctl, UINT64_MAX);
	const char *name = control->facts.queue[queue].name;
	bool has_worker, told = false;
	struct control_detail detail;
	uint64_t word;

	for (;;) {
		control_read_state(control, queue, &word, &detail);
		if (control_word_state(word) != CONTROL_PROBING)
			break;
		if (!control_router_alive(control)) {
			warnx("%s: the router is gone", name);
			return EX_UNAVAILABLE;
		}
		has_worker = ctl_has_worker(control, queue);
		if (clock_monotonic_ns() > deadline_ns)
			return report_unknown(ctl, control, queue, changed);
		if (!has_worker && !told) {
			warnx("%s: no worker is attached: waiting for one", name);
			told = true;
		}
		ctl_pause_ms(LOOK_MS);
	}
	return report_probe(name, control_word_state(word), &detail, changed);
}

/* Reports that a failed message holds back later messages, also those handed to workers. */
static int
report_held_back(const char *name, uint64_t left, struct control_detail *detail)
{
	text_make_safe(detail->message_id);
	text_make_safe(detail->error);
	warnx("%s: %llu messages were handed to workers and are not handled, as message %s "
	      "answered %u: %s",
	    name, (unsigned long long)left, detail->message_id, detail->status, detail->error);
	return EX_TEMPFAIL;
}

/* Waits until no worker has a message any more. */
static int
wait_until_drained(
    const struct ctl *ctl, const struct control *control, unsigned queue, uint64_t returned_before)
{
	const struct control_queue *entry = &control->shared->queue[queue];
	const char *name = control->facts.queue[queue].name;
	uint64_t deadline_ns = ctl_deadline_ns(ctl, UINT64_MAX), left, word;
	struct control_detail detail;

	/* Pairs with the release store in the router's worker_publish_counters(). */
	while (
	    (left = atomic_load_explicit(&entry->counters.in_flight, memory_order_acquire)) > 0) {
		if (!control_router_alive(control)) {
			warnx("%s: the router is gone", name);
			return EX_UNAVAILABLE;
		}
		control_read_state(control, queue, &word, &detail);
		if (detail.status != 0)
			return report_held_back(name, left, &detail);
		if (clock_monotonic_ns() > deadline_ns) {
			warnx("%s: %llu messages were handed to workers and are not handled", name,
			    (unsigned long long)left);
			return EX_TEMPFAIL;
		}
		ctl_pause_ms(LOOK_MS);
	}
	left = count_returned(control, queue) - returned_before;
	if (left == 0)
		return 0;
	warnx("%s: %llu of the messages that were handed to workers are not handled: a worker "
	      "ended, or their group is blocked; they wait in the queue",
	    name, (unsigned long long)left);
	return EX_TEMPFAIL;
}

/* Opens the segment and takes its lock; tries again if the segment was replaced meanwhile. */
static void
open_locked(const struct ctl *ctl, struct control *control)
{
	int rc = -ESRCH;

	for (int tries = 0; tries < 3 && rc == -ESRCH; tries++) {
		rc = ctl_open_living(ctl, control, true);
		if (rc == -ESTALE)
			errx(EX_UNAVAILABLE, "%s/control: another version's", ctl->config.run_dir);
		if (rc != 0)
			ctl_no_router(ctl);
		rc = control_lock(control, ctl_deadline_ns(ctl, LOCK_S * SECOND_NS));
		if (rc != 0)
			control_close(control);
	}
	if (rc == -ETIMEDOUT)
		errx(EX_TEMPFAIL,
		    "%s/control: another headgatectl, or the subscription manager, keeps it "
		    "locked: nothing was changed",
		    ctl->config.run_dir);
	if (rc != 0)
		errc(EX_OSERR, -rc, "%s/control: lock", ctl->config.run_dir);
}

static int
change_main(struct ctl *ctl, enum gate_event what)
{
	static struct changed changed[CONTROL_QUEUES]; /* static: too large for a small stack */
	static struct control control;
	uint64_t deadline_ns;
	int status = 0, rc;

	if (ctl->queue_count == 0 && !ctl->all)
		errx(EX_USAGE, "name a queue, or --all");
	open_locked(ctl, &control);
	queues_of_router(ctl, &control);
	for (unsigned i = 0; i < control.facts.queues; i++)
		if (queues_is_selected(ctl, control.facts.queue[i].name))
			changed[i] = change(ctl, &control, i, what, &status);
	control_unlock(&control);
	deadline_ns = ctl_deadline_ns(ctl, SEEN_S * SECOND_NS);
	wire_poke(ctl->config.run_dir, "headgatectl", ctl_left_ms(ctl, POKE_MS));
	for (unsigned i = 0; i < control.facts.queues; i++) {
		if (changed[i].result == 0)
			continue;
		rc = wait_until_seen(ctl, &control, i, &changed[i], deadline_ns);
		if (rc == 0 && ctl->verbose)
			warnx("%s: generation %llu is on disk and every worker has seen it",
			    control.facts.queue[i].name,
			    (unsigned long long)changed[i].change.generation);
		if (rc == 0 && changed[i].probed != 0)
			rc = wait_for_probe(ctl, &control, i, &changed[i]);
		if (rc == 0 && changed[i].drains)
			rc = wait_until_drained(ctl, &control, i, changed[i].returned);
		if (rc != 0)
			status = rc;
	}
	control_close(&control);
	return status;
}

/* A dead-letter queue has no dead-letter queue: a message given up there is in no queue any
 * more. */
static void
check_skip(const struct ctl *ctl)
{
	int queue = queues_index(ctl, ctl->queues[0]);

	if (queue >= 0 && queues_is_dead(ctl, (unsigned)queue) && !ctl->force)
		errx(EX_USAGE,
		    "%s is a dead-letter queue: the message would be gone for good; headgatectl "
		    "dead show --raw --reveal prints its body, to keep it; --force does it",
		    ctl->queues[0]);
}

int
start_main(struct ctl *ctl)
{
	if (ctl->group != NULL && (ctl->queue_count != 1 || ctl->all))
		errx(EX_USAGE, "--group: name one queue");
	if (ctl->skip_head && ctl->queue_count != 1)
		errx(EX_USAGE, "--skip-head: name one queue");
	if (ctl->skip_head)
		check_skip(ctl);
	if (ctl->group != NULL)
		return start_group_main(ctl);
	return change_main(ctl, ctl->skip_head ? GATE_SKIP : GATE_START);
}

int
stop_main(struct ctl *ctl)
{
	return change_main(ctl, GATE_STOP);
}
