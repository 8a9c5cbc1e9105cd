/*
 * headgatectl start and stop.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <err.h>
#include <errno.h>
#include <msgpack.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "message/wire.h"
#include "shm/gate.h"

enum {
	SEEN_S = 10, /* for the router to log a change, for the workers to see it, and for a probe */
	LOOK_MS = 5,
	ANSWER_MS = 5000
};

static void
fill_detail(struct control_detail *detail, const struct ctl *ctl)
{
	const struct passwd *user = getpwuid(getuid());

	*detail = (struct control_detail){
		.since_ns = ctl_wall_ns(),
		.uid = getuid(),
		.pid = (uint32_t)getpid(),
	};
	strlcpy(detail->user, user ? user->pw_name : "", sizeof(detail->user));
	strlcpy(detail->program, "headgatectl", sizeof(detail->program));
	strlcpy(detail->reason, ctl->reason, sizeof(detail->reason));
}

/* A trip's facts stay known when somebody stops the queue on top of it. */
static void
keep_trip(struct control_detail *detail, const struct control_detail *before)
{
	detail->sequence = before->sequence;
	detail->status = before->status;
	memcpy(detail->message_id, before->message_id, sizeof(detail->message_id));
	memcpy(detail->error, before->error, sizeof(detail->error));
}

static const char *
refusal(enum control_state state, enum gate_event what)
{
	if (what == GATE_SKIP && state == CONTROL_PROBING)
		return "it is being probed: see headgatectl status";
	return what == GATE_SKIP ? "it is not tripped, so there is no message to give up"
				 : "its state cannot be changed";
}

/* Changes one queue. Returns its new generation, or 0 when nothing was changed: *status says whether that
 * is an error. *probed: the sequence that is let through first, if the new state says so. */
static uint64_t
change(struct ctl *ctl, struct control *control, unsigned queue, enum gate_event what, int *status,
    uint64_t *probed)
{
	const char *name = control->shared->queue[queue].name;
	struct control_detail before, detail;
	enum control_state to;
	uint64_t word, now;

	do {
		control_read_state(control, queue, &word, &before);
		to = gate_next(control_word_state(word), what);
		if (to == 0) {
			warnx("%s: %s", name, refusal(control_word_state(word), what));
			*status = EX_TEMPFAIL;
			return 0;
		}
		if (to == control_word_state(word)) {
			printf("%s: already %s\n", name, control_state_name(to));
			return 0;
		}
		if (ctl->message != NULL && strcmp(ctl->message, before.message_id) != 0) {
			warnx("%s: the message that tripped it is now %s", name, before.message_id);
			*status = EX_TEMPFAIL;
			return 0;
		}
		fill_detail(&detail, ctl);
		if (to != CONTROL_RUNNING)
			keep_trip(&detail, &before);
		if (what == GATE_SKIP)
			detail.flags = CONTROL_SKIP;
	} while (control_change_state(
		     control, queue, CONTROL_CTL_SLOT, word, to, &detail, &now) != 0);
	*probed = to == CONTROL_PROBING ? before.sequence : 0;
	printf("%s: %s\n", name, control_state_name(to));
	return control_word_generation(now);
}

/* Tells the router that a state word was changed. It would see it by itself, a little later. */
static void
poke(const struct ctl *ctl)
{
	static uint8_t payload[WIRE_SMALL_BYTES];
	enum wire_type type;
	msgpack_sbuffer buffer;
	msgpack_packer packer;
	size_t length;
	int fd = wire_connect(ctl->config.run_dir);

	if (fd < 0)
		return;
	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 6);
	msgpack_pack_int(&packer, WIRE_VERSION);
	msgpack_pack_int(&packer, WIRE_CONTROL);
	msgpack_pack_str(&packer, 11);
	msgpack_pack_str_body(&packer, "headgatectl", 11);
	msgpack_pack_str(&packer, 0);
	msgpack_pack_false(&packer);
	msgpack_pack_int(&packer, 0);
	if (wire_send(fd, WIRE_HELLO, buffer.data, buffer.size, NULL, 0) == 0 &&
	    wire_receive(fd, &type, payload, &length, NULL, NULL, ANSWER_MS) == 0 &&
	    type == WIRE_WELCOME)
		wire_send(fd, WIRE_POKE, "\x90", 1, NULL, 0); /* an empty array */
	msgpack_sbuffer_destroy(&buffer);
	close(fd);
}

/* A worker of the queue that has not seen this generation: its pid, or 0. */
static uint32_t
unseen_worker(const struct control *control, unsigned queue, uint64_t generation)
{
	for (unsigned i = 0; i < CONTROL_WORKERS; i++) {
		const struct control_worker *worker = &control->shared->worker[i];
		/* Pairs with the release store with which the router fills an entry. */
		uint32_t pid = atomic_load_explicit(&worker->pid, memory_order_acquire);

		if (pid != 0 && worker->queue == queue &&
		    control_word_generation(atomic_load_explicit(
			&worker->state_seen, memory_order_relaxed)) < generation)
			return pid;
	}
	return 0;
}

