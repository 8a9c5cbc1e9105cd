#include "tests/sim/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "log/format.h"
#include "tests/sim/net.h"

enum {
	NAMES = 4096,
	CHANGES = 4096,
	PATH_BYTES = 128,
	LOCK_BYTES = 64,
	LARGEST_FILE = 256 << 20, /* bytes */
	SYNC_FAULT = 1500         /* of 100000 */
};

/* States of a sector. */
enum {
	CLEAN,   /* synced */
	CHANGED, /* freed or newly allocated since the last sync */
	WRITTEN  /* written since the last sync */
};

struct node {
	LIST_ENTRY(node) link;
	bool is_dir;
	unsigned number, references, maps;
	uint8_t *now, *disk;   /* contents in the page cache, and on the disk */
	uint8_t *dirty, *hole; /* per sector: state, as above; not allocated */
	uint64_t size, disk_size, capacity, hole_bytes;
	struct open_file *exclusive; /* holder of the flock(2) */
	unsigned shared;
	struct open_file *byte[LOCK_BYTES]; /* holders of locks on the first bytes */
};

struct open_file {
	struct file file;
	struct node *node;
	char path[PATH_BYTES];
	int flags;
	uint64_t offset;
	bool has_shared;
};

struct names {
	struct {
		char path[PATH_BYTES];
		struct node *node;
	} name[NAMES];
	size_t count;
};

struct change { /* of a directory, unsynced */
	enum { MAKE, MOVE, REMOVE } what;
	char from[PATH_BYTES], to[PATH_BYTES];
	struct node *node;
};

bool disk_lies, disk_lies_of_names, disk_lies_of_syncs, disk_sectors_are_large;
uint64_t disk_capacity;
static LIST_HEAD(, node) nodes = LIST_HEAD_INITIALIZER(nodes);
static struct names now, disk;
static struct change changes[CHANGES];
static size_t change_count;
static bool allocates; /* fallocate(2) is supported */
static unsigned direct_block, physical_sector, last_number;
static bool sync_failed;

/*
 * Names.
 */

static struct node *
hold(struct node *node)
{
	node->references++;
	return node;
}

static void
let_go(struct node *node)
{
	if (--node->references > 0)
		return;
	LIST_REMOVE(node, link);
	world_free(node->now);
	world_free(node->disk);
	world_free(node->dirty);
	world_free(node->hole);
	world_free(node);
}

static struct node *
new_node(bool is_dir)
{
	struct node *node = world_alloc(NULL, sizeof(*node));

	*node = (struct node){ .is_dir = is_dir, .number = ++last_number };
	LIST_INSERT_HEAD(&nodes, node, link);
	return node;
}

static size_t
find(const struct names *names, const char *path)
{
	size_t i = 0;

	while (i < names->count && strcmp(names->name[i].path, path) != 0)
		i++;
	return i;
}

static struct node *
node_at(const struct names *names, const char *path)
{
	size_t i = find(names, path);

	return i < names->count ? names->name[i].node : NULL;
}

static void
drop(struct names *names, size_t i)
{
	let_go(names->name[i].node);
	memmove(
	    &names->name[i], &names->name[i + 1], (--names->count - i) * sizeof(names->name[0]));
}

static void
put(struct names *names, const char *path, struct node *node)
{
	size_t i = find(names, path);

	hold(node);
	if (i < names->count)
		drop(names, i);
	i = names->count++;
	if (i == NAMES)
		world_violation("more than %d files", NAMES);
	snprintf(names->name[i].path, PATH_BYTES, "%s", path);
	names->name[i].node = node;
}

static void
apply(struct names *names, const struct change *change)
{
	size_t i = find(names, change->from);
	bool is_there = i < names->count && names->name[i].node == change->node;

	if (change->what == MAKE)
		put(names, change->from, change->node);
	else if (is_there) /* absent if its making or move did not reach the disk */
		drop(names, i);
	if (change->what == MOVE && is_there)
		put(names, change->to, change->node);
}

static bool
in_memory(const char *path)
{
	return strncmp(path, "/run", 4) == 0;
}

