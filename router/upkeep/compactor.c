#include "router/upkeep/compactor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log/ids.h"
#include "message/envelope.h"
#include "router/delivery/delivery.h"
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
#define WORTH_BYTES LOG_SEGMENT_BYTES_MIN /* what a move must win at least */
/* A move is begun when it is to copy so much at most; what is left may be longer than others, and then it ends
 * without having moved anything when there is more than twice that. */
#define MOVED_BYTES_MAX (LOG_SEGMENT_BYTES_MAX / 2)

enum step {
	IDLE,
	WAITING,
	READING,
	WRITING_MESSAGES,
	WRITING_IDS,
	WRITING_HEADER,
	WAITING_TO_FREE
};

struct cleaner {
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
	bool move;              /* something is left in them */
	bool keep_ids;
	int error;

	/* What is read. */
	size_t at; /* segment */
	int in_fd;
	uint8_t *in;
	size_t in_start, in_end;
	uint64_t in_offset; /* in the segment, behind in_end */

	/* The ids: a header's room, then struct log_id. */
	uint8_t *ids;
	size_t ids_bytes, ids_capacity, ids_written;
	size_t batch_ids; /* where those of the batch being read begin */
	uint32_t newest_clock_s;
	int ids_fd;
	bool made_room; /* for them */

	/* The new segment. */
	struct log_segment segment;
	bool in_place; /* it has the name of the first that it replaces */
	int out_fd;
	uint8_t *out;
	size_t out_used;
	uint64_t out_offset; /* in the file, of out's first byte */
	uint64_t batch;      /* number of the batch that it is; 0: nothing copied yet */
	uint64_t left_bytes; /* of all messages that were found to be left */
	uint64_t segment_left, segment_left_bytes; /* those of the segment that is read */
};

static void
request_done(struct io_request *request, int64_t result)
{
	struct cleaner *cleaner = (void *)((char *)request - offsetof(struct cleaner, request));

	cleaner->result = result;
}

