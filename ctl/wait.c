/*
 * headgatectl wait
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/clock.h"
#include "ctl/ctl.h"
#include "ctl/text.h"

enum { LOOK_MS = 10 };

/* The number of unsettled messages, from counters that are updated at once, unlike `depth`. */
static uint64_t
count_left(const struct control_counters *counters)
{
	uint64_t published = atomic_load_explicit(&counters->published, memory_order_relaxed);
	uint64_t ended = atomic_load_explicit(&counters->done, memory_order_relaxed) +
	    atomic_load_explicit(&counters->failed, memory_order_relaxed);

	return published - ended;
}

static enum control_state
state_of(const struct control_queue *queue)
{
	/* Relaxed: the detail is not read. */
	return control_word_state(atomic_load_explicit(&queue->state, memory_order_relaxed));
}

static bool
queue_holds(const struct ctl *ctl, const struct control *control, unsigned i)
{
	const struct control_queue *queue = &control->shared->queue[i];

	switch (ctl->condition) {
	case CTL_WORKERS:
		return ctl_has_worker(control, i);
	case CTL_EMPTY:
		return count_left(&queue->counters) == 0;
	case CTL_STATE:
		return state_of(queue) == ctl->state;
	default:
		return true;
	}
}

/* Prints the reason why a queue's condition does not hold. */
static void
report_queue(const struct ctl *ctl, const struct control *control, unsigned i)
{
	const struct control_queue *queue = &control->shared->queue[i];
	const char *name = control->facts.queue[i].name;
	const char *state = control_state_name(state_of(queue));
	char left[TEXT_COUNT_BYTES];

	if (state == NULL)
		state = "in no state that is known";
	if (ctl->condition == CTL_WORKERS)
		warnx("wait: time ran out: %s has no worker", name);
	else if (ctl->condition == CTL_EMPTY)
		warnx("wait: time ran out: %s: %s not settled (it is %s, and has %s)", name,
		    text_count(left, count_left(&queue->counters), "message is", "messages are"),
		    state, ctl_has_worker(control, i) ? "a worker" : "no worker");
	else
		warnx("wait: time ran out: %s is %s", name, state);
}

/* The first unfulfilled condition of the router, as a text; NULL if all are fulfilled. A hanging
 * router fulfils none. */
static const char *
router_lacks(const struct ctl *ctl, int rc, const struct control *control, char text[256])
{
	if (rc == -ESTALE)
		return "the router is of another version";
	if (rc != 0 || !control_router_alive(control)) {
		snprintf(text, 256, "%s %.200s",
		    ctl_router_holds_state(ctl) ? "a router is starting in"
						: "no router is running in",
		    ctl->config.run_dir);
		return text;
	}
	if (atomic_load_explicit(&control->shared->ready, memory_order_relaxed) == 0)
		return "the router does not take messages yet";
	if (ctl_router_age_s(control) > CTL_SILENT_S) {
		snprintf(
		    text, 256, "the router has been silent for %.0f s", ctl_router_age_s(control));
		return text;
	}
	return NULL;
}

/* Checks the conditions once; report: prints the unfulfilled ones. */
static bool
holds(struct ctl *ctl, bool report)
{
	struct control control;
	int rc = ctl_open_control(ctl, &control, false);
	char text[256];
	const char *lacks = router_lacks(ctl, rc, &control, text);
	bool all = lacks == NULL;

	if (all)
		queues_of_router(ctl, &control);
	else if (report)
		warnx("wait: time ran out: %s", lacks);
	for (unsigned i = 0; lacks == NULL && i < control.facts.queues; i++) {
		if (!queues_is_selected(ctl, control.facts.queue[i].name) ||
		    queue_holds(ctl, &control, i))
			continue;
		all = false;
		if (report)
			report_queue(ctl, &control, i);
	}
	if (rc == 0)
		control_close(&control);
	return all;
}

int
wait_main(struct ctl *ctl)
{
	uint64_t deadline_ns = ctl_deadline_ns(ctl, UINT64_MAX);

	while (!holds(ctl, false)) {
		if (clock_monotonic_ns() >= deadline_ns)
			return holds(ctl, true) ? 0 : EX_TEMPFAIL;
		ctl_pause_ms(LOOK_MS);
	}
	return 0;
}
