/*
 * queue - a queue's state in the router: sequences, settlements, subscription state, marks.
 */
#ifndef HEADGATE_ROUTER_QUEUE_QUEUE_H
#define HEADGATE_ROUTER_QUEUE_QUEUE_H

#include "message/envelope.h"
#include "router/state.h"
#include "shm/gate.h"

/* The simulation draws them. */
#ifndef QUEUE_RESERVE
#define QUEUE_RESERVE (1 << 20) /* sequences that are promised at once */
#endif
#ifndef QUEUE_PIECE
#define QUEUE_PIECE 512 /* entries of a frame of a checkpoint, so many at most */
#endif

/* Longest frame that holds a message. */
#define QUEUE_FRAME_BYTES                                                          \
	(sizeof(struct log_frame) + sizeof(struct log_origin) + LOG_REASON_BYTES + \
	    ENVELOPE_BODY_BYTES_MAX + ENVELOPE_OVERHEAD_BYTES + 16)

/* Appends a message to the gathered batch; writer_room_for_message() said there is room. Returns its
 * sequence. */
uint64_t queue_append(struct queue *, const void *envelope, size_t length, uint16_t group_hash);

/* Appends a message that comes from another log; as queue_append(). content->origin is not NULL. */
uint64_t queue_append_moved(struct queue *, const struct log_content *content, uint16_t group_hash);

/* A message ended with this status. Returns 1, 0 when it had ended before, or -ENOMEM. */
int queue_settle(struct queue *, uint64_t sequence, uint16_t status);

/* The same, and puts it into the gathered batch at once; for a message that is not settled, after
 * writer_room() said that there is room for a struct log_settled. flags: enum log_settled_flag. Returns 0
 * or -ENOMEM. */
int queue_settle_now(struct queue *, uint64_t sequence, uint16_t status, uint16_t flags);

/* Are there settlements to be logged? Where room is short they wait until they free a segment. */
bool queue_settlements_due(const struct queue *);
/* Puts what is settled into the gathered batch, as far as there is room. */
void queue_log_settled(struct queue *);

/* A worker died, or was ended, while it handled this message, which stands at position: counts it, and stops a
 * dead-letter queue when that was too often: of others the worker gives the message up. Returns 0 or -ENOMEM. */
int queue_count_receive(struct queue *, uint64_t position, uint64_t sequence);

/* A new segment became the active one: describes the one before and begins its checkpoint. Callback of
 * the writer. */
void queue_segment_begun(struct writer *);
/* Bytes of a checkpoint, about, and of the settlements of all that is left, at most. Likewise. */
uint64_t queue_checkpoint_bytes(const struct writer *);
uint64_t queue_settlement_bytes(const struct writer *);
/* The disk is full: what all queues' logs keep to be used later goes. Likewise. */
void queue_disk_full(struct writer *);
/* Puts what is left of the checkpoint into the gathered batch, as far as there is room. */
void queue_log_checkpoint(struct queue *);
/* Is some of it left, and room for that? May begin a segment. */
bool queue_checkpoint_due(struct queue *);

/* A file of ids of freed segments is there, and needed until the clock is a window past newest_clock_s.
 * Returns 0 or -ENOMEM. */
int queue_add_ids(struct queue *, uint64_t number, uint64_t newest_clock_s);

/* An event for the state that the word says, which is expected to be the current one. detail says why, and of a message
 * that failed gets when it failed first; who is this process. Nothing happens when the event means nothing, or when the word has changed; but a message
 * that failed is noted in what is STOPPED by then. */
void queue_gate(struct queue *, uint64_t expected, enum gate_event, struct control_detail *);
/* A message failed under the state that the word says, and the queue is TRIPPED since: when its sequence is
 * lower than that of the message that tripped it, it takes its place. */
void queue_lower_head(struct queue *, uint64_t seen, const struct control_detail *);

/* A message that is not settled although it was handled cannot be read: nothing behind it may go first. */
void queue_stop_unreadable(struct queue *, uint64_t sequence);
/* Does this message stand behind the probe, the only one that is let through now? */
bool queue_holds_back(const struct queue *, uint64_t sequence);

/* Moves the clock of its retention, behind queue_publish_figures(). */
void queue_tick_retention(struct queue *);

/* Puts a state that is not logged yet into the gathered batch. */
void queue_log_state(struct queue *);

/* When a log is opened: what was promised to messages, and is not there, is given to no other. Returns 0 or
 * -ENOMEM. */
int queue_skip_reserved(struct queue *);
/* Puts a promise of sequences into the gathered batch when it needs one; the batch is synced then. */
void queue_reserve(struct queue *);
/* Does it need one although nothing is gathered? */
bool queue_reservation_ends(const struct queue *);

/* Called when a batch with frames of this queue is closed, and when a batch is durable in all its logs. */
void queue_batch_closed(struct queue *, uint64_t time_ns);
void queue_batch_durable(struct queue *);

/* Remembers a place in the log. */
int queue_add_mark(struct queue *, uint64_t position, uint64_t sequence, uint64_t time_ns);
/* A position from which a cursor meets every message that is not settled. */
uint64_t queue_first_position(const struct queue *);

/* Segments were replaced by one, [from, to): all marks in there become one at its start. */
void queue_move_marks(struct queue *, uint64_t from, uint64_t to, uint64_t sequence);
/*
 * Reading messages back, from memory or, in short synchronous reads, from the disk. A frame is valid until the next
 * of these calls, or the next room in a log. Only -EBADMSG is damage; -EAGAIN: something was wanting (a descriptor,
 * memory, a disk that answers), which is logged, and it is to be tried again.
 */
/* A read of the log ended so. Logs a failure once for each reason, until a read succeeds. Returns 0, -EBADMSG or
 * -EAGAIN. */
int queue_note_read(struct queue *, int rc);
/* The message that somebody says stands at a position. Returns 1; 0: it is not there; or -EAGAIN. */
int queue_frame(
    struct queue *, uint64_t position, uint64_t sequence, const struct log_frame **frame);
/* A message that is not settled, wherever it stands: slower. Returns 1, -EBADMSG or -EAGAIN. */
int queue_find(struct queue *, uint64_t sequence, const struct log_frame **frame);
/* A message that is not settled and stood at a position once. Returns as queue_find(). */
int queue_message(
    struct queue *, uint64_t position, uint64_t sequence, const struct log_frame **frame);
/* Its message id; "" when it cannot be read. */
void queue_message_id(
    struct queue *, uint64_t position, uint64_t sequence, char id[CONTROL_ID_BYTES]);

/* Bytes of log that messages take which are not settled; from the mean length in each segment. */
uint64_t queue_unsettled_bytes(const struct queue *);

/* Brings the figures in the control segment up to date. */
void queue_publish_figures(struct queue *);
/* Where messages are refused because its log cannot grow: looks now and then whether there is room by now. */
void queue_look_for_room(struct queue *, uint64_t now_ns);
/* Those of blocked groups: whoever is told that a group is blocked, or open, finds it so there. */
void queue_publish_groups(struct queue *);

/* Fills the fields of a detail that say that the router did it, now. */
void queue_detail_by_router(const struct queue *, struct control_detail *);

static inline uint64_t
queue_state_word(const struct queue *queue)
{
	/* Pairs with the compare-and-swap in control_change_state(): the word's detail is filled. */
	return atomic_load_explicit(&queue->control->state, memory_order_acquire);
}

#endif
