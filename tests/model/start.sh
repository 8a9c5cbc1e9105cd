#!/bin/bash
# The start words (start.pml), and the look at the state word behind them (gate.pml): all orders of the steps, and of
# the moments at which stores come to memory, are tried; and bugs that are planted are found.
model=start.pml
. "${top_srcdir:?}/tests/model/search.sh"

ok "no worker that is quick looks slow" holds
ok "nor on x86" holds -DTSO
ok "found: since_ns cleared with sequence" breaks -DCLEAR_SINCE -DTSO
ok "found: since_ns stored behind sequence" breaks -DSEQUENCE_FIRST -DTSO
ok "found: since_ns read before sequence" breaks -DREAD_SINCE_FIRST -DTSO
ok "found: the time taken after the words" breaks -DLATE_CLOCK -DTSO
ok "found: sequence stored without release" breaks -DRELAXED_SET
ok "which does no harm on x86" holds -DRELAXED_SET -DTSO

model=gate.pml
ok "no handler of an older state is at work, or starts, once a change was seen; without a barrier" holds
ok "the same on x86" holds -DTSO
ok "found: a worker that says what it sees while a handler is at work" breaks -DEARLY_SEEN -DTSO
ok "found: a worker that starts handlers under a state that it looked at before" breaks -DOLD_STATE -DTSO
ok "found: state_seen stored without release" breaks -DRELAXED_SEEN
ok "which does no harm on x86" holds -DRELAXED_SEEN -DTSO
done_testing
