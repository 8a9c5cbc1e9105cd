#include "log/salvage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log/ids.h"
#include "telemetry/crash.h"

#define SECOND_NS UINT64_C(1000000000)

enum {
	BATCH_BYTES = 1 << 20, /* batches of the checkpoint, as large as a router's at most */
	PER_FRAME = 512,       /* entries or chunks in a frame */
	NAME_DIGITS = 16
};
#define CLOSE_BYTES      (2 * LOG_BLOCK_BYTES) /* commit record and pad */
#define ROOM_BYTES       (LOG_HEADER_BYTES + CLOSE_BYTES)
#define FRAMES_BYTES_MAX (LOG_SEGMENT_BYTES_LIMIT - ROOM_BYTES - LOG_BLOCK_BYTES)

/* The new log. */
struct copy {
	struct log_salvage *result;
	struct log_audit *audit;
	char dir[LOG_PATH_BYTES];
	uint64_t highest; /* highest number of a file of the old log; new numbers are above */
	uid_t owner;      /* of all files, as of the old log */
	gid_t group;
	uint64_t batch; /* number of all batches */

	/* The segment under construction, in memory. */
	const struct log_segment *from; /* source of the messages */
	struct log_segment_header header;
	uint8_t *image;
	uint64_t used, room;  /* bytes */
	uint64_t batch_start; /* offset; 0: no batch is open */
	uint64_t clock_ns;    /* clock_ns of the newest batch */
	struct log_segment_entry entry;
	bool damaged; /* `from` has a bad place */

	struct log_segment_entry *entries; /* finished segments, for the checkpoint */
	size_t entry_count;
	uint64_t last_sequence; /* of the last copied message */
	char *error;
	size_t error_bytes;
};

static int
complain(const struct copy *copy, int rc, const char *what)
{
	snprintf(copy->error, copy->error_bytes, "%s: %s", what, strerror(-rc));
	return rc;
}

static uint64_t
wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t
align_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) & ~(unit - 1);
}

static int
random_word(uint64_t *word)
{
	return getrandom(word, sizeof(*word), 0) == (ssize_t)sizeof(*word) ? 0 : -EIO;
}

/*
 * Files.
 */

