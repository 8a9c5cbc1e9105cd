#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/lane_lock.h"

static char dir[64];

static int
open_lock(void)
{
	int fd = lane_lock_open(dir, "q");

	cr_assert(fd >= 0, "%s", strerror(-fd));
	return fd;
}

static void
begin(void)
{
	strcpy(dir, "/tmp/hg-lane-lock-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL, "mkdtemp");
}

static void
end(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/q.lock", dir);
	unlink(path);
	rmdir(dir);
}

TestSuite(lane_lock, .init = begin, .fini = end);

Test(lane_lock, a_lane_has_one_owner)
{
	int a = open_lock(), b = open_lock();

	cr_expect(lane_lock_take(a, 0x5) == 0, "lanes 0 and 2");
	cr_expect(lane_lock_take(a, 0x5) == 0, "again");
	cr_expect(lane_lock_take(b, 0x2) == 0, "lane 1 is another's");
	cr_expect(lane_lock_take(b, 0x4) == -EAGAIN, "lane 2 is taken");
	cr_expect(lane_lock_take(b, LANE_LOCK_ALL) == -EAGAIN, "all are not free");
	close(a);
	cr_expect(lane_lock_take(b, LANE_LOCK_ALL) == 0, "now they are");
	close(b);
}

Test(lane_lock, takes_all_or_nothing)
{
	int a = open_lock(), b = open_lock(), c = open_lock();

	cr_expect(lane_lock_take(a, 1ull << 63) == 0, "the last lane");
	cr_expect(lane_lock_take(b, LANE_LOCK_ALL) == -EAGAIN, "all");
	cr_expect(lane_lock_take(c, LANE_LOCK_ALL >> 1) == 0, "the others were left alone");
	close(a);
	close(b);
	close(c);
}

Test(lane_lock, tells_who_holds_what)
{
	int a = open_lock(), b = open_lock(), file;
	char path[128];

	cr_expect(lane_lock_take(a, 0x3) == 0, "lanes 0 and 1");
	cr_expect(lane_lock_holds(dir, "q", a, 0x3), "it has them");
	cr_expect(lane_lock_holds(dir, "q", a, 0x1), "and each");
	cr_expect(!lane_lock_holds(dir, "q", b, 0x1), "who has not");
	cr_expect(!lane_lock_holds(dir, "q", b, 0x7), "who has not all");
	cr_expect(!lane_lock_holds(dir, "r", a, 0x3), "another queue's");
	snprintf(path, sizeof(path), "%s/q.copy", dir);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_expect(!lane_lock_holds(dir, "q", file, 0x4), "another file");
	unlink(path);
	close(file);
	close(a);
	close(b);
}

Test(lane_lock, a_child_inherits_it)
{
	int a = open_lock(), b = open_lock(), ends[2];
	char byte;
	pid_t child;

	cr_assert(lane_lock_take(a, 0x1) == 0 && pipe(ends) == 0, "lane 0");
	child = fork();
	if (child == 0) {
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(a);
	cr_expect(lane_lock_take(b, 0x1) == -EAGAIN, "the child has it");
	close(ends[1]);
	cr_assert(waitpid(child, NULL, 0) == child, "waitpid");
	cr_expect(lane_lock_take(b, 0x1) == 0, "and had it until it ended");
	close(ends[0]);
	close(b);
}
