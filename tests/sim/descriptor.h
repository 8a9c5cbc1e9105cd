/*
 * descriptor - file descriptors of the simulated machine. Those of memory that is mapped (memfd) are real
 * ones; all others are numbers from FIRST_DESCRIPTOR on.
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
	void (*end)(struct file *); /* when the last descriptor is closed */
};

/* A descriptor of the party that runs. */
int descriptor_open(struct file *);
/* NULL when it is none of this kind. */
struct file *descriptor_file(int fd, enum file_kind);
/* A second descriptor of the same open file, for another party. */
int descriptor_pass(int fd, enum party);
/* The party is dead. Returns how many it had. */
unsigned descriptor_close_all(enum party);

#endif
