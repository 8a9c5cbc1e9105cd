/*
 * repair - before a log is opened: what counts of it is made durable, what does not is zeroed.
 */
#ifndef HEADGATE_ROUTER_JOURNAL_REPAIR_H
#define HEADGATE_ROUTER_JOURNAL_REPAIR_H

#include "log/list.h"

/* For recovery; synchronous. Makes the last whole batches, [unproven, end), durable: of
 * these the page cache may have what the disk has not, after a sync that failed. Zeroes what was written behind
 * them, up to written or where a batch that was under way may end; syncs the segment; removes what is left over in
 * the directory. Returns 0 or -errno. */
int repair_log(const struct log_list *, uint64_t unproven, uint64_t end, uint64_t written);

#endif
