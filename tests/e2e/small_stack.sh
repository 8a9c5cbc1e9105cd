#!/bin/bash
# With a stack of 64 KiB (ulimit -s) all programs work.
. "${top_srcdir:?}/tests/lib.sh"

cat >"$dir/conf" <<'END'
topic events { group_by = {customer_id} }
queue events { topic = events }
END
: >"$dir/journal"
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
up() { ctl wait --ready -t 1; }
send() { # send FIRST LAST
  seq "$1" "$2" | sed 's|.*|{"customer_id":"C","n":&,"message_id":"m&"}|' | publish -c "$dir/conf" --wait 20
}
handled() { [ "$(cut -d' ' -f5 "$dir/journal" | xargs)" = "$(seq "$1" | xargs)" ]; } # each once, in order
stack=64
# Sanitizers need more: then only that each program works with a small one.
! grep -q __asan_init "$top_builddir/headgate-router" || stack=1024
small() { # small PROGRAM ARGUMENT...: becomes it. Arguments and environment take stack, so the environment is small.
  for name in $(compgen -e); do
    case $name in
      HEADGATE_* | PATH | HOME | ASAN_OPTIONS) ;;
      *) unset "$name" ;;
    esac
  done
  ulimit -s $stack && exec "$@"
}

small "$top_builddir/headgate-router" -c "$dir/conf" 2>"$dir/router.log" &
router=$!
ok "the router starts" wait_for 20 up
small "$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" 2>"$dir/worker.log" &
worker=$!
send 1 10
ok "a worker handles messages" wait_for 20 handled 10
is "and does not die" 0 "$(grep -c '"worker.died"' "$dir/worker.log")"
for command in "stop events" "status" "peek events" "start events" "health" "wait --ready"; do
  # shellcheck disable=SC2086 # words
  (small "$top_builddir/headgatectl" -c "$dir/conf" $command >"$dir/answer" 2>&1)
  is "headgatectl $command" 0 $?
done
stop "$worker"
stop "$router"
is "the router ends in order" 0 $?
(small "$top_builddir/headgatectl" -c "$dir/conf" check >"$dir/answer" 2>&1)
is "headgatectl check" 0 $?
done_testing
