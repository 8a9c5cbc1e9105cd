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
