#include "router/upkeep/compactor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/container_of.h"
#include "log/ids.h"
#include "message/envelope.h"
#include "router/delivery/cursor.h"
#include "router/journal/segments.h"
#include "router/queue/index.h"
#include "router/queue/queue.h"
#include "telemetry/crash.h"
#include "telemetry/event.h"

enum {
	READ_BYTES = 512 << 10,
	IN_BYTES = 4 << 20,  /* holds the longest frame and more */
	OUT_BYTES = 4 << 20, /* likewise; written when it is half full */
	IDS_WRITE_BYTES = 1 << 20,
	LOOK_NS = 100000000,  /* between looks for something to do */
	WAIT_NS = 1000000000, /* for settlements of one queue: others have something, too */
	RETRY_NS = 5000000000 /* after a job that failed, e.g. for want of space */
};
#define WORTH_BYTES LOG_SEGMENT_BYTES_MIN /* what a compaction must win at least */
/* A compaction is begun when it is to copy so much at most. Live messages may be longer than others: it ends with
 * nothing changed when they take more than twice that. */
#define COMPACTED_BYTES_MAX (LOG_SEGMENT_BYTES_MAX / 2)

enum step {
	IDLE,
	WAITING,
	READING,
	WRITING_MESSAGES,
	WRITING_IDS,
	WRITING_HEADER,
	WAITING_TO_FREE
};

struct compactor {
	struct router *router;
	enum step step;
	unsigned turn;       /* queue to look at first */
	uint64_t not_before; /* CLOCK_MONOTONIC */
	struct io_request request;
	int64_t result; /* of the request that ended last */

	/* The job. */
	struct queue *queue;
	size_t first, count;    /* in queue->writer.old */
	uint64_t settled;       /* this many settlements must be durable ... */
	uint64_t wait_until_ns; /* ... by then */
	bool compacts;          /* there are live messages in them */
	bool keep_ids;

	/* What is read. */
	size_t at; /* segment */
	struct {
		int fd;
		uint8_t *data;
		size_t start, end;
		uint64_t offset; /* in the segment, behind end */
	} in;

	/* The ids: a header's room, then struct log_id. */
	struct {
		int fd;
		uint8_t *data;
		size_t bytes, capacity, written;
		size_t batch; /* where those of the batch being read begin */
		uint32_t newest_clock_s;
		bool made_room; /* for them */
	} ids;

	/* The new segment. */
	struct log_segment segment;
	bool in_place; /* it has the name of the first that it replaces */
	struct {
		int fd;
		uint8_t *data;
		size_t used;
		uint64_t offset; /* in the file, of the first byte of data */
	} out;
	uint64_t batch;      /* number of the batch that it is; 0: nothing copied yet */
	uint64_t live_bytes; /* of all live messages that were found */
	uint64_t segment_live, segment_live_bytes; /* those of the segment that is read */
};

static void
request_done(struct io_request *request, int64_t result)
{
	struct compactor *compactor = CONTAINER_OF(request, struct compactor, request);

	compactor->result = result;
}

struct compactor *
compactor_new(struct router *router)
{
	struct compactor *compactor = calloc(1, sizeof(*compactor));

	if (compactor == NULL)
		return NULL;
	compactor->router = router;
	compactor->request.done = request_done;
	compactor->in.fd = compactor->out.fd = compactor->ids.fd = -1;
	return compactor;
}

/*
 * The end of a job.
 */

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		io_close(*fd);
	*fd = -1;
}

static void
new_segment_path(const struct compactor *compactor, char path[LOG_PATH_BYTES])
{
	log_segment_path(path, compactor->queue->writer.dir, compactor->segment.number);
	strncat(path, ".new", LOG_PATH_BYTES - strlen(path) - 1);
}

static void
new_ids_path(const struct compactor *compactor, uint64_t number, char path[LOG_PATH_BYTES])
{
	log_ids_path(path, compactor->queue->writer.dir, number);
	strncat(path, ".new", LOG_PATH_BYTES - strlen(path) - 1);
}

