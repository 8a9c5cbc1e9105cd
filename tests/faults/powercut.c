/*
 * powercut JOURNAL PREFIX                          prints the number of entries
 * powercut JOURNAL PREFIX CUT SEED OUT [nosync]    makes in OUT a possible state of the files below
 *                                                  PREFIX after a power cut during entry CUT
 *
 * An unsynced sector of 512 bytes is kept, lost, or garbled together with its physical sector of
 * 512 or 4096 bytes. Writes through the page cache are in whole pages. Of unsynced directory
 * changes, any choice is kept, or (every second time) a prefix in time, as on a journalling file
 * system. An O_DSYNC write is synced when it returns. nosync: nothing is synced.
 *
 * Prints "T TIME" of the cut, then "A CONNECTION NUMBER" for each message acknowledged before.
 * Connections and their messages count from 1.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <msgpack.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "message/wire.h"
#include "tests/faults/journal.h"
#include "tests/random.h"

enum { SECTOR = 512, PAGE = 4096, FDS = 4096, NAMES = 4096, CHANGES = 65536, PATH_BYTES = 512 };

enum { CLEAN, TRUNCATED, WRITTEN }; /* of a sector that is not synced */

struct node {
	bool is_dir;
	uint8_t *now, *disk, *dirty; /* dirty: a byte a sector, as above */
	uint64_t size, disk_size, capacity;
	struct node *next; /* of all that there ever were */
};

struct name {
	char path[PATH_BYTES];
	struct node *node;
};

struct namespace
{
	struct name name[NAMES];
	size_t count;
};

enum what { MAKE, MOVE, REMOVE };

struct change { /* of a directory, not synced */
	enum what what;
	char from[PATH_BYTES], to[PATH_BYTES]; /* to: of a MOVE */
	struct node *node;
};

static struct namespace now, disk;
static struct change changes[CHANGES];
static size_t change_count;
static struct {
	struct node *node;
	char path[PATH_BYTES];
	bool synced, direct;
	uint64_t offset;
	uint8_t *stream; /* what was sent */
	size_t stream_bytes;
	unsigned connection;
} file[FDS];
static unsigned connections;
static const char *prefix;
static struct node *nodes;
static bool nosync;
static uint64_t random_state, disk_sector;

static void *
must(void *memory)
{
	if (memory == NULL)
		errx(EX_OSERR, "out of memory");
	return memory;
}

static const char *
inner(const char *path)
{
	size_t length = strlen(prefix);

	if (strncmp(path, prefix, length) != 0)
		errx(EX_DATAERR, "%s: not below %s", path, prefix);
	path += length;
	return *path == '/' ? path + 1 : path;
}

static struct name *
find(struct namespace *space, const char *path)
{
	for (size_t i = 0; i < space->count; i++)
		if (strcmp(space->name[i].path, path) == 0)
			return &space->name[i];
	return NULL;
}

static void
put(struct namespace *space, const char *path, struct node *node)
{
	struct name *name = find(space, path);

	if (name == NULL) {
		if (space->count == NAMES)
			errx(EX_SOFTWARE, "too many names");
		name = &space->name[space->count++];
		snprintf(name->path, sizeof(name->path), "%s", path);
	}
	name->node = node;
}

static void
drop(struct namespace *space, const char *path)
{
	struct name *name = find(space, path);

	if (name != NULL)
		*name = space->name[--space->count];
}

static void
apply(struct namespace *space, const struct change *change)
{
	struct name *name = find(space, change->from);

	switch (change->what) {
	case MAKE:
		put(space, change->from, change->node);
		return;
	case MOVE:
		if (name == NULL || name->node != change->node)
			return; /* it was not made, or not moved there */
		drop(space, change->from);
		put(space, change->to, change->node);
		return;
	case REMOVE:
		if (name != NULL && name->node == change->node)
			drop(space, change->from);
		return;
	}
}

static void
change(enum what what, const char *from, const char *to, struct node *node)
{
	struct change *entry = &changes[change_count++];

	if (change_count == CHANGES)
		errx(EX_SOFTWARE, "too many changes");
	entry->what = what;
	entry->node = node;
	snprintf(entry->from, sizeof(entry->from), "%s", from);
	snprintf(entry->to, sizeof(entry->to), "%s", to);
	apply(&now, entry);
}

