/*
 * journal - the file that fail.so writes and powercut reads. A record is an entry, then its strings
 * (with NULs) and its data.
 */
#ifndef HEADGATE_TESTS_JOURNAL_H
#define HEADGATE_TESTS_JOURNAL_H

#include <stdint.h>

enum journal_kind {
	JOURNAL_BEGIN,    /* a process: it has no descriptors yet */
	JOURNAL_OPEN,     /* fd, offset: flags, length: did it exist, a: path */
	JOURNAL_CLOSE,    /* fd */
	JOURNAL_WRITE,    /* fd, offset (-1: at the end), data */
	JOURNAL_ALLOCATE, /* fd, offset, length */
	JOURNAL_TRUNCATE, /* fd, length */
	JOURNAL_SYNC,     /* fd */
	JOURNAL_RENAME,   /* a, b: from, to */
	JOURNAL_UNLINK,   /* a */
	JOURNAL_MKDIR,    /* a */
	JOURNAL_SEND      /* fd, data */
};

struct journal_entry {
	uint32_t kind;
	int32_t fd;
	int64_t offset;
	uint64_t length, time_ns;
	uint32_t a_bytes, b_bytes;
	uint64_t data_bytes;
};

#endif