/* A disk may write at any time, so the older half is written when the list is full. */
static void
sync_some(void)
{
	size_t half = change_count / 2;

	for (size_t i = 0; i < half; i++) {
		if (!disk_lies && !disk_lies_of_names)
			apply(&disk, &changes[i]);
		let_go(changes[i].node);
	}
	change_count -= half;
	memmove(changes, changes + half, change_count * sizeof(changes[0]));
}

static void
change(int what, const char *from, const char *to, struct node *node)
{
	struct change *entry = &changes[change_count];

	entry->what = what;
	entry->node = hold(node); /* until the change is synced */
	snprintf(entry->from, PATH_BYTES, "%s", from);
	snprintf(entry->to, PATH_BYTES, "%s", to);
	apply(&now, entry);
	if (in_memory(from)) {
		apply(&disk, entry);
		let_go(node);
	} else if (++change_count == CHANGES) {
		sync_some();
	}
	world_trace("%s %s %s", what == MAKE ? "make" : what == MOVE ? "move" : "remove", from, to);
}

static bool
is_in(const char *path, const char *dir)
{
	size_t length = strlen(dir);

	return strncmp(path, dir, length) == 0 && path[length] == '/' &&
	    strchr(path + length + 1, '/') == NULL;
}

static void
sync_dir(const char *dir)
{
	size_t kept = 0;

	for (size_t i = 0; i < change_count; i++) {
		if (disk_lies || disk_lies_of_names || !is_in(changes[i].from, dir)) {
			changes[kept++] = changes[i];
			continue;
		}
		apply(&disk, &changes[i]);
		let_go(changes[i].node);
	}
	change_count = kept;
}

/*
 * Contents.
 */

static void
grow(struct node *node, uint64_t bytes)
{
	uint64_t more = (bytes + WORLD_PAGE - 1) / WORLD_PAGE * WORLD_PAGE, old = node->capacity;

	if (more <= old)
		return;
	if (node->maps > 0)
		world_violation("a file grows that is mapped");
	node->now = world_alloc(node->now, more);
	node->disk = world_alloc(node->disk, more);
	node->dirty = world_alloc(node->dirty, more / DISK_SECTOR);
	node->hole = world_alloc(node->hole, more / DISK_SECTOR);
	memset(node->now + old, 0, more - old);
	memset(node->disk + old, 0, more - old);
	memset(node->dirty + old / DISK_SECTOR, 0, (more - old) / DISK_SECTOR);
	memset(node->hole + old / DISK_SECTOR, 0, (more - old) / DISK_SECTOR);
	node->capacity = more;
}

static void
sync_range(struct node *node, uint64_t from, uint64_t to)
{
	if (disk_lies)
		return;
	for (uint64_t s = from / DISK_SECTOR; s * DISK_SECTOR < to; s++) {
		if (node->dirty[s] == CLEAN)
			continue; /* synced, or lost with a failed sync */
		memcpy(node->disk + s * DISK_SECTOR, node->now + s * DISK_SECTOR, DISK_SECTOR);
		node->dirty[s] = CLEAN;
	}
	if (to > node->size)
		to = node->size;
	if (to > node->disk_size)
		node->disk_size = to;
}

/* Returns the bytes of holes in [from, to), by whole sectors; fill: allocates the holes. */
static uint64_t
holes(struct node *node, uint64_t from, uint64_t to, bool fill)
{
	uint64_t bytes = 0;

	for (uint64_t s = from / DISK_SECTOR; s * DISK_SECTOR < to && s * DISK_SECTOR < node->size;
	     s++) {
		bytes += node->hole[s] ? DISK_SECTOR : 0;
		node->hole[s] = fill ? 0 : node->hole[s];
	}
	node->hole_bytes -= fill ? bytes : 0;
	return bytes;
}

/* Allocates [from, to) of the file. False if the disk is full. */
static bool
has_room(const struct open_file *file, uint64_t from, uint64_t to)
{
	struct node *node = file->node;
	uint64_t more = holes(node, from, to, false) + (to > node->size ? to - node->size : 0);
	unsigned files;

	if (more == 0 || in_memory(file->path) ||
	    (!world.disk_full && disk_bytes(&files) + more <= disk_capacity)) {
		holes(node, from, to, true);
		return true;
	}
	world_trace("disk full: %s", file->path);
	world.faults++;
	return false;
}

