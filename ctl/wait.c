/*
 * headgatectl wait
 */
#include <err.h>
#include <errno.h>
#include <sysexits.h>

#include "ctl/ctl.h"

enum { LOOK_MS = 10 };

static bool
queue_holds(const struct ctl *ctl, const struct control *control, unsigned i)
{
	const struct control_queue *queue = &control->shared->queue[i];
	const struct control_counters *counters = &queue->counters;

	switch (ctl->condition) {
	case CTL_WORKERS:
		return ctl_has_worker(control, i);
	case CTL_EMPTY:
		/* Not depth, which is worked out now and then: what is counted as it happens. */
		return atomic_load_explicit(&counters->published, memory_order_relaxed) ==
		    atomic_load_explicit(&counters->done, memory_order_relaxed) +
		    atomic_load_explicit(&counters->failed, memory_order_relaxed);
	case CTL_STATE:
		return control_word_state(
			   atomic_load_explicit(&queue->state, memory_order_acquire)) == ctl->state;
	default:
		return true;
	}
}

static bool
holds(const struct ctl *ctl)
{
	struct control control;
	bool all;

	if (ctl_open_control(ctl, &control, false) != 0)
		return false;
	/* Of a router that hangs nothing is true. */
	all = control_router_alive(&control) && atomic_load(&control.shared->ready) != 0 &&
	    ctl_router_age_s(&control) <= CTL_SILENT_S;
	for (unsigned i = 0; all && i < control.shared->queues; i++)
		if (ctl_is_selected(ctl, control.shared->queue[i].name))
			all = queue_holds(ctl, &control, i);
	control_close(&control);
	return all;
}

int
wait_main(struct ctl *ctl)
{
	uint64_t start_ns = ctl_monotonic_ns();

	while (!holds(ctl)) {
		if (ctl_monotonic_ns() - start_ns > ctl->timeout_ns) {
			warnx("wait: time ran out");
			return EX_TEMPFAIL;
		}
		ctl_pause_ms(LOOK_MS);
	}
	return 0;
}