static bool
is_in(const char *path, const char *dir)
{
	size_t length = strlen(dir);

	if (length > 0 && (strncmp(path, dir, length) != 0 || path[length] != '/'))
		return false;
	return strchr(path + length + (length > 0), '/') == NULL;
}

static void
sync_dir(const char *dir)
{
	size_t kept = 0;

	for (size_t i = 0; i < change_count; i++) {
		if (is_in(changes[i].from, dir))
			apply(&disk, &changes[i]);
		else
			changes[kept++] = changes[i];
	}
	change_count = kept;
}

/*
 * Contents.
 */

static void
grow(struct node *node, uint64_t bytes)
{
	uint64_t more = (bytes + PAGE - 1) / PAGE * PAGE;

	if (more <= node->capacity)
		return;
	node->now = must(realloc(node->now, more));
	node->disk = must(realloc(node->disk, more));
	node->dirty = must(realloc(node->dirty, more / SECTOR));
	memset(node->now + node->capacity, 0, more - node->capacity);
	memset(node->disk + node->capacity, 0, more - node->capacity);
	memset(node->dirty + node->capacity / SECTOR, 0, (more - node->capacity) / SECTOR);
	node->capacity = more;
}

static void
sync_range(struct node *node, uint64_t from, uint64_t to)
{
	for (uint64_t s = from / SECTOR; s * SECTOR < to; s++) {
		memcpy(node->disk + s * SECTOR, node->now + s * SECTOR, SECTOR);
		node->dirty[s] = CLEAN;
	}
	if (to > node->disk_size)
		node->disk_size = to;
}

static void
write_node(
    int fd, struct node *node, uint64_t offset, const uint8_t *data, uint64_t length, bool synced)
{
	uint64_t unit = file[fd].direct ? SECTOR : PAGE;
	uint64_t first = offset / unit * unit, end = (offset + length + unit - 1) / unit * unit;

	grow(node, end);
	memcpy(node->now + offset, data, length);
	memset(node->dirty + first / SECTOR, WRITTEN, (end - first) / SECTOR);
	if (offset + length > node->size)
		node->size = offset + length;
	if (!synced)
		return;
	sync_range(node, first, end);
	if (node->disk_size > node->size)
		node->disk_size = node->size;
}

static void
truncate_node(struct node *node, uint64_t size)
{
	grow(node, size);
	if (size < node->size) {
		memset(node->now + size, 0, node->size - size);
		memset(node->dirty + size / SECTOR, TRUNCATED,
		    (node->size + SECTOR - 1) / SECTOR - size / SECTOR);
	}
	node->size = size;
}

static struct node *
new_node(bool is_dir)
{
	struct node *node = must(calloc(1, sizeof(*node)));

	node->is_dir = is_dir;
	node->next = nodes;
	nodes = node;
	return node;
}

static void
open_file(const struct journal_entry *entry, const char *path)
{
	struct name *name = find(&now, path);
	struct node *node = name != NULL ? name->node : NULL;

	if (node == NULL && path[0] != '\0') {
		node = new_node((entry->offset & O_DIRECTORY) != 0);
		if (entry->length != 0) /* it was there before */
			put(&disk, path, node), put(&now, path, node);
		else
			change(MAKE, path, "", node);
	}
	if (node != NULL && entry->offset & O_TRUNC)
		truncate_node(node, 0);
	file[entry->fd].node = node;
	file[entry->fd].synced = (entry->offset & O_DSYNC) != 0;
	file[entry->fd].direct = (entry->offset & O_DIRECT) != 0;
	file[entry->fd].offset = 0;
	snprintf(file[entry->fd].path, PATH_BYTES, "%s", path);
}

/*
 * Acknowledgements.
 */

static void
acknowledge(unsigned connection, const uint8_t *payload, size_t length)
{
	msgpack_unpacked unpacked;

	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, (const char *)payload, length, NULL) !=
	    MSGPACK_UNPACK_SUCCESS)
		errx(EX_DATAERR, "results that are none");
	for (uint32_t i = 0; i < unpacked.data.via.array.size; i++) {
		const msgpack_object *field = unpacked.data.via.array.ptr[i].via.array.ptr;

		if (field[2].via.u64 != 200)
			continue;
		for (uint64_t k = 0; k < field[1].via.u64; k++)
			printf("A %u %" PRIu64 "\n", connection, field[0].via.u64 + k);
	}
	msgpack_unpacked_destroy(&unpacked);
}