static void
end_job(struct compactor *compactor)
{
	close_fd(&compactor->in.fd);
	close_fd(&compactor->out.fd);
	close_fd(&compactor->ids.fd);
	free(compactor->in.data);
	free(compactor->ids.data);
	free(compactor->out.data);
	compactor->in.data = compactor->ids.data = compactor->out.data = NULL;
	compactor->step = IDLE;
}

/* Number in the name of the job's .ids file: the last of those whose ids it holds. */
static uint64_t
ids_number(const struct compactor *compactor)
{
	return compactor->queue->writer.old[compactor->first + compactor->count - 1].number;
}

/* Nothing was lost: the old segments are all there. */
static void
undo_job(struct compactor *compactor)
{
	char path[LOG_PATH_BYTES];

	if (compactor->out.fd >= 0) {
		new_segment_path(compactor, path);
		io_unlink(path);
	}
	if (compactor->ids.fd >= 0) {
		new_ids_path(compactor, ids_number(compactor), path);
		io_unlink(path);
	}
	end_job(compactor);
}

static void
fail_job(struct compactor *compactor, int rc)
{
	event(EVENT_WARN, "log.not_cleaned", "s:queue", compactor->queue->config->name, "s:error",
	    strerror(-rc), NULL);
	undo_job(compactor);
	compactor->not_before = io_monotonic_ns() + RETRY_NS;
}

void
compactor_free(struct compactor *compactor)
{
	if (compactor == NULL)
		return;
	while (compactor->request.pending &&
	    compactor->router->io->operations->run(compactor->router->io, 100000000) == 0)
		;
	if (compactor->step != IDLE && compactor->step != WAITING)
		fail_job(compactor, -ECANCELED);
	free(compactor);
}

/*
 * Choosing.
 */

static bool
in_window(const struct queue *queue, const struct log_segment *segment)
{
	const struct config_topic *topic = queue->router->topics[queue->topic].config;

	return router_clock_ns(queue->router) <=
	    segment->end_clock_ns + topic->dedup_window_ns + 1000000000;
}

static uint64_t
count_live(const struct queue *queue, const struct log_segment *segment)
{
	return settled_count_live(&queue->settled, segment->first_sequence, segment->end_sequence);
}

/* Segments side by side with no live messages. One at a time while their ids are needed. */
static bool
choose_empty(struct compactor *compactor, struct queue *queue)
{
	const struct writer *writer = &queue->writer;
	size_t i = 0;

	while (i < writer->old_count && count_live(queue, &writer->old[i]) > 0)
		i++;
	if (i == writer->old_count)
		return false;
	compactor->first = i;
	compactor->count = 1;
	compactor->compacts = false;
	compactor->keep_ids =
	    in_window(queue, &writer->old[i]) && !log_segment_is_compacted(&writer->old[i]);
	return true;
}

/* Bytes of a segment's live messages, about: as all of its messages, or as when they were read. */
static uint64_t
live_bytes(const struct queue *queue, const struct log_segment *segment)
{
	uint64_t each = segment->live_mean_bytes;

	if (each == 0 && segment->messages > 0)
		each = segment->data_bytes / segment->messages + 1;
	return count_live(queue, segment) * each;
}

/* Segments that delivery has passed long ago, side by side, of which one can take the live messages. */
static bool
choose_sparse(struct compactor *compactor, struct queue *queue)
{
	const struct writer *writer = &queue->writer;
	size_t passed = 0;

	while (passed < writer->old_count &&
	    writer->old[passed].end_sequence <= queue->settled.highest)
		passed++;
	for (size_t i = 0; i + 2 <= passed; i++) {
		uint64_t live = 0, total = 0;
		size_t j = i;

		for (; j + 1 < passed; j++) {
			uint64_t more = live_bytes(queue, &writer->old[j]);

			if (live + more > COMPACTED_BYTES_MAX)
				break;
			live += more;
			total += writer->old[j].size;
		}
		if (2 * live > total || total - live < WORTH_BYTES)
			continue;
		compactor->first = i;
		compactor->count = j - i;
		compactor->compacts = true;
		compactor->keep_ids = in_window(queue, &writer->old[j - 1]);
		return true;
	}
	return false;
}

