/*
 * blocked - what headgatectl and the router say to each other of blocked groups: the payloads of GROUPS,
 * GROUP_LIST, TRY and TRIED (message/wire.h), packed and, by whoever receives them, checked.
 */
#ifndef HEADGATE_MESSAGE_BLOCKED_H
#define HEADGATE_MESSAGE_BLOCKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message/envelope.h"

struct msgpack_sbuffer;

/* With the terminating NUL, where they are texts. */
enum {
	BLOCKED_PAGE = 256, /* most groups of one GROUP_LIST */
	BLOCKED_QUEUE_BYTES = 64,
	BLOCKED_ID_BYTES = ENVELOPE_ID_BYTES + 1,
	BLOCKED_ERROR_BYTES = 96,
	BLOCKED_REASON_BYTES = 256,
	BLOCKED_TEXT_BYTES = 513
};

enum blocked_state {
	BLOCKED_WAITING = 1, /* for its time, or for a worker */
	BLOCKED_TRYING,      /* a worker has the message at its head */
	BLOCKED_RELEASING    /* that passed, and what waited behind it is handled */
};
/* "waiting", "trying", "releasing"; NULL: no such state. */
const char *blocked_state_name(enum blocked_state);

/* GROUPS: one page of a queue's blocked groups, in order of their hash. */
struct blocked_ask {
	char queue[BLOCKED_QUEUE_BYTES];
	uint64_t from; /* those with this hash or a higher one */
};

struct blocked_group {
	uint64_t hash; /* log_group_hash_whole() of its name */
	uint64_t
	    sequence; /* of the message at its head; 0: not known before a worker is attached */
	uint64_t since_ns;  /* CLOCK_REALTIME, when it was blocked */
	uint64_t due_in_ns; /* the next try; 0: as soon as may be */
	uint64_t behind;    /* messages that wait behind the head, as far as the router has come */
	uint32_t tries;  /* of the message that failed last, which is the head unless that passed */
	uint16_t status; /* what it answered */
	enum blocked_state state;
	char error[BLOCKED_ERROR_BYTES];
};

/* GROUP_LIST */
struct blocked_page {
	bool known;     /* is there such a queue? */
	bool more;      /* groups with a higher hash than the last one */
	uint64_t total; /* groups that are blocked */
	uint32_t count;
	struct blocked_group groups[BLOCKED_PAGE];
};

/* TRY: the message at a group's head is tried now, or given up. */
struct blocked_try {
	char queue[BLOCKED_QUEUE_BYTES];
	char group[BLOCKED_ID_BYTES];
	bool skip;                         /* give it up */
	char message_id[BLOCKED_ID_BYTES]; /* that the head must have; "": any */
	char reason[BLOCKED_REASON_BYTES]; /* why, for the log; or "" */
};

enum blocked_outcome {
	BLOCKED_ENDED = 1,    /* with this status: the group goes on */
	BLOCKED_DEAD_LETTER,  /* likewise, and it is in the dead-letter queue */
	BLOCKED_FAILED_AGAIN, /* with this status, and is tried again later */
	BLOCKED_GOES_ON,      /* it passed before: what waited behind it is being handled */
	BLOCKED_NOT_BLOCKED,
	BLOCKED_OTHER_HEAD, /* the head is another message: this one */
	BLOCKED_REFUSED,    /* text says why; nothing was changed */
	BLOCKED_NO_QUEUE
};

/* TRIED */
struct blocked_tried {
	enum blocked_outcome outcome;
	uint64_t sequence; /* of the head; 0: none */
	char message_id[BLOCKED_ID_BYTES];
	uint16_t status;               /* 200 to 599, or 0 */
	char text[BLOCKED_TEXT_BYTES]; /* the error, or why it is refused */
};

void blocked_pack_ask(struct msgpack_sbuffer *, const struct blocked_ask *);
void blocked_pack_page(struct msgpack_sbuffer *, const struct blocked_page *);
void blocked_pack_try(struct msgpack_sbuffer *, const struct blocked_try *);
void blocked_pack_tried(struct msgpack_sbuffer *, const struct blocked_tried *);

/* Each is false when it is not such a payload, whole and within all bounds; the struct is then undefined.
 * Of a page it is also checked that its hashes ascend and that none is lower than from. */
bool blocked_read_ask(struct blocked_ask *, const void *payload, size_t length);
bool blocked_read_page(struct blocked_page *, uint64_t from, const void *payload, size_t length);
bool blocked_read_try(struct blocked_try *, const void *payload, size_t length);
bool blocked_read_tried(struct blocked_tried *, const void *payload, size_t length);

/* Copies text, cut between two characters where it is too long; a NUL ends it. */
void blocked_copy(char *to, size_t size, const char *text, size_t length);

#endif