static void
send_to(int fd, const uint8_t *data, size_t length)
{
	struct wire_header header;
	size_t done = 0;

	file[fd].stream = must(realloc(file[fd].stream, file[fd].stream_bytes + length));
	memcpy(file[fd].stream + file[fd].stream_bytes, data, length);
	file[fd].stream_bytes += length;
	while (file[fd].stream_bytes - done >= sizeof(header)) {
		memcpy(&header, file[fd].stream + done, sizeof(header));
		if (file[fd].stream_bytes - done < sizeof(header) + header.length)
			break;
		if (header.type == WIRE_WELCOME)
			file[fd].connection = ++connections;
		else if (header.type == WIRE_RESULT)
			acknowledge(file[fd].connection, file[fd].stream + done + sizeof(header),
			    header.length);
		done += sizeof(header) + header.length;
	}
	file[fd].stream_bytes -= done;
	memmove(file[fd].stream, file[fd].stream + done, file[fd].stream_bytes);
}

/* whole: it has returned. */
static void
replay(const struct journal_entry *entry, const char *a, const char *b, const uint8_t *data,
    bool whole)
{
	struct node *node = entry->fd >= 0 ? file[entry->fd].node : NULL;
	bool synced = whole && !nosync;
	uint64_t offset;

	switch ((enum journal_kind)entry->kind) {
	case JOURNAL_BEGIN:
		for (size_t i = 0; i < FDS; i++)
			free(file[i].stream);
		memset(file, 0, sizeof(file));
		return;
	case JOURNAL_OPEN:
		open_file(entry, inner(a));
		return;
	case JOURNAL_CLOSE:
		file[entry->fd].node = NULL;
		return;
	case JOURNAL_WRITE:
		offset = entry->offset < 0 ? file[entry->fd].offset : (uint64_t)entry->offset;
		if (entry->offset < 0)
			file[entry->fd].offset += entry->data_bytes;
		write_node(entry->fd, node, offset, data, entry->data_bytes,
		    synced && file[entry->fd].synced);
		return;
	case JOURNAL_ALLOCATE:
		grow(node, (uint64_t)entry->offset + entry->length);
		if ((uint64_t)entry->offset + entry->length > node->size)
			node->size = (uint64_t)entry->offset + entry->length;
		return;
	case JOURNAL_TRUNCATE:
		truncate_node(node, entry->length);
		return;
	case JOURNAL_SYNC:
		if (!synced)
			return;
		if (node == NULL || node->is_dir) {
			sync_dir(file[entry->fd].path);
			return;
		}
		sync_range(node, 0, node->capacity);
		node->disk_size = node->size;
		return;
	case JOURNAL_RENAME:
		if (find(&now, inner(a)) != NULL)
			change(MOVE, inner(a), inner(b), find(&now, inner(a))->node);
		return;
	case JOURNAL_UNLINK:
		if (find(&now, inner(a)) != NULL)
			change(REMOVE, inner(a), "", find(&now, inner(a))->node);
		return;
	case JOURNAL_MKDIR:
		change(MAKE, inner(a), "", new_node(true));
		return;
	case JOURNAL_SEND:
		if (whole)
			send_to(entry->fd, data, entry->data_bytes);
		return;
	}
	errx(EX_DATAERR, "an entry of kind %u", entry->kind);
}

/*
 * The cut.
 */

static void
cut_namespace(void)
{
	size_t until = change_count > 0 ? random_next(&random_state) % (change_count + 1) : 0;
	bool in_order = random_next(&random_state) % 2 == 0;

	for (size_t i = 0; i < change_count; i++)
		if (in_order ? i < until : random_next(&random_state) % 2 == 0)
			apply(&disk, &changes[i]);
}

/* Sectors [first, first + count), which are one of the disk's own, in so far as they are not
 * synced. */
