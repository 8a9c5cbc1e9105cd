#!/bin/bash
# The doorbell's handshake (doorbell.pml): all orders of its steps, and of the moments at which stores come to
# memory, are tried; and bugs that are planted are found.
. "${top_srcdir:?}/tests/lib.sh"

if ! command -v spin >/dev/null; then
  echo "1..0 # SKIP spin is not installed: scripts/setup does it, or apt-get install spin"
  exit 0
fi
mkdir "$dir/model"
cp "$top_srcdir/tests/model/doorbell.pml" "$dir/model" || exit 1

search() { # search OPTION DEFINE...: OPTION is the search's
  option=$1
  shift
  rm -f "$dir"/*.log "$dir"/model/pan*
  # Not optimised: most of the time goes into compiling.
  (cd "$dir/model" && spin -P'cc -E -x c' "$@" -a doorbell.pml &&
    cc -O0 -DSAFETY -DMEMLIM=1024 -o pan pan.c) >"$dir/build.log" 2>&1 || return 1
  # In its directory: it leaves the steps that lead to an error there.
  (cd "$dir/model" && timeout -k 5 100 ./pan -w20 "$option") >"$dir/search.log" 2>&1
  echo "# $*:$(sed -n 's/^pan:1:\(.*\)/\1,/p; s/^\( *[0-9]* states\), stored.*/\1/p' "$dir/search.log" | tr -s '\n ' ' ')"
}

holds() { # holds DEFINE...: all was searched, for both kinds of errors, and no step is never taken
  search -m10000 "$@" &&
    grep -q '^State-vector.* errors: 0$' "$dir/search.log" &&
    grep -q '^Full statespace search' "$dir/search.log" &&
    grep -q 'assertion violations[[:space:]]*+$' "$dir/search.log" &&
    grep -q 'invalid end states[[:space:]]*+$' "$dir/search.log" &&
    ! grep -q -i 'warning\|error:\|too small\|out of memory\|MEMLIM' "$dir/search.log" &&
    ! grep '\.pml:[0-9]*, state ' "$dir/search.log" | grep -q -v -e '"-end-"'
}

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
