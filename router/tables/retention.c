#include "router/tables/retention.h"

#include <string.h>

void
retention_init(struct retention *retention, uint64_t limit_ns, uint64_t now_ns)
{
	*retention = (struct retention){ .limit_ns = limit_ns, .seen_ns = now_ns };
}

static void
drop_first(struct retention *retention)
{
	retention->count--;
	memmove(
	    retention->marks, retention->marks + 1, retention->count * sizeof(*retention->marks));
}

static void
expire(struct retention *retention)
{
	while (retention->limit_ns > 0 && retention->count > 0 &&
	    retention->clock_ns - retention->marks[0].clock_ns >= retention->limit_ns) {
		retention->expired_end = retention->marks[0].end_sequence;
		drop_first(retention);
	}
}

bool
retention_tick(struct retention *retention, uint64_t now_ns, bool running, uint64_t depth)
{
	if (running && retention->running)
		retention->clock_ns += now_ns - retention->seen_ns;
	retention->running = running;
	retention->seen_ns = now_ns;
	expire(retention);
	if (depth == 0) /* what the marks stand for is gone */
		retention->count = 0;
	/* Also when nothing new came: or the clock of a router that is restarted every day would never get
	 * on. */
	return retention->limit_ns > 0 && depth > 0 &&
	    retention->clock_ns - retention->marked_ns >= retention->limit_ns / RETENTION_PARTS;
}

void
retention_mark(struct retention *retention, const struct log_clock *mark)
{
	const struct log_clock *last =
	    retention->count > 0 ? &retention->marks[retention->count - 1] : NULL;

	if (mark->clock_ns < retention->marked_ns ||
	    (last != NULL && mark->end_sequence < last->end_sequence))
		return;
	if (mark->clock_ns > retention->clock_ns)
		retention->clock_ns = mark->clock_ns;
	retention->marked_ns = mark->clock_ns;
	/* The messages of one that is left out count as those of the next. */
	if (retention->limit_ns == 0 || mark->end_sequence <= retention->expired_end ||
	    (last != NULL &&
		(mark->end_sequence == last->end_sequence ||
		    mark->clock_ns - last->clock_ns < retention->limit_ns / RETENTION_PARTS)))
		return;
	if (retention->count == RETENTION_MARKS)
		drop_first(retention);
	retention->marks[retention->count++] = *mark;
}
