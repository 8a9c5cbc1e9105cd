/*
 * layout - prints the layout of structs on disk: struct, field, offset, bytes, and magics. For the
 * test that compares them with headgate-log(5).
 *
 * layout FILE OFFSET LENGTH prints the XXH3 of these bytes.
 */
#include <err.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "log/ids.h"
#include "log/key.h"
#include "log/registry.h"
#include "log/settled.h"
#include "shm/control.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static size_t end; /* of the previous field */

static void
field(const char *structure, const char *name, size_t offset, size_t bytes)
{
	if (offset != end)
		errx(EX_SOFTWARE, "struct %s: bytes in front of %s have no name", structure, name);
	printf("%s %s %zu %zu\n", structure, name, offset, bytes);
	end = offset + bytes;
}

static void
finish(const char *structure, size_t bytes)
{
	if (bytes != end)
		errx(EX_SOFTWARE, "struct %s: has bytes without a name at its end", structure);
	end = 0;
}

#define FIELD(structure, name)                                     \
	field(#structure, #name, offsetof(struct structure, name), \
	    sizeof(((struct structure *)NULL)->name))
#define FINISH(structure) finish(#structure, sizeof(struct structure))

static void
print_segment(void)
{
	FIELD(log_segment_header, magic);
	FIELD(log_segment_header, endian);
	FIELD(log_segment_header, header_bytes);
	FIELD(log_segment_header, log_id);
	FIELD(log_segment_header, number);
	FIELD(log_segment_header, last_number);
	FIELD(log_segment_header, salt);
	FIELD(log_segment_header, position);
	FIELD(log_segment_header, size);
	FIELD(log_segment_header, span);
	FIELD(log_segment_header, created_ns);
	FIELD(log_segment_header, first_sequence);
	FIELD(log_segment_header, end_sequence);
	FIELD(log_segment_header, messages);
	FIELD(log_segment_header, end_clock_ns);
	FIELD(log_segment_header, data_bytes);
	FIELD(log_segment_header, queue);
	FIELD(log_segment_header, checksum);
	FINISH(log_segment_header);
	FIELD(log_frame, header_sum);
	FIELD(log_frame, payload_sum);
	FIELD(log_frame, length);
	FIELD(log_frame, type);
	FIELD(log_frame, flags);
	FIELD(log_frame, group_hash);
	FIELD(log_frame, sequence);
	FIELD(log_frame, batch);
	FIELD(log_frame, salt);
	FINISH(log_frame);
	FIELD(log_commit, batch);
	FIELD(log_commit, time_ns);
	FIELD(log_commit, clock_ns);
	FIELD(log_commit, start);
	FIELD(log_commit, previous);
	FIELD(log_commit, barrier);
	FIELD(log_commit, logs);
	FIELD(log_commit, previous_logs);
	FIELD(log_commit, synced);
	FIELD(log_commit, pad);
	FINISH(log_commit);
}

static void
print_facts(void)
{
	FIELD(log_settled, first);
	FIELD(log_settled, count);
	FIELD(log_settled, status);
	FIELD(log_settled, flags);
	FINISH(log_settled);
	FIELD(log_received, sequence);
	FIELD(log_received, count);
	FIELD(log_received, pad);
	FINISH(log_received);
	FIELD(log_origin, queue);
	FIELD(log_origin, log_id);
	FIELD(log_origin, sequence);
	FIELD(log_origin, first_ns);
	FIELD(log_origin, last_ns);
	FIELD(log_origin, receives);
	FIELD(log_origin, status);
	FIELD(log_origin, reason_length);
	FINISH(log_origin);
	FIELD(log_state, generation);
	FIELD(log_state, since_ns);
	FIELD(log_state, sequence);
	FIELD(log_state, state);
	FIELD(log_state, uid);
	FIELD(log_state, pid);
	FIELD(log_state, status);
	FIELD(log_state, user);
	FIELD(log_state, program);
	FIELD(log_state, message_id);
	FIELD(log_state, error);
	FIELD(log_state, reason);
	FIELD(log_state, tripped_s);
	FINISH(log_state);
	FIELD(log_clock, clock_ns);
	FIELD(log_clock, end_sequence);
	FINISH(log_clock);
	FIELD(log_reserved, skipped);
	FIELD(log_reserved, from);
	FIELD(log_reserved, end);
	FINISH(log_reserved);
}

