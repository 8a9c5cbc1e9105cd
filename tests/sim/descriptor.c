#include "tests/sim/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DESCRIPTORS = 1024 };

int __real_close(int);
int __wrap_close(int);
int __real_memfd_create(const char *, unsigned);
int __wrap_memfd_create(const char *, unsigned);

static struct {
	struct file *file; /* NULL: closed */
	enum party party;
} descriptors[DESCRIPTORS];
static enum party real[DESCRIPTORS]; /* owners of real descriptors */

static int
open_for(struct file *file, enum party party)
{
	for (int i = 0; i < DESCRIPTORS; i++) {
		if (descriptors[i].file != NULL)
			continue;
		descriptors[i].file = file;
		descriptors[i].party = party;
		file->references++;
		return FIRST_DESCRIPTOR + i;
	}
	world_violation("more than %d descriptors", DESCRIPTORS);
}

int
descriptor_open(struct file *file)
{
	return open_for(file, world.party);
}

struct file *
descriptor_file(int fd, enum file_kind kind)
{
	struct file *file;

	if (fd < FIRST_DESCRIPTOR || fd >= FIRST_DESCRIPTOR + DESCRIPTORS)
		return NULL;
	file = descriptors[fd - FIRST_DESCRIPTOR].file;
	return file != NULL && file->kind == kind ? file : NULL;
}

int
descriptor_pass(int fd, enum party party)
{
	if (fd >= FIRST_DESCRIPTOR)
		return open_for(descriptors[fd - FIRST_DESCRIPTOR].file, party);
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0 || fd >= DESCRIPTORS)
		abort();
	real[fd] = party;
	return fd;
}

int
__wrap_close(int fd)
{
	struct file *file;
	int i = fd - FIRST_DESCRIPTOR;

	if (fd < FIRST_DESCRIPTOR) {
		if (fd < 0 || fd >= DESCRIPTORS || real[fd] == PARTY_NONE)
			world_violation("close(%d): not open", fd);
		real[fd] = PARTY_NONE;
		return __real_close(fd);
	}
	file = i < DESCRIPTORS ? descriptors[i].file : NULL;
	if (file == NULL)
		world_violation("close(%d): not open", fd);
	descriptors[i].file = NULL;
	if (--file->references == 0)
		file->end(file);
	return 0;
}

int
__wrap_memfd_create(const char *name, unsigned flags)
{
	int fd = __real_memfd_create(name, flags);

	if (fd < 0 || fd >= DESCRIPTORS)
		abort();
	real[fd] = world.party;
	return fd;
}

unsigned
descriptor_close_all(enum party party)
{
	unsigned count = 0;

	for (int i = 0; i < DESCRIPTORS; i++) {
		if (descriptors[i].file != NULL && descriptors[i].party == party) {
			world_trace(
			    "ends with descriptor %d, kind %d", i, descriptors[i].file->kind);
			count++;
			__wrap_close(FIRST_DESCRIPTOR + i);
		}
		if (real[i] == party) {
			world_trace("ends with a memfd");
			count++;
			__wrap_close(i);
		}
	}
	return count;
}