/* How many settlements must be durable. When an empty segment is tried again it needs no more of them. */
static void
want_settled(const struct compactor *compactor, struct queue *queue)
{
	uint64_t segment = compactor->compacts ? 0 : queue->writer.old[compactor->first].number;

	if (segment == 0 || queue->logged.wanted_segment != segment)
		queue->logged.wanted_settled = queue->logged.settled_count;
	queue->logged.wanted_segment = segment;
}

static bool
choose(struct compactor *compactor)
{
	struct router *router = compactor->router;

	for (unsigned i = 0; i < router->queue_count; i++) {
		unsigned turn = (compactor->turn + i) % router->queue_count;
		struct queue *queue = &router->queues[turn];

		if (queue->logged.durable.checkpoint != queue->writer.active.segment.number ||
		    (!choose_empty(compactor, queue) && !choose_sparse(compactor, queue)))
			continue;
		compactor->turn = turn + 1;
		compactor->queue = queue;
		want_settled(compactor, queue);
		compactor->settled = queue->logged.wanted_settled;
		compactor->wait_until_ns = io_monotonic_ns() + WAIT_NS;
		compactor->step = WAITING;
		return true;
	}
	return false;
}

/*
 * Copying.
 */

static int
grow_ids(struct compactor *compactor, size_t bytes)
{
	size_t more = compactor->ids.capacity ? 2 * compactor->ids.capacity : 1 << 16;
	void *bigger;

	if (compactor->ids.bytes + bytes <= compactor->ids.capacity)
		return 0;
	bigger = realloc(compactor->ids.data, more);
	if (bigger == NULL)
		return -ENOMEM;
	compactor->ids.data = bigger;
	compactor->ids.capacity = more;
	return 0;
}

static int
keep_id(struct compactor *compactor, const struct log_frame *frame)
{
	const struct dedup *dedup = compactor->router->topics[compactor->queue->topic].dedup;
	struct envelope envelope;
	struct dedup_hash hash;
	struct log_id id = { .clock_s = 0 };

	if (envelope_open(&envelope, frame + 1, frame->length, ENVELOPE_BODY_BYTES_MAX, NULL) !=
		0 ||
	    envelope.dedup_id.data == NULL)
		return 0;
	if (grow_ids(compactor, sizeof(id)) != 0)
		return -ENOMEM;
	hash = dedup_hash(
	    dedup, envelope.dedup_is_hash, envelope.dedup_id.data, envelope.dedup_id.length);
	memcpy(id.hash, hash.word, sizeof(id.hash));
	memcpy(compactor->ids.data + compactor->ids.bytes, &id, sizeof(id));
	compactor->ids.bytes += sizeof(id);
	return 0;
}

/* A batch ended: now it is known when its messages came. */
static void
date_ids(struct compactor *compactor, const struct log_frame *frame)
{
	const struct log_commit *end = (const void *)(frame + 1);
	uint32_t clock_s = (uint32_t)(end->clock_ns / 1000000000 + 1);

	for (; compactor->ids.batch < compactor->ids.bytes;
	     compactor->ids.batch += sizeof(struct log_id))
		memcpy(
		    compactor->ids.data + compactor->ids.batch + offsetof(struct log_id, clock_s),
		    &clock_s, sizeof(clock_s));
	if (clock_s > compactor->ids.newest_clock_s)
		compactor->ids.newest_clock_s = clock_s;
}

static struct log_frame *
place(struct compactor *compactor, enum log_type type, uint32_t length)
{
	struct log_frame *frame = (void *)(compactor->out.data + compactor->out.used);

	memset(frame, 0, log_frame_bytes(length));
	*frame = (struct log_frame){
		.length = length,
		.type = (uint8_t)type,
		.batch = compactor->batch,
		.salt = compactor->segment.salt,
	};
	return frame;
}

static void
finish_frame(struct compactor *compactor, struct log_frame *frame)
{
	log_frame_set_checksums(frame);
	compactor->out.used += log_frame_bytes(frame->length);
}