static void
print_checkpoint(void)
{
	FIELD(log_checkpoint, next_sequence);
	FIELD(log_checkpoint, reserved);
	FIELD(log_checkpoint, clock_ns);
	FIELD(log_checkpoint, published);
	FIELD(log_checkpoint, duplicates);
	FIELD(log_checkpoint, low_watermark);
	FIELD(log_checkpoint, highest);
	FINISH(log_checkpoint);
	FIELD(log_totals, done);
	FIELD(log_totals, failed);
	FIELD(log_totals, dead_lettered);
	FIELD(log_totals, expired);
	FINISH(log_totals);
	FIELD(log_segment_entry, number);
	FIELD(log_segment_entry, last_number);
	FIELD(log_segment_entry, first_sequence);
	FIELD(log_segment_entry, end_sequence);
	FIELD(log_segment_entry, messages);
	FIELD(log_segment_entry, end_clock_ns);
	FIELD(log_segment_entry, data_bytes);
	FINISH(log_segment_entry);
	FIELD(settled_chunk, base);
	FIELD(settled_chunk, words);
	FINISH(settled_chunk);
}

static void
print_other_files(void)
{
	FIELD(log_ids_header, magic);
	FIELD(log_ids_header, log_id);
	FIELD(log_ids_header, number);
	FIELD(log_ids_header, key);
	FIELD(log_ids_header, newest_clock_s);
	FIELD(log_ids_header, count);
	FIELD(log_ids_header, checksum);
	FIELD(log_ids_header, header_checksum);
	FINISH(log_ids_header);
	FIELD(log_id, hash);
	FIELD(log_id, clock_s);
	FINISH(log_id);
	FIELD(log_key, magic);
	FIELD(log_key, secret);
	FIELD(log_key, checksum);
	FINISH(log_key);
	FIELD(log_registry_end, magic);
	FIELD(log_registry_end, log_id);
	FIELD(log_registry_end, batch);
	FIELD(log_registry_end, next_sequence);
	FIELD(log_registry_end, checksum);
	FINISH(log_registry_end);
}

static void
print_numbers(void)
{
	for (unsigned i = 1; log_type_name(i) != NULL; i++)
		printf("type %u %s\n", i, log_type_name(i));
	printf("frame-flag %d first\n", LOG_FLAG_FIRST);
	printf("frame-flag %d os\n", LOG_FLAG_OS);
	printf("frame-flag %d after-barrier\n", LOG_FLAG_AFTER_BARRIER);
	printf("settled-flag %d dead\n", LOG_SETTLED_DEAD);
	printf("settled-flag %d transferred\n", LOG_SETTLED_TRANSFERRED);
	printf("settled-flag %d expired\n", LOG_SETTLED_EXPIRED);
	for (enum control_state state = CONTROL_RUNNING; control_state_name(state) != NULL; state++)
		printf("state %d %s\n", (int)state, control_state_name(state));
	puts("magic log_segment_header " LOG_MAGIC);
	puts("magic log_ids_header " LOG_IDS_MAGIC);
	puts("magic log_key " LOG_KEY_MAGIC);
	puts("magic log_registry_end " LOG_REGISTRY_MAGIC);
}

static void
print_sum(const char *path, long offset, size_t length)
{
	FILE *file = fopen(path, "re");
	uint8_t *bytes = malloc(length + 1);

	if (file == NULL || bytes == NULL || fseek(file, offset, SEEK_SET) != 0 ||
	    fread(bytes, 1, length, file) != length)
		err(EX_NOINPUT, "%s", path);
	printf("%016" PRIx64 "\n", (uint64_t)XXH3_64bits(bytes, length));
	free(bytes);
	fclose(file);
}

int
main(int argc, char **argv)
{
	if (argc == 4) {
		print_sum(argv[1], strtol(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
		return 0;
	}
	print_segment();
	print_facts();
	print_checkpoint();
	print_other_files();
	print_numbers();
	return 0;
}
