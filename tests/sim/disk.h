/*
 * disk - files below /state, on a disk, and below /run, in memory, behind the system calls.
 *
 * What is written is in the page cache. It is on the disk once it was synced: contents by sectors, an eighth
 * of the log's blocks as elsewhere, changes of directories by directory. A power cut leaves what is on the disk, and any choice of
 * what was not synced. O_DSYNC writes are synced when they are done.
 *
 * The disk writes whole sectors of its own, which may be as large as a block, and a power cut may garble each one of
 * which anything was written and not synced, with all that was in it before. Through the page cache whole pages, as
 * large as a block, are written.
 */
#ifndef HEADGATE_TESTS_SIM_DISK_H
#define HEADGATE_TESTS_SIM_DISK_H

#include "tests/sim/descriptor.h"

enum { DISK_SECTOR = 64 };

/* An empty disk. block: unit of O_DIRECT, 0: there is no O_DIRECT. The size of its own sectors is drawn. */
void disk_begin(unsigned block);
void disk_end(void);
void disk_cut_power(void);
/* Bytes of all files below /state, and their number. */
uint64_t disk_bytes(unsigned *files);
bool disk_has(const char *path);
/* Of the disk. */
extern uint64_t disk_capacity;
/* Planted bugs: nothing is ever synced; directories are not; files are not, but for O_DSYNC; its own sectors are
 * larger than it says. */
extern bool disk_lies, disk_lies_of_names, disk_lies_of_syncs, disk_sectors_are_large;

/* As pwrite(2) and pread(2), of any length, in one go. Return -errno. */
int64_t disk_write(int fd, const void *buffer, size_t length, uint64_t offset);
int64_t disk_read(int fd, void *buffer, size_t length, uint64_t offset);
/* As fsync(2). Returns 0 or -errno. */
int disk_sync(int fd);
/* A write whose process ended while it was under way: some of its sectors are there, not synced. */
void disk_tear(int fd, const void *buffer, size_t length, uint64_t offset);

/* Memory of an open file; NULL when the descriptor is none of ours. */
void *disk_map(int fd);
/* False when nothing of ours is mapped there. */
bool disk_unmap(void *at);

#endif
