/*
 * Stands between a worker and its store (ld --wrap): see failing_store.h.
 */
#include "tests/failing_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "workers/store.h"

#define WRAP(type, name, parameters)   \
	type __real_##name parameters; \
	type __wrap_##name parameters; \
	type __wrap_##name parameters

static struct store_faults *
faults(void)
{
	static struct store_faults *mapped;
	const char *path = getenv("HEADGATE_STORE_FAULTS");
	int fd;

	if (mapped != NULL)
		return mapped;
	fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	mapped = mmap(NULL, sizeof(*mapped), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || mapped == MAP_FAILED)
		_exit(124);
	close(fd);
	return mapped;
}

/* Sequentially consistent: the test sets several words, and is no hurry. */
static bool
fails(enum store_call call)
{
	struct store_faults *fault = faults();

	if (fault->times == 0 || fault->call != call)
		return false;
	if (fault->skip > 0) {
		fault->skip--;
		return false;
	}
	fault->times--;
	fault->failed++;
	return true;
}

WRAP(int, store_highest, (struct store * store, uint64_t log, uint64_t *sequence))
{
	return fails(CALL_HIGHEST) ? -EIO : __real_store_highest(store, log, sequence);
}

WRAP(int, store_begin, (struct store * store))
{
	return fails(CALL_BEGIN) ? -EIO : __real_store_begin(store);
}

WRAP(int, store_find, (struct store * store, const struct message *message, struct outcome *outcome))
{
	faults()->finds++;
	return fails(CALL_FIND) ? -EIO : __real_store_find(store, message, outcome);
}

WRAP(int, store_apply,
    (struct store * store, const struct service_context *context, const struct message *message,
	double processing_ms))
{
	return fails(CALL_APPLY) ? -EIO
				 : __real_store_apply(store, context, message, processing_ms);
}

WRAP(int, store_fail,
    (struct store * store, const struct service_context *context, const struct message *message,
	const struct outcome *outcome))
{
	return fails(CALL_FAIL) ? -EIO : __real_store_fail(store, context, message, outcome);
}

WRAP(int, store_commit, (struct store * store))
{
	int rc;

	if (fails(CALL_COMMIT))
		return -EIO;
	rc = __real_store_commit(store);
	return rc == 0 && fails(CALL_COMMIT_DONE) ? -EIO : rc;
}