static bool
is_logged(const struct control *control, unsigned queue, uint64_t generation)
{
	return atomic_load_explicit(
		   &control->shared->queue[queue].logged, memory_order_acquire) >= generation;
}

/* Waits until the change is on disk and every worker has seen it. */
static int
wait_until_seen(const struct control *control, unsigned queue, uint64_t generation)
{
	uint64_t deadline_ns = ctl_monotonic_ns() + SEEN_S * UINT64_C(1000000000);
	const char *name = control->shared->queue[queue].name;

	while (!is_logged(control, queue, generation) ||
	    unseen_worker(control, queue, generation) != 0) {
		if (!control_router_alive(control)) {
			warnx("%s: the router is gone; what it had not logged it will find at its "
			      "next start", name);
			return EX_UNAVAILABLE;
		}
		if (ctl_monotonic_ns() > deadline_ns) {
			if (!is_logged(control, queue, generation))
				warnx("%s: the router has not logged the change yet", name);
			else
				warnx("%s: worker %u has not seen the change yet", name,
				    unseen_worker(control, queue, generation));
			return EX_TEMPFAIL;
		}
		ctl_pause_ms(LOOK_MS);
	}
	return 0;
}

/* Waits for what comes of the message that is let through. That another one behind it trips the queue again
 * is another story. */
static int
wait_for_probe(const struct control *control, unsigned queue, uint64_t sequence)
{
	uint64_t deadline_ns = ctl_monotonic_ns() + SEEN_S * UINT64_C(1000000000);
	const char *name = control->shared->queue[queue].name;
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
		if (!ctl_has_worker(control, queue)) {
			printf("%s: no worker is attached; the first message will be tried when one is\n",
			    name);
			return 0;
		}
		if (ctl_monotonic_ns() > deadline_ns) {
			printf("%s: the first message is still being handled\n", name);
			return 0;
		}
		ctl_pause_ms(LOOK_MS);
	}
	if (control_word_state(word) == CONTROL_TRIPPED) {
		warnx("%s: TRIPPED again: message %s answered %u: %s", name, detail.message_id,
		    detail.status, detail.error);
		return detail.sequence == sequence ? EX_TEMPFAIL : 0;
	}
	printf("%s: %s\n", name, control_state_name(control_word_state(word)));
	return 0;
}

static int
change_main(struct ctl *ctl, enum gate_event what)
{
	uint64_t generations[CONTROL_QUEUES] = { 0 }, probed[CONTROL_QUEUES] = { 0 };
	struct control control;
	int status = 0, rc;

	if (ctl->queue_count == 0 && !ctl->all)
		errx(EX_USAGE, "name a queue, or --all");
	rc = ctl_open_control(ctl, &control, true);
	if (rc == -EACCES || rc == -EPERM)
		errx(EX_NOPERM, "%s/control: %s", ctl->config.run_dir, strerror(-rc));
	if (rc == -ESTALE)
		errx(EX_UNAVAILABLE, "%s/control: another version's", ctl->config.run_dir);
	if (rc != 0 || !control_router_alive(&control))
		errx(EX_UNAVAILABLE,
		    "no router is running in %s, and nothing was changed: start headgate-router",
		    ctl->config.run_dir);
	rc = control_lock(&control);
	if (rc != 0)
		errc(EX_OSERR, -rc, "%s/control: lock", ctl->config.run_dir);
	for (unsigned i = 0; i < control.shared->queues; i++)
		if (ctl_is_selected(ctl, control.shared->queue[i].name))
			generations[i] = change(
			    ctl, &control, i, what, &status, &probed[i]);
	control_unlock(&control);
	fflush(stdout);
	poke(ctl);
	for (unsigned i = 0; i < control.shared->queues; i++) {
		if (generations[i] == 0)
			continue;
		rc = wait_until_seen(&control, i, generations[i]);
		if (rc == 0 && ctl->verbose)
			warnx("%s: generation %llu is on disk and every worker has seen it",
			    control.shared->queue[i].name, (unsigned long long)generations[i]);
		if (rc == 0 && probed[i] != 0)
			rc = wait_for_probe(&control, i, probed[i]);
		if (rc != 0)
			status = rc;
	}
	control_close(&control);
	return status;
}

int
start_main(struct ctl *ctl)
{
	if (ctl->message != NULL && !ctl->skip_head)
		errx(EX_USAGE, "--message goes with --skip-head");
	if (ctl->skip_head && ctl->queue_count != 1)
		errx(EX_USAGE, "--skip-head: name one queue");
	return change_main(ctl, ctl->skip_head ? GATE_SKIP : GATE_START);
}

int
stop_main(struct ctl *ctl)
{
	return change_main(ctl, GATE_STOP);
}