static void
copy_message(struct compactor *compactor, const struct log_frame *from)
{
	bool first = compactor->batch == 0;
	struct log_frame *frame;

	if (first)
		compactor->batch = from->batch;
	frame = place(compactor, (enum log_type)from->type, from->length);
	frame->flags = first ? LOG_FLAG_FIRST : 0;
	frame->sequence = from->sequence;
	frame->group_hash = from->group_hash;
	memcpy(frame + 1, from + 1, from->length);
	finish_frame(compactor, frame);
	if (compactor->segment.messages++ == 0)
		compactor->segment.first_sequence = from->sequence;
	compactor->segment.end_sequence = from->sequence + 1;
}

/* What is more than a segment takes is only counted. */
static void
take_live(struct compactor *compactor, const struct log_frame *frame)
{
	uint64_t bytes = log_frame_bytes(frame->length);

	compactor->segment_live++;
	compactor->segment_live_bytes += bytes;
	compactor->live_bytes += bytes;
	if (compactor->live_bytes <= LOG_SEGMENT_BYTES_MAX)
		copy_message(compactor, frame);
}

static int
take_frame(struct compactor *compactor, const struct log_frame *frame)
{
	const struct log_segment *segment = &compactor->queue->writer.old[compactor->at];

	if (frame->type == LOG_COMMIT)
		date_ids(compactor, frame);
	if (!log_is_message(frame))
		return 0;
	if (compactor->compacts && !settled_has(&compactor->queue->settled, frame->sequence))
		take_live(compactor, frame);
	/* The ids of a compacted segment were kept before; what was transferred is in no window. */
	return compactor->keep_ids && frame->type == LOG_MESSAGE &&
		!log_segment_is_compacted(segment)
	    ? keep_id(compactor, frame)
	    : 0;
}

/* Takes the whole frames that were read. Returns 1 when more must be read, 0 when what is to be written
 * must be written first, or -errno. */
static int
take_frames(struct compactor *compactor)
{
	const struct log_segment *segment = &compactor->queue->writer.old[compactor->at];
	int rc;

	while (compactor->in.end - compactor->in.start >= sizeof(struct log_frame)) {
		const struct log_frame *frame =
		    (const void *)(compactor->in.data + compactor->in.start);
		size_t have = compactor->in.end - compactor->in.start;
		enum log_frame_view view;

		if (compactor->out.used > OUT_BYTES / 2)
			return 0;
		view = log_frame_at(frame, have, segment->salt);
		if (view == LOG_FRAME_MORE && frame->length <= IN_BYTES / 2)
			return 1;
		if (view != LOG_FRAME_WHOLE)
			return -EBADMSG;
		rc = take_frame(compactor, frame);
		if (rc != 0)
			return rc;
		compactor->in.start += log_frame_bytes(frame->length);
	}
	return 1;
}

static int
open_next(struct compactor *compactor)
{
	const struct writer *writer = &compactor->queue->writer;
	char path[LOG_PATH_BYTES];

	close_fd(&compactor->in.fd);
	log_segment_path(path, writer->dir, writer->old[compactor->at].number);
	compactor->in.fd = file_open(path, O_RDONLY, 0);
	compactor->in.start = compactor->in.end = 0;
	compactor->in.offset = LOG_HEADER_BYTES;
	return compactor->in.fd < 0 ? -errno : 0;
}

static void
read_more(struct compactor *compactor)
{
	const struct log_segment *segment = &compactor->queue->writer.old[compactor->at];
	struct io *io = compactor->router->io;
	size_t keep = compactor->in.end - compactor->in.start;
	uint64_t left = segment->data_bytes - compactor->in.offset;

	memmove(compactor->in.data, compactor->in.data + compactor->in.start, keep);
	compactor->in.start = 0;
	compactor->in.end = keep;
	io->operations->read(io, compactor->in.fd, compactor->in.data + keep,
	    left < READ_BYTES ? left : READ_BYTES, (int64_t)compactor->in.offset,
	    &compactor->request);
}

static void
write_messages(struct compactor *compactor)
{
	struct io *io = compactor->router->io;

	compactor->step = WRITING_MESSAGES;
	io->operations->write(io, compactor->out.fd, compactor->out.data,
	    compactor->out.used & ~(size_t)(LOG_BLOCK_BYTES - 1), (int64_t)compactor->out.offset,
	    &compactor->request);
}

