#include <criterion/criterion.h>

#include "router/tables/retention.h"

enum { SECOND = 1000000000, LIMIT = 64 };

static struct retention retention;

/* Passes one second with a queue of `depth` messages; sets a mark when due, as the router does. */
static void
pass(uint64_t *now_ns, bool running, uint64_t depth, uint64_t next_sequence)
{
	*now_ns += SECOND;
	if (retention_tick(&retention, *now_ns, running, depth))
		retention_mark(&retention,
		    &(struct log_clock){ retention.clock_ns, .end_sequence = next_sequence });
}

Test(retention, each_message_lives_the_limit_and_at_most_a_64th_longer)
{
	uint64_t now_ns = 5000 * (uint64_t)SECOND, next = 1;

	retention_init(&retention, (uint64_t)LIMIT * SECOND, now_ns);
	for (int second = 0; second < 1000; second++) {
		/* Ten messages per second: message s arrived in second (s - 1) / 10. */
		next += 10;
		pass(&now_ns, true, 1, next);
		for (uint64_t s = 1; s < next; s++) {
			int age = second - (int)(s - 1) / 10;

			if (retention_expired(&retention, s))
				cr_assert(
				    age >= LIMIT, "%lu expired at %d s", (unsigned long)s, age);
			else
				cr_assert(
				    age <= LIMIT + 2, "%lu lives at %d s", (unsigned long)s, age);
		}
		cr_assert(retention.count <= RETENTION_MARKS, "memory is bounded");
	}
}

Test(retention, the_clock_stands_while_it_is_not_running)
{
	uint64_t now_ns = 0;

	retention_init(&retention, (uint64_t)LIMIT * SECOND, now_ns);
	for (int i = 0; i < 10; i++)
		pass(&now_ns, true, 5, 6);
	for (int i = 0; i < 100 * LIMIT; i++)
		pass(&now_ns, false, 5, 6);
	cr_expect(!retention_expired(&retention, 1), "behind a closed gate nothing expires");
	for (int i = 0; i < LIMIT; i++)
		pass(&now_ns, true, 5, 6);
	cr_expect(retention_expired(&retention, 5), "then it does");
	cr_expect(!retention_expired(&retention, 6), "what came later does not");
}

Test(retention, goes_on_from_what_was_logged)
{
	struct log_clock logged[2 * LIMIT];
	uint64_t now_ns = 0;
	size_t n = 0;

	/* A restart every 20 seconds. */
	for (int run = 0; run < 4; run++) {
		retention_init(&retention, (uint64_t)LIMIT * SECOND, now_ns);
		for (size_t i = 0; i < n; i++)
			retention_mark(&retention, &logged[i]);
		cr_expect(!retention_expired(&retention, 1), "run %d begins", run);
		for (int i = 0; i < 20; i++) {
			now_ns += SECOND;
			if (retention_tick(&retention, now_ns, true, 3)) {
				logged[n] = (struct log_clock){ retention.clock_ns, 4 };
				retention_mark(&retention, &logged[n++]);
			}
		}
	}
	cr_expect(retention_expired(&retention, 3), "80 s of 64 have passed");
}

Test(retention, can_be_switched_off_and_is_not_misled)
{
	uint64_t now_ns = 0;

	retention_init(&retention, 0, now_ns);
	for (int i = 0; i < 1000; i++)
		pass(&now_ns, true, 1, 2);
	cr_expect(!retention_expired(&retention, 1), "nothing expires");
	cr_expect(retention.count == 0, "and nothing is remembered");

	retention_init(&retention, (uint64_t)LIMIT * SECOND, now_ns);
	retention_mark(&retention, &(struct log_clock){ 100, .end_sequence = 50 });
	retention_mark(&retention, &(struct log_clock){ 50, .end_sequence = 70 });
	retention_mark(&retention, &(struct log_clock){ 2 * (uint64_t)SECOND, .end_sequence = 40 });
	cr_expect(retention.clock_ns == 100, "a mark that goes back is left out");
	cr_expect(retention.count == 1, "%zu marks", retention.count);
}

Test(retention, an_empty_queue_forgets_its_marks)
{
	uint64_t now_ns = 0;

	retention_init(&retention, (uint64_t)LIMIT * SECOND, now_ns);
	for (int i = 0; i < 10; i++)
		pass(&now_ns, true, 5, 6);
	pass(&now_ns, true, 0, 6);
	cr_expect(retention.count == 0, "%zu marks", retention.count);
	for (int i = 0; i < LIMIT - 2; i++)
		pass(&now_ns, true, 1, 7);
	cr_expect(!retention_expired(&retention, 6), "the next one has its whole time");
}
