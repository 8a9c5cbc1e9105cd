/*
 * descriptor - file descriptors of the simulated machine. Descriptors of mapped memory (memfd) are
 * real. All others are numbers from FIRST_DESCRIPTOR on.
 */
#ifndef HEADGATE_TESTS_SIM_DESCRIPTOR_H
#define HEADGATE_TESTS_SIM_DESCRIPTOR_H

#include "tests/sim/world.h"

enum { FIRST_DESCRIPTOR = 1 << 16 };

enum file_kind { FILE_DISK = 1, FILE_SOCKET, FILE_LISTENER, FILE_EVENT, FILE_PROCESS };

/* An open file; the first member of each kind's own struct. */
struct file {
	enum file_kind kind;
	unsigned references;
	void (*end)(struct file *); /* called with the close of the last descriptor */
};

/* Opens a descriptor for the running party. */
int descriptor_open(struct file *);
/* The file behind the descriptor; NULL for another kind. */
struct file *descriptor_file(int fd, enum file_kind);
/* Opens a second descriptor of the same open file, for another party. */
int descriptor_pass(int fd, enum party);
/* Closes all descriptors of a dead party. Returns their number. */
unsigned descriptor_close_all(enum party);

#endif