/* Writes to the page cache. unit: size of a block or page, which becomes dirty as a whole. */
static void
write_node(struct node *node, uint64_t offset, const void *data, uint64_t length, uint64_t unit)
{
	uint64_t first = offset / unit * unit, end = (offset + length + unit - 1) / unit * unit;

	if (length == 0)
		return;
	grow(node, end);
	memcpy(node->now + offset, data, length);
	memset(node->dirty + first / DISK_SECTOR, WRITTEN, (end - first) / DISK_SECTOR);
	if (offset + length > node->size)
		node->size = offset + length;
}

static void
empty_node(struct node *node)
{
	if (node->capacity == 0)
		return;
	memset(node->now, 0, node->capacity);
	memset(node->dirty, CHANGED, node->capacity / DISK_SECTOR);
	memset(node->hole, 0, node->capacity / DISK_SECTOR);
	node->hole_bytes = 0;
	node->size = 0;
}

/* Writes a random choice of the sectors. */
static void
write_some(struct node *node, uint64_t offset, const uint8_t *data, uint64_t length, uint64_t unit)
{
	uint64_t chance = world_below(5) * 25000;

	for (uint64_t done = 0; done < length;) {
		uint64_t piece = DISK_SECTOR - (offset + done) % DISK_SECTOR;

		if (piece > length - done)
			piece = length - done;
		if (world_chance((unsigned)chance))
			write_node(node, offset + done, data + done, piece, unit);
		done += piece;
	}
}

static struct open_file *
opened(int fd)
{
	return (struct open_file *)descriptor_file(fd, FILE_DISK);
}

static uint64_t
unit_of(const struct open_file *file)
{
	return file->flags & O_DIRECT ? DISK_SECTOR : LOG_BLOCK_BYTES;
}

static bool
is_aligned(const struct open_file *file, const void *buffer, size_t length, uint64_t offset)
{
	return !(file->flags & O_DIRECT) ||
	    (direct_block != 0 && length % direct_block == 0 && offset % direct_block == 0 &&
		(uintptr_t)buffer % direct_block == 0);
}

int64_t
disk_write(int fd, const void *buffer, size_t length, uint64_t offset)
{
	struct open_file *file = opened(fd);
	struct node *node;
	uint64_t unit;

	if (file == NULL)
		return -EBADF;
	node = file->node;
	unit = unit_of(file);
	if (offset > LARGEST_FILE - length)
		world_violation(
		    "%s: a write at offset %llu", file->path, (unsigned long long)offset);
	if (!is_aligned(file, buffer, length, offset))
		return -EINVAL;
	if (!has_room(file, offset, offset + length))
		return -ENOSPC;
	if (world_fault("write: EIO")) {
		write_some(node, offset, buffer, length, unit);
		return -EIO;
	}
	if (length > DISK_SECTOR && world_fault("write: short"))
		length = (1 + world_below((length - 1) / DISK_SECTOR)) * DISK_SECTOR;
	write_node(node, offset, buffer, length, unit);
	if (file->flags & O_DSYNC)
		sync_range(node, offset / unit * unit, (offset + length + unit - 1) / unit * unit);
	world_trace("write %s %llu+%zu %llx", file->path, (unsigned long long)offset, length,
	    (unsigned long long)XXH3_64bits(buffer, length));
	return (int64_t)length;
}

void
disk_tear(int fd, const void *buffer, size_t length, uint64_t offset)
{
	struct open_file *file = opened(fd);

	if (file == NULL || !is_aligned(file, buffer, length, offset))
		return;
	world_trace("tear %s %llu+%zu", file->path, (unsigned long long)offset, length);
	write_some(file->node, offset, buffer, length, unit_of(file));
}

/* A file's sync fails more often than other calls, as the writes after a failed sync are of
 * interest. */
