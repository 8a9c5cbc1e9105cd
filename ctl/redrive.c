/*
 * headgatectl dead redrive and dead purge
 *
 * This program reads the log in order, and requests transfers from the router, up to WIRE_MOVE_MAX
 * messages at a time. The router copies and settles in one transaction, so this program may die at
 * any time: acknowledged transfers are done, the other messages stay, and a repeated request for a
 * transferred message does no harm.
 *
 * Messages that reach the dead-letter queue after the start (also by failing again) are left alone.
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/router.h"
#include "ctl/select.h"

enum {
	AWAY = CONFIG_QUEUES, /* the target of a purge */
	TARGETS,
	ANSWER_MS = 60000,     /* for the router's answer */
	INTERRUPTED_MS = 5000, /* for the router's answer after Ctrl-C */
	AGAIN_MS = 2,          /* before a retry; doubled after each retry without progress */
	AGAIN_MS_MAX = 100,
	PROGRESS_MS = 200,
	LOOKS = 20 /* re-reads of the log without progress, after outdated positions */
};

/* Values that end the reading, beside those of sysexits. */
enum { END = 1, LOOK_AGAIN };

struct move {
	struct ctl *ctl;
	struct selection selection;
	const char *done; /* "moved", "purged" */
	bool purge;

	/* The selected messages at the start. */
	uint64_t total, until; /* number, and highest sequence */
	uint64_t found[TARGETS];
	char lost[CONFIG_NAME_BYTES]; /* an unknown queue from which messages come; "": none */
	uint64_t lost_count;

	int router, signals; /* descriptors */
	int signal;          /* received; 0: none */
	uint64_t started_ns, printed_ns;
	uint64_t moved[TARGETS], all_moved, gone;
	uint64_t after; /* all messages up to this sequence are done */
	unsigned looks; /* re-reads without progress */
	uint64_t again_ms;
	uint64_t vain_ns; /* begin of the router's lack of space; 0: none */
	int status;       /* exit status */

	/* The next request. */
	struct router_place places[WIRE_MOVE_MAX];
	uint8_t targets[WIRE_MOVE_MAX];
	size_t count, window;
};
_Static_assert(TARGETS <= UINT8_MAX, "targets[]");

static const char *
target_name(const struct move *move, unsigned target)
{
	return target == AWAY ? "" : move->ctl->known.queue[target].name;
}

/*
 * The selected messages.
 */

/* The target of a message: its original queue, or --to's argument. TARGETS: unknown. */
static unsigned
target_of(const struct move *move, const struct message *message)
{
	const char *name = move->ctl->to;
	int index;

	if (move->purge)
		return AWAY;
	if (name == NULL)
		name = message->content.origin ? message->content.origin->queue : "";
	index = queues_index(move->ctl, name);
	return index >= 0 ? (unsigned)index : TARGETS;
}

static int
count_message(void *context, const struct message *message)
{
	struct move *move = context;
	unsigned target = target_of(move, message);

	move->total++;
	move->until = message->sequence;
	if (target < TARGETS) {
		move->found[target]++;
		return 0;
	}
	if (message->content.origin != NULL)
		memcpy(move->lost, message->content.origin->queue, sizeof(move->lost) - 1);
	move->lost_count++;
	return 0;
}

/*
 * Waiting, and signals.
 */

static void
catch_signals(struct move *move)
{
	struct sigaction hangup;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaction(SIGHUP, NULL, &hangup);
	if (hangup.sa_handler != SIG_IGN) /* nohup(1) ignores SIGHUP */
		sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	move->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (move->signals < 0)
		err(EX_OSERR, "signalfd");
}

static bool
interrupted(struct move *move)
{
	struct signalfd_siginfo info;

	if (move->signal == 0 && read(move->signals, &info, sizeof(info)) == sizeof(info))
		move->signal = (int)info.ssi_signo;
	return move->signal != 0;
}

