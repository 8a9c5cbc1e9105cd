#include "router/tables/dedup.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
	PAGE_SLOTS_MIN = 1024, /* 20 KiB; a page grows by a third, twice, and is then split */
	PAGE_SLOTS_MAX = 1820,
	DEPTH_MAX = 30,
	SWEEP_PAGES = 4 /* looked at for each id that finds no room */
};

struct entry {
	uint32_t hash[4];
	uint32_t time; /* 0: free. Times are kept one higher. */
};
_Static_assert(sizeof(struct entry) == 20, "20 bytes an id");

struct page {
	uint32_t count;
	uint32_t depth; /* bits of the hash that all its entries share */
	uint32_t slots;
	struct entry entry[];
};

struct dedup {
	uint8_t key[DEDUP_KEY_BYTES];
	uint32_t window;
	uint32_t depth;      /* the directory has 1 << depth slots */
	struct page **pages; /* a page of depth d stands in 1 << (depth - d) neighbouring slots */
	uint64_t page_bytes; /* of all pages */
	uint64_t ids, max;
	uint64_t swept; /* slot of the directory where dedup_sweep() goes on */
};

struct dedup_hash
dedup_hash(const struct dedup *dedup, uint8_t kind, const void *id, size_t length)
{
	XXH128_hash_t value = XXH3_128bits_withSecret(id, length, dedup->key, sizeof(dedup->key));
	struct dedup_hash hash = { {
	    (uint32_t)(value.high64 >> 32),
	    (uint32_t)value.high64,
	    (uint32_t)(value.low64 >> 32),
	    (uint32_t)value.low64 ^ kind,
	} };

	return hash;
}

static uint64_t
slot_of(const struct dedup *dedup, const uint32_t hash[4])
{
	return dedup->depth == 0 ? 0 : hash[0] >> (32 - dedup->depth);
}

/* Beyond 90 % linear probing gets long. */
static bool
full(const struct page *page)
{
	return page->count >= page->slots - page->slots / 10;
}

/* The entry with this hash, or the free one where it would go: a page is never quite full. */
static struct entry *
find_id(struct page *page, const uint32_t hash[4])
{
	uint32_t i = (uint32_t)((uint64_t)hash[1] * page->slots >> 32);

	for (;; i++) {
		struct entry *entry;

		if (i == page->slots)
			i = 0;
		entry = &page->entry[i];
		if (entry->time == 0 || memcmp(entry->hash, hash, sizeof(entry->hash)) == 0)
			return entry;
	}
}

static void
put(struct page *page, const struct entry *entry)
{
	*find_id(page, entry->hash) = *entry;
	page->count++;
}

static bool
expired(const struct dedup *dedup, const struct entry *entry, uint32_t now)
{
	/* After a restart a time is rounded up, and may be a little ahead. */
	return (uint64_t)now > (uint64_t)entry->time - 1 + dedup->window;
}

static size_t
page_bytes(uint32_t slots)
{
	return sizeof(struct page) + slots * sizeof(struct entry);
}

static struct page *
new_page(uint32_t depth, uint32_t slots)
{
	struct page *page = calloc(1, page_bytes(slots));

	if (page != NULL) {
		page->depth = depth;
		page->slots = slots;
	}
	return page;
}

struct dedup *
dedup_new(const uint8_t key[DEDUP_KEY_BYTES], uint32_t window)
{
	struct dedup *dedup = calloc(1, sizeof(*dedup));

	if (dedup == NULL)
		return NULL;
	memcpy(dedup->key, key, sizeof(dedup->key));
	dedup->window = window;
	dedup->max = UINT64_MAX;
	dedup->pages = calloc(1, sizeof(*dedup->pages));
	if (dedup->pages != NULL)
		dedup->pages[0] = new_page(0, PAGE_SLOTS_MIN);
	if (dedup->pages == NULL || dedup->pages[0] == NULL) {
		free(dedup->pages);
		free(dedup);
		return NULL;
	}
	dedup->page_bytes = page_bytes(PAGE_SLOTS_MIN);
	return dedup;
}

/* Number of neighbouring slots that a page stands in. */
static uint64_t
span_of(const struct dedup *dedup, const struct page *page)
{
	return 1ull << (dedup->depth - page->depth);
}

void
dedup_free(struct dedup *dedup)
{
	if (dedup == NULL)
		return;
	for (uint64_t i = 0; i < 1ull << dedup->depth;) {
		uint64_t span = span_of(dedup, dedup->pages[i]);

		free(dedup->pages[i]);
		i += span;
	}
	free(dedup->pages);
	free(dedup);
}

static bool
double_directory(struct dedup *dedup)
{
	uint64_t slots = 1ull << dedup->depth;
	struct page **pages;

	if (dedup->depth == DEPTH_MAX)
		return false;
	pages = malloc(2 * slots * sizeof(*pages));
	if (pages == NULL)
		return false;
	for (uint64_t i = 0; i < 2 * slots; i++)
		pages[i] = dedup->pages[i / 2];
	free(dedup->pages);
	dedup->pages = pages;
	dedup->depth++;
	return true;
}

/* Shares a page's live entries out to two, or to one when that is enough. */
static void
divide(struct dedup *dedup, struct page *page, struct page *low, struct page *high, uint32_t now)
{
	for (uint32_t i = 0; i < page->slots; i++) {
		const struct entry *entry = &page->entry[i];
		bool up;

		if (entry->time == 0 || expired(dedup, entry, now))
			continue;
		up = high != NULL && (entry->hash[0] >> (31 - page->depth) & 1);
		put(up ? high : low, entry);
	}
}