static bool
sync_fails(const struct node *node)
{
	unsigned chance = world.fault;
	bool fails;

	if (chance > 0 && !node->is_dir)
		world.fault += SYNC_FAULT;
	fails = world_fault("fsync");
	world.fault = chance;
	return fails;
}

int
disk_sync(int fd)
{
	struct open_file *file = opened(fd);

	if (file == NULL)
		return -EBADF;
	if (sync_fails(file->node)) {
		sync_failed = true;
		/* After a failed fsync(2) the kernel marks the pages clean. */
		if (file->node->capacity > 0)
			memset(file->node->dirty, CLEAN, file->node->capacity / DISK_SECTOR);
		return -EIO;
	}
	if (file->node->is_dir)
		sync_dir(file->path);
	else if (!disk_lies_of_syncs)
		sync_range(file->node, 0, file->node->capacity);
	world_trace("sync %s", file->path);
	return 0;
}

bool
disk_loses_pages(void)
{
	return sync_failed && direct_block == 0;
}

void
disk_forget_failures(void)
{
	sync_failed = false;
}

/* Reads from the page cache; direct: clean sectors from the disk. */
static void
read_node(const struct node *node, uint8_t *buffer, uint64_t length, uint64_t offset, bool direct)
{
	memcpy(buffer, node->now + offset, length);
	for (uint64_t at = offset, end = offset + length; direct && at < end; at += DISK_SECTOR)
		if (node->dirty[at / DISK_SECTOR] == CLEAN)
			memcpy(buffer + (at - offset), node->disk + at,
			    end - at < DISK_SECTOR ? end - at : DISK_SECTOR);
}

int64_t
disk_read(int fd, void *buffer, size_t length, uint64_t offset)
{
	const struct open_file *file = opened(fd);

	if (file == NULL)
		return -EBADF;
	if (!is_aligned(file, buffer, length, offset))
		return -EINVAL;
	if (world_fault("read: EIO"))
		return -EIO;
	if (offset >= file->node->size)
		return 0;
	if (length > file->node->size - offset)
		length = file->node->size - offset;
	if (length > 1 && world_fault("read: short"))
		length = 1 + world_below(length - 1);
	read_node(file->node, buffer, length, offset, (file->flags & O_DIRECT) != 0);
	return (int64_t)length;
}

void *
disk_map(int fd)
{
	struct open_file *file = opened(fd);

	if (file == NULL)
		return NULL;
	hold(file->node)->maps++;
	return file->node->now;
}

bool
disk_unmap(void *at)
{
	struct node *node;

	LIST_FOREACH (node, &nodes, link) {
		if (node->now != at)
			continue;
		node->maps--;
		let_go(node);
		return true;
	}
	return false;
}

/*
 * The whole disk.
 */

void
disk_begin(unsigned block)
{
	static const char *const roots[] = { "/run", "/state" };

	direct_block = block;
	allocates = !world_chance(20000);
	physical_sector = world_chance(50000) ? LOG_BLOCK_BYTES : DISK_SECTOR;
	if (physical_sector < block)
		physical_sector = block;
	if (disk_sectors_are_large)
		physical_sector = 4 * LOG_BLOCK_BYTES;
	last_number = 0;
	for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
		struct node *node = new_node(true);

		put(&now, roots[i], node);
		put(&disk, roots[i], node);
	}
}

void
disk_end(void)
{
	while (now.count > 0)
		drop(&now, now.count - 1);
	while (disk.count > 0)
		drop(&disk, disk.count - 1);
	while (change_count > 0)
		let_go(changes[--change_count].node);
}

uint64_t
disk_bytes(unsigned *files)
{
	uint64_t bytes = 0;

	*files = 0;
	for (size_t i = 0; i < now.count; i++) {
		if (in_memory(now.name[i].path) || now.name[i].node->is_dir)
			continue;
		bytes += now.name[i].node->size - now.name[i].node->hole_bytes;
		++*files;
	}
	return bytes;
}

bool
disk_has(const char *path)
{
	return node_at(&now, path) != NULL;
}

/* Keeps a choice of unsynced directory changes: any, or, as on a journalling file system, a
 * prefix. */
