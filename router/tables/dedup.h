/*
 * dedup - which deduplication ids were seen within the window. One for each topic.
 *
 * An extendible hash table: a directory of pages, indexed by the first bits of an id's 128-bit hash.
 * An insertion touches one page; a full page forgets what is older than the window, grows by a third if
 * that did not help, and is split in two when it is large. So there is never a rehash of the whole, and
 * memory follows what the window holds: entries of 20 bytes in pages that are two thirds full or more.
 */
#ifndef HEADGATE_ROUTER_TABLES_DEDUP_H
#define HEADGATE_ROUTER_TABLES_DEDUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DEDUP_KEY_BYTES = 192 }; /* secret of the keyed hash */

struct dedup;

/* window and all times: seconds on a clock that never goes back. Returns NULL without memory. */
struct dedup *dedup_new(const uint8_t key[DEDUP_KEY_BYTES], uint32_t window);
/* From now on no more ids than this are remembered at once; what is remembered already stays. */
void dedup_set_max(struct dedup *, uint64_t ids);
void dedup_free(struct dedup *);

/* What is remembered of an id: a hash keyed with the secret, so that nobody can make ids collide. */
struct dedup_hash {
	uint32_t word[4];
};
/* kind tells ids of different make apart (an explicit id, a content hash). */
struct dedup_hash dedup_hash(const struct dedup *, uint8_t kind, const void *id, size_t length);

enum dedup_result { DEDUP_NEW, DEDUP_SEEN, DEDUP_NO_MEMORY, DEDUP_FULL };

/* Looks an id up, and remembers it as seen now when it is new. */
enum dedup_result dedup_see(struct dedup *, const struct dedup_hash *, uint32_t now);

/* For recovery: this id was taken at that time, perhaps again after a window had passed. False without
 * memory. */
bool dedup_remember(struct dedup *, const struct dedup_hash *, uint32_t time, uint32_t now);

/* Looks at so many pages, on from where the last call ended, and gives back what is older than the
 * window. */
void dedup_sweep(struct dedup *, uint32_t now, unsigned pages);

/* Are as many ids remembered as may be? */
bool dedup_is_full(const struct dedup *);

/* Bytes of memory in use and ids remembered (some may be older than the window). */
void dedup_usage(const struct dedup *, uint64_t *bytes, uint64_t *ids);

#endif
