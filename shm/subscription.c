#include "shm/subscription.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { LOOK_MS = 5 };

static void
fill_detail(struct control_detail *detail, const struct subscription_by *by)
{
	const struct passwd *user = by->user ? NULL : getpwuid(getuid());

	*detail = (struct control_detail){
		.since_ns = clock_wall_ns(),
		.uid = getuid(),
		.pid = (uint32_t)getpid(),
	};
	if (by->user != NULL)
		strlcpy(detail->user, by->user, sizeof(detail->user));
	else if (user != NULL)
		strlcpy(detail->user, user->pw_name, sizeof(detail->user));
	strlcpy(detail->program, by->program, sizeof(detail->program));
	strlcpy(detail->reason, by->reason, sizeof(detail->reason));
}

/* Keeps the message that tripped the queue in the detail of a later stop. */
static void
keep_trip(struct control_detail *detail, const struct control_detail *before)
{
	detail->sequence = before->sequence;
	detail->status = before->status;
	detail->tripped_s = before->tripped_s;
	memcpy(detail->message_id, before->message_id, sizeof(detail->message_id));
	memcpy(detail->error, before->error, sizeof(detail->error));
}

/* A queue with a failed message cannot drain: later messages must not overtake it. */
static bool
can_drain(const struct subscription_change *change)
{
	return change->from == CONTROL_RUNNING ||
	    (change->from == CONTROL_STOPPED && change->before.sequence == 0);
}

/* True for a stop that brings a new reason. */
static bool
gives_reason(const struct subscription_change *change, enum gate_event what,
    const struct subscription_by *by)
{
	return what == GATE_STOP && by->new_reason &&
	    strncmp(by->reason, change->before.reason, sizeof(change->before.reason) - 1) != 0;
}

/* For a state that does not change: keeps the old detail; `reason` replaces person and reason. */
static void
keep_state(struct control_detail *detail, const struct subscription_change *change, bool reason)
{
	struct control_detail asked = *detail;

	*detail = change->before;
	if (!reason)
		return;
	detail->uid = asked.uid;
	detail->pid = asked.pid;
	memcpy(detail->user, asked.user, sizeof(detail->user));
	memcpy(detail->program, asked.program, sizeof(detail->program));
	memcpy(detail->reason, asked.reason, sizeof(detail->reason));
}

enum subscription_result
subscription_change(struct control *control, unsigned queue, enum gate_event what,
    const struct subscription_by *by, struct subscription_change *change)
{
	struct control_detail detail;
	uint64_t word, now;
	bool reason;

	do {
		control_read_state(control, queue, &word, &change->before);
		change->from = control_word_state(word);
		change->to = gate_next(change->from, what);
		change->generation = control_word_generation(word);
		if (change->to == 0)
			return SUBSCRIPTION_REFUSED;
		change->drains = what == GATE_STOP && by->drain && can_drain(change);
		reason = change->to == change->from && gives_reason(change, what, by);
		if (change->to == change->from && !reason &&
		    (!change->drains || change->before.flags & CONTROL_DRAIN))
			return SUBSCRIPTION_SAME;
		if (by->message_id != NULL &&
		    strcmp(by->message_id, change->before.message_id) != 0)
			return SUBSCRIPTION_OTHER_MESSAGE;
		fill_detail(&detail, by);
		if (change->to == change->from)
			keep_state(&detail, change, reason);
		else if (change->to != CONTROL_RUNNING)
			keep_trip(&detail, &change->before);
		if (what == GATE_SKIP)
			detail.flags = CONTROL_SKIP;
		if (change->drains)
			detail.flags = CONTROL_DRAIN;
	} while (control_change_state(
		     control, queue, CONTROL_CTL_SLOT, word, change->to, &detail, &now) != 0);
	change->generation = control_word_generation(now);
	return change->to == change->from ? SUBSCRIPTION_SAME : SUBSCRIPTION_CHANGED;
}

/* The pid of a worker that has not seen this generation; 0: none. This process may be a worker
 * itself (the subscription manager), and will see the change after the current message. */
static uint32_t
unseen_worker(const struct control *control, unsigned queue, uint64_t generation)
{
	for (unsigned i = 0; i < CONTROL_WORKERS; i++) {
		const struct control_worker *worker = &control->shared->worker[i];
		/* Acquire: pairs with the router's release store of the pid, which publishes the
		 * entry. */
		uint32_t pid = atomic_load_explicit(&worker->pid, memory_order_acquire);

		if (pid != 0 && pid != (uint32_t)getpid() && worker->queue == queue &&
		    control_word_generation(atomic_load_explicit(
			&worker->state_seen, memory_order_acquire)) < generation)
			return pid;
	}
	return 0;
}

static bool
is_logged(const struct control *control, unsigned queue, uint64_t generation)
{
	/* Acquire: pairs with the release store in the router's queue_batch_durable(). */
	return atomic_load_explicit(&control->shared->queue[queue].logged, memory_order_acquire) >=
	    generation;
}

/* Pauses before the next check. Returns 0; -ESRCH if the router is gone; -ETIMEDOUT after the
 * deadline. */
static int
look_again(const struct control *control, uint64_t deadline_ns)
{
	const struct timespec pause = { .tv_nsec = LOOK_MS * 1000000L };

	if (!control_router_alive(control))
		return -ESRCH;
	if (clock_monotonic_ns() > deadline_ns)
		return -ETIMEDOUT;
	nanosleep(&pause, NULL);
	return 0;
}

int
subscription_wait_logged(
    const struct control *control, unsigned queue, uint64_t generation, uint64_t timeout_ns)
{
	uint64_t deadline_ns = clock_monotonic_ns() + timeout_ns;
	int rc = 0;

	while (rc == 0 && !is_logged(control, queue, generation))
		rc = look_again(control, deadline_ns);
	return rc == -ETIMEDOUT ? -EAGAIN : rc;
}

const char *
subscription_lacks_room(const struct control *control, unsigned queue)
{
	/* Relaxed: a text for people, of any moment. */
	enum control_refusal refuses = (enum control_refusal)atomic_load_explicit(
	    &control->shared->queue[queue].refuses, memory_order_relaxed);

	return refuses == CONTROL_DISK_FULL || refuses == CONTROL_LOG_FAILS
	    ? control_refusal_text(refuses)
	    : NULL;
}

int
subscription_wait(const struct control *control, unsigned queue, uint64_t generation,
    uint64_t timeout_ns, uint32_t *worker)
{
	uint64_t deadline_ns = clock_monotonic_ns() + timeout_ns;
	int rc = subscription_wait_logged(control, queue, generation, timeout_ns);

	*worker = 0;
	while (rc == 0 && (*worker = unseen_worker(control, queue, generation)) != 0)
		rc = look_again(control, deadline_ns);
	return rc;
}