/* After the work, lets signals end the program, even if nobody reads its output. */
static void
release_signals(struct move *move)
{
	sigset_t set;

	(void)interrupted(move);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void
pause_ms(struct move *move, uint64_t ms)
{
	struct pollfd poller = { .fd = move->signals, .events = POLLIN };

	if (!interrupted(move))
		poll(&poller, 1, (int)(ms < 1000 ? ms : 1000));
}

/* Waits for the router's answer. A first Ctrl-C only shortens the wait, as the transfer is under
 * way. Returns 0 or -ETIMEDOUT. */
static int
wait_for_router(struct move *move)
{
	uint64_t start_ns = clock_monotonic_ns();

	while (true) {
		bool ending = interrupted(move);
		int limit_ms = ending ? INTERRUPTED_MS : ANSWER_MS;
		uint64_t waited_ms = (clock_monotonic_ns() - start_ns) / 1000000;
		struct pollfd pollers[2] = {
			{ .fd = move->router, .events = POLLIN },
			{ .fd = ending ? -1 : move->signals, .events = POLLIN },
		};

		if (waited_ms >= (uint64_t)limit_ms)
			return -ETIMEDOUT;
		if (poll(pollers, 2, limit_ms - (int)waited_ms) > 0 && pollers[0].revents != 0)
			return 0;
	}
}

static void
print_progress(struct move *move, bool last)
{
	uint64_t now_ns = clock_monotonic_ns();
	double seconds = (double)(now_ns - move->started_ns) / 1e9;

	if (!isatty(STDERR_FILENO) ||
	    (!last && now_ns - move->printed_ns < PROGRESS_MS * UINT64_C(1000000)))
		return;
	move->printed_ns = now_ns;
	fprintf(
	    stderr, "\r%" PRIu64 " of %" PRIu64 " %s", move->all_moved, move->total, move->done);
	if (seconds >= 1) /* earlier rates are meaningless */
		fprintf(stderr, ", %.0f a second   ", (double)move->all_moved / seconds);
	if (last)
		fputc('\n', stderr);
}

/* Waits until --rate allows the next request. */
static void
keep_rate(struct move *move)
{
	uint64_t due_ns;

	if (move->ctl->rate == 0)
		return;
	due_ns =
	    move->started_ns + (uint64_t)((double)move->all_moved / (double)move->ctl->rate * 1e9);
	while (!interrupted(move)) {
		uint64_t now_ns = clock_monotonic_ns();

		if (now_ns >= due_ns)
			return;
		pause_ms(move, (due_ns - now_ns) / 1000000 + 1);
	}
}

/*
 * Moving.
 */

static int
redrive_error(struct move *move, int status, const char *text)
{
	warnx("%s: %s", move->selection.dead, text);
	move->status = status;
	return END;
}

static int
request(struct move *move, unsigned target, const struct router_place *places, size_t count,
    struct router_moved *answer)
{
	int rc = router_send_move(
	    move->router, move->selection.dead, target_name(move, target), places, count);

	if (rc == 0)
		rc = wait_for_router(move);
	if (rc == 0)
		rc = router_receive_moved(move->router, answer);
	if (rc == 0 && answer->moved + answer->gone > count)
		rc = -EPROTO;
	if (rc == 0)
		return 0;
	redrive_error(move, rc == -ETIMEDOUT ? EX_TEMPFAIL : EX_UNAVAILABLE,
	    rc == -EPIPE || rc == -ECONNRESET ? "the router is gone" : strerror(-rc));
	warnx("up to %zu more may have been %s: do it again, which is harmless", count, move->done);
	return END;
}

/* Waits before a retry: twice as long after each retry without progress. */
static void
back_off(struct move *move, bool vain)
{
	move->again_ms = vain ? 2 * move->again_ms : AGAIN_MS;
	if (move->again_ms > AGAIN_MS_MAX)
		move->again_ms = AGAIN_MS_MAX;
	pause_ms(move, move->again_ms);
}

/* Decides how to go on after a request that was not done in full. Returns 0, END or LOOK_AGAIN. */
static int
after_answer(struct move *move, const struct router_moved *answer)
{
	bool vain = answer->moved + answer->gone == 0;

	if (!vain) {
		move->looks = 0;
		move->vain_ns = 0;
	}
	switch (answer->status) {
	case 200:
		return 0;
	case 409:
		if (vain && move->looks++ >= LOOKS)
			return redrive_error(move, EX_TEMPFAIL, answer->text);
		back_off(move, vain);
		return LOOK_AGAIN;
	case 503:
		if (move->vain_ns == 0)
			move->vain_ns = clock_monotonic_ns();
		if (clock_monotonic_ns() - move->vain_ns >= move->ctl->timeout_ns)
			return redrive_error(move, EX_TEMPFAIL, answer->text);
		back_off(move, vain);
		return 0;
	case 404:
		return redrive_error(move, EX_CONFIG,
		    "the router does not have these queues: it was started with another "
		    "configuration");
	default:
		return redrive_error(move, EX_UNAVAILABLE, answer->text);
	}
}

/* Transfers these messages to one target. Returns 0, END or LOOK_AGAIN. */
static int
move_to(struct move *move, unsigned target, const struct router_place *places, size_t count)
{
	int rc = 0;

	for (size_t done = 0; rc == 0 && done < count;) {
		struct router_moved answer = { 0 };

		if (interrupted(move))
			return END;
		rc = request(move, target, places + done, count - done, &answer);
		if (rc != 0)
			return rc;
		done += answer.moved + answer.gone;
		move->moved[target] += answer.moved;
		move->all_moved += answer.moved;
		move->gone += answer.gone;
		if (answer.status == 200 && done < count)
			return redrive_error(
			    move, EX_PROTOCOL, "the router answers for less than it was asked");
		rc = after_answer(move, &answer);
		print_progress(move, false);
	}
	return rc;
}

/* Transfers the gathered messages. */
static int
flush(struct move *move)
{
	static struct router_place places[WIRE_MOVE_MAX];
	int rc = 0;

	for (unsigned target = 0; rc == 0 && target < TARGETS; target++) {
		size_t count = 0;

		for (size_t i = 0; i < move->count; i++)
			if (move->targets[i] == target)
				places[count++] = move->places[i];
		if (count > 0)
			rc = move_to(move, target, places, count);
	}
	if (rc == 0 && move->count > 0)
		move->after = move->places[move->count - 1].sequence;
	move->count = 0;
	if (rc == 0)
		keep_rate(move);
	return rc;
}

static int
gather(void *context, const struct message *message)
{
	struct move *move = context;
	unsigned target = target_of(move, message);

	if (interrupted(move) || message->sequence > move->until)
		return END;
	if (target >= TARGETS) /* arrived after the start */
		return 0;
	move->places[move->count] = (struct router_place){ message->sequence, message->position };
	move->targets[move->count++] = (uint8_t)target;
	return move->count == move->window ? flush(move) : 0;
}

static void
move_all(struct move *move)
{
	int rc = 0;

	do {
		if (rc == LOOK_AGAIN && move->ctl->verbose)
			warnx("%s: messages are in other places than they were: looking again "
			      "behind %" PRIu64,
			    move->selection.dead, move->after);
		move->count = 0;
		rc = selection_read(&move->selection, move->after, gather, move);
		if (rc >= 0 && rc != LOOK_AGAIN && move->status == 0 && !interrupted(move))
			rc = flush(move);
	} while (rc == LOOK_AGAIN);
	if (rc < 0)
		move->status = message_exit_status(rc);
}

/*
 * The commands.
 */

static void
report(const struct move *move)
{
	for (unsigned target = 0; target < TARGETS; target++) {
		if (move->found[target] == 0 && move->moved[target] == 0)
			continue;
		if (target == AWAY)
			printf(
			    "%s: %" PRIu64 " purged\n", move->selection.dead, move->moved[target]);
		else
			printf("%s: %" PRIu64 " moved to %s\n", move->selection.dead,
			    move->moved[target], target_name(move, target));
	}
	if (move->gone > 0)
		printf("%s: %" PRIu64 " were gone already\n", move->selection.dead, move->gone);
}

static void
report_dry(const struct move *move)
{
	for (unsigned target = 0; target < TARGETS; target++)
		if (move->found[target] > 0)
			printf("%s: %" PRIu64 " would be moved to %s\n", move->selection.dead,
			    move->found[target], target_name(move, target));
}

static int
run(struct move *move)
{
	move->router = router_connect(move->ctl, ROUTER_ANSWER_MS);
	catch_signals(move);
	move->window = WIRE_MOVE_MAX;
	move->again_ms = AGAIN_MS;
	if (move->ctl->rate > 0 && move->ctl->rate / 10 < move->window)
		move->window = move->ctl->rate / 10 > 0 ? move->ctl->rate / 10 : 1;
	move->started_ns = clock_monotonic_ns();
	move_all(move);
	release_signals(move);
	print_progress(move, true);
	report(move);
	if (move->signal != 0) {
		warnx("%s: ended by %s: %" PRIu64 " of %" PRIu64
		      " were %s, the rest is where it was",
		    move->selection.dead, strsignal(move->signal), move->all_moved, move->total,
		    move->done);
		return 128 + move->signal;
	}
	return move->status;
}

/* Counts the selected messages. Returns 0 or the exit status. */
static int
count_all(struct move *move, struct ctl *ctl)
{
	int rc;

	move->ctl = ctl;
	selection_init(&move->selection, ctl);
	if (ctl->to != NULL && queues_index(ctl, ctl->to) < 0)
		queues_none(ctl, "--to ", ctl->to);
	if (ctl->to != NULL && strcmp(ctl->to, move->selection.dead) == 0)
		errx(EX_USAGE, "--to %s: that is where they are", ctl->to);
	rc = selection_read(&move->selection, 0, count_message, move);
	if (move->lost_count > 0) {
		warnx("%s: %" PRIu64
		      " messages are from queue \"%s\", which is not in the configuration: "
		      "say with --to where they are to go",
		    move->selection.dead, move->lost_count, move->lost);
		return EX_USAGE;
	}
	return message_exit_status(rc);
}

int
dead_redrive_main(struct ctl *ctl)
{
	static struct move move = { .done = "moved" };
	int status = count_all(&move, ctl);

	if (status != 0)
		return status;
	if (move.total == 0) {
		printf("%s: nothing to move\n", move.selection.dead);
		return 0;
	}
	if (ctl->dry_run) {
		report_dry(&move);
		return 0;
	}
	return run(&move);
}

/* Asks the person at the terminal for a confirmation. */
static bool
confirmed(const struct move *move)
{
	char answer[16];

	fprintf(stderr, "purge %" PRIu64 " messages of %s? They cannot be had back. [y/N] ",
	    move->total, move->selection.dead);
	return fgets(answer, sizeof(answer), stdin) != NULL &&
	    (strcasecmp(answer, "y\n") == 0 || strcasecmp(answer, "yes\n") == 0);
}

enum { NOT_CONFIRMED = 1 /* exit status */ };

int
dead_purge_main(struct ctl *ctl)
{
	static struct move move = { .done = "purged", .purge = true };
	int status = count_all(&move, ctl);

	if (status != 0)
		return status;
	if (move.total == 0) {
		printf("%s: nothing to purge\n", move.selection.dead);
		return 0;
	}
	if (!ctl->force && !isatty(STDIN_FILENO))
		errx(EX_USAGE, "%s: %" PRIu64 " messages would be gone for good; --force does it",
		    move.selection.dead, move.total);
	if (!ctl->force && !confirmed(&move)) {
		puts("nothing was purged");
		return NOT_CONFIRMED;
	}
	return run(&move);
}
