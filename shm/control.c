#include "shm/control.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/clock.h"

#define ENDIAN_WORD 0x01020304u

enum {
	READ_TRIES = 100,
	LOCK_MS = 5, /* between two tries */
	AGAIN_PAUSE_NS = 20000000
};

static const char *const state_names[] = {
	[CONTROL_RUNNING] = "RUNNING",
	[CONTROL_STOPPED] = "STOPPED",
	[CONTROL_TRIPPED] = "TRIPPED",
	[CONTROL_PROBING] = "PROBING",
};
enum { STATES = sizeof(state_names) / sizeof(state_names[0]) };

const char *
control_state_name(enum control_state state)
{
	return (unsigned)state < STATES ? state_names[state] : NULL;
}

enum control_state
control_state_parse(const char *name)
{
	for (int i = CONTROL_RUNNING; i < STATES; i++)
		if (strcasecmp(name, state_names[i]) == 0)
			return (enum control_state)i;
	return (enum control_state)0;
}

const char *
control_refusal_text(enum control_refusal refusal)
{
	static const char *const texts[] = {
		[CONTROL_DISK_FULL] = "the disk is full",
		[CONTROL_LOG_FAILS] = "its log cannot grow",
		[CONTROL_MAX_BYTES] = "it holds max_bytes of messages",
		[CONTROL_DEAD_LETTERS_FULL] = "there is no room for its dead letters",
		[CONTROL_DEDUP_FULL] = "as many ids as dedup_max allows are remembered",
		[CONTROL_FILES_GONE] = "its log's files were removed or moved",
	};

	if (refusal == CONTROL_TAKES)
		return NULL;
	return (unsigned)refusal < sizeof(texts) / sizeof(texts[0]) ? texts[refusal] : "unknown";
}

uint32_t
control_fingerprint(void)
{
	static const uint32_t layout[] = {
		sizeof(struct control_shared),
		offsetof(struct control_shared, router_pid),
		offsetof(struct control_shared, pid_namespace),
		offsetof(struct control_shared, config_file),
		offsetof(struct control_shared, topic),
		offsetof(struct control_shared, worker),
		offsetof(struct control_shared, queue),
		sizeof(struct control_topic),
		sizeof(struct control_worker),
		offsetof(struct control_worker, starting),
		sizeof(struct control_queue),
		offsetof(struct control_queue, visibility_ns),
		offsetof(struct control_queue, state),
		offsetof(struct control_queue, refuses),
		offsetof(struct control_queue, probe_due_ns),
		offsetof(struct control_queue, detail),
		offsetof(struct control_queue, counters),
		sizeof(struct control_detail),
		offsetof(struct control_detail, user),
		offsetof(struct control_detail, error),
		sizeof(struct control_counters),
		CONTROL_SLOTS,
	};
	uint32_t hash = 2166136261u; /* FNV-1a: http://www.isthe.com/chongo/tech/comp/fnv/ */

	for (size_t i = 0; i < sizeof(layout) / sizeof(layout[0]); i++)
		hash = (hash ^ layout[i]) * 16777619u;
	return hash;
}

