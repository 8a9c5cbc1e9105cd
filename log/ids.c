#include "log/ids.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/file.h"

enum { NAME_DIGITS = 16 };

void
log_ids_path(char path[LOG_PATH_BYTES], const char *dir, uint64_t number)
{
	snprintf(path, LOG_PATH_BYTES, "%.4096s/%016" PRIx64 ".ids", dir, number);
}

static uint64_t
header_sum(const struct log_ids_header *header)
{
	return XXH3_64bits(header, offsetof(struct log_ids_header, header_checksum));
}

void
log_ids_set_checksums(struct log_ids_header *header, const struct log_id *ids)
{
	memcpy(header->magic, LOG_IDS_MAGIC, sizeof(header->magic));
	header->checksum = XXH3_64bits(ids, header->count * sizeof(*ids));
	header->header_checksum = header_sum(header);
}

static int
read_file(FILE *file, uint64_t log_id, uint64_t number, struct log_ids_header *header,
    struct log_id **ids)
{
	size_t n = fread(header, 1, sizeof(*header), file);

	if (ferror(file))
		return -EIO;
	if (n >= sizeof(header->magic) && memcmp(header->magic, LOG_IDS_MAGIC, 5) == 0 &&
	    memcmp(header->magic, LOG_IDS_MAGIC, sizeof(header->magic)) != 0)
		return -ESTALE;
	if (n != sizeof(*header) ||
	    memcmp(header->magic, LOG_IDS_MAGIC, sizeof(header->magic)) != 0 ||
	    header->header_checksum != header_sum(header) || header->log_id != log_id ||
	    header->number != number || header->newest_clock_s > UINT32_MAX ||
	    header->count > SIZE_MAX / sizeof(**ids))
		return -EBADMSG;
	*ids = malloc(header->count * sizeof(**ids) + 1);
	if (*ids == NULL)
		return -ENOMEM;
	if (fread(*ids, sizeof(**ids), header->count, file) == header->count &&
	    XXH3_64bits(*ids, header->count * sizeof(**ids)) == header->checksum)
		return 0;
	free(*ids);
	return ferror(file) ? -EIO : -EBADMSG;
}

int
log_ids_read(const char *dir, uint64_t log_id, uint64_t number, struct log_ids_header *header,
    struct log_id **ids)
{
	char path[LOG_PATH_BYTES];
	FILE *file;
	int fd, rc;

	log_ids_path(path, dir, number);
	fd = file_open(path, O_RDONLY, 0);
	if (fd < 0)
		return -errno;
	file = fdopen(fd, "r");
	if (file == NULL) {
		rc = -errno;
		close(fd);
		return rc;
	}
	rc = read_file(file, log_id, number, header, ids);
	fclose(file);
	return rc;
}

static uint64_t
file_number(const char *name)
{
	if (strlen(name) != NAME_DIGITS + 4 || strcmp(name + NAME_DIGITS, ".ids") != 0 ||
	    strspn(name, "0123456789abcdef") != NAME_DIGITS)
		return 0;
	return strtoull(name, NULL, 16);
}

static int
compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int
log_ids_list(const char *dir_path, uint64_t **numbers, size_t *count)
{
	DIR *dir = opendir(dir_path);
	size_t capacity = 0;
	struct dirent *entry;
	int rc;

	*numbers = NULL;
	*count = 0;
	if (dir == NULL)
		return -errno;
	while ((rc = log_next_entry(dir, &entry)) == 1) {
		uint64_t number = file_number(entry->d_name);
		void *bigger = *numbers;

		if (number == 0)
			continue;
		if (*count == capacity) {
			capacity = capacity ? 2 * capacity : 16;
			bigger = realloc(*numbers, capacity * sizeof(**numbers));
		}
		if (bigger == NULL) {
			rc = -ENOMEM;
			break;
		}
		*numbers = bigger;
		(*numbers)[(*count)++] = number;
	}
	closedir(dir);
	if (rc != 0) {
		free(*numbers);
		*numbers = NULL;
	} else if (*count > 0) {
		qsort(*numbers, *count, sizeof(**numbers), compare_numbers);
	}
	return rc;
}