/* Whoever chooses next knows it. */
static void
note_live(struct compactor *compactor)
{
	struct log_segment *segment = &compactor->queue->writer.old[compactor->at];

	if (compactor->segment_live > 0)
		segment->live_mean_bytes =
		    compactor->segment_live_bytes / compactor->segment_live + 1;
	compactor->segment_live = compactor->segment_live_bytes = 0;
}

/* What is left of a segment after it was read to its end is a piece of a frame: damage. */
static int
finish_segment(struct compactor *compactor)
{
	if (compactor->in.start != compactor->in.end)
		return -EBADMSG;
	posix_fadvise(compactor->in.fd, 0, 0, POSIX_FADV_DONTNEED);
	note_live(compactor);
	compactor->at++;
	return compactor->at < compactor->first + compactor->count ? open_next(compactor) : 0;
}

/*
 * Writing.
 */

static int
open_out(struct compactor *compactor)
{
	const struct writer *writer = &compactor->queue->writer;
	const struct log_segment *first = &writer->old[compactor->first];
	const struct log_segment *last = first + compactor->count - 1;
	char path[LOG_PATH_BYTES];

	compactor->segment = (struct log_segment){
		.number = first->number,
		.last_number = last->last_number,
		.position = first->position,
		.span = last->position + last->span - first->position,
		.end_clock_ns = last->end_clock_ns,
		.created_ns = first->created_ns,
	};
	io_random(&compactor->segment.salt, sizeof(compactor->segment.salt));
	compactor->out.data = aligned_alloc(LOG_BLOCK_BYTES, OUT_BYTES);
	if (compactor->out.data == NULL)
		return -ENOMEM;
	new_segment_path(compactor, path);
	compactor->out.fd = io_open_log(path, true, writer->direct);
	compactor->out.offset = LOG_HEADER_BYTES;
	compactor->out.used = 0;
	compactor->batch = 0;
	return compactor->out.fd < 0 ? compactor->out.fd : 0;
}

/* The copied messages are one batch: its end, and a pad to the file's end. */
static void
end_messages(struct compactor *compactor)
{
	struct {
		struct log_commit end;
		uint64_t log_id;
	} payload = {
		.end = {
			.batch = compactor->batch,
			.time_ns = io_wall_ns(),
			.clock_ns = compactor->segment.end_clock_ns,
			.start = compactor->segment.position + LOG_HEADER_BYTES,
			.logs = 1,
		},
		.log_id = compactor->queue->writer.log_id,
	};
	struct log_frame *frame = place(compactor, LOG_COMMIT, sizeof(payload));
	uint64_t pad;

	memcpy(frame + 1, &payload, sizeof(payload));
	finish_frame(compactor, frame);
	pad = log_pad_bytes(compactor->out.used);
	if (pad > 0)
		finish_frame(compactor,
		    place(compactor, LOG_PAD, (uint32_t)(pad - sizeof(struct log_frame))));
}

/* What no reader accepts gets neither header nor name. */
static int
write_header(struct compactor *compactor)
{
	struct log_segment *segment = &compactor->segment;
	struct io *io = compactor->router->io;
	const struct writer *writer = &compactor->queue->writer;
	struct log_segment_header header;
	int rc;

	segment->size = segment->data_bytes = compactor->out.offset;
	log_segment_make_header(segment, writer->log_id, writer->queue, &header);
	rc = log_segment_header_check(&header);
	if (rc != 0)
		return rc;
	memset(compactor->out.data, 0, LOG_HEADER_BYTES);
	memcpy(compactor->out.data, &header, sizeof(header));
	compactor->step = WRITING_HEADER;
	io->operations->write(
	    io, compactor->out.fd, compactor->out.data, LOG_HEADER_BYTES, 0, &compactor->request);
	return 0;
}

static void
write_ids(struct compactor *compactor)
{
	struct io *io = compactor->router->io;
	size_t left = compactor->ids.bytes - compactor->ids.written;

	io->operations->write(io, compactor->ids.fd, compactor->ids.data + compactor->ids.written,
	    left < IDS_WRITE_BYTES ? left : IDS_WRITE_BYTES, (int64_t)compactor->ids.written,
	    &compactor->request);
}