static void
cut_names(void)
{
	size_t until = world_below(change_count + 1);
	bool in_order = world_chance(50000);

	for (size_t i = 0; i < change_count; i++) {
		if (in_order ? i < until : world_chance(50000))
			apply(&disk, &changes[i]);
		let_go(changes[i].node);
	}
	change_count = 0;
	for (size_t i = disk.count; i-- > 0;) {
		char parent[PATH_BYTES];

		snprintf(parent, sizeof(parent), "%s", disk.name[i].path);
		*strrchr(parent, '/') = '\0';
		if (strcmp(disk.name[i].path, "/run") != 0 &&
		    (in_memory(disk.name[i].path) ||
			(parent[0] != '\0' && node_at(&disk, parent) == NULL)))
			drop(&disk, i);
	}
}

/* Overwrites a physical sector with noise, as a power cut during its write may. */
static void
garble(uint8_t *sector)
{
	uint64_t word = world_random();

	for (unsigned i = 0; i < physical_sector; i += sizeof(word)) {
		memcpy(sector + i, &word, sizeof(word));
		word = word * 6364136223846793005u + 1442695040888963407u;
	}
}

/* Cuts one physical sector, the sectors [first, first + count): chance decides on each unsynced
 * sector, and on garbling. */
static void
cut_sector(struct node *node, uint64_t first, uint64_t count, unsigned chance, unsigned garbled)
{
	bool written = false;

	for (uint64_t s = first; s < first + count; s++) {
		if (node->dirty[s] != CLEAN && world_chance(chance))
			memcpy(
			    node->disk + s * DISK_SECTOR, node->now + s * DISK_SECTOR, DISK_SECTOR);
		written |= node->dirty[s] == WRITTEN;
		node->dirty[s] = CLEAN;
	}
	if (written && world_chance(garbled))
		garble(node->disk + first * DISK_SECTOR);
}

static void
cut_contents(struct node *node)
{
	static const unsigned rates[] = { 0, 2000, 50000, 100000 };
	unsigned chance = (unsigned)world_below(5) * 25000, garbled = rates[world_below(4)];
	uint64_t size = world_chance(50000) ? node->size : node->disk_size;
	uint64_t count = physical_sector / DISK_SECTOR;

	for (uint64_t s = 0; (s + count) * DISK_SECTOR <= node->capacity; s += count)
		cut_sector(node, s, count, chance, garbled);
	grow(node, size);
	if (size < node->size) /* forgets holes beyond the end */
		holes(node, size / DISK_SECTOR * DISK_SECTOR, node->size, true);
	if (size < node->capacity)
		memset(node->disk + size, 0, node->capacity - size);
	if (node->capacity > 0)
		memcpy(node->now, node->disk, node->capacity);
	node->size = node->disk_size = size;
}

void
disk_cut_power(void)
{
	struct node *node;

	world_trace("power cut");
	cut_names();
	while (now.count > 0)
		drop(&now, now.count - 1);
	for (size_t i = 0; i < disk.count; i++)
		put(&now, disk.name[i].path, disk.name[i].node);
	LIST_FOREACH (node, &nodes, link)
		if (!node->is_dir)
			cut_contents(node);
}

/*
 * The system calls.
 */

int __wrap_open(const char *, int, ...);
ssize_t __wrap_pread(int, void *, size_t, off_t);
ssize_t __wrap_pwrite(int, const void *, size_t, off_t);
ssize_t __wrap_read(int, void *, size_t);
ssize_t __wrap_write(int, const void *, size_t);
int __wrap_fsync(int);
int __wrap_stat(const char *, struct stat *);
int __real_fstat(int, struct stat *);
int __wrap_fstat(int, struct stat *);
int __wrap_statfs(const char *, struct statfs *);
int __wrap_statvfs(const char *, struct statvfs *);
int __real_posix_fallocate(int, off_t, off_t);
int __wrap_posix_fallocate(int, off_t, off_t);
int __wrap_fallocate(int, int, off_t, off_t);
int __wrap_posix_fadvise(int, off_t, off_t, int);
int __wrap_flock(int, int);
int __wrap_fcntl(int, int, ...);
int __real_fcntl(int, int, ...);
int __wrap_rename(const char *, const char *);
int __wrap_unlink(const char *);
int __wrap_mkdir(const char *, mode_t);
int __wrap_chmod(const char *, mode_t);
DIR *__wrap_opendir(const char *);
struct dirent *__wrap_readdir(DIR *);
int __wrap_closedir(DIR *);
FILE *__wrap_fdopen(int, const char *);

