/*
 * forbid SYSCALL ERROR PROGRAM ARGUMENT...: runs the program where a system call fails, as in a
 * container whose seccomp profile does not allow it.
 */
#include <err.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

struct named {
	const char *name;
	uint32_t number;
};

static const struct named calls[] = {
	{ "io_uring_setup", SYS_io_uring_setup },
	{ "io_uring_enter", SYS_io_uring_enter },
	{ "pidfd_open", SYS_pidfd_open },
	{ "pidfd_send_signal", SYS_pidfd_send_signal },
	{ NULL, 0 },
};

static const struct named errors[] = {
	{ "EPERM", EPERM },
	{ "ENOSYS", ENOSYS },
	{ "ENOMEM", ENOMEM },
	{ NULL, 0 },
};

static uint32_t
find(const struct named *list, const char *name)
{
	for (; list->name != NULL; list++)
		if (strcmp(list->name, name) == 0)
			return list->number;
	errx(EX_USAGE, "%s: not one that is known here", name);
}

int
main(int argc, char **argv)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {
		.len = sizeof(filter) / sizeof(filter[0]),
		.filter = filter,
	};

	if (argc < 4) {
		fputs("usage: forbid SYSCALL ERROR PROGRAM ARGUMENT...\n", stderr);
		return EX_USAGE;
	}
	filter[1].k = find(calls, argv[1]);
	filter[2].k |= find(errors, argv[2]);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		err(EX_OSERR, "seccomp");
	execvp(argv[3], argv + 3);
	err(EX_NOINPUT, "%s", argv[3]);
}