/* The disk is full. The segments that are about to go have left room for their ids behind the messages; what
 * logs keep to be used again goes, too. Once in a job. */
static int
make_room(struct compactor *compactor)
{
	if (compactor->ids.made_room)
		return -ENOSPC;
	compactor->ids.made_room = true;
	queue_disk_full(&compactor->queue->writer);
	for (size_t i = 0; i < compactor->count; i++) /* where the file system can do that */
		segments_punch(&compactor->queue->writer, compactor->first + i);
	return 0;
}

static int
begin_ids(struct compactor *compactor)
{
	struct log_ids_header *header = (void *)compactor->ids.data;
	char path[LOG_PATH_BYTES];

	*header = (struct log_ids_header){
		.log_id = compactor->queue->writer.log_id,
		.number = ids_number(compactor),
		.key = compactor->router->key,
		.newest_clock_s = compactor->ids.newest_clock_s,
		.count = (compactor->ids.bytes - sizeof(*header)) / sizeof(struct log_id),
	};
	log_ids_set_checksums(header, (const void *)(header + 1));
	new_ids_path(compactor, header->number, path);
	compactor->ids.fd = io_open_log(path, true, false);
	if (io_is_full(compactor->ids.fd) && make_room(compactor) == 0)
		compactor->ids.fd = io_open_log(path, true, false);
	if (compactor->ids.fd < 0)
		return compactor->ids.fd;
	compactor->step = WRITING_IDS;
	compactor->ids.written = 0;
	write_ids(compactor);
	return 0;
}

static int
finish_ids(struct compactor *compactor)
{
	const char *dir = compactor->queue->writer.dir;
	char from[LOG_PATH_BYTES], to[LOG_PATH_BYTES];
	int rc;

	new_ids_path(compactor, ids_number(compactor), from);
	log_ids_path(to, dir, ids_number(compactor));
	close_fd(&compactor->ids.fd);
	CRASH_POINT("ids.written");
	rc = io_rename(from, to);
	CRASH_POINT("ids.renamed");
	if (rc == 0)
		rc = log_sync_dir(dir);
	CRASH_POINT("ids.durable");
	return rc == 0
	    ? queue_add_ids(compactor->queue, ids_number(compactor), compactor->ids.newest_clock_s)
	    : rc;
}

/*
 * Freeing.
 */

/* The new segment has its name: there is no way back. A sync that cannot even begin, for want of a descriptor, is
 * tried again; one that failed is final, as each is. */
static void
sync_later(struct compactor *compactor, int rc)
{
	compactor->step = WAITING_TO_FREE;
	if (rc != -EMFILE && rc != -ENFILE && rc != -ENOMEM && rc != -EINTR)
		compactor->router->failed = rc;
}

/* The new segment takes the place of the first of those that it replaces. */
static int
take_place(struct compactor *compactor)
{
	const char *dir = compactor->queue->writer.dir;
	char from[LOG_PATH_BYTES], to[LOG_PATH_BYTES];
	int rc = 0;

	if (!compactor->in_place) {
		new_segment_path(compactor, from);
		log_segment_path(to, dir, compactor->segment.number);
		close_fd(&compactor->out.fd);
		CRASH_POINT("compactor.header_written");
		rc = io_rename(from, to);
		CRASH_POINT("compactor.renamed");
	}
	compactor->in_place = rc == 0;
	if (rc == 0)
		rc = log_sync_dir(dir);
	CRASH_POINT("compactor.durable");
	return rc;
}