struct cleaner *
cleaner_new(struct router *router)
{
	struct cleaner *cleaner = calloc(1, sizeof(*cleaner));

	if (cleaner == NULL)
		return NULL;
	cleaner->router = router;
	cleaner->request.done = request_done;
	cleaner->in_fd = cleaner->out_fd = cleaner->ids_fd = -1;
	return cleaner;
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
new_segment_path(const struct cleaner *cleaner, char path[LOG_PATH_BYTES])
{
	log_segment_path(path, cleaner->queue->writer.dir, cleaner->segment.number);
	strncat(path, ".new", LOG_PATH_BYTES - strlen(path) - 1);
}

static void
new_ids_path(const struct cleaner *cleaner, uint64_t number, char path[LOG_PATH_BYTES])
{
	log_ids_path(path, cleaner->queue->writer.dir, number);
	strncat(path, ".new", LOG_PATH_BYTES - strlen(path) - 1);
}

static void
end_job(struct cleaner *cleaner)
{
	close_fd(&cleaner->in_fd);
	close_fd(&cleaner->out_fd);
	close_fd(&cleaner->ids_fd);
	free(cleaner->in);
	free(cleaner->ids);
	free(cleaner->out);
	cleaner->in = cleaner->ids = cleaner->out = NULL;
	cleaner->step = IDLE;
}

/* Number in the name of the job's .ids file: the last of those whose ids it holds. */
static uint64_t
ids_number(const struct cleaner *cleaner)
{
	return cleaner->queue->writer.old[cleaner->first + cleaner->count - 1].number;
}

/* Nothing was lost: the old segments are all there. */
static void
undo_job(struct cleaner *cleaner)
{
	char path[LOG_PATH_BYTES];

	if (cleaner->out_fd >= 0) {
		new_segment_path(cleaner, path);
		io_unlink(path);
	}
	if (cleaner->ids_fd >= 0) {
		new_ids_path(cleaner, ids_number(cleaner), path);
		io_unlink(path);
	}
	end_job(cleaner);
}

static void
fail_job(struct cleaner *cleaner, int rc)
{
	event(EVENT_WARN, "log.not_cleaned", "s:queue", cleaner->queue->config->name, "s:error",
	    strerror(-rc), NULL);
	undo_job(cleaner);
	cleaner->not_before = io_monotonic_ns() + RETRY_NS;
}

void
cleaner_free(struct cleaner *cleaner)
{
	if (cleaner == NULL)
		return;
	while (cleaner->request.pending &&
	    cleaner->router->io->operations->run(cleaner->router->io, 100000000) == 0)
		;
	if (cleaner->step != IDLE && cleaner->step != WAITING)
		fail_job(cleaner, -ECANCELED);
	free(cleaner);
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
count_left(const struct queue *queue, const struct log_segment *segment)
{
	return settled_count_live(&queue->settled, segment->first_sequence, segment->end_sequence);
}

/* Segments side by side in which nothing is left. One at a time while their ids are needed. */
static bool
choose_empty(struct cleaner *cleaner, struct queue *queue)
{
	const struct writer *writer = &queue->writer;
	size_t i = 0;

	while (i < writer->old_count && count_left(queue, &writer->old[i]) > 0)
		i++;
	if (i == writer->old_count)
		return false;
	cleaner->first = i;
	cleaner->count = 1;
	cleaner->move = false;
	cleaner->keep_ids =
	    in_window(queue, &writer->old[i]) && !log_segment_is_compacted(&writer->old[i]);
	return true;
}

/* Bytes that a segment's messages that are left take, about: as the others, or as when they were read. */
static uint64_t
left_bytes(const struct queue *queue, const struct log_segment *segment)
{
	uint64_t each = segment->live_mean_bytes;

	if (each == 0 && segment->messages > 0)
		each = segment->data_bytes / segment->messages + 1;
	return count_left(queue, segment) * each;
}

/* Segments that delivery has passed long ago, side by side, of which one can take what is left. */
static bool
choose_sparse(struct cleaner *cleaner, struct queue *queue)
{
	const struct writer *writer = &queue->writer;
	size_t passed = 0;

	while (passed < writer->old_count &&
	    writer->old[passed].end_sequence <= queue->settled.highest)
		passed++;
	for (size_t i = 0; i + 2 <= passed; i++) {
		uint64_t left = 0, total = 0;
		size_t j = i;

		for (; j + 1 < passed; j++) {
			uint64_t more = left_bytes(queue, &writer->old[j]);

			if (left + more > MOVED_BYTES_MAX)
				break;
			left += more;
			total += writer->old[j].size;
		}
		if (2 * left > total || total - left < WORTH_BYTES)
			continue;
		cleaner->first = i;
		cleaner->count = j - i;
		cleaner->move = true;
		cleaner->keep_ids = in_window(queue, &writer->old[j - 1]);
		return true;
	}
	return false;
}

/* How many settlements must be durable. When an empty segment is tried again it needs no more of them. */
static void
want_settled(const struct cleaner *cleaner, struct queue *queue)
{
	uint64_t segment = cleaner->move ? 0 : queue->writer.old[cleaner->first].number;

	if (segment == 0 || queue->wanted_segment != segment)
		queue->wanted_settled = queue->settled_count;
	queue->wanted_segment = segment;
}

static bool
choose(struct cleaner *cleaner)
{
	struct router *router = cleaner->router;

	for (unsigned i = 0; i < router->queue_count; i++) {
		unsigned turn = (cleaner->turn + i) % router->queue_count;
		struct queue *queue = &router->queues[turn];

		if (queue->durable.checkpoint != queue->writer.active.segment.number ||
		    (!choose_empty(cleaner, queue) && !choose_sparse(cleaner, queue)))
			continue;
		cleaner->turn = turn + 1;
		cleaner->queue = queue;
		want_settled(cleaner, queue);
		cleaner->settled = queue->wanted_settled;
		cleaner->wait_until_ns = io_monotonic_ns() + WAIT_NS;
		cleaner->step = WAITING;
		return true;
	}
	return false;
}

/*
 * Copying.
 */

static int
grow_ids(struct cleaner *cleaner, size_t bytes)
{
	size_t more = cleaner->ids_capacity ? 2 * cleaner->ids_capacity : 1 << 16;
	void *bigger;

	if (cleaner->ids_bytes + bytes <= cleaner->ids_capacity)
		return 0;
	bigger = realloc(cleaner->ids, more);
	if (bigger == NULL)
		return -ENOMEM;
	cleaner->ids = bigger;
	cleaner->ids_capacity = more;
	return 0;
}

static int
keep_id(struct cleaner *cleaner, const struct log_frame *frame)
{
	const struct dedup *dedup = cleaner->router->topics[cleaner->queue->topic].dedup;
	struct envelope envelope;
	struct dedup_hash hash;
	struct log_id id = { .clock_s = 0 };

	if (envelope_open(&envelope, frame + 1, frame->length, ENVELOPE_BODY_BYTES_MAX, NULL) !=
		0 ||
	    envelope.dedup_id.data == NULL)
		return 0;
	if (grow_ids(cleaner, sizeof(id)) != 0)
		return -ENOMEM;
	hash = dedup_hash(
	    dedup, envelope.dedup_is_hash, envelope.dedup_id.data, envelope.dedup_id.length);
	memcpy(id.hash, hash.word, sizeof(id.hash));
	memcpy(cleaner->ids + cleaner->ids_bytes, &id, sizeof(id));
	cleaner->ids_bytes += sizeof(id);
	return 0;
}

/* A batch ended: now it is known when its messages came. */
static void
date_ids(struct cleaner *cleaner, const struct log_frame *frame)
{
	const struct log_commit *end = (const void *)(frame + 1);
	uint32_t clock_s = (uint32_t)(end->clock_ns / 1000000000 + 1);

	for (; cleaner->batch_ids < cleaner->ids_bytes; cleaner->batch_ids += sizeof(struct log_id))
		memcpy(cleaner->ids + cleaner->batch_ids + offsetof(struct log_id, clock_s),
		    &clock_s, sizeof(clock_s));
	if (clock_s > cleaner->newest_clock_s)
		cleaner->newest_clock_s = clock_s;
}

static struct log_frame *
place(struct cleaner *cleaner, enum log_type type, uint32_t length)
{
	struct log_frame *frame = (void *)(cleaner->out + cleaner->out_used);

	memset(frame, 0, log_frame_bytes(length));
	*frame = (struct log_frame){
		.length = length,
		.type = (uint8_t)type,
		.batch = cleaner->batch,
		.salt = cleaner->segment.salt,
	};
	return frame;
}

static void
finish_frame(struct cleaner *cleaner, struct log_frame *frame)
{
	log_frame_set_checksums(frame);
	cleaner->out_used += log_frame_bytes(frame->length);
}

static void
copy_message(struct cleaner *cleaner, const struct log_frame *from)
{
	bool first = cleaner->batch == 0;
	struct log_frame *frame;

	if (first)
		cleaner->batch = from->batch;
	frame = place(cleaner, (enum log_type)from->type, from->length);
	frame->flags = first ? LOG_FLAG_FIRST : 0;
	frame->sequence = from->sequence;
	frame->group_hash = from->group_hash;
	memcpy(frame + 1, from + 1, from->length);
	finish_frame(cleaner, frame);
	if (cleaner->segment.messages++ == 0)
		cleaner->segment.first_sequence = from->sequence;
	cleaner->segment.end_sequence = from->sequence + 1;
}

/* What is more than a segment takes is only counted. */
static void
take_left(struct cleaner *cleaner, const struct log_frame *frame)
{
	uint64_t bytes = log_frame_bytes(frame->length);

	cleaner->segment_left++;
	cleaner->segment_left_bytes += bytes;
	cleaner->left_bytes += bytes;
	if (cleaner->left_bytes <= LOG_SEGMENT_BYTES_MAX)
		copy_message(cleaner, frame);
}

static int
take_frame(struct cleaner *cleaner, const struct log_frame *frame)
{
	const struct log_segment *segment = &cleaner->queue->writer.old[cleaner->at];

	if (frame->type == LOG_COMMIT)
		date_ids(cleaner, frame);
	if (!log_is_message(frame))
		return 0;
	if (cleaner->move && !settled_has(&cleaner->queue->settled, frame->sequence))
		take_left(cleaner, frame);
	/* Of one that replaces others the ids were kept before; what was moved is in no window. */
	return cleaner->keep_ids && frame->type == LOG_MESSAGE && !log_segment_is_compacted(segment)
	    ? keep_id(cleaner, frame)
	    : 0;
}

/* Takes the whole frames that were read. Returns 1 when more must be read, 0 when what is to be written
 * must be written first, or -errno. */
static int
take_frames(struct cleaner *cleaner)
{
	const struct log_segment *segment = &cleaner->queue->writer.old[cleaner->at];
	int rc;

	while (cleaner->in_end - cleaner->in_start >= sizeof(struct log_frame)) {
		const struct log_frame *frame = (const void *)(cleaner->in + cleaner->in_start);
		size_t have = cleaner->in_end - cleaner->in_start;
		uint64_t bytes;

		if (cleaner->out_used > OUT_BYTES / 2)
			return 0;
		if (!log_frame_header_valid(frame, UINT64_MAX, segment->salt))
			return -EBADMSG;
		bytes = log_frame_bytes(frame->length);
		if (bytes > have && frame->length <= IN_BYTES / 2)
			return 1;
		if (bytes > have || !log_frame_payload_valid(frame))
			return -EBADMSG;
		rc = take_frame(cleaner, frame);
		if (rc != 0)
			return rc;
		cleaner->in_start += bytes;
	}
	return 1;
}

static int
open_next(struct cleaner *cleaner)
{
	const struct writer *writer = &cleaner->queue->writer;
	char path[LOG_PATH_BYTES];

	close_fd(&cleaner->in_fd);
	log_segment_path(path, writer->dir, writer->old[cleaner->at].number);
	cleaner->in_fd = open(path, O_RDONLY | O_CLOEXEC);
	cleaner->in_start = cleaner->in_end = 0;
	cleaner->in_offset = LOG_HEADER_BYTES;
	return cleaner->in_fd < 0 ? -errno : 0;
}

static void
read_more(struct cleaner *cleaner)
{
	const struct log_segment *segment = &cleaner->queue->writer.old[cleaner->at];
	struct io *io = cleaner->router->io;
	size_t keep = cleaner->in_end - cleaner->in_start;
	uint64_t left = segment->data_bytes - cleaner->in_offset;

	memmove(cleaner->in, cleaner->in + cleaner->in_start, keep);
	cleaner->in_start = 0;
	cleaner->in_end = keep;
	io->operations->read(io, cleaner->in_fd, cleaner->in + keep,
	    left < READ_BYTES ? left : READ_BYTES, (int64_t)cleaner->in_offset, &cleaner->request);
}

static void
write_messages(struct cleaner *cleaner)
{
	struct io *io = cleaner->router->io;

	cleaner->step = WRITING_MESSAGES;
	io->operations->write(io, cleaner->out_fd, cleaner->out,
	    cleaner->out_used & ~(size_t)(LOG_BLOCK_BYTES - 1), (int64_t)cleaner->out_offset,
	    &cleaner->request);
}

/* Whoever chooses next knows it. */
static void
note_left(struct cleaner *cleaner)
{
	struct log_segment *segment = &cleaner->queue->writer.old[cleaner->at];

	if (cleaner->segment_left > 0)
		segment->live_mean_bytes = cleaner->segment_left_bytes / cleaner->segment_left + 1;
	cleaner->segment_left = cleaner->segment_left_bytes = 0;
}

/* What is left of a segment after it was read to its end is a piece of a frame: damage. */
static int
finish_segment(struct cleaner *cleaner)
{
	if (cleaner->in_start != cleaner->in_end)
		return -EBADMSG;
	posix_fadvise(cleaner->in_fd, 0, 0, POSIX_FADV_DONTNEED);
	note_left(cleaner);
	cleaner->at++;
	return cleaner->at < cleaner->first + cleaner->count ? open_next(cleaner) : 0;
}

/*
 * Writing.
 */

static int
open_out(struct cleaner *cleaner)
{
	const struct writer *writer = &cleaner->queue->writer;
	const struct log_segment *first = &writer->old[cleaner->first];
	const struct log_segment *last = first + cleaner->count - 1;
	char path[LOG_PATH_BYTES];

	cleaner->segment = (struct log_segment){
		.number = first->number,
		.last_number = last->last_number,
		.position = first->position,
		.span = last->position + last->span - first->position,
		.end_clock_ns = last->end_clock_ns,
		.created_ns = first->created_ns,
	};
	io_random(&cleaner->segment.salt, sizeof(cleaner->segment.salt));
	cleaner->out = aligned_alloc(LOG_BLOCK_BYTES, OUT_BYTES);
	if (cleaner->out == NULL)
		return -ENOMEM;
	new_segment_path(cleaner, path);
	cleaner->out_fd = io_open_log(path, true, writer->direct);
	cleaner->out_offset = LOG_HEADER_BYTES;
	cleaner->out_used = 0;
	cleaner->batch = 0;
	return cleaner->out_fd < 0 ? cleaner->out_fd : 0;
}

/* The copied messages are one batch: its end, and a pad to the file's end. */
static void
end_messages(struct cleaner *cleaner)
{
	struct {
		struct log_commit end;
		uint64_t log_id;
	} payload = {
		.end = {
			.batch = cleaner->batch,
			.time_ns = io_wall_ns(),
			.clock_ns = cleaner->segment.end_clock_ns,
			.start = cleaner->segment.position + LOG_HEADER_BYTES,
			.logs = 1,
		},
		.log_id = cleaner->queue->writer.log_id,
	};
	struct log_frame *frame = place(cleaner, LOG_COMMIT, sizeof(payload));
	size_t left;

	memcpy(frame + 1, &payload, sizeof(payload));
	finish_frame(cleaner, frame);
	left = LOG_BLOCK_BYTES - cleaner->out_used % LOG_BLOCK_BYTES;
	if (left == LOG_BLOCK_BYTES)
		return;
	if (left < sizeof(struct log_frame))
		left += LOG_BLOCK_BYTES;
	finish_frame(cleaner, place(cleaner, LOG_PAD, (uint32_t)(left - sizeof(struct log_frame))));
}

/* What no reader accepts gets neither header nor name. */
static int
write_header(struct cleaner *cleaner)
{
	struct log_segment *segment = &cleaner->segment;
	struct io *io = cleaner->router->io;
	struct log_segment_header header;
	int rc;

	segment->size = segment->data_bytes = cleaner->out_offset;
	header = (struct log_segment_header){
		.log_id = cleaner->queue->writer.log_id,
		.number = segment->number,
		.last_number = segment->last_number,
		.salt = segment->salt,
		.position = segment->position,
		.size = segment->size,
		.span = segment->span,
		.created_ns = segment->created_ns,
		.first_sequence = segment->first_sequence,
		.end_sequence = segment->end_sequence,
		.messages = segment->messages,
		.end_clock_ns = segment->end_clock_ns,
		.data_bytes = segment->data_bytes,
	};
	memcpy(header.queue, cleaner->queue->writer.queue, sizeof(header.queue));
	log_segment_header_set_checksum(&header);
	rc = log_segment_header_check(&header);
	if (rc != 0)
		return rc;
	memset(cleaner->out, 0, LOG_HEADER_BYTES);
	memcpy(cleaner->out, &header, sizeof(header));
	cleaner->step = WRITING_HEADER;
	io->operations->write(
	    io, cleaner->out_fd, cleaner->out, LOG_HEADER_BYTES, 0, &cleaner->request);
	return 0;
}

static void
write_ids(struct cleaner *cleaner)
{
	struct io *io = cleaner->router->io;
	size_t left = cleaner->ids_bytes - cleaner->ids_written;

	io->operations->write(io, cleaner->ids_fd, cleaner->ids + cleaner->ids_written,
	    left < IDS_WRITE_BYTES ? left : IDS_WRITE_BYTES, (int64_t)cleaner->ids_written,
	    &cleaner->request);
}

/* The disk is full. The segments that are about to go have left room for their ids behind the messages; what
 * logs keep to be used again goes, too. Once in a job. */
static int
make_room(struct cleaner *cleaner)
{
	if (cleaner->made_room)
		return -ENOSPC;
	cleaner->made_room = true;
	queue_disk_full(&cleaner->queue->writer);
	for (size_t i = 0; i < cleaner->count; i++) /* where the file system can do that */
		writer_punch(&cleaner->queue->writer, cleaner->first + i);
	return 0;
}

static int
begin_ids(struct cleaner *cleaner)
{
	struct log_ids_header *header = (void *)cleaner->ids;
	char path[LOG_PATH_BYTES];

	*header = (struct log_ids_header){
		.log_id = cleaner->queue->writer.log_id,
		.number = ids_number(cleaner),
		.key = cleaner->router->key,
		.newest_clock_s = cleaner->newest_clock_s,
		.count = (cleaner->ids_bytes - sizeof(*header)) / sizeof(struct log_id),
	};
	log_ids_set_checksums(header, (const void *)(header + 1));
	new_ids_path(cleaner, header->number, path);
	cleaner->ids_fd = io_open_log(path, true, false);
	if (io_is_full(cleaner->ids_fd) && make_room(cleaner) == 0)
		cleaner->ids_fd = io_open_log(path, true, false);
	if (cleaner->ids_fd < 0)
		return cleaner->ids_fd;
	cleaner->step = WRITING_IDS;
	cleaner->ids_written = 0;
	write_ids(cleaner);
	return 0;
}

static int
finish_ids(struct cleaner *cleaner)
{
	const char *dir = cleaner->queue->writer.dir;
	char from[LOG_PATH_BYTES], to[LOG_PATH_BYTES];
	int rc;

	new_ids_path(cleaner, ids_number(cleaner), from);
	log_ids_path(to, dir, ids_number(cleaner));
	close_fd(&cleaner->ids_fd);
	CRASH_POINT("ids.written");
	rc = io_rename(from, to);
	CRASH_POINT("ids.renamed");
	if (rc == 0)
		rc = log_sync_dir(dir);
	CRASH_POINT("ids.durable");
	return rc == 0 ? queue_add_ids(cleaner->queue, ids_number(cleaner), cleaner->newest_clock_s)
		       : rc;
}

/*
 * Freeing.
 */

/* The new segment has its name: there is no way back. A sync that cannot even begin, for want of a descriptor, is
 * tried again; one that failed is final, as each is. */
static void
sync_later(struct cleaner *cleaner, int rc)
{
	cleaner->step = WAITING_TO_FREE;
	if (rc != -EMFILE && rc != -ENFILE && rc != -ENOMEM && rc != -EINTR)
		cleaner->router->failed = rc;
}

/* The new segment takes the place of the first of those that it replaces. */
static int
take_place(struct cleaner *cleaner)
{
	const char *dir = cleaner->queue->writer.dir;
	char from[LOG_PATH_BYTES], to[LOG_PATH_BYTES];
	int rc = 0;

	if (!cleaner->in_place) {
		new_segment_path(cleaner, from);
		log_segment_path(to, dir, cleaner->segment.number);
		close_fd(&cleaner->out_fd);
		CRASH_POINT("move.header_written");
		rc = io_rename(from, to);
		CRASH_POINT("move.renamed");
	}
	cleaner->in_place = rc == 0;
	if (rc == 0)
		rc = log_sync_dir(dir);
	CRASH_POINT("move.durable");
	return rc;
}

static int
free_segments(struct cleaner *cleaner)
{
	struct queue *queue = cleaner->queue;
	const struct log_segment *segment =
	    cleaner->segment.messages > 0 ? &cleaner->segment : NULL;
	uint64_t bytes = writer_bytes(&queue->writer);
	int rc = segment != NULL ? take_place(cleaner) : 0;

	if (rc != 0 && cleaner->in_place) {
		sync_later(cleaner, rc);
		return 0;
	}
	if (rc != 0)
		return rc;
	queue->wanted_segment = 0;
	rc = writer_free(&queue->writer, cleaner->first, cleaner->count, segment);
	/* An open checkpoint tells of those that moved up once more, rather than not of as many behind. */
	if (queue->checkpoint_entry > cleaner->first)
		queue->checkpoint_entry = cleaner->first;
	if (rc == 0)
		rc = log_sync_dir(queue->writer.dir);
	CRASH_POINT("segments.given_back");
	if (segment != NULL) {
		queue_move_marks(queue, segment->position, segment->position + segment->span,
		    segment->first_sequence);
		delivery_rewind(queue, segment);
	}
	event(EVENT_DEBUG, "log.cleaned", "s:queue", queue->config->name, "u:segments",
	    (uint64_t)cleaner->count, "u:messages_moved", cleaner->segment.messages,
	    "u:bytes_freed", bytes - writer_bytes(&queue->writer), NULL);
	end_job(cleaner);
	return rc;
}

/* What was settled while the rest was copied is not among it: that must be on disk before the only copy of
 * these messages goes. */
static void
wait_to_free(struct cleaner *cleaner)
{
	struct queue *queue = cleaner->queue;

	cleaner->settled = queue->settled_count;
	if (queue->wanted_settled < cleaner->settled)
		queue->wanted_settled = cleaner->settled;
	cleaner->wait_until_ns = io_monotonic_ns() + WAIT_NS;
	cleaner->step = WAITING_TO_FREE;
}

/* All is read and the messages are written: the ids, then the header, then free. */
static int
finish_copy(struct cleaner *cleaner)
{
	if (cleaner->ids_bytes > sizeof(struct log_ids_header) && cleaner->ids_written == 0)
		return begin_ids(cleaner);
	if (cleaner->segment.messages > 0) {
		CRASH_POINT("cleaner.copied");
		return write_header(cleaner);
	}
	if (cleaner->out_fd >= 0) { /* the last that was left has been settled meanwhile */
		char path[LOG_PATH_BYTES];

		close_fd(&cleaner->out_fd);
		new_segment_path(cleaner, path);
		io_unlink(path);
	}
	if (!cleaner->move)
		return free_segments(cleaner);
	wait_to_free(cleaner);
	return 0;
}

/*
 * The steps.
 */

static int
begin_copy(struct cleaner *cleaner)
{
	int rc = 0;

	cleaner->segment = (struct log_segment){ 0 };
	cleaner->ids_bytes = cleaner->ids_capacity = cleaner->ids_written = 0;
	cleaner->newest_clock_s = 0;
	cleaner->left_bytes = cleaner->segment_left = cleaner->segment_left_bytes = 0;
	cleaner->made_room = cleaner->in_place = false;
	if (!cleaner->move && !cleaner->keep_ids)
		return free_segments(cleaner);
	cleaner->at = cleaner->first;
	cleaner->in = malloc(IN_BYTES);
	if (cleaner->in == NULL || grow_ids(cleaner, sizeof(struct log_ids_header)) != 0)
		return -ENOMEM;
	cleaner->ids_bytes = cleaner->batch_ids = sizeof(struct log_ids_header);
	if (cleaner->move)
		rc = open_out(cleaner);
	if (rc == 0)
		rc = open_next(cleaner);
	if (rc != 0)
		return rc;
	cleaner->step = READING;
	read_more(cleaner);
	return 0;
}

/* Goes on after something was read, or after room was made for what is copied. */
static int
go_on_reading(struct cleaner *cleaner)
{
	const struct writer *writer = &cleaner->queue->writer;
	int rc = take_frames(cleaner);

	if (rc == 0)
		write_messages(cleaner);
	if (rc <= 0)
		return rc;
	if (cleaner->in_offset == writer->old[cleaner->at].data_bytes) {
		rc = finish_segment(cleaner);
		if (rc != 0)
			return rc;
		if (cleaner->left_bytes > LOG_SEGMENT_BYTES_MAX) {
			undo_job(cleaner);
			return 0;
		}
	}
	cleaner->step = READING;
	if (cleaner->at < cleaner->first + cleaner->count) {
		read_more(cleaner);
		return 0;
	}
	if (cleaner->segment.messages == 0)
		return finish_copy(cleaner);
	end_messages(cleaner);
	write_messages(cleaner);
	return 0;
}

static int
messages_written(struct cleaner *cleaner)
{
	size_t written = (size_t)cleaner->result;

	cleaner->out_used -= written;
	cleaner->out_offset += written;
	memmove(cleaner->out, cleaner->out + written, cleaner->out_used);
	if (written % LOG_BLOCK_BYTES != 0)
		return -EIO;
	if (cleaner->at < cleaner->first + cleaner->count)
		return go_on_reading(cleaner);
	if (cleaner->out_used > 0) {
		write_messages(cleaner);
		return 0;
	}
	return finish_copy(cleaner);
}

static int
ids_written(struct cleaner *cleaner)
{
	int rc;

	cleaner->ids_written += (size_t)cleaner->result;
	if (cleaner->ids_written < cleaner->ids_bytes) {
		write_ids(cleaner);
		return 0;
	}
	rc = finish_ids(cleaner);
	return rc == 0 ? finish_copy(cleaner) : rc;
}

static int
go_on(struct cleaner *cleaner)
{
	if (cleaner->step == WRITING_IDS && io_is_full((int)cleaner->result)) {
		int rc = make_room(cleaner);

		if (rc == 0)
			write_ids(cleaner);
		return rc;
	}
	if (cleaner->step != WAITING && cleaner->step != WAITING_TO_FREE && cleaner->result <= 0)
		return cleaner->result < 0 ? (int)cleaner->result : -EIO;
	switch (cleaner->step) {
	case WAITING:
		return begin_copy(cleaner);
	case READING:
		cleaner->in_end += (size_t)cleaner->result;
		cleaner->in_offset += (size_t)cleaner->result;
		return go_on_reading(cleaner);
	case WRITING_MESSAGES:
		return messages_written(cleaner);
	case WRITING_IDS:
		return ids_written(cleaner);
	case WRITING_HEADER:
		if (cleaner->result != LOG_HEADER_BYTES)
			return -EIO;
		wait_to_free(cleaner);
		return 0;
	case WAITING_TO_FREE:
		return free_segments(cleaner);
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

	for (size_t i = 0; i < queue->ids_count; i++) {
		char path[LOG_PATH_BYTES];
		int rc = -EAGAIN;

		log_ids_path(path, queue->writer.dir, queue->ids[i].number);
		if (now_s > queue->ids[i].newest_clock_s + topic->dedup_window_ns / 1000000000 + 1)
			rc = io_unlink(path);
		if (rc == 0)
			CRASH_POINT("ids.dropped");
		if (rc != 0 && rc != -ENOENT)
			queue->ids[kept++] = queue->ids[i];
	}
	queue->ids_count = kept;
}

bool
cleaner_step(struct cleaner *cleaner)
{
	int rc;

	if (cleaner->request.pending)
		return false;
	if (cleaner->step == IDLE) {
		uint64_t now_ns = io_monotonic_ns();

		if (now_ns < cleaner->not_before)
			return false;
		for (unsigned i = 0; i < cleaner->router->queue_count; i++)
			drop_ids(&cleaner->router->queues[i]);
		cleaner->not_before = now_ns + LOOK_NS;
		if (!choose(cleaner))
			return false;
	}
	if ((cleaner->step == WAITING || cleaner->step == WAITING_TO_FREE) &&
	    cleaner->queue->durable.settled < cleaner->settled) {
		if (io_monotonic_ns() <= cleaner->wait_until_ns)
			return false;
		/* Its log is short of room. */
		if (cleaner->step == WAITING_TO_FREE)
			fail_job(cleaner, -EAGAIN);
		cleaner->step = IDLE;
		return false;
	}
	CRASH_POINT("cleaner.step");
	rc = go_on(cleaner);
	if (rc != 0)
		fail_job(cleaner, rc);
	else if (cleaner->step == IDLE)
		cleaner->not_before = 0; /* perhaps there is more */
	return cleaner->step == IDLE;
}
