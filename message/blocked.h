/*
 * blocked - headgatectl and the router on blocked groups: packs the payloads of GROUPS, GROUP_LIST,
 * TRY and TRIED (message/wire.h), and reads them with all checks.
 */
#ifndef HEADGATE_MESSAGE_BLOCKED_H
#define HEADGATE_MESSAGE_BLOCKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message/envelope.h"

struct msgpack_sbuffer;

/* Sizes of texts include the terminating NUL. */
enum {
	BLOCKED_PAGE = 256, /* most groups per GROUP_LIST */
	BLOCKED_QUEUE_BYTES = 64,
	BLOCKED_ID_BYTES = ENVELOPE_ID_BYTES + 1,
	BLOCKED_ERROR_BYTES = 96,
	BLOCKED_REASON_BYTES = 256,
	BLOCKED_TEXT_BYTES = 513
};

enum blocked_state {
	BLOCKED_WAITING = 1, /* until the next try is due, or for a worker */
	BLOCKED_TRYING,      /* a worker has the message at the group's head */
	BLOCKED_RELEASING    /* the head has ended; messages behind the head are handled */
};
/* "waiting", "trying" or "releasing"; NULL for an unknown state. */
const char *blocked_state_name(enum blocked_state);

/* GROUPS: requests one page of a queue's blocked groups, in order of their hash. */
struct blocked_ask {
	char queue[BLOCKED_QUEUE_BYTES];
	uint64_t from; /* lowest hash of the page */
};

struct blocked_group {
	uint64_t hash;      /* log_group_hash_whole() of the group's name */
	uint64_t sequence;  /* of the head; 0: unknown until a worker is attached */
	uint64_t since_ns;  /* time of the block, CLOCK_REALTIME */
	uint64_t due_in_ns; /* until the next try; 0: as soon as possible */
	uint64_t behind;    /* messages behind the head, as far as the router has read the log */
	uint32_t tries;     /* of the message that failed last: mostly the head */
	uint16_t status;    /* of that message's last try */
	enum blocked_state state;
	char error[BLOCKED_ERROR_BYTES];
};

/* GROUP_LIST */
struct blocked_page {
	bool known;     /* the queue exists */
	bool more;      /* the queue has blocked groups with higher hashes */
	uint64_t total; /* blocked groups of the queue, on all pages */
	uint32_t count;
	struct blocked_group groups[BLOCKED_PAGE];
};

/* TRY: requests that the message at a group's head be retried now or given up. */
struct blocked_try {
	char queue[BLOCKED_QUEUE_BYTES];
	char group[BLOCKED_ID_BYTES];
	bool skip;                         /* give the head up; false: retry */
	char message_id[BLOCKED_ID_BYTES]; /* expected id of the head; "": any */
	char reason[BLOCKED_REASON_BYTES]; /* for the log; "": none */
};

enum blocked_outcome {
	BLOCKED_ENDED = 1,    /* the head ended with `status`; the group goes on */
	BLOCKED_DEAD_LETTER,  /* as BLOCKED_ENDED, and the head is in the dead-letter queue */
	BLOCKED_FAILED_AGAIN, /* the head failed with `status` and will be retried */
	BLOCKED_GOES_ON,      /* the head had ended before; the group is BLOCKED_RELEASING */
	BLOCKED_NOT_BLOCKED,  /* the group is not blocked */
	BLOCKED_OTHER_HEAD,   /* the head is not the expected message; message_id is the head's */
	BLOCKED_REFUSED,      /* nothing was changed; `text` is the reason */
	BLOCKED_NO_QUEUE      /* the queue does not exist */
};

/* TRIED */
struct blocked_tried {
	enum blocked_outcome outcome;
	uint64_t sequence; /* of the head; 0: no head */
	char message_id[BLOCKED_ID_BYTES];
	uint16_t status;               /* 200 to 599, or 0 */
	char text[BLOCKED_TEXT_BYTES]; /* the handler's error, or the reason of the refusal */
};

/* Each appends a payload to an initialised buffer. */
void blocked_pack_ask(struct msgpack_sbuffer *, const struct blocked_ask *);
void blocked_pack_page(struct msgpack_sbuffer *, const struct blocked_page *);
void blocked_pack_try(struct msgpack_sbuffer *, const struct blocked_try *);
void blocked_pack_tried(struct msgpack_sbuffer *, const struct blocked_tried *);

/* True if the payload is whole, of the right type, and all fields are within their bounds. The
 * struct is undefined otherwise. In a page, the hashes must also ascend from at least `from`. */
bool blocked_read_ask(struct blocked_ask *, const void *payload, size_t length);
bool blocked_read_page(struct blocked_page *, uint64_t from, const void *payload, size_t length);
bool blocked_read_try(struct blocked_try *, const void *payload, size_t length);
bool blocked_read_tried(struct blocked_tried *, const void *payload, size_t length);

/* Copies at most `length` bytes of `text` and a NUL into `size` bytes. A text that is too long is
 * cut between two UTF-8 characters. */
void blocked_copy(char *to, size_t size, const char *text, size_t length);

#endif
