/*
 * bench-log DIR: durable writes of a batch to two files, by method and size. The router's method
 * was chosen by these figures. Each figure is the median over all batches.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum { FILES = 2, BATCHES = 300, FILE_BYTES = 128 << 20, PIECE = 1 << 20 };

static double
seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static int
make_file(const char *dir, int number, int flags, char *zeros, int zero)
{
	char path[4200];
	int fd;

	snprintf(path, sizeof(path), "%s/bench-log-%d", dir, number);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || posix_fallocate(fd, 0, FILE_BYTES) != 0)
		err(EX_CANTCREAT, "%s", path);
	for (off_t at = 0; zero && at < FILE_BYTES; at += PIECE)
		if (pwrite(fd, zeros, PIECE, at) != PIECE)
			err(EX_IOERR, "%s", path);
	if (fsync(fd) != 0)
		err(EX_IOERR, "%s", path);
	close(fd);
	fd = open(path, O_RDWR | O_CLOEXEC | flags);
	if (fd < 0)
		err(EX_UNAVAILABLE, "%s", path);
	unlink(path);
	return fd;
}

static void
measure(const char *dir, const char *name, int flags, int zero, size_t bytes, char *data)
{
	static double times[BATCHES];
	int fds[FILES];
	double cpu;

	memset(data, 0, PIECE);
	for (int f = 0; f < FILES; f++)
		fds[f] = make_file(dir, f, flags, data, zero);
	memset(data, 7, PIECE);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	for (int b = 0; b < BATCHES; b++) {
		double start = seconds(CLOCK_MONOTONIC);

		for (int f = 0; f < FILES; f++)
			if (pwrite(fds[f], data, bytes, (off_t)((size_t)b * bytes)) !=
			    (ssize_t)bytes)
				err(EX_IOERR, "write");
		for (int f = 0; f < FILES && !(flags & O_DSYNC); f++)
			if (fdatasync(fds[f]) != 0)
				err(EX_IOERR, "fdatasync");
		times[b] = seconds(CLOCK_MONOTONIC) - start;
	}
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	qsort(times, BATCHES, sizeof(times[0]), compare);
	printf("%-34s %7zu KiB %8.0f us %8.0f us CPU\n", name, bytes >> 10,
	    times[BATCHES / 2] * 1e6, cpu / BATCHES * 1e6);
	for (int f = 0; f < FILES; f++)
		close(fds[f]);
}

int
main(int argc, char **argv)
{
	static const size_t sizes[] = { 4 << 10, 64 << 10, 256 << 10 };
	char *data = aligned_alloc(4096, PIECE);

	if (argc != 2) {
		fputs("usage: bench-log DIR\n", stderr);
		return EX_USAGE;
	}
	if (data == NULL)
		errx(EX_OSERR, "out of memory");
	printf("a batch over %d files, one after the other; median\n", FILES);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		measure(argv[1], "O_DIRECT|O_DSYNC, zeroed", O_DIRECT | O_DSYNC, 1, sizes[i], data);
		measure(argv[1], "O_DIRECT|O_DSYNC, only allocated", O_DIRECT | O_DSYNC, 0,
		    sizes[i], data);
		measure(argv[1], "write + fdatasync, zeroed", 0, 1, sizes[i], data);
	}
	free(data);
	return 0;
}
