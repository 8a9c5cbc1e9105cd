#include "router/delivery/probe.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "router/delivery/blocking.h"
#include "router/queue/lookup.h"
#include "router/queue/subscription.h"
#include "router/queue/transfer.h"

#define DELAY_MAX_NS UINT64_C(600000000000) /* auto_probe doubles up to this */

/* The facts of the trip stay, who and when are new. */
static void
change(struct queue *queue, uint64_t word, enum gate_event what, struct control_detail *detail,
    const char *reason)
{
	subscription_by_router(queue, detail);
	detail->flags = 0;
	strlcpy(detail->reason, reason, sizeof(detail->reason));
	subscription_gate(queue, word, what, detail);
}

static void
open_gate(struct queue *queue, uint64_t word, struct control_detail *detail, const char *reason)
{
	detail->sequence = detail->status = 0;
	detail->message_id[0] = detail->error[0] = '\0';
	change(queue, word, GATE_PASSED, detail, reason);
}

/* Its group is looked up once: the message may have to be read from the disk. One that is damaged closes the gate
 * when it is to be delivered; one that cannot be read for now is looked up again in the next turn. */
static void
look_up_group(struct queue *queue)
{
	const struct log_frame *frame;
	struct group *group = NULL;
	int rc = lookup_find(queue, queue->probe.sequence, &frame);

	queue->probe.looked_up = rc == 1 || rc == -EBADMSG;
	if (rc == 1 && blocking_hash(frame, &queue->probe.group) == 0)
		group = groups_find(&queue->groups, queue->probe.group);
	if (group != NULL)
		blocking_request(queue, group, 0);
}

static void
begin(struct queue *queue, uint64_t word, uint64_t sequence)
{
	queue->probe.word = word;
	queue->probe.sequence = sequence;
	queue->probe.status = 0;
	queue->probe.group = 0;
	queue->probe.looked_up =
	    !queue->policy.blocks_server_error && !queue->policy.blocks_client_error;
}

/* What came of the message. That it was ended before the probe began: it was lost, and a salvage went on
 * without it. */
static void
open_ended(struct queue *queue, uint64_t word, struct control_detail *detail)
{
	const struct queue *dead = &queue->router->queues[queue->config->dead_letter_queue];
	uint16_t status = word == queue->probe.word ? queue->probe.status : 0;
	bool is_dead = transfer_takes(queue, status);
	char reason[CONTROL_TEXT_BYTES], ended[16] = "was given up";

	if (status < 500)
		snprintf(ended, sizeof(ended), "answered %" PRIu16, status);
	if (status == 0)
		snprintf(
		    reason, sizeof(reason), "message %s is not there any more", detail->message_id);
	else if (status < 400)
		snprintf(reason, sizeof(reason), "the probe passed");
	else
		snprintf(reason, sizeof(reason), "message %s %s and is %s%s", detail->message_id,
		    ended, is_dead ? "in " : "recorded as failed",
		    is_dead ? dead->config->name : "");
	open_gate(queue, word, detail, reason);
}

static void
stop_unknown(struct queue *queue, uint64_t word)
{
	struct control_detail detail = { .since_ns = 0 };
	uint64_t now;

	subscription_by_router(queue, &detail);
	strlcpy(detail.reason, "somebody wrote into the control segment", sizeof(detail.reason));
	control_change_state(
	    &queue->router->control, queue->number, 0, word, CONTROL_STOPPED, &detail, &now);
}

void
probe_look(struct queue *queue)
{
	enum control_state state = control_word_state(subscription_word(queue));
	struct control_detail detail;
	uint64_t word;

	if (state == CONTROL_RUNNING)
		queue->probe.delay_ns = 0;
	if (state != CONTROL_PROBING && control_state_name(state) != NULL)
		return;
	control_read_state(&queue->router->control, queue->number, &word, &detail);
	if (control_state_name(control_word_state(word)) == NULL) {
		stop_unknown(queue, word);
		return;
	}
	if (control_word_state(word) != CONTROL_PROBING)
		return;
	if (settled_has(&queue->settled, detail.sequence)) {
		open_ended(queue, word, &detail);
		return;
	}
	if (word != queue->probe.word)
		begin(queue, word, detail.sequence);
	if (!queue->probe.looked_up)
		look_up_group(queue);
}

void
probe_blocked(struct queue *queue, const struct group *group, uint64_t sequence)
{
	struct control_detail detail;
	uint64_t word;

	if (control_word_state(subscription_word(queue)) != CONTROL_PROBING)
		return;
	control_read_state(&queue->router->control, queue->number, &word, &detail);
	if (control_word_state(word) != CONTROL_PROBING ||
	    (sequence != detail.sequence &&
		(word != queue->probe.word || group->hash != queue->probe.group)))
		return;
	if (sequence != detail.sequence && detail.flags & CONTROL_SKIP)
		change(
		    queue, word, GATE_FAILED, &detail, "a message before it in its group failed");
	else
		open_gate(
		    queue, word, &detail, "the probe failed, and its message waits with its group");
}

/* For who asks for the status: 0 when nothing is due. */
static void
tell_due(const struct queue *queue, uint64_t due_ns)
{
	/* Relaxed: a figure that stands for itself. */
	atomic_store_explicit(&queue->control->probe_due_ns, due_ns, memory_order_relaxed);
}

/* Tripped just now: twice as long as the last time. */
static void
delay(struct queue *queue, uint64_t now_ns)
{
	uint64_t first_ns = queue->config->auto_probe_ns;

	queue->probe.delay_ns = queue->probe.delay_ns == 0 ? first_ns : 2 * queue->probe.delay_ns;
	if (queue->probe.delay_ns > DELAY_MAX_NS)
		queue->probe.delay_ns = first_ns > DELAY_MAX_NS ? first_ns : DELAY_MAX_NS;
	queue->probe.due_ns = now_ns + queue->probe.delay_ns;
}

void
probe_auto(struct queue *queue, uint64_t now_ns)
{
	uint64_t word = subscription_word(queue);
	struct control_detail detail;

	if (queue->config->auto_probe_ns == 0)
		return;
	if (control_word_state(word) != CONTROL_TRIPPED) {
		tell_due(queue, 0);
		return;
	}
	if (control_word_generation(word) != queue->probe.generation) {
		queue->probe.generation = control_word_generation(word);
		delay(queue, now_ns);
	}
	tell_due(queue, queue->probe.due_ns);
	if (now_ns < queue->probe.due_ns)
		return;
	control_read_state(&queue->router->control, queue->number, &word, &detail);
	change(queue, word, GATE_PROBE, &detail, "auto_probe");
}