static int
failed(int error)
{
	errno = error;
	return -1;
}

static int64_t
result_of(int64_t result)
{
	return result < 0 ? failed((int)-result) : result;
}

/* Before a call that changes the disk: the router may die here, or the call may fail (true). */
static bool
call_fails(const char *name)
{
	world_step(name);
	return world_fault(name);
}

static void
unlock(struct open_file *file)
{
	if (file->node->exclusive == file)
		file->node->exclusive = NULL;
	file->node->shared -= file->has_shared;
	file->has_shared = false;
}

static void
unlock_bytes(struct open_file *file)
{
	for (unsigned i = 0; i < LOCK_BYTES; i++)
		if (file->node->byte[i] == file)
			file->node->byte[i] = NULL;
}

static void
end_file(struct file *ended)
{
	struct open_file *file = (struct open_file *)ended;

	unlock(file);
	unlock_bytes(file);
	let_go(file->node);
	world_free(file);
}

static int
open_node(const char *path, struct node *node, int flags)
{
	struct open_file *file = world_alloc(NULL, sizeof(*file));

	*file = (struct open_file){
		.file = { .kind = FILE_DISK, .end = end_file },
		.node = hold(node),
		.flags = flags,
	};
	snprintf(file->path, sizeof(file->path), "%s", path);
	return descriptor_open(&file->file);
}

int
__wrap_open(const char *path, int flags, ...)
{
	struct node *node = node_at(&now, path);

	if (flags & O_CREAT && call_fails("open"))
		return failed(EIO);
	if (node == NULL && !(flags & O_CREAT))
		return failed(ENOENT);
	if (flags & O_DIRECT && direct_block == 0)
		return failed(EINVAL);
	if (node == NULL) {
		char parent[PATH_BYTES];

		snprintf(parent, sizeof(parent), "%s", path);
		*strrchr(parent, '/') = '\0';
		if (node_at(&now, parent) == NULL)
			return failed(ENOENT);
		node = new_node(false);
		change(MAKE, path, "", node);
	}
	if (flags & O_TRUNC && !(flags & O_DIRECTORY))
		empty_node(node);
	return open_node(path, node, flags);
}

ssize_t
__wrap_pread(int fd, void *buffer, size_t length, off_t offset)
{
	return result_of(disk_read(fd, buffer, length, (uint64_t)offset));
}

ssize_t
__wrap_pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	if (world.party == PARTY_ROUTER && world.dies_in == 1)
		disk_tear(fd, buffer, length, (uint64_t)offset);
	world_step("pwrite");
	return result_of(disk_write(fd, buffer, length, (uint64_t)offset));
}

ssize_t
__wrap_read(int fd, void *buffer, size_t length)
{
	struct open_file *file = opened(fd);
	int64_t n = file != NULL ? disk_read(fd, buffer, length, file->offset) : -EBADF;

	if (n > 0)
		file->offset += (uint64_t)n;
	return result_of(n);
}

ssize_t
__wrap_write(int fd, const void *buffer, size_t length)
{
	struct open_file *file = opened(fd);
	int64_t n;

	if (fd == STDERR_FILENO) {
		world_trace("%.*s", (int)length - 1, (const char *)buffer);
		return (ssize_t)length;
	}
	if (file == NULL)
		return result_of(net_ring_bell(fd, buffer, length));
	n = disk_write(fd, buffer, length, file->offset);
	if (n > 0)
		file->offset += (uint64_t)n;
	return result_of(n);
}

int
__wrap_fsync(int fd)
{
	world_step("fsync");
	return (int)result_of(disk_sync(fd));
}

