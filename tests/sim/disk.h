/*
 * disk - files behind the system calls: below /state on a disk, below /run in memory.
 *
 * A write goes to the page cache, and to the disk with a sync: contents by sectors of DISK_SECTOR
 * bytes, changes of directories by directory. An O_DSYNC write is on the disk when done.
 *
 * A power cut (1) keeps all that is on the disk, (2) keeps any choice of unsynced sectors and
 * directory changes, and (3) may garble a physical sector with unsynced writes, including its older
 * bytes. The size of physical sectors is drawn, up to a block. Writes through the page cache are in
 * whole pages, as large as a block.
 */
#ifndef HEADGATE_TESTS_SIM_DISK_H
#define HEADGATE_TESTS_SIM_DISK_H

#include "tests/sim/descriptor.h"

enum { DISK_SECTOR = 64 };

/* Makes an empty disk. block: unit of O_DIRECT; 0: O_DIRECT is not supported. */
void disk_begin(unsigned block);
void disk_end(void);
void disk_cut_power(void);
/* Returns the bytes of all files below /state, and sets *files to their number. */
uint64_t disk_bytes(unsigned *files);
bool disk_has(const char *path);
extern uint64_t disk_capacity; /* bytes */
/* Planted bugs. */
extern bool disk_lies;              /* syncs nothing */
extern bool disk_lies_of_names;     /* does not sync directories */
extern bool disk_lies_of_syncs;     /* does not sync files, except O_DSYNC writes */
extern bool disk_sectors_are_large; /* physical sectors are larger than reported */

/* As pwrite(2) and pread(2), but return -errno. */
int64_t disk_write(int fd, const void *buffer, size_t length, uint64_t offset);
int64_t disk_read(int fd, void *buffer, size_t length, uint64_t offset);
/* As fsync(2). Returns 0 or -errno. */
int disk_sync(int fd);
/* Has a sync failed since disk_forget_failures(), on a disk without O_DIRECT? Then the page cache
 * alone has what was not synced, and drops these pages before a reader sees the disk. */
bool disk_loses_pages(void);
void disk_forget_failures(void);
/* A write whose process died meanwhile: writes some of the sectors, and syncs none. */
void disk_tear(int fd, const void *buffer, size_t length, uint64_t offset);

/* The memory of an open file; NULL for a descriptor that is not the disk's. */
void *disk_map(int fd);
/* False if no file of the disk is mapped at this address. */
bool disk_unmap(void *at);

#endif
