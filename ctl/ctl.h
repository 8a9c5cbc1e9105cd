/*
 * ctl - declarations shared by headgatectl's subcommands.
 */
#ifndef HEADGATE_CTL_CTL_H
#define HEADGATE_CTL_CTL_H

#include <signal.h>

#include "config/config.h"
#include "ctl/queues.h"
#include "shm/control.h"

enum {
	CTL_FILTERS = 64,
	CTL_SILENT_S = 2 /* a router with an older heartbeat hangs */
};

struct ctl {
	struct config config;
	struct config_options options;
	struct queues known;
	bool json, watch, wide, all, workers, verbose, skip_head, drain, salvage, version, help;
	bool any_log; /* a queue that is named may be in no configuration: the command looks for its log */
	const char *reason, *group;
	const char *message; /* expected id of the head of the queue or group; NULL: any */
	uint64_t timeout_ns;
	uint64_t begun_ns; /* start of the command, CLOCK_MONOTONIC; 0: not yet */
	enum { CTL_READY = 1, CTL_WORKERS, CTL_EMPTY, CTL_STATE } condition;
	enum control_state state;
	char **queues; /* named on the command line */
	int queue_count;

	/* peek and dead */
	bool raw, reveal, groups, dry_run, force;
	uint64_t count, rate;   /* rate: messages per second; 0: no limit */
	const char *which, *to; /* a sequence or message id, a queue; NULL: not given */
	const char *filters[CTL_FILTERS];
	unsigned filter_count;
};

/* Subcommands. Each returns the exit status. */
int status_main(struct ctl *);
int start_main(struct ctl *);
int start_group_main(struct ctl *);
int stop_main(struct ctl *);
int wait_main(struct ctl *);
int peek_main(struct ctl *);
int peek_groups_main(struct ctl *);
int dead_list_main(struct ctl *);
int dead_show_main(struct ctl *);
int dead_redrive_main(struct ctl *);
int dead_purge_main(struct ctl *);
int check_main(struct ctl *);
int config_main(struct ctl *);
int health_main(struct ctl *);
int shutdown_main(struct ctl *);

/* Opens the control segment. Returns 0 or -errno. Ends the program if permission or resources are
 * missing. */
int ctl_open_control(const struct ctl *, struct control *, bool writable);
/* True if a router holds the lock of the state; also a starting one, or one whose files in RUN were
 * removed. */
bool ctl_router_holds_state(const struct ctl *);
/* As control_open_living(), with a short deadline; ends the program as ctl_open_control() does. */
int ctl_open_living(const struct ctl *, struct control *, bool writable);
/* The deadline, CLOCK_MONOTONIC: limit_ns from now, or the end of -t's time if earlier. */
uint64_t ctl_deadline_ns(const struct ctl *, uint64_t limit_ns);
/* The milliseconds left until this deadline, at least 1. */
int ctl_left_ms(const struct ctl *, int limit_ms);
/* Ends the program: no router is running, or the router cannot be used. */
_Noreturn void ctl_no_router(const struct ctl *);
/* Ends the program with EX_OSERR if `error` (an errno) means missing descriptors or memory: `path`
 * may exist all the same. Returns for other errors. */
void ctl_not_for_want(int error, const char *path);
/* Ends the program with EX_NOPERM. */
_Noreturn void ctl_no_permission(const char *path);
/* The age of a living router's heartbeat, in seconds. */
double ctl_router_age_s(const struct control *);
/* True if a worker is attached to the queue with this index. */
bool ctl_has_worker(const struct control *, unsigned queue);

void ctl_pause_ms(int ms);

#endif
