/*
 * subscription - the gate of a queue: its state word, why it changed, and what of that is logged.
 */
#ifndef HEADGATE_ROUTER_QUEUE_SUBSCRIPTION_H
#define HEADGATE_ROUTER_QUEUE_SUBSCRIPTION_H

#include "router/state.h"
#include "shm/gate.h"

/* Applies an event to the gate, if the word is still the expected one: detail says why, and of a message that failed
 * gets when it failed first; who is this process. No effect if the event means nothing in that state, or if the word
 * has changed; but a message that failed is noted in the detail of what is STOPPED by then. */
void subscription_gate(struct queue *, uint64_t expected, enum gate_event, struct control_detail *);
/* A message failed under the state that the word says, and the queue is TRIPPED since: when its sequence is
 * lower than that of the message that tripped it, it takes its place. */
void subscription_lower_head(struct queue *, uint64_t seen, const struct control_detail *);

/* A message that is not settled although it was handled cannot be read: nothing behind it may go first. */
void subscription_stop_unreadable(struct queue *, uint64_t sequence);
/* Does this message stand behind the probe, the only one that is let through now? */
bool subscription_holds_back(const struct queue *, uint64_t sequence);

/* Puts a state that is not logged yet into the gathered batch. */
void subscription_log(struct queue *);
/* Puts the state into the gathered batch, in which there is room for it. */
void subscription_append(struct queue *);

/* Fills the fields of a detail that say that the router did it, now. */
void subscription_by_router(const struct queue *, struct control_detail *);

static inline uint64_t
subscription_word(const struct queue *queue)
{
	/* Pairs with the compare-and-swap in control_change_state(): the word's detail is filled. */
	return atomic_load_explicit(&queue->control->state, memory_order_acquire);
}

/* Is the state in the log, or in a batch that will be? */
static inline bool
subscription_is_appended(const struct queue *queue)
{
	return control_word_generation(subscription_word(queue)) == queue->state.appended;
}

#endif
