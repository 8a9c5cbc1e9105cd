#!/bin/bash
# The router's two ways of reading and writing: which one it takes, and that either does the work.
. "$top_srcdir/tests/lib.sh"
unset HEADGATE_IO

message='{"customer_id":"C","transaction_type":"payment","amount":1,"payment_method":"x","message_id":"%s"}\n'
stored_so_far=0

router_in() { # router_in COMMAND...: starts the router by it, with a log of its own
  rm -f "$dir/headgate-router.log"
  "$@" 2>"$dir/headgate-router.log" &
  router=$!
}

uses() { # uses WHICH: says so, once
  [ "$(jq -r 'select(.io) | .io' "$dir/headgate-router.log")" = "$1" ]
}

works() { # works DESCRIPTION WHICH: messages go all the way, and again after it was stopped
  ok "$1: ready" wait_for 20 ready
  ok "$1: says once that it uses $2" uses "$2"
  stored_so_far=$((stored_so_far + 2))
  { printf "$message" $stored_so_far; printf "$message" also-$stored_so_far; } | publish
  is "$1: takes messages" 0 $?
  ok "$1: they are handled" wait_for 20 stored 0 $stored_so_far
  stop "$router"
  is "$1: stops cleanly" 0 $?
}

start payment headgate-payment
start account headgate-bank-account
forbid=$top_builddir/tests/forbid
program=$top_builddir/headgate-router

for error in EPERM ENOSYS ENOMEM; do
  router_in "$forbid" io_uring_setup $error "$program"
  works "io_uring_setup fails with $error" poll
  is "... and why is said once" 1 "$(grep -c '"router.no_io_uring"' "$dir/headgate-router.log")"
done
router_in "$forbid" io_uring_enter EPERM "$program"
works "io_uring_enter fails with EPERM" poll

router_in "$program" --io=poll
works "--io=poll" poll
is "... and that is no failure" 0 "$(grep -c '"router.no_io_uring"' "$dir/headgate-router.log")"
HEADGATE_IO=poll router_in "$program"
works "HEADGATE_IO=poll" poll
HEADGATE_IO=poll router_in "$program" --io=uring
ok "--io=uring goes before HEADGATE_IO" wait_for 20 \
  eval 'ready || grep -q "use io_uring" "$dir/headgate-router.log"'
if ready; then # this machine has it
  works "--io=uring" uring
  HEADGATE_IO='' router_in "$program"
  works "an empty HEADGATE_IO" uring
fi

"$forbid" io_uring_setup EPERM "$program" --io=uring 2>"$dir/err"
is "--io=uring without io_uring" 69 $?
ok "is explained" grep -q 'does not let us use io_uring: Operation not permitted; try --io=poll' "$dir/err"
"$forbid" io_uring_setup ENOSYS "$program" --io=uring --detach 2>"$dir/err"
is "the same in the background" 69 $?
"$program" --io=bogus 2>"$dir/err"
is "--io=bogus is wrong usage" 64 $?
ok "and names what there is" grep -q -- '--io=bogus: it is auto, uring or poll' "$dir/err"
HEADGATE_IO=bogus "$program" 2>"$dir/err"
is "HEADGATE_IO=bogus is too" 64 $?

# More publishers than descriptors: who is too many waits, the router neither spins nor ends.
cpu_ticks() {
  awk '{ print $14 + $15 }' "/proc/$router/stat"
}

mkfifo "$dir/hold"
exec 7<>"$dir/hold"
for which in poll auto; do
  router_in bash -c 'ulimit -n 56 && exec "$@"' - "$program" --io=$which
  ok "$which: ready with few descriptors" wait_for 20 ready
  publishers=
  for _ in $(seq 56); do
    "$top_builddir/headgate-publish" <"$dir/hold" 2>/dev/null &
    publishers="$publishers $!"
  done
  ok "$which: too many publishers are noted" wait_for 20 \
    grep -q '"router.accept_failed"' "$dir/headgate-router.log"
  before=$(cpu_ticks)
  sleep 1 # a second's worth of turns is what is measured
  ok "$which: the router rests meanwhile" test $(($(cpu_ticks) - before)) -lt $(($(getconf CLK_TCK) / 2))
  # Once, and again when a worker that found no room had gone.
  ok "$which: it is not said at every turn" \
    test "$(grep -c '"router.accept_failed"' "$dir/headgate-router.log")" -lt 20
  # shellcheck disable=SC2086
  kill -KILL $publishers
  # shellcheck disable=SC2086
  wait $publishers 2>/dev/null
  works "$which, when they are gone" "$(jq -r 'select(.io) | .io' "$dir/headgate-router.log")"
done
done_testing
