#include "shm/lane.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENDIAN_WORD 0x01020304u

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

uint32_t
lane_fingerprint(void)
{
	static const uint32_t layout[] = {
		sizeof(struct lane_shared),
		offsetof(struct lane_shared, log_id),
		offsetof(struct lane_shared, queue_index),
		offsetof(struct lane_shared, queue),
		offsetof(struct lane_shared, worker_bell),
		offsetof(struct lane_shared, router_bell),
		offsetof(struct lane_shared, worker),
		offsetof(struct lane_shared, delivery),
		offsetof(struct lane_shared, completion),
		offsetof(struct lane_worker_words, heartbeat_ns),
		offsetof(struct lane_worker_words, handled),
		sizeof(struct ring_shared),
		sizeof(struct ring_record_header),
		sizeof(struct lane_delivery),
		sizeof(struct lane_completion),
		LANE_DATA_OFFSET,
	};
	uint32_t hash = 2166136261u; /* FNV-1a: http://www.isthe.com/chongo/tech/comp/fnv/ */

	for (size_t i = 0; i < sizeof(layout) / sizeof(layout[0]); i++)
		hash = (hash ^ layout[i]) * 16777619u;
	return hash;
}

int
lane_map_twice(int fd, uint64_t offset, size_t length, void **data)
{
	/* Reserves addresses for both halves, then maps the same pages into each half. */
	uint8_t *both = mmap(NULL, 2 * length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (both == MAP_FAILED)
		return -errno;
	for (int half = 0; half < 2; half++) {
		if (mmap(both + (size_t)half * length, length, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_FIXED, fd, (off_t)offset) == MAP_FAILED) {
			int error = errno;

			munmap(both, 2 * length);
			return -error;
		}
	}
	*data = both;
	return 0;
}

/* The rings begin behind the header, at the next page. Pages may be larger than 4 KiB; both
 * processes have the same size. */
static uint64_t
data_offset(void)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	return page > LANE_DATA_OFFSET ? page : LANE_DATA_OFFSET;
}

static bool
capacity_valid(uint64_t capacity)
{
	return capacity >= RING_CAPACITY_MIN && capacity <= 1u << 30 &&
	    (capacity & (capacity - 1)) == 0 && capacity >= data_offset();
}

/* Maps the header page and both rings. After an error lane_drop() removes the mappings made so
 * far. */
static int
map_lane(struct lane *lane, uint64_t delivery_capacity, uint64_t completion_capacity)
{
	int rc;

	if (lane->shared == NULL) {
		void *header =
		    mmap(NULL, LANE_DATA_OFFSET, PROT_READ | PROT_WRITE, MAP_SHARED, lane->fd, 0);

		if (header == MAP_FAILED)
			return -errno;
		lane->shared = header;
	}
	lane->delivery_capacity = delivery_capacity;
	lane->completion_capacity = completion_capacity;
	rc = lane_map_twice(lane->fd, data_offset(), delivery_capacity, &lane->delivery_data);
	if (rc != 0)
		return rc;
	return lane_map_twice(lane->fd, data_offset() + delivery_capacity, completion_capacity,
	    &lane->completion_data);
}

/* Copies the checked fields; the shared ones are not read again. */
static void
copy_header(struct lane *lane, const struct lane_shared *header)
{
	lane->log_id = header->log_id;
	lane->number = header->lane;
	lane->max_message_bytes = header->max_message_bytes;
}

static void
fill_header(struct lane *lane, const struct lane_params *params)
{
	struct lane_shared *shared = lane->shared;

	memcpy(shared->magic, LANE_MAGIC, sizeof(shared->magic));
	shared->endian = ENDIAN_WORD;
	shared->fingerprint = lane_fingerprint();
	shared->size = lane->size;
	shared->log_id = params->log_id;
	shared->generation = params->generation;
	shared->delivery_capacity = params->delivery_capacity;
	shared->completion_capacity = params->completion_capacity;
	shared->queue_index = params->queue_index;
	shared->lane = params->lane;
	shared->lanes = params->lanes;
	shared->max_message_bytes = params->max_message_bytes;
	snprintf(shared->queue, sizeof(shared->queue), "%s", params->queue);
	copy_header(lane, shared);
}