static uint32_t
count_live(const struct dedup *dedup, const struct page *page, uint32_t now)
{
	uint32_t live = 0;

	for (uint32_t i = 0; i < page->slots; i++)
		live += page->entry[i].time != 0 && !expired(dedup, &page->entry[i], now);
	return live;
}

/* Slots that the page, or each half of it, is given next. */
static uint32_t
next_slots(const struct page *page, uint32_t live)
{
	if (live <= page->slots / 2)
		return page->slots;
	return page->slots < PAGE_SLOTS_MAX ? page->slots + page->slots / 3 : PAGE_SLOTS_MIN;
}

/* Puts a new page of so many slots, or two, with what is live in the page, in its place. first: the
 * first slot of the directory that it stands in. */
static bool
replace_page(struct dedup *dedup, uint64_t first, uint32_t slots, bool split, uint32_t now)
{
	struct page *page = dedup->pages[first];
	struct page *low = new_page(page->depth + split, slots);
	struct page *high = split ? new_page(page->depth + 1, slots) : NULL;
	uint64_t span = span_of(dedup, page);

	if (low == NULL || (split && high == NULL)) {
		free(low);
		free(high);
		return false;
	}
	divide(dedup, page, low, high, now);
	for (uint64_t i = 0; i < span; i++)
		dedup->pages[first + i] = split && i >= span / 2 ? high : low;
	dedup->ids -= page->count;
	dedup->ids += low->count + (split ? high->count : 0);
	dedup->page_bytes += page_bytes(slots) * (1 + split) - page_bytes(page->slots);
	free(page);
	return true;
}

/* Makes room in the page that this hash belongs to: forgets, grows or splits. */
static bool
make_room(struct dedup *dedup, const uint32_t hash[4], uint32_t now)
{
	struct page *page = dedup->pages[slot_of(dedup, hash)];
	uint32_t slots = next_slots(page, count_live(dedup, page, now));
	bool split = slots < page->slots;

	if (split && page->depth == dedup->depth && !double_directory(dedup))
		return false;
	return replace_page(
	    dedup, slot_of(dedup, hash) & ~(span_of(dedup, page) - 1), slots, split, now);
}

void
dedup_set_max(struct dedup *dedup, uint64_t ids)
{
	dedup->max = ids;
}

void
dedup_sweep(struct dedup *dedup, uint32_t now, unsigned pages)
{
	for (; pages > 0; pages--) {
		struct page *page;
		uint32_t live;

		if (dedup->swept >= 1ull << dedup->depth)
			dedup->swept = 0;
		/* The directory may have doubled since: not into the middle of a page's slots. */
		page = dedup->pages[dedup->swept];
		dedup->swept &= ~(span_of(dedup, page) - 1);
		live = count_live(dedup, page, now);
		if (live < page->count)
			replace_page(dedup, dedup->swept,
			    live < PAGE_SLOTS_MIN / 2 ? PAGE_SLOTS_MIN : page->slots, false, now);
		dedup->swept += span_of(dedup, dedup->pages[dedup->swept]);
	}
}

/* A new entry. False without memory. */
static bool
insert(struct dedup *dedup, const struct dedup_hash *hash, uint32_t time, uint32_t now)
{
	struct page *page = dedup->pages[slot_of(dedup, hash->word)];
	struct entry *entry;

	while (full(page)) {
		if (!make_room(dedup, hash->word, now))
			return false;
		page = dedup->pages[slot_of(dedup, hash->word)];
	}
	entry = find_id(page, hash->word);
	memcpy(entry->hash, hash->word, sizeof(entry->hash));
	entry->time = time + 1;
	page->count++;
	dedup->ids++;
	return true;
}

enum dedup_result
dedup_see(struct dedup *dedup, const struct dedup_hash *hash, uint32_t now)
{
	struct entry *entry = find_id(dedup->pages[slot_of(dedup, hash->word)], hash->word);

	if (entry->time != 0) {
		bool seen = !expired(dedup, entry, now);

		if (!seen)
			entry->time = now + 1;
		return seen ? DEDUP_SEEN : DEDUP_NEW;
	}
	if (dedup->ids >= dedup->max)
		dedup_sweep(dedup, now, SWEEP_PAGES);
	if (dedup->ids >= dedup->max)
		return DEDUP_FULL;
	return insert(dedup, hash, now, now) ? DEDUP_NEW : DEDUP_NO_MEMORY;
}

bool
dedup_remember(struct dedup *dedup, const struct dedup_hash *hash, uint32_t time, uint32_t now)
{
	struct entry *entry = find_id(dedup->pages[slot_of(dedup, hash->word)], hash->word);

	if (entry->time == 0)
		return insert(dedup, hash, time, now);
	if (entry->time < time + 1)
		entry->time = time + 1;
	return true;
}

bool
dedup_is_full(const struct dedup *dedup)
{
	return dedup->ids >= dedup->max;
}

void
dedup_usage(const struct dedup *dedup, uint64_t *bytes, uint64_t *ids)
{
	*bytes = sizeof(*dedup) + (sizeof(*dedup->pages) << dedup->depth) + dedup->page_bytes;
	*ids = dedup->ids;
}
