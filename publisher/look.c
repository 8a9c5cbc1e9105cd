#include "publisher/look.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static uint64_t
age_ns(uint64_t heartbeat_ns)
{
	uint64_t now_ns = clock_monotonic_ns();

	return now_ns > heartbeat_ns ? now_ns - heartbeat_ns : 0;
}

void
look_for_router(struct look *look, const char *run_dir)
{
	struct control control;
	char path[PATH_MAX];
	const struct control_shared *shared;

	*look = (struct look){ .result = LOOK_NONE };
	if (control_dir_held(run_dir) > 0)
		look->result = LOOK_STARTING;
	if (snprintf(path, sizeof(path), "%s/control", run_dir) >= (int)sizeof(path) ||
	    control_open(&control, path, false) != 0)
		return;
	shared = control.shared;
	strlcpy(look->config_file, control.facts.config_file, sizeof(look->config_file));
	if (look->result == LOOK_NONE) {
		control_close(&control);
		return;
	}
	if (!control_shares_clock(&control)) {
		look->result = LOOK_RUNNING; /* how long it has been silent is unknown */
		control_close(&control);
		return;
	}
	/* Relaxed: the three words are independent, and publish no other data. */
	look->pid = atomic_load_explicit(&shared->router_pid, memory_order_relaxed);
	look->silent_ns =
	    age_ns(atomic_load_explicit(&shared->router_heartbeat_ns, memory_order_relaxed));
	if (atomic_load_explicit(&shared->ready, memory_order_relaxed) != 0)
		look->result = look->silent_ns > LOOK_SILENT_NS ? LOOK_SILENT : LOOK_RUNNING;
	control_close(&control);
}