static void
describe(const struct node *node, struct stat *st)
{
	*st = (struct stat){
		.st_ino = node->number,
		.st_mode = node->is_dir ? S_IFDIR | 0700 : S_IFREG | 0600,
		.st_size = (off_t)node->size,
	};
}

int
__wrap_stat(const char *path, struct stat *st)
{
	const struct node *node = node_at(&now, path);

	if (node == NULL)
		return failed(ENOENT);
	describe(node, st);
	return 0;
}

int
__wrap_fstat(int fd, struct stat *st)
{
	const struct open_file *file = opened(fd);

	if (file == NULL)
		return fd < FIRST_DESCRIPTOR ? __real_fstat(fd, st) : failed(EBADF);
	describe(file->node, st);
	return 0;
}

int
__wrap_statfs(const char *path, struct statfs *st)
{
	(void)path;
	*st = (struct statfs){ .f_type = EXT4_SUPER_MAGIC };
	return 0;
}

int
__wrap_statvfs(const char *path, struct statvfs *st)
{
	unsigned files;
	uint64_t bytes = disk_bytes(&files);

	(void)path;
	*st = (struct statvfs){ .f_frsize = 1 };
	if (!world.disk_full && bytes < disk_capacity)
		st->f_bavail = disk_capacity - bytes;
	return 0;
}

static int
allocate(struct open_file *file, uint64_t offset, uint64_t end)
{
	if (!has_room(file, offset, end))
		return ENOSPC;
	if (world_fault("fallocate"))
		return EIO;
	grow(file->node, end);
	if (end > file->node->size)
		file->node->size = end;
	return 0;
}

int
__wrap_posix_fallocate(int fd, off_t offset, off_t length)
{
	struct open_file *file = opened(fd);

	if (file == NULL)
		return __real_posix_fallocate(fd, offset, length);
	world_step("posix_fallocate");
	return allocate(file, (uint64_t)offset, (uint64_t)(offset + length));
}

static int
fallocate_all(struct open_file *file, uint64_t bytes)
{
	int error;

	world_step("fallocate");
	error = allocates ? allocate(file, 0, bytes) : EOPNOTSUPP;
	return error == 0 ? 0 : failed(error);
}

