#include "router/queue/subscription.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log/state.h"
#include "router/journal/writer.h"
#include "router/queue/notify.h"
#include "telemetry/event.h"

void
subscription_by_router(const struct queue *queue, struct control_detail *detail)
{
	detail->since_ns = io_wall_ns();
	detail->uid = geteuid();
	detail->pid = (uint32_t)getpid();
	strlcpy(detail->program, "headgate-router", sizeof(detail->program));
	strlcpy(detail->user, queue->router->user, sizeof(detail->user));
}

/* Nothing closes what is STOPPED, and who stopped it, and why, stays; but which message failed is known, and
 * nothing behind it is handled any more. Its handler was started in this state, or in the one before. */
static void
note_in_stopped(struct queue *queue, uint64_t seen, const struct control_detail *detail)
{
	struct control_detail stopped;
	uint64_t word, now;

	control_read_state(&queue->router->control, queue->number, &word, &stopped);
	if (control_word_state(word) != CONTROL_STOPPED ||
	    control_word_generation(word) - control_word_generation(seen) > 1 ||
	    stopped.sequence != 0)
		return;
	stopped.sequence = detail->sequence;
	stopped.status = detail->status;
	memcpy(stopped.message_id, detail->message_id, sizeof(stopped.message_id));
	stopped.tripped_s = detail->tripped_s;
	memcpy(stopped.error, detail->error, sizeof(stopped.error));
	stopped.flags &= ~(uint32_t)CONTROL_DRAIN;
	if (control_change_state(&queue->router->control, queue->number, 0, word, CONTROL_STOPPED,
		&stopped, &now) == 0)
		event(EVENT_WARN, "subscription.head", "s:queue", queue->config->name, "u:sequence",
		    detail->sequence, "s:message_id", detail->message_id, "s:error", detail->error,
		    NULL);
}

/* A message that failed before, and was let through to see, has failed since then. */
static uint32_t
tripped_s(const struct queue *queue, const struct control_detail *detail)
{
	struct control_detail before;
	uint64_t word;

	control_read_state(&queue->router->control, queue->number, &word, &before);
	if (before.sequence == detail->sequence && before.tripped_s != 0)
		return before.tripped_s;
	return (uint32_t)(detail->since_ns / 1000000000);
}

void
subscription_gate(
    struct queue *queue, uint64_t expected, enum gate_event what, struct control_detail *detail)
{
	enum control_state to = gate_next(control_word_state(expected), what);
	uint64_t now;

	if (what == GATE_FAILED)
		detail->tripped_s = tripped_s(queue, detail);
	if (to == 0 || to == control_word_state(expected) ||
	    control_change_state(
		&queue->router->control, queue->number, 0, expected, to, detail, &now) != 0) {
		if (what == GATE_FAILED)
			note_in_stopped(queue, expected, detail);
		return;
	}
	event(EVENT_WARN, "subscription.changed", "s:queue", queue->config->name, "s:state",
	    control_state_name(to), "u:sequence", detail->sequence, "s:message_id",
	    detail->message_id, "s:error", detail->error, "s:reason", detail->reason, NULL);
	notify_changed(queue, to, detail);
}

void
subscription_lower_head(struct queue *queue, uint64_t seen, const struct control_detail *detail)
{
	struct control_detail tripped;
	uint64_t word, now;

	control_read_state(&queue->router->control, queue->number, &word, &tripped);
	if (control_word_state(word) == CONTROL_TRIPPED &&
	    control_word_generation(word) > control_word_generation(seen) &&
	    detail->sequence < tripped.sequence &&
	    control_change_state(&queue->router->control, queue->number, 0, word, CONTROL_TRIPPED,
		detail, &now) == 0)
		event(EVENT_WARN, "subscription.head", "s:queue", queue->config->name, "u:sequence",
		    detail->sequence, "s:message_id", detail->message_id, "s:error", detail->error,
		    NULL);
}

void
subscription_stop_unreadable(struct queue *queue, uint64_t sequence)
{
	struct control_detail detail = { .sequence = sequence };

	subscription_by_router(queue, &detail);
	snprintf(detail.reason, sizeof(detail.reason),
	    "log damaged: message %" PRIu64 " cannot be read again", sequence);
	subscription_gate(queue, subscription_word(queue), GATE_DAMAGE, &detail);
}

bool
subscription_holds_back(const struct queue *queue, uint64_t sequence)
{
	return control_word_state(subscription_word(queue)) == CONTROL_PROBING &&
	    sequence > queue->probe.sequence;
}

void
subscription_append(struct queue *queue)
{
	struct control_detail detail;
	struct log_state state;
	struct log_frame *frame;
	uint64_t word;

	control_read_state(&queue->router->control, queue->number, &word, &detail);
	log_state_from_detail(
	    &state, control_word_state(word), control_word_generation(word), &detail);
	frame = writer_begin(&queue->writer, LOG_STATE, sizeof(state));
	memcpy(frame + 1, &state, sizeof(state));
	writer_finish(&queue->writer, frame);
	queue->state.appended = queue->state.gathered = state.generation;
	queue->router->batch.dirty = queue->router->batch.synced = true;
}

void
subscription_log(struct queue *queue)
{
	if (!subscription_is_appended(queue) &&
	    writer_room_for_state(&queue->writer, sizeof(struct log_state)) == 1 &&
	    !subscription_is_appended(queue))
		subscription_append(queue);
}
