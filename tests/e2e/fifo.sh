#!/bin/bash
# A FIFO has the name of a file of Headgate's own: nobody waits for its other end.
. "${top_srcdir:?}/tests/lib.sh"

state=$dir/state
run=$dir/run
ends() { # ends STATUS PROGRAM ARGUMENT...: 137 is the limit for what hangs
  timeout -s KILL 200 "$top_builddir/$2" "${@:3}" >"$dir/out" 2>"$dir/said"
  is "$2 ${*:3} ends" "$1" $?
}
names() { ok "... and names the file" grep -q "$1" "$dir/said" "$dir/out"; }
one_router() { # it starts and ends
  : >"$dir/headgate-router.log"
  start router headgate-router
  wait_for 20 ready
}
instead() { # instead FILE: a FIFO
  rm -f "$1" && mkfifo "$1"
}

one_router
stop "$router"
mkfifo "$state/queues/payment-processing/0000000000000009.log"
ends 71 headgatectl check
names 0000000000000009.log
ends 71 headgate-router
names 0000000000000009.log
rm "$state/queues/payment-processing/0000000000000009.log"
for file in "$state/dedup.key" "$state/router.lock" "$run/router.lock"; do
  cp "$file" "$dir/kept"
  instead "$file"
  ends 71 headgate-router
  names "$file"
  rm "$file"
  mv "$dir/kept" "$file"
done
for file in "$state"/known/*; do
  cp "$file" "$dir/kept"
  instead "$file"
  ends 71 headgate-router
  ends 71 headgatectl check
  rm "$file"
  mv "$dir/kept" "$file"
done
instead "$run/control"
ends 2 headgatectl health
ends 0 headgatectl status
ends 0 headgatectl shutdown -t 1
one_router
ok "a router replaces RUN/control" [ -f "$run/control" ]
stop "$router"
done_testing
