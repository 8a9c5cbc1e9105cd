/*
 * flip-control FILE: repeatedly damages a control segment's numbers of queues and topics and the
 * ends of names, and restores them, until killed. For tests of its readers.
 */
#include <err.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>

#include "shm/control.h"

int
main(int argc, char **argv)
{
	struct control_shared *shared;
	char name[CONTROL_NAME_BYTES];
	uint32_t queues;
	int fd;

	if (argc != 2)
		errx(EX_USAGE, "usage: flip-control FILE");
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err(EX_NOINPUT, "%s", argv[1]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		err(EX_OSERR, "%s", argv[1]);
	queues = shared->queues;
	memcpy(name, shared->queue[0].name, sizeof(name));
	for (;;) {
		*(volatile uint32_t *)&shared->queues = 0x7fffffff;
		*(volatile uint32_t *)&shared->topics = 0x7fffffff;
		memset(shared->queue[0].name, 'x', sizeof(name));
		*(volatile uint32_t *)&shared->queue[0].dead_letter_queue = 0x7fffffff;
		*(volatile uint32_t *)&shared->queues = queues;
		*(volatile uint32_t *)&shared->topics = 1;
		*(volatile uint32_t *)&shared->queue[0].dead_letter_queue = 0;
		memcpy(shared->queue[0].name, name, sizeof(name));
	}
}
