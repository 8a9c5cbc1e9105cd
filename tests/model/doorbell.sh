#!/bin/bash
# The doorbell's handshake (doorbell.pml): all orders of its steps, and of the moments at which stores come to
# memory, are tried; and bugs that are planted are found.
model=doorbell.pml
. "${top_srcdir:?}/tests/model/search.sh"

loses() { # loses DEFINE...: somebody sleeps for ever
  search -A "$@" && grep -q '^pan:1: invalid end state' "$dir/search.log"
}
wakes_twice() { # wakes_twice DEFINE...: for one sleep
  search -E "$@" && grep -q '^pan:1: assertion violated.*rung' "$dir/search.log"
}
reads_ahead() { # reads_ahead DEFINE...: a record that is not there
  search -E "$@" && grep -q '^pan:1: assertion violated.*memory' "$dir/search.log"
}

for bell in FUTEX EVENTFD; do
  ok "$bell: no wake-up is lost or given twice, no record read too early" holds -D$bell
  ok "$bell: the same on x86" holds -D$bell -DTSO
  ok "$bell: the same with two wakers" holds -D$bell -DWAKERS=2 -DRECORDS=2
  ok "$bell: found: no barrier A" loses -D$bell -DTSO -DNO_BARRIER_A
  ok "$bell: found: no barrier B" loses -D$bell -DTSO -DNO_BARRIER_B
  ok "$bell: found: no look at the rings after doorbell_prepare()" loses -D$bell -DTSO -DNO_SECOND_LOOK
  ok "$bell: found: a store instead of the exchange, with two wakers" \
    wakes_twice -D$bell -DTSO -DPLAIN_STORE -DWAKERS=2 -DRECORDS=2
done
ok "a store instead of the exchange does no harm with one waker" holds -DPLAIN_STORE
ok "found: a position that is published by a relaxed store" reads_ahead -DRELAXED_PUBLISH
ok "which does no harm on x86" holds -DRELAXED_PUBLISH -DTSO
done_testing