/* Opens the segment's directory, whose lock a living router holds. */
static int
open_dir_of(const char *path)
{
	char copy[PATH_MAX];

	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return -1;
	return open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int
map_segment(struct control *control, bool writable)
{
	int protection = PROT_READ | (writable ? PROT_WRITE : 0);
	void *shared = mmap(NULL, sizeof(*control->shared), protection, MAP_SHARED, control->fd, 0);

	if (shared == MAP_FAILED)
		return -errno;
	control->shared = shared;
	return 0;
}

int
control_create(struct control *control, const char *path)
{
	char beside[PATH_MAX];
	int rc;

	*control = (struct control){ .fd = -1, .lock_fd = -1 };
	if (snprintf(beside, sizeof(beside), "%s.new", path) >= (int)sizeof(beside))
		return -ENAMETOOLONG;
	control->fd = file_open(beside, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (control->fd < 0)
		return -errno;
	rc = -posix_fallocate(control->fd, 0, sizeof(*control->shared));
	if (rc == 0)
		rc = map_segment(control, true);
	if (rc == 0) {
		struct namespaces own = namespaces_get();

		control->shared->pid_namespace = own.pid;
		control->shared->time_namespace = own.time;
		control->shared->endian = ENDIAN_WORD;
		control->shared->fingerprint = control_fingerprint();
		control->shared->size = sizeof(*control->shared);
		control->lock_fd = open_dir_of(path);
		rc = rename(beside, path) == 0 ? 0 : -errno;
	}
	if (rc != 0)
		control_close(control);
	return rc;
}

void
control_publish(struct control *control)
{
	uint64_t magic;

	memcpy(&magic, CONTROL_MAGIC, sizeof(magic));
	/* Release: pairs with the acquire load in check_segment(), and publishes the whole
	 * segment. */
	atomic_store_explicit(&control->shared->magic, magic, memory_order_release);
}

/* Copies a text from shared memory. False if no NUL ends the text. */
static bool
copy_text(char *to, const char *from, size_t size)
{
	memcpy(to, from, size);
	return memchr(to, '\0', size) != NULL;
}

/* Copies first and then checks the copy, as the original may change at any time. */
static int
copy_facts(struct control_facts *facts, const struct control_shared *shared)
{
	bool good = copy_text(facts->config_file, shared->config_file, CONTROL_PATH_BYTES);

	facts->namespaces =
	    (struct namespaces){ .pid = shared->pid_namespace, .time = shared->time_namespace };
	facts->queues = shared->queues;
	facts->topics = shared->topics;
	if (facts->queues > CONTROL_QUEUES || facts->topics > CONTROL_TOPICS)
		return -EPROTO;
	for (unsigned i = 0; i < facts->queues; i++) {
		const struct control_queue *queue = &shared->queue[i];

		good &= copy_text(facts->queue[i].name, queue->name, CONTROL_NAME_BYTES);
		facts->queue[i].dead_letter_queue = queue->dead_letter_queue;
		facts->queue[i].visibility_ns = queue->visibility_ns;
		good &= facts->queue[i].dead_letter_queue < facts->queues;
	}
	for (unsigned i = 0; i < facts->topics; i++)
		good &= copy_text(facts->topic[i], shared->topic[i].name, CONTROL_NAME_BYTES);
	return good ? 0 : -EPROTO;
}

static int
check_segment(const struct control_shared *shared, struct control_facts *facts)
{
	uint64_t want, magic;

	memcpy(&want, CONTROL_MAGIC, sizeof(want));
	/* Pairs with the release store in control_publish(). */
	magic = atomic_load_explicit(&shared->magic, memory_order_acquire);
	if (magic == 0)
		return -EAGAIN;
	if (magic != want)
		return memcmp(&magic, CONTROL_MAGIC, 6) == 0 ? -ESTALE : -EPROTO;
	if (shared->endian != ENDIAN_WORD || shared->fingerprint != control_fingerprint())
		return -ESTALE;
	if (shared->size != sizeof(*shared))
		return -EPROTO;
	return copy_facts(facts, shared);
}

int
control_open(struct control *control, const char *path, bool writable)
{
	struct stat st;
	int rc;

	*control = (struct control){ .fd = -1, .lock_fd = -1 };
	control->fd = file_open(path, writable ? O_RDWR : O_RDONLY, 0);
	if (control->fd < 0)
		return -errno;
	if (fstat(control->fd, &st) != 0)
		rc = -errno;
	else if (geteuid() != 0 && st.st_uid != 0 && st.st_uid != geteuid())
		rc = -EPERM;
	else if (st.st_size != sizeof(*control->shared))
		rc = -ESTALE;
	else
		rc = map_segment(control, writable);
	if (rc == 0)
		rc = check_segment(control->shared, &control->facts);
	if (rc == 0 && (control->lock_fd = open_dir_of(path)) < 0)
		rc = -errno;
	if (rc != 0)
		control_close(control);
	return rc;
}

void
control_close(struct control *control)
{
	if (control->shared != NULL)
		munmap(control->shared, sizeof(*control->shared));
	if (control->fd >= 0)
		close(control->fd);
	if (control->lock_fd >= 0)
		close(control->lock_fd);
	*control = (struct control){ .fd = -1, .lock_fd = -1 };
}

void
control_disown(const char *path)
{
	struct control old;

	if (control_open(&old, path, true) != 0)
		return;
	atomic_store_explicit(&old.shared->ready, 0, memory_order_relaxed);
	/* Pairs with the acquire load in control_lock(). */
	atomic_store_explicit(&old.shared->router_pid, 0, memory_order_release);
	control_close(&old);
}

/* True if another process holds the lock, as a living router does. */
static bool
is_held(int lock_fd)
{
	if (lock_fd < 0)
		return false;
	if (flock(lock_fd, LOCK_SH | LOCK_NB) != 0)
		return errno == EWOULDBLOCK;
	flock(lock_fd, LOCK_UN); /* a router that was refused meanwhile tries again */
	return false;
}

/* As is_held(), and closes the descriptor. Returns 1, 0, or -errno if open() lacked resources. */
static int
is_held_once(int lock_fd)
{
	bool held = is_held(lock_fd);

	if (lock_fd < 0)
		return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
	close(lock_fd);
	return held;
}

int
control_dir_held(const char *dir)
{
	char path[PATH_MAX];
	int rc = is_held_once(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	/* Directories cannot be locked on NFS; there the lock file decides. */
	if (rc != 0 || snprintf(path, sizeof(path), "%s/router.lock", dir) >= (int)sizeof(path))
		return rc;
	return is_held_once(file_open(path, O_RDONLY, 0));
}

bool
control_router_alive(const struct control *control)
{
	/* No test for a process with this pid, which may belong to another pid namespace. */
	return atomic_load_explicit(&control->shared->router_pid, memory_order_relaxed) != 0 &&
	    is_held(control->lock_fd);
}

int
control_open_living(struct control *control, const char *run_dir, const char *state_dir,
    bool writable, uint64_t deadline_ns)
{
	const struct timespec pause = { .tv_nsec = AGAIN_PAUSE_NS };
	char path[PATH_MAX];

	*control = (struct control){ .fd = -1, .lock_fd = -1 };
	if (snprintf(path, sizeof(path), "%s/control", run_dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	for (;;) {
		int rc = control_open(control, path, writable), held;

		if (rc == 0 && control_router_alive(control))
			return 0;
		if (rc == 0) {
			control_close(control);
			rc = -ESRCH;
		}
		if (rc != -ESRCH && rc != -ENOENT && rc != -EAGAIN)
			return rc; /* waiting would not help: another version's, or damaged */
		held = control_dir_held(state_dir);
		if (held == 0)
			held = control_dir_held(run_dir);
		if (held < 0)
			return held;
		if (held == 0 || clock_monotonic_ns() >= deadline_ns)
			return rc;
		nanosleep(&pause, NULL);
	}
}

/* Marks the old segment as one without a router. Its workers are being detached, and start no
 * handler under STOPPED. */
static void
end_segment(struct control_shared *old)
{
	for (unsigned i = 0; i < CONTROL_QUEUES; i++) {
		uint64_t word = atomic_load_explicit(&old->queue[i].state, memory_order_relaxed);

		/* Release: pairs with the same acquire loads as control_change_state(). */
		if (word != 0)
			atomic_store_explicit(&old->queue[i].state,
			    control_word(
				CONTROL_STOPPED, CONTROL_SLOTS, control_word_generation(word) + 1),
			    memory_order_release);
	}
	atomic_store_explicit(&old->ready, 0, memory_order_relaxed);
	/* Pairs with the acquire load in control_lock(). */
	atomic_store_explicit(&old->router_pid, 0, memory_order_release);
}

/* Puts the copy in place of the old segment, on the disk and at the old address. */
static int
take_place(struct control *control, struct control *copy, const char *from, const char *to)
{
	size_t size = sizeof(*control->shared);
	struct control old = { .fd = control->fd, .lock_fd = control->lock_fd };
	int rc = map_segment(&old, true);

	if (rc != 0)
		return rc;
	if (rename(from, to) != 0) {
		rc = -errno;
	} else if (mremap(copy->shared, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
		       control->shared) == MAP_FAILED) {
		rc = -EFAULT; /* the address may be unmapped now */
	}
	if (rc != 0) {
		munmap(old.shared, size);
		return rc;
	}
	end_segment(old.shared);
	control->fd = copy->fd;
	control->lock_fd = copy->lock_fd;
	control_close(&old); /* also frees the old segment's lock */
	return 0;
}

static int
replace(struct control *control, const char *path)
{
	char next[PATH_MAX];
	struct control copy;
	int rc;

	if (snprintf(next, sizeof(next), "%s.next", path) >= (int)sizeof(next))
		return -ENAMETOOLONG;
	rc = control_create(&copy, next);
	if (rc != 0)
		return rc;
	/* The copy is published at once, as the magic is copied too. */
	memcpy(copy.shared, control->shared, sizeof(*copy.shared));
	rc = take_place(control, &copy, next, path);
	if (rc != 0) {
		unlink(next);
		control_close(&copy);
	}
	return rc;
}

int
control_replace(struct control *control, const char *path)
{
	int rc;

	if (flock(control->fd, LOCK_EX | LOCK_NB) != 0)
		return -EAGAIN;
	rc = replace(control, path);
	if (rc != 0)
		flock(control->fd, LOCK_UN);
	return rc;
}

bool
control_shares_pids(const struct control *control)
{
	uint64_t own = namespaces_get().pid;

	return own != 0 && own == control->facts.namespaces.pid;
}

bool
control_shares_clock(const struct control *control)
{
	return namespaces_get().time == control->facts.namespaces.time;
}

int
control_find_queue(const struct control *control, const char *name)
{
	for (unsigned i = 0; i < control->facts.queues; i++)
		if (strcmp(control->facts.queue[i].name, name) == 0)
			return (int)i;
	return -1;
}

static void
terminate(struct control_detail *detail)
{
	detail->user[sizeof(detail->user) - 1] = '\0';
	detail->program[sizeof(detail->program) - 1] = '\0';
	detail->message_id[sizeof(detail->message_id) - 1] = '\0';
	detail->error[sizeof(detail->error) - 1] = '\0';
	detail->reason[sizeof(detail->reason) - 1] = '\0';
}

void
control_read_state(
    const struct control *control, unsigned index, uint64_t *word, struct control_detail *detail)
{
	const struct control_queue *queue = &control->shared->queue[index];

	for (int tries = 0; tries < READ_TRIES; tries++) {
		/* Acquire: pairs with the compare-and-swap in control_change_state(), after which
		 * the slot is filled. */
		uint64_t before = atomic_load_explicit(&queue->state, memory_order_acquire);
		unsigned slot = control_word_slot(before);

		*word = before;
		*detail = (struct control_detail){ 0 };
		if (slot >= CONTROL_SLOTS)
			return;
		memcpy(detail, &queue->detail[slot], sizeof(*detail));
		/* Acquire: orders the copy before the second load of the word. Pairs with the
		 * release fence in control_change_state(). */
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&queue->state, memory_order_relaxed) == before)
			break;
	}
	if (detail->generation != control_word_generation(*word))
		*detail = (struct control_detail){ 0 };
	terminate(detail);
}

int
control_change_state(struct control *control, unsigned index, unsigned first_slot,
    uint64_t expected, enum control_state to, const struct control_detail *detail, uint64_t *now)
{
	struct control_queue *queue = &control->shared->queue[index];
	uint64_t generation = control_word_generation(expected) + 1;
	unsigned slot = first_slot + (unsigned)(generation % CONTROL_CTL_SLOT);
	uint64_t word;

	/* The current word's slot may be being read, so is not refilled. */
	if (slot == control_word_slot(expected))
		slot = first_slot + (slot - first_slot + 1) % CONTROL_CTL_SLOT;
	/* Release: pairs with the acquire fence in control_read_state(). A reader whose copy has a
	 * byte from these stores loads `expected`, or a later word, at its second load. */
	atomic_thread_fence(memory_order_release);
	queue->detail[slot] = *detail;
	queue->detail[slot].generation = generation;
	word = control_word(to, slot, generation);
	*now = expected;
	/* Release: publishes the slot. Pairs with all acquire loads of the state word. */
	if (!atomic_compare_exchange_strong_explicit(
		&queue->state, now, word, memory_order_acq_rel, memory_order_acquire))
		return -EAGAIN;
	*now = word;
	return 0;
}

int
control_lock(struct control *control, uint64_t deadline_ns)
{
	const struct timespec pause = { .tv_nsec = LOCK_MS * 1000000L };

	while (flock(control->fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (clock_monotonic_ns() >= deadline_ns)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	/* Acquire: pairs with the release stores in end_segment() and control_disown(). A change in
	 * a segment without a router would have no effect. */
	if (atomic_load_explicit(&control->shared->router_pid, memory_order_acquire) != 0)
		return 0;
	control_unlock(control);
	return -ESRCH;
}

void
control_unlock(struct control *control)
{
	flock(control->fd, LOCK_UN);
}