static void
cut_sector(struct node *node, uint64_t first, uint64_t count, unsigned chance, unsigned garbled)
{
	bool written = false;

	for (uint64_t s = first; s < first + count; s++) {
		if (node->dirty[s] != CLEAN && random_next(&random_state) % 100 < chance)
			memcpy(node->disk + s * SECTOR, node->now + s * SECTOR, SECTOR);
		written |= node->dirty[s] == WRITTEN;
	}
	if (!written || random_next(&random_state) % 100 >= garbled)
		return;
	for (uint64_t at = first * SECTOR; at < (first + count) * SECTOR; at += sizeof(uint64_t)) {
		uint64_t word = random_next(&random_state);

		memcpy(node->disk + at, &word, sizeof(word));
	}
}

static void
write_out(const char *path, struct node *node)
{
	static const unsigned chances[] = { 0, 10, 50, 90, 100 }; /* that a sector is there, % */
	static const unsigned garbled[] = { 0, 0, 2, 50 };        /* that it is garbled, % */
	unsigned chance = chances[random_next(&random_state) % 5],
		 garble = garbled[random_next(&random_state) % 4];
	uint64_t size = random_next(&random_state) % 2 == 0 ? node->size : node->disk_size;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);

	if (fd < 0)
		err(EX_CANTCREAT, "%s", path);
	grow(node, size);
	for (uint64_t s = 0; s * SECTOR < node->capacity; s += disk_sector / SECTOR)
		cut_sector(node, s, disk_sector / SECTOR, chance, garble);
	if (write(fd, node->disk, size) != (ssize_t)size)
		err(EX_IOERR, "%s", path);
	close(fd);
}

static int
by_path(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->path, ((const struct name *)b)->path);
}

static void
write_all(const char *out)
{
	char path[2 * PATH_BYTES];

	if (mkdir(out, 0700) != 0)
		err(EX_CANTCREAT, "%s", out);
	qsort(disk.name, disk.count, sizeof(disk.name[0]),
	    by_path); /* a directory before what is in it */
	for (size_t i = 0; i < disk.count; i++) {
		const struct name *name = &disk.name[i];
		char *slash;

		snprintf(path, sizeof(path), "%s/%s", out, name->path);
		slash = strrchr(path, '/');
		*slash = '\0';
		if (access(path, F_OK) != 0)
			continue; /* its directory is not there */
		*slash = '/';
		if (!name->node->is_dir)
			write_out(path, name->node);
		else if (mkdir(path, 0700) != 0)
			err(EX_CANTCREAT, "%s", path);
	}
}

static uint8_t *
load(const char *path, size_t *bytes)
{
	FILE *in = fopen(path, "re");
	uint8_t *data;
	struct stat st;

	if (in == NULL || fstat(fileno(in), &st) != 0)
		err(EX_NOINPUT, "%s", path);
	*bytes = (size_t)st.st_size;
	data = must(malloc(*bytes + 1));
	if (fread(data, 1, *bytes, in) != *bytes)
		err(EX_IOERR, "%s", path);
	fclose(in);
	return data;
}

int
main(int argc, char **argv)
{
	uint64_t cut = UINT64_MAX, n = 0;
	static uint8_t *data;
	size_t bytes;

	if (argc != 3 && argc != 6 && argc != 7)
		errx(EX_USAGE, "usage: powercut JOURNAL PREFIX [CUT SEED OUT [nosync]]");
	prefix = argv[2];
	if (argc > 3) {
		cut = strtoull(argv[3], NULL, 10);
		random_state = strtoull(argv[4], NULL, 10);
		nosync = argc == 7;
	}
	data = load(argv[1], &bytes);
	for (size_t at = 0; at < bytes; n++) {
		struct journal_entry entry;
		const char *a, *b;

		if (bytes - at < sizeof(entry))
			errx(EX_DATAERR, "the journal ends in an entry");
		memcpy(&entry, data + at, sizeof(entry));
		at += sizeof(entry);
		a = (const char *)data + at;
		b = a + entry.a_bytes;
		at += entry.a_bytes + entry.b_bytes + entry.data_bytes;
		if (argc == 3)
			continue;
		replay(&entry, a, b, (const uint8_t *)b + entry.b_bytes, n < cut);
		if (n == cut) {
			printf("T %" PRIu64 "\n", entry.time_ns);
			break;
		}
	}
	if (argc == 3) {
		printf("%" PRIu64 "\n", n);
		return 0;
	}
	disk_sector = random_next(&random_state) % 2 == 0 ? SECTOR : PAGE;
	cut_namespace();
	write_all(argv[5]);
	return 0;
}