static int
free_segments(struct compactor *compactor)
{
	struct queue *queue = compactor->queue;
	const struct log_segment *segment =
	    compactor->segment.messages > 0 ? &compactor->segment : NULL;
	uint64_t bytes = segments_bytes(&queue->writer);
	int rc = segment != NULL ? take_place(compactor) : 0;

	if (rc != 0 && compactor->in_place) {
		sync_later(compactor, rc);
		return 0;
	}
	if (rc != 0)
		return rc;
	queue->logged.wanted_segment = 0;
	rc = segments_free(&queue->writer, compactor->first, compactor->count, segment);
	/* An open checkpoint tells of those that moved up once more, rather than not of as many behind. */
	if (queue->checkpoint.entry > compactor->first)
		queue->checkpoint.entry = compactor->first;
	if (rc == 0)
		rc = log_sync_dir(queue->writer.dir);
	CRASH_POINT("segments.given_back");
	if (segment != NULL) {
		index_move(queue, segment->position, segment->position + segment->span,
		    segment->first_sequence);
		cursor_rewind(queue, segment);
	}
	event(EVENT_DEBUG, "log.cleaned", "s:queue", queue->config->name, "u:segments",
	    (uint64_t)compactor->count, "u:messages_moved", compactor->segment.messages,
	    "u:bytes_freed", bytes - segments_bytes(&queue->writer), NULL);
	end_job(compactor);
	return rc;
}

/* What was settled while the rest was copied is not among it: that must be on disk before the only copy of
 * these messages goes. */
static void
wait_to_free(struct compactor *compactor)
{
	struct queue *queue = compactor->queue;

	compactor->settled = queue->logged.settled_count;
	if (queue->logged.wanted_settled < compactor->settled)
		queue->logged.wanted_settled = compactor->settled;
	compactor->wait_until_ns = io_monotonic_ns() + WAIT_NS;
	compactor->step = WAITING_TO_FREE;
}

/* All is read and the messages are written: the ids, then the header, then free. */
static int
finish_copy(struct compactor *compactor)
{
	if (compactor->ids.bytes > sizeof(struct log_ids_header) && compactor->ids.written == 0)
		return begin_ids(compactor);
	if (compactor->segment.messages > 0) {
		CRASH_POINT("compactor.copied");
		return write_header(compactor);
	}
	if (compactor->out.fd >= 0) { /* the last live message has been settled meanwhile */
		char path[LOG_PATH_BYTES];

		close_fd(&compactor->out.fd);
		new_segment_path(compactor, path);
		io_unlink(path);
	}
	if (!compactor->compacts)
		return free_segments(compactor);
	wait_to_free(compactor);
	return 0;
}

/*
 * The steps.
 */

static int
begin_copy(struct compactor *compactor)
{
	int rc = 0;

	compactor->segment = (struct log_segment){ 0 };
	compactor->ids.bytes = compactor->ids.capacity = compactor->ids.written = 0;
	compactor->ids.newest_clock_s = 0;
	compactor->live_bytes = compactor->segment_live = compactor->segment_live_bytes = 0;
	compactor->ids.made_room = compactor->in_place = false;
	if (!compactor->compacts && !compactor->keep_ids)
		return free_segments(compactor);
	compactor->at = compactor->first;
	compactor->in.data = malloc(IN_BYTES);
	if (compactor->in.data == NULL || grow_ids(compactor, sizeof(struct log_ids_header)) != 0)
		return -ENOMEM;
	compactor->ids.bytes = compactor->ids.batch = sizeof(struct log_ids_header);
	if (compactor->compacts)
		rc = open_out(compactor);
	if (rc == 0)
		rc = open_next(compactor);
	if (rc != 0)
		return rc;
	compactor->step = READING;
	read_more(compactor);
	return 0;
}

/* Goes on after something was read, or after room was made for what is copied. */
static int
go_on_reading(struct compactor *compactor)
{
	const struct writer *writer = &compactor->queue->writer;
	int rc = take_frames(compactor);

	if (rc == 0)
		write_messages(compactor);
	if (rc <= 0)
		return rc;
	if (compactor->in.offset == writer->old[compactor->at].data_bytes) {
		rc = finish_segment(compactor);
		if (rc != 0)
			return rc;
		if (compactor->live_bytes > LOG_SEGMENT_BYTES_MAX) {
			undo_job(compactor);
			return 0;
		}
	}
	compactor->step = READING;
	if (compactor->at < compactor->first + compactor->count) {
		read_more(compactor);
		return 0;
	}
	if (compactor->segment.messages == 0)
		return finish_copy(compactor);
	end_messages(compactor);
	write_messages(compactor);
	return 0;
}

