#include "message/uuid.h"

#include <stdint.h>
#include <time.h>

#include "message/random.h"

/* Layout: 48 bits of milliseconds, version, 12 bits of a counter within the millisecond, variant,
 * 62 random bits (RFC 9562, section 6.2, method 1). While the clock stands or has stepped back, the
 * last millisecond is kept; a counter that overflows adds one millisecond. Ids so ascend in any
 * case. */
void
uuid_v7(char out[UUID_TEXT_BYTES])
{
	static const char hex[] = "0123456789abcdef";
	static uint64_t last_ms;
	static unsigned counter;
	struct timespec now;
	uint64_t ms, high, low;
	char *at = out;

	clock_gettime(CLOCK_REALTIME, &now);
	ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	if (ms > last_ms) {
		last_ms = ms;
		counter = 0;
	} else if (++counter == 0x1000) {
		last_ms++;
		counter = 0;
	}
	high = last_ms << 16 | 0x7000 | counter;
	low = (random_next() >> 2) | 0x8000000000000000u;
	for (int i = 0; i < 32; i++) {
		uint64_t half = i < 16 ? high : low;

		if (i == 8 || i == 12 || i == 16 || i == 20)
			*at++ = '-';
		*at++ = hex[half >> (60 - 4 * (i % 16)) & 15];
	}
	*at = '\0';
}