int
lane_create(struct lane *lane, const struct lane_params *params)
{
	int rc;

	*lane = (struct lane){ .fd = -1 };
	if (!capacity_valid(params->delivery_capacity) ||
	    !capacity_valid(params->completion_capacity) ||
	    strlen(params->queue) >= LANE_QUEUE_NAME_BYTES)
		return -EINVAL;
	lane->size = data_offset() + params->delivery_capacity + params->completion_capacity;
	lane->fd = memfd_create("headgate-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (lane->fd < 0)
		return -errno;
	rc = -posix_fallocate(lane->fd, 0, (off_t)lane->size);
	if (rc == 0 && fcntl(lane->fd, F_ADD_SEALS, SEALS) != 0)
		rc = -errno;
	if (rc == 0)
		rc = map_lane(lane, params->delivery_capacity, params->completion_capacity);
	if (rc == 0)
		fill_header(lane, params);
	else
		lane_drop(lane);
	return rc;
}

/* Returns 0 if the memfd's seals forbid changes of its size. */
static int
check_file(struct lane *lane)
{
	struct stat st;
	int seals;

	if (fstat(lane->fd, &st) != 0)
		return -errno;
	seals = fcntl(lane->fd, F_GET_SEALS);
	if (seals < 0 || (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW) ||
	    st.st_size < LANE_DATA_OFFSET)
		return -EPROTO;
	lane->size = (size_t)st.st_size;
	return 0;
}

static int
check_header(const struct lane *lane, const struct lane_shared *header, const char *queue)
{
	if (memcmp(header->magic, LANE_MAGIC, sizeof(header->magic)) != 0)
		return memcmp(header->magic, LANE_MAGIC, 6) == 0 ? -ESTALE : -EPROTO;
	if (header->endian != ENDIAN_WORD || header->fingerprint != lane_fingerprint())
		return -ESTALE;
	if (header->size != lane->size || !capacity_valid(header->delivery_capacity) ||
	    !capacity_valid(header->completion_capacity) ||
	    data_offset() + header->delivery_capacity + header->completion_capacity != lane->size ||
	    strncmp(header->queue, queue, sizeof(header->queue)) != 0)
		return -EPROTO;
	return 0;
}

int
lane_attach(struct lane *lane, int fd, const char *queue)
{
	struct lane_shared header;
	void *page;
	int rc;

	*lane = (struct lane){ .fd = fd };
	rc = check_file(lane);
	if (rc != 0)
		goto fail;
	page = mmap(NULL, LANE_DATA_OFFSET, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED) {
		rc = -errno;
		goto fail;
	}
	lane->shared = page;
	memcpy(&header, page, sizeof(header)); /* the checks, and all uses, are of this copy */
	rc = check_header(lane, &header, queue);
	if (rc == 0)
		rc = map_lane(lane, header.delivery_capacity, header.completion_capacity);
	if (rc == 0) {
		copy_header(lane, &header);
		lane_close_fd(lane);
		return 0;
	}
fail:
	lane_drop(lane);
	return rc;
}

void
lane_close_fd(struct lane *lane)
{
	if (lane->fd >= 0)
		close(lane->fd);
	lane->fd = -1;
}

void
lane_drop(struct lane *lane)
{
	if (lane->delivery_data != NULL)
		munmap(lane->delivery_data, 2 * lane->delivery_capacity);
	if (lane->completion_data != NULL)
		munmap(lane->completion_data, 2 * lane->completion_capacity);
	if (lane->shared != NULL)
		munmap(lane->shared, LANE_DATA_OFFSET);
	lane_close_fd(lane);
	*lane = (struct lane){ .fd = -1 };
}