static int
messages_written(struct compactor *compactor)
{
	size_t written = (size_t)compactor->result;

	compactor->out.used -= written;
	compactor->out.offset += written;
	memmove(compactor->out.data, compactor->out.data + written, compactor->out.used);
	if (written % LOG_BLOCK_BYTES != 0)
		return -EIO;
	if (compactor->at < compactor->first + compactor->count)
		return go_on_reading(compactor);
	if (compactor->out.used > 0) {
		write_messages(compactor);
		return 0;
	}
	return finish_copy(compactor);
}

static int
ids_written(struct compactor *compactor)
{
	int rc;

	compactor->ids.written += (size_t)compactor->result;
	if (compactor->ids.written < compactor->ids.bytes) {
		write_ids(compactor);
		return 0;
	}
	rc = finish_ids(compactor);
	return rc == 0 ? finish_copy(compactor) : rc;
}

static int
go_on(struct compactor *compactor)
{
	if (compactor->step == WRITING_IDS && io_is_full((int)compactor->result)) {
		int rc = make_room(compactor);

		if (rc == 0)
			write_ids(compactor);
		return rc;
	}
	if (compactor->step != WAITING && compactor->step != WAITING_TO_FREE &&
	    compactor->result <= 0)
		return compactor->result < 0 ? (int)compactor->result : -EIO;
	switch (compactor->step) {
	case WAITING:
		return begin_copy(compactor);
	case READING:
		compactor->in.end += (size_t)compactor->result;
		compactor->in.offset += (size_t)compactor->result;
		return go_on_reading(compactor);
	case WRITING_MESSAGES:
		return messages_written(compactor);
	case WRITING_IDS:
		return ids_written(compactor);
	case WRITING_HEADER:
		if (compactor->result != LOG_HEADER_BYTES)
			return -EIO;
		wait_to_free(compactor);
		return 0;
	case WAITING_TO_FREE:
		return free_segments(compactor);
	case IDLE:
		break;
	}
	return 0;
}

/* Removes the .ids files that are older than the window. */
static void
drop_ids(struct queue *queue)
{
	const struct config_topic *topic = queue->router->topics[queue->topic].config;
	uint32_t now_s = router_seconds(queue->router);
	size_t kept = 0;

	for (size_t i = 0; i < queue->ids.count; i++) {
		char path[LOG_PATH_BYTES];
		int rc = -EAGAIN;

		log_ids_path(path, queue->writer.dir, queue->ids.files[i].number);
		if (now_s >
		    queue->ids.files[i].newest_clock_s + topic->dedup_window_ns / 1000000000 + 1)
			rc = io_unlink(path);
		if (rc == 0)
			CRASH_POINT("ids.dropped");
		if (rc != 0 && rc != -ENOENT)
			queue->ids.files[kept++] = queue->ids.files[i];
	}
	queue->ids.count = kept;
}

bool
compactor_step(struct compactor *compactor)
{
	int rc;

	if (compactor->request.pending)
		return false;
	if (compactor->step == IDLE) {
		uint64_t now_ns = io_monotonic_ns();

		if (now_ns < compactor->not_before)
			return false;
		for (unsigned i = 0; i < compactor->router->queue_count; i++)
			drop_ids(&compactor->router->queues[i]);
		compactor->not_before = now_ns + LOOK_NS;
		if (!choose(compactor))
			return false;
	}
	if ((compactor->step == WAITING || compactor->step == WAITING_TO_FREE) &&
	    compactor->queue->logged.durable.settled < compactor->settled) {
		if (io_monotonic_ns() <= compactor->wait_until_ns)
			return false;
		/* Its log is short of room. */
		if (compactor->step == WAITING_TO_FREE)
			fail_job(compactor, -EAGAIN);
		compactor->step = IDLE;
		return false;
	}
	CRASH_POINT("compactor.step");
	rc = go_on(compactor);
	if (rc != 0)
		fail_job(compactor, rc);
	else if (compactor->step == IDLE)
		compactor->not_before = 0; /* perhaps there is more */
	return compactor->step == IDLE;
}
