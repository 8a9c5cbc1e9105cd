#!/bin/bash
# A router and workers in different pid namespaces, as in two containers that share a directory: the router could not end
# a handler that hangs there, and says so. And a worker that it may not kill is complained of once.
. "$top_srcdir/tests/lib.sh"

cat >"$dir/conf" <<'EOF'
topic events { group_by = {customer_id} dedup_by = {content} }
queue events { topic = events  visibility_timeout = 1s }
EOF
: >"$dir/journal"
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
up() { ctl wait --ready -t 1; }
says() { grep -q "$2" "$dir/$1.log"; }
send() { printf '{"customer_id":"C","n":%s}\n' "$1" | publish -c "$dir/conf" --wait 20; }

if unshare --pid --fork true 2>/dev/null; then
  unshare --pid --fork --kill-child "$top_builddir/headgate-router" -c "$dir/conf" 2>>"$dir/headgate-router.log" &
  router=$!
  ok "headgatectl sees a router of another namespace by its lock" wait_for 20 up
  unshare --pid --fork --kill-child "$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" \
    2>>"$dir/far.log" &
  far=$!
  ok "a worker of a third one is refused, and told why" \
    wait_for 20 says far '"worker.waiting".*the worker is in another pid namespace'
  ctl wait --workers -t 1 2>/dev/null
  is "it is no worker for those who wait for one" 75 $?
  is "it says that once" 1 "$(grep -c 'another pid namespace' "$dir/far.log")"
  kill -KILL "$far" "$router"
  wait "$far" "$router" 2>/dev/null
  for pid in $(programs); do kill -KILL "$pid" 2>/dev/null; done
  : >"$dir/headgate-router.log"
else
  echo "# pid namespaces cannot be made here: not tried"
fi

echo "# numbers of another pid namespace are other processes here"
cat >"$dir/here" <<'END'
# Process 1 of a pid namespace. The router and its worker have small numbers in one below it, as have bystanders here.
export HEADGATE_DIR=$1
PATH=$2:$PATH
for n in $(seq 30); do sleep 1000 & done
bystanders=$(jobs -p)
unshare --pid --fork --kill-child --mount-proc sh -c 'headgate-router -d && headgate-payment -d && exec sleep 1000' &
headgatectl wait --workers -t 60 payment-processing || exit
all_live() { # kill -0 succeeds for one that has ended, until the shell has seen that
  for pid in $bystanders; do grep -q ') [ST] ' "/proc/$pid/stat" || return; done
  echo "all live"
}
no_file() { # no_file PROGRAM: its process cannot make its pid file
  until mkdir "$1"; do rm "$1"; done
}
both_run() { headgatectl wait --workers -t 0 payment-processing && echo "both run"; }
no_file "$1/run/headgate-router.pid" # only the control segment has its number then
no_file "$1/run/headgate-payment.pid"
headgatectl shutdown -t 0
echo "$? $(all_live)"
headgatectl shutdown --workers -t 0
echo "$? $(all_live)"
rmdir "$1"/run/*.pid
until [ -e "$1/run/headgate-router.pid" ] && [ -e "$1/run/headgate-payment.pid" ]; do sleep 0.02; done
kill -STOP $bystanders
headgatectl status payment-processing >"$1/status"
kill -CONT $bystanders
# This shell is in the namespace of neither, if the router is not below it.
unshare --pid --fork --mount-proc sh -c 'headgatectl shutdown --all -t 0; echo "$?"; headgatectl shutdown --workers -t 0; echo "$?"'
both_run
headgatectl shutdown --all -t 60 | sed 's/[0-9]\+/N/'
all_live
END
if unshare --pid --fork --mount-proc true 2>/dev/null; then
  timeout 300 unshare --pid --fork --kill-child --mount-proc bash "$dir/here" "$dir/far" "$top_builddir" \
    >"$dir/out" 2>"$dir/err"
  is "nobody else is signalled, those that are meant are said to be there" "69 all live
69 all live
69
69
both run
headgate-payment N: ended
headgate-router N: ended
all live" "$(cat "$dir/out")"
  is "why is told each time" 4 "$(grep -c 'is in another pid namespace, .*nothing was signalled' "$dir/err")"
  ok "status does not take another process for the router" eval '! grep -q "stopped by a signal" "$dir/far/status"'
  ok "it says whose numbers these are" grep -q '^router: running for .*, pid [0-9]* of another pid namespace$' "$dir/far/status"
fi

echo "# the clock of another time namespace"
ahead=(unshare --time --monotonic 100000 --fork --kill-child)
if "${ahead[@]}" true 2>/dev/null; then
  start router headgate-router -c "$dir/conf"
  wait_for 20 up
  "${ahead[@]}" "$top_builddir/headgatectl" -c "$dir/conf" status >"$dir/out" 2>&1
  is "headgatectl does not measure with it" "69 1" "$? $(grep -c 'the router is in another time namespace' "$dir/out")"
  "${ahead[@]}" "$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" 2>>"$dir/time.log" &
  far=$!
  ok "a worker does not attach there, and says why" \
    wait_for 20 says time '"worker.waiting".*the router is in another time namespace'
  kill -KILL "$far"
  wait "$far" 2>/dev/null
  stop "$router"
  : >"$dir/headgate-router.log"
else
  echo "# time namespaces cannot be made here: not tried"
fi

echo "# a worker that cannot be ended"
HEADGATE_IO=poll "$top_builddir/tests/forbid" pidfd_send_signal EPERM "$top_builddir/headgate-router" -c "$dir/conf" \
  2>>"$dir/headgate-router.log" &
router=$!
wait_for 20 up
"$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" 2>>"$dir/worker.log" &
worker=$!
touch "$dir/journal.hold.C"
send 1
ok "it is at a message" wait_for 20 [ -s "$dir/journal" ]
child=$(cut -d' ' -f3 "$dir/journal")
kill -STOP "$child" # so that it does not end itself
ok "it is too slow" wait_for 20 says headgate-router '"worker.too_slow"'
ctl wait --empty -t 1 2>/dev/null # ten looks of the router
is "which is said once" 1 "$(grep -c '"worker.too_slow"' "$dir/headgate-router.log")"
kill -KILL "$child"
rm "$dir/journal.hold.C"
ok "when it is dead the next one goes on" ctl wait --empty -t 20
stop "$worker"
stop "$router"
done_testing