static int
write_all(int fd, const uint8_t *data, uint64_t length)
{
	while (length > 0) {
		ssize_t n = write(fd, data, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		data += n;
		length -= (uint64_t)n;
	}
	return 0;
}

/* Writes and syncs a file of two pieces. The file belongs to the owner of the old log, also if root
 * salvages. */
static int
write_file(const struct copy *copy, const char *path, const void *head, uint64_t head_bytes,
    const void *data, uint64_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int rc;

	if (fd < 0)
		return complain(copy, -errno, path);
	rc = write_all(fd, head, head_bytes);
	if (rc == 0)
		rc = write_all(fd, data, bytes);
	if (rc == 0 && (fchown(fd, copy->owner, copy->group) != 0 || fsync(fd) != 0))
		rc = -errno;
	if (close(fd) != 0 && rc == 0)
		rc = -errno;
	return rc == 0 ? 0 : complain(copy, rc, path);
}

/*
 * Frames, batches, segments.
 */

static void
append(struct copy *copy, const struct log_frame *header, const void *payload)
{
	struct log_frame *frame = (void *)(copy->image + copy->used);

	*frame = *header;
	frame->flags &= (uint8_t)~LOG_FLAG_FIRST;
	if (copy->batch_start == 0) {
		frame->flags |= LOG_FLAG_FIRST;
		copy->batch_start = copy->used;
	}
	frame->batch = copy->batch;
	frame->salt = copy->header.salt;
	if (payload != NULL)
		memcpy(frame + 1, payload, frame->length);
	log_frame_set_checksums(frame);
	copy->used += log_frame_bytes(frame->length);
}

static void
append_new(
    struct copy *copy, enum log_type type, uint8_t flags, const void *payload, uint64_t length)
{
	struct log_frame frame = {
		.type = (uint8_t)type,
		.flags = flags,
		.length = (uint32_t)length,
	};

	append(copy, &frame, payload);
}

/* Closes the batch with a commit record, and a pad to the next block. */
static void
end_batch(struct copy *copy)
{
	struct {
		struct log_commit end;
		uint64_t log_id;
	} payload = {
		.end = { .batch = copy->batch,
		    .time_ns = wall_ns(),
		    .clock_ns = copy->clock_ns,
		    .start = copy->header.position + copy->batch_start,
		    .logs = 1 },
		.log_id = copy->header.log_id,
	};
	uint64_t pad;

	append_new(copy, LOG_COMMIT, 0, &payload, sizeof(payload));
	pad = log_pad_bytes(copy->used);
	if (pad > 0)
		append_new(copy, LOG_PAD, 0, NULL, pad - sizeof(struct log_frame));
	copy->batch_start = 0;
}

/* Begins a segment with room for so many bytes of frames. */
static int
begin_segment(struct copy *copy, uint64_t number, uint64_t bytes)
{
	copy->room = align_up(bytes, LOG_BLOCK_BYTES) + ROOM_BYTES;
	copy->image = calloc(1, copy->room);
	copy->used = LOG_HEADER_BYTES;
	copy->clock_ns = 0;
	copy->header.number = copy->header.last_number = number;
	copy->entry = (struct log_segment_entry){ .number = number, .last_number = number };
	return copy->image == NULL ? -ENOMEM : random_word(&copy->header.salt);
}

/* Writes the segment, with `room` empty bytes behind the data. The next segment has the next
 * position. */
static int
end_segment(struct copy *copy, uint64_t room)
{
	struct log_segment_header *header = &copy->header;
	char path[LOG_PATH_BYTES];
	uint8_t *zeros = calloc(1, room + 1);
	int rc;

	if (zeros == NULL)
		return complain(copy, -ENOMEM, copy->dir);
	header->size = header->span = copy->used + room;
	header->created_ns = wall_ns();
	log_segment_header_set_checksum(header);
	memcpy(copy->image, header, sizeof(*header));
	log_segment_path(path, copy->dir, header->number);
	rc = write_file(copy, path, copy->image, copy->used, zeros, room);
	free(zeros);
	header->position += header->span;
	copy->entry.data_bytes = copy->used;
	copy->entry.end_clock_ns =
	    copy->clock_ns + SECOND_NS; /* ids have times in seconds, rounded */
	CRASH_POINT("salvage.segment");
	return rc;
}

/*
 * Segments with messages.
 */

static int
begin_messages(struct copy *copy, uint64_t number)
{
	uint64_t bytes = copy->from->size;

	return begin_segment(copy, number, bytes < FRAMES_BYTES_MAX ? bytes : FRAMES_BYTES_MAX);
}

static int
note_entry(struct copy *copy)
{
	void *bigger = realloc(copy->entries, (copy->entry_count + 1) * sizeof(*copy->entries));

	if (bigger == NULL)
		return -ENOMEM;
	copy->entries = bigger;
	copy->entries[copy->entry_count++] = copy->entry;
	return 0;
}

static int
end_messages(struct copy *copy)
{
	int rc = 0;

	/* A later time is safe: deduplication then remembers the ids longer. The lost commit
	 * records of a damaged segment may have had any time up to the end of the log. */
	if (copy->damaged)
		copy->clock_ns = copy->audit->head.clock_ns;
	else if (log_segment_is_compacted(copy->from))
		copy->clock_ns = copy->from->end_clock_ns;
	if (copy->entry.messages > 0) {
		end_batch(copy);
		/* One empty block: a cursor behind the data must not point at the next segment. */
		rc = end_segment(copy, LOG_BLOCK_BYTES);
		if (rc == 0)
			rc = note_entry(copy);
	}
	free(copy->image);
	copy->image = NULL;
	return rc;
}

/* Goes on in another segment, for the messages of a segment that is too large. Such a segment is
 * compacted from several segments, so there are numbers enough. */
static int
begin_another(struct copy *copy)
{
	uint64_t number = copy->header.number + 1;
	int rc = end_messages(copy);

	if (rc == 0 && number > copy->highest + copy->from->last_number)
		rc = -EFBIG;
	return rc == 0 ? begin_messages(copy, number) : rc;
}

static bool
has_room(const struct copy *copy, const struct log_frame *frame)
{
	return copy->used + log_frame_bytes(frame->length) + CLOSE_BYTES <= copy->room;
}

static int
see_frame(void *context, const struct log_frame *frame, uint64_t position)
{
	const struct log_commit *commit = (const void *)(frame + 1);
	struct copy *copy = context;
	struct log_segment_entry *entry = &copy->entry;
	int rc = 0;

	(void)position;
	if (frame->type == LOG_COMMIT && commit->clock_ns > copy->clock_ns)
		copy->clock_ns = commit->clock_ns;
	if (!log_is_message(frame) || frame->sequence <= copy->last_sequence)
		return 0;
	if (!has_room(copy, frame))
		rc = begin_another(copy);
	if (rc != 0 || !has_room(copy, frame))
		return rc != 0 ? rc : -EFBIG;
	if (entry->messages++ == 0)
		entry->first_sequence = frame->sequence;
	entry->end_sequence = frame->sequence + 1;
	copy->last_sequence = frame->sequence;
	append(copy, frame, frame + 1);
	return 0;
}

static int
see_bad(void *context, size_t i, uint64_t offset, uint64_t end)
{
	struct copy *copy = context;

	(void)i, (void)offset, (void)end;
	copy->damaged = true;
	return 0;
}

static int
copy_segment(struct copy *copy, size_t i)
{
	struct log_visitor visitor = { .frame = see_frame, .context = copy };
	int rc;

	copy->from = &copy->audit->list.segments[i];
	copy->damaged = false;
	rc = begin_messages(copy, copy->highest + copy->from->number);
	if (rc == 0)
		rc = log_scan_segment(&copy->audit->scan, i, &visitor, NULL);
	if (rc == 0)
		rc = end_messages(copy);
	free(copy->image);
	copy->image = NULL;
	return rc;
}

/*
 * The last segment: a checkpoint.
 */

/* Settles every sequence below the new next_sequence without a live message: missing sequences, and
 * the gap between the old and the new next_sequence. */
static int
settle_rest(struct copy *copy)
{
	struct log_audit *audit = copy->audit;
	struct settled *settled = &audit->settled;
	uint64_t next = audit->head.next_sequence, covered;
	int64_t added = 0;

	for (size_t i = 0; added >= 0 && i < audit->missing_count; i++)
		added = settled_add_range(settled, audit->missing[i].first,
		    audit->missing[i].last - audit->missing[i].first + 1);
	/* The gap may be too large for chunks. Above the last chunk every sequence up to `highest`
	 * counts as settled, so settling the rest of the last chunk and one more is enough. */
	covered = align_up(next, SETTLED_CHUNK_BITS) + SETTLED_CHUNK_BITS;
	if (added >= 0)
		added = settled_add_range(settled, next, covered - next);
	if (added < 0)
		return (int)added;
	if (settled->low_watermark == settled->highest)
		settled->low_watermark = copy->result->next_sequence - 1;
	settled->highest = copy->result->next_sequence - 1;
	return 0;
}

static void
close_large_batch(struct copy *copy)
{
	if (copy->batch_start != 0 && copy->used - copy->batch_start > BATCH_BYTES)
		end_batch(copy);
}

static void
put_checkpoint(struct copy *copy)
{
	struct log_audit *audit = copy->audit;
	struct settled_chunk chunks[PER_FRAME];
	uint64_t base = 0;
	size_t n;

	audit->head.next_sequence = copy->result->next_sequence;
	audit->head.low_watermark = audit->settled.low_watermark;
	audit->head.highest = audit->settled.highest;
	append_new(copy, LOG_CHECKPOINT, 0, &audit->head, sizeof(audit->head));
	if (audit->has_state)
		append_new(copy, LOG_STATE, 0, &audit->state, sizeof(audit->state));
	if (audit->clock.end_sequence != 0)
		append_new(copy, LOG_CLOCK, 0, &audit->clock, sizeof(audit->clock));
	if (audit->received_count > 0)
		append_new(copy, LOG_RECEIVED, 0, audit->received,
		    audit->received_count * sizeof(*audit->received));
	for (size_t i = 0; i < copy->entry_count; i += n) {
		n = copy->entry_count - i < PER_FRAME ? copy->entry_count - i : PER_FRAME;
		append_new(copy, LOG_SEGMENTS, 0, &copy->entries[i], n * sizeof(*copy->entries));
		close_large_batch(copy);
	}
	do {
		n = settled_copy_chunks(&audit->settled, base, chunks, PER_FRAME);
		append_new(copy, LOG_UNSETTLED, 0, chunks, n * sizeof(*chunks));
		if (n > 0)
			base = chunks[n - 1].base + SETTLED_CHUNK_BITS;
		close_large_batch(copy);
	} while (n == PER_FRAME);
	append_new(copy, LOG_TOTALS, 0, &audit->totals, sizeof(audit->totals));
	if (copy->batch_start != 0)
		end_batch(copy);
}

static int
write_checkpoint(struct copy *copy, uint64_t number)
{
	const struct log_audit *audit = copy->audit;
	uint64_t bytes;
	int rc = settle_rest(copy);

	if (rc != 0)
		return rc;
	bytes = sizeof(audit->head) + sizeof(audit->state) +
	    audit->received_count * sizeof(*audit->received) +
	    copy->entry_count * sizeof(*copy->entries) +
	    audit->settled.count * sizeof(*audit->settled.chunks);
	/* Frame headers, commit records and pads take less than the addition. */
	rc = begin_segment(copy, number, bytes + bytes / 16 + BATCH_BYTES / 16);
	copy->clock_ns = audit->head.clock_ns;
	if (rc == 0) {
		put_checkpoint(copy);
		rc = copy->used + LOG_SEGMENT_BYTES_MIN <= LOG_SEGMENT_BYTES_LIMIT
		    ? end_segment(copy, LOG_SEGMENT_BYTES_MIN)
		    : -EFBIG;
	}
	free(copy->image);
	return rc;
}

/*
 * The new directory.
 */

/* Copies a file of ids, whatever its key: a missing key may be put back. Leaves out a file that is
 * damaged or of another version. */
static int
copy_ids(struct copy *copy, uint64_t number)
{
	struct log_ids_header header;
	char path[LOG_PATH_BYTES];
	struct log_id *ids;
	int rc =
	    log_ids_read(copy->audit->list.dir, copy->audit->list.log_id, number, &header, &ids);

	log_ids_path(path, copy->dir, number);
	if (rc != 0)
		return rc == -EBADMSG || rc == -ESTALE ? 0 : complain(copy, rc, path);
	rc = write_file(copy, path, &header, sizeof(header), ids, header.count * sizeof(*ids));
	free(ids);
	return rc;
}

/* Finds the highest number of the old log, at least 1. So no number is in both logs, and no new
 * number is 1: only the first segment of a log needs no checkpoint. */
static void
find_highest(struct copy *copy, const uint64_t *ids, size_t count)
{
	const struct log_list *list = &copy->audit->list;

	copy->highest = 1;
	for (size_t i = 0; i < list->count; i++)
		if (list->segments[i].last_number > copy->highest)
			copy->highest = list->segments[i].last_number;
	for (size_t i = 0; i < count; i++)
		if (ids[i] > copy->highest)
			copy->highest = ids[i];
}

static int
write_log(struct copy *copy)
{
	struct log_audit *audit = copy->audit;
	struct log_list *list = &audit->list;
	uint64_t *ids;
	size_t count;
	int rc = log_ids_list(list->dir, &ids, &count);

	if (rc != 0)
		return rc;
	audit->scan.bad = see_bad;
	audit->scan.bad_context = copy;
	find_highest(copy, ids, count);
	for (size_t i = 0; rc == 0 && i < list->count && i <= audit->tail.segment; i++)
		if (!log_audit_is_freed(audit, i))
			rc = copy_segment(copy, i);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = copy_ids(copy, ids[i]);
	if (rc == 0)
		rc = write_checkpoint(copy, 2 * copy->highest + 1);
	free(copy->entries);
	free(ids);
	return rc == 0 ? log_sync_dir(copy->dir) : rc;
}

/* Removes the copy of an earlier, interrupted salvage. Removes only names made by write_file(). */
static int
remove_unfinished(const struct copy *copy)
{
	DIR *dir = opendir(copy->dir);
	struct dirent *entry;
	int rc;

	if (dir == NULL)
		return errno == ENOENT ? 0 : -errno;
	while ((rc = log_next_entry(dir, &entry)) == 1)
		if (strlen(entry->d_name) == NAME_DIGITS + 4 &&
		    strspn(entry->d_name, "0123456789abcdef") == NAME_DIGITS)
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	if (rc != 0)
		return rc;
	return rmdir(copy->dir) == 0 ? 0 : -errno;
}

static int
make_dir(const struct copy *copy, const char *path, bool may_exist)
{
	if (mkdir(path, 0700) != 0)
		return errno == EEXIST && may_exist ? 0 : -errno;
	return chown(path, copy->owner, copy->group) == 0 ? 0 : -errno;
}

static int
make_dirs(struct copy *copy, const char *aside_dir, const char *name)
{
	struct stat st;
	int rc;

	if (stat(copy->audit->list.dir, &st) != 0)
		return complain(copy, -errno, copy->audit->list.dir);
	copy->owner = st.st_uid;
	copy->group = st.st_gid;
	snprintf(copy->dir, sizeof(copy->dir), "%.4000s/%.64s.new", aside_dir, name);
	rc = make_dir(copy, aside_dir, true);
	if (rc == 0)
		rc = remove_unfinished(copy);
	if (rc == 0)
		rc = make_dir(copy, copy->dir, false);
	return rc == 0 ? 0 : complain(copy, rc, copy->dir);
}

/* Syncs the directory that contains a path. */
static int
sync_parent(const char *path)
{
	char parent[LOG_PATH_BYTES];

	snprintf(parent, sizeof(parent), "%s", path);
	*strrchr(parent, '/') = '\0';
	return log_sync_dir(parent);
}

static int
put_in_place(struct copy *copy, const char *aside_dir, const char *name)
{
	const char *dir = copy->audit->list.dir;
	char *aside = copy->result->aside, stamp[32];
	time_t now = time(NULL);
	struct tm tm;
	int rc = -EEXIST;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	snprintf(aside, LOG_PATH_BYTES, "%.4000s/%.64s-%s", aside_dir, name, stamp);
	for (unsigned n = 2; rc == -EEXIST && n < 1000; n++) {
		rc = renameat2(AT_FDCWD, copy->dir, AT_FDCWD, aside, RENAME_NOREPLACE) == 0
		    ? 0
		    : -errno;
		if (rc == -EEXIST)
			snprintf(aside, LOG_PATH_BYTES, "%.4000s/%.64s-%s-%u", aside_dir, name,
			    stamp, n);
	}
	CRASH_POINT("salvage.named");
	if (rc == 0)
		rc = log_sync_dir(aside_dir);
	if (rc == 0) /* aside_dir may be new: its own name must last too */
		rc = sync_parent(aside_dir);
	if (rc == 0 && renameat2(AT_FDCWD, aside, AT_FDCWD, dir, RENAME_EXCHANGE) != 0)
		rc = -errno;
	CRASH_POINT("salvage.exchanged");
	if (rc == 0)
		rc = sync_parent(dir);
	if (rc == 0)
		rc = log_sync_dir(aside_dir);
	return rc == 0 ? 0 : complain(copy, rc, aside);
}

/* A sequence above all given sequences, even if the last given ones are lost, and after an earlier
 * salvage: the time in microseconds. Holds while a queue takes less than a message per
 * microsecond. */
static uint64_t
far_above(uint64_t next_sequence)
{
	uint64_t by_time = wall_ns() / 1000, by_number = next_sequence + UINT32_MAX;

	return align_up(by_time > by_number ? by_time : by_number, SETTLED_CHUNK_BITS);
}

/* The highest batch that counts. That is the highest batch, although incomplete, if it is synced
 * and a later batch was begun: then it was written everywhere (log_decision_lost(), case 4). */
static uint64_t
last_batch(const struct log_decision *decision)
{
	return decision->synced && decision->highest_begun > decision->highest
	    ? decision->highest
	    : decision->recovery_point;
}

int
log_salvage(struct log_salvage *salvage, struct log_audit *audit,
    const struct log_decision *decision, const char *aside_dir, const char *name, char *error,
    size_t error_bytes)
{
	struct copy copy = {
		.result = salvage,
		.audit = audit,
		.batch = last_batch(decision),
		.header = { .log_id = audit->list.log_id, .position = LOG_BLOCK_BYTES },
		.error = error,
		.error_bytes = error_bytes,
	};
	int rc = 0;

	error[0] = '\0';
	*salvage = (struct log_salvage){
		.waiting = audit->waiting,
		.next_sequence = far_above(audit->head.next_sequence),
		.new_id = audit->list.log_id == 0,
	};
	if (salvage->new_id)
		rc = random_word(&copy.header.log_id);
	if (salvage->new_id)
		copy.header.log_id = copy.header.log_id >> 1 | 1;
	if (decision->highest == 0)
		copy.batch = 1;
	if (rc == 0 && copy.batch == 0) {
		snprintf(error, error_bytes,
		    "%s: nothing in it was ever acknowledged: move it away", audit->list.dir);
		return -ENODATA;
	}
	snprintf(copy.header.queue, sizeof(copy.header.queue), "%.63s", name);
	if (rc == 0)
		rc = make_dirs(&copy, aside_dir, name);
	CRASH_POINT("salvage.begun");
	if (rc == 0)
		rc = write_log(&copy);
	CRASH_POINT("salvage.written");
	if (rc == 0)
		rc = put_in_place(&copy, aside_dir, name);
	if (rc != 0 && error[0] == '\0')
		complain(&copy, rc, copy.dir);
	return rc;
}