/* Supports two uses: allocation from the beginning of the file, and holes of whole sectors. */
int
__wrap_fallocate(int fd, int mode, off_t offset, off_t length)
{
	struct open_file *file = opened(fd);
	struct node *node = file != NULL ? file->node : NULL;

	if (file != NULL && mode == 0 && offset == 0)
		return fallocate_all(file, (uint64_t)length);
	if (file == NULL || mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		return failed(EBADF);
	if (call_fails("fallocate"))
		return failed(EIO);
	if (!allocates)
		return failed(EOPNOTSUPP);
	world_trace("punch %s %llu+%llu", file->path, (unsigned long long)offset,
	    (unsigned long long)length);
	for (uint64_t at = (uint64_t)offset;
	     at + DISK_SECTOR <= (uint64_t)(offset + length) && at + DISK_SECTOR <= node->size;
	     at += DISK_SECTOR) {
		memset(node->now + at, 0, DISK_SECTOR);
		node->dirty[at / DISK_SECTOR] = CHANGED;
		node->hole_bytes += node->hole[at / DISK_SECTOR] ? 0 : DISK_SECTOR;
		node->hole[at / DISK_SECTOR] = 1;
	}
	return 0;
}

int
__wrap_posix_fadvise(int fd, off_t offset, off_t length, int advice)
{
	const struct open_file *file = opened(fd);
	struct node *node = file != NULL ? file->node : NULL;
	uint64_t end = (uint64_t)(offset + length);

	if (node == NULL || advice != POSIX_FADV_DONTNEED)
		return 0;
	for (uint64_t at = (uint64_t)offset; at + DISK_SECTOR <= end && at < node->capacity;
	     at += DISK_SECTOR)
		if (node->dirty[at / DISK_SECTOR] == CLEAN)
			memcpy(node->now + at, node->disk + at, DISK_SECTOR);
	return 0;
}

int
__wrap_flock(int fd, int operation)
{
	struct open_file *file = opened(fd);
	struct node *node;

	if (file == NULL)
		return failed(EBADF);
	node = file->node;
	if ((operation & ~LOCK_NB) == LOCK_UN) {
		unlock(file);
		return 0;
	}
	if ((node->exclusive != NULL && node->exclusive != file) ||
	    (operation & LOCK_EX && node->shared > file->has_shared))
		return failed(EWOULDBLOCK); /* no party waits for a lock */
	unlock(file);
	if (operation & LOCK_EX)
		node->exclusive = file;
	else
		node->shared++, file->has_shared = true;
	return 0;
}

/* Open file description locks on bytes. Read locks are used in F_OFD_GETLK only, to find write
 * locks. */
static int
lock_bytes(struct open_file *file, const struct flock *lock)
{
	struct open_file **byte = file->node->byte;
	off_t end = lock->l_start + lock->l_len;

	for (off_t i = lock->l_start; i < end && lock->l_type != F_UNLCK; i++)
		if (byte[i] != NULL && byte[i] != file)
			return failed(EAGAIN);
	for (off_t i = lock->l_start; i < end; i++)
		if (lock->l_type == F_WRLCK)
			byte[i] = file;
		else if (byte[i] == file)
			byte[i] = NULL;
	return 0;
}

int
__wrap_fcntl(int fd, int command, ...)
{
	struct open_file *file = opened(fd);
	va_list arguments;
	void *argument;

	va_start(arguments, command);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	if (file != NULL && command == F_SETFL)
		return 0;
	if (file == NULL || command != F_OFD_SETLK)
		return __real_fcntl(fd, command, argument);
	return lock_bytes(file, argument);
}

int
__wrap_rename(const char *from, const char *to)
{
	struct node *node = node_at(&now, from);

	if (call_fails("rename"))
		return failed(EIO);
	if (node == NULL)
		return failed(ENOENT);
	change(MOVE, from, to, node);
	return 0;
}

int
__wrap_unlink(const char *path)
{
	struct node *node = node_at(&now, path);

	if (call_fails("unlink"))
		return failed(EIO);
	if (node == NULL)
		return failed(ENOENT);
	change(REMOVE, path, "", node);
	return 0;
}

int
__wrap_mkdir(const char *path, mode_t mode)
{
	(void)mode;
	if (node_at(&now, path) != NULL)
		return failed(EEXIST);
	if (call_fails("mkdir"))
		return failed(EIO);
	change(MAKE, path, "", new_node(true));
	return 0;
}

int
__wrap_chmod(const char *path, mode_t mode)
{
	(void)path, (void)mode;
	return 0;
}

/* An open directory: its names at the time of opendir(3). */
struct listing {
	size_t count, next;
	struct dirent entry[];
};

DIR *
__wrap_opendir(const char *path)
{
	struct listing *listing = calloc(1, sizeof(*listing) + now.count * sizeof(struct dirent));
	size_t length = strlen(path);

	if (listing == NULL || node_at(&now, path) == NULL) {
		free(listing);
		errno = ENOENT;
		return NULL;
	}
	for (size_t i = 0; i < now.count; i++)
		if (is_in(now.name[i].path, path))
			snprintf(listing->entry[listing->count++].d_name,
			    sizeof(listing->entry[0].d_name), "%s", now.name[i].path + length + 1);
	return (void *)listing;
}

struct dirent *
__wrap_readdir(DIR *dir)
{
	struct listing *listing = (void *)dir;

	return listing->next < listing->count ? &listing->entry[listing->next++] : NULL;
}

int
__wrap_closedir(DIR *dir)
{
	free(dir);
	return 0;
}

static ssize_t
stream_read(void *cookie, char *buffer, size_t length)
{
	return __wrap_read((int)(intptr_t)cookie, buffer, length);
}

static int
stream_close(void *cookie)
{
	return close((int)(intptr_t)cookie);
}

FILE *
__wrap_fdopen(int fd, const char *mode)
{
	return fopencookie((void *)(intptr_t)fd, mode,
	    (cookie_io_functions_t){ .read = stream_read, .close = stream_close });
}
