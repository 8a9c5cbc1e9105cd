#!/bin/bash
# Descriptors run out: publishers that have nothing to publish are refused, workers and headgatectl are not, and
# what could not be read for want of a descriptor is tried again. No log is called damaged.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
up() { ctl wait --ready -t 1; }
field() { ctl status --json | jq -r ".queues[] | select(.name == \"$1\") | .$2"; }
is_dead() { ! grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status"; }
crowd() { # crowd COUNT: until crowd_ends; what it says is in crowd.out
  mkfifo "$dir/crowd.in"
  "$top_builddir/tests/crowd" "$dir/run" "$1" <"$dir/crowd.in" >"$dir/crowd.out" &
  crowd=$!
  exec 7>"$dir/crowd.in"
  wait_for 60 [ -s "$dir/crowd.out" ]
}
crowd_ends() {
  exec 7>&-
  wait "$crowd"
  rm "$dir/crowd.in"
}

echo "# a crowd of publishers"
cat >"$dir/conf" <<'EOF'
topic events { group_by = {customer_id} dedup_by = {message_id} }
queue events { topic = events  server_error = block-group  retry_base = 100ms }
EOF
: >"$dir/journal"
(ulimit -n 256 && exec "$top_builddir/headgate-router" -c "$dir/conf" 2>>"$dir/headgate-router.log") &
router=$!
wait_for 20 up
# More than is kept in memory: a worker reads it from the disk.
filler=$(printf '%8000s' '')
seq 2000 | sed "s|.*|{\"customer_id\":\"C&\",\"n\":&,\"message_id\":\"m&\",\"filler\":\"$filler\"}|" |
  publish -c "$dir/conf" --wait 20
ok "a crowd is told" crowd 1000
ok "some of it are let in" grep -q '^[1-9][0-9]* welcomed' "$dir/crowd.out"
ok "and others refused" grep -q '[1-9][0-9]* refused' "$dir/crowd.out"
printf '{"customer_id":"C","n":9999,"message_id":"late"}\n' |
  "$top_builddir/headgate-publish" -c "$dir/conf" --wait 1 2>"$dir/why"
is "a publisher who comes late is asked to try again" 69 $?
ok "and told why" grep -q "no descriptor left for publishers" "$dir/why"
ok "headgatectl is served" ctl stop events
ok "and again" ctl start events
for n in 1 7 1000 2000; do touch "$dir/journal.C$n"; done # these fail, and are read once more when they are tried again
"$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" 7>&- 2>>"$dir/worker.log" &
worker=$!
ok "a worker attaches" wait_for 20 grep -q '"worker.attached"' "$dir/worker.log"
handled() { [ "$(cut -d' ' -f5 "$dir/journal" | sort -u | wc -l)" = "$1" ]; }
ok "and is given all messages" wait_for 60 handled 2000
rm "$dir"/journal.C*
ok "what failed is tried again" ctl wait --empty -t 30
is "the gate is open" RUNNING "$(field events state)"
ok "nothing was called damaged" eval '! grep -i damage "$dir/headgate-router.log"'
crowd_ends
printf '{"customer_id":"C","n":9999,"message_id":"late"}\n' | publish -c "$dir/conf" --wait 20
is "when the crowd has gone, publishers are let in again" 0 $?
stop "$worker"
stop "$router"

echo "# the limit"
start router headgate-router -c "$dir/conf"
wait_for 20 up
limits() { awk '/^Max open files/ { print $4, $5 }' "/proc/$1/limits"; }
hard=$(limits $router | cut -d' ' -f2)
is "the soft limit is raised at the start" "$((hard < 65536 ? hard : 65536))" "$(limits $router | cut -d' ' -f1)"
stop "$router"

echo "# as many lanes as there can be"
{
  echo 'topic events { group_by = {customer_id} dedup_by = {message_id} }'
  for n in $(seq 32); do echo "queue q$n { topic = events  lanes = 64 }"; done
} >"$dir/conf"
(ulimit -n 1024 && exec "$top_builddir/headgate-router" -c "$dir/conf" 2>>"$dir/many.log") &
router=$!
ok "a router of 32 queues and as many of dead letters starts" wait_for 60 up
workers=
for n in $(seq 14); do
  "$top_builddir/tests/journal-worker" "q$n" "$dir/journal" -c "$dir/conf" 2>>"$dir/workers.log" &
  workers="$workers $!"
done
attached() { [ "$(grep -c '"worker.attached"' "$dir/workers.log")" = 14 ]; }
ok "workers of 64 lanes attach, also behind the 12th" wait_for 60 attached
ok "a lane takes no descriptor in the router" eval '[ "$(ls /proc/$router/fd | wc -l)" -lt 600 ]'
for worker in $workers; do stop "$worker"; done
stop "$router"

echo "# a worker without descriptors"
cat >"$dir/conf" <<'EOF'
topic events { group_by = {customer_id} dedup_by = {message_id} }
queue events { topic = events  lanes = 64 }
EOF
start router headgate-router -c "$dir/conf"
wait_for 20 up
(ulimit -n 40 && exec "$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" 2>>"$dir/poor.log") &
worker=$!
ok "says what it lacks" wait_for 20 grep -q 'no descriptors are left for the lanes' "$dir/poor.log"
stop "$worker"
stop "$router"
done_testing
