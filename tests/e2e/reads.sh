#!/bin/bash
# What the router reads back, and what it keeps in memory while it starts: no more than it needs.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
up() { ctl wait --ready -t 1; }
field() { ctl status --json | jq -r ".queues[] | select(.name == \"$1\") | .$2"; }
filler=$(printf '%8000s' '')
send() { # send FIRST LAST
  seq "$1" "$2" | sed "s|.*|{\"customer_id\":\"C&\",\"n\":&,\"message_id\":\"m&\",\"filler\":\"$filler\"}|" |
    publish -c "$dir/conf" --wait 60
}
read_bytes() { sed -n 's/^rchar: //p' "/proc/$router/io"; }
peak_kb() { sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$router/status"; }
state_is() { [ "$(field events state)" = "$1" ]; }

echo "# a trip far behind the oldest message"
cat >"$dir/conf" <<'EOF'
topic events { group_by = {customer_id} dedup_by = {message_id} }
queue events { topic = events }
EOF
: >"$dir/journal"
start router headgate-router -c "$dir/conf"
wait_for 20 up
# Two workers share the lanes: one is held at the first message, the other goes on to the end, where it fails.
touch "$dir/journal.hold.C1"
"$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" -j 4 2>>"$dir/worker.log" &
worker=$!
ok "four workers attach" wait_for 20 eval '[ "$(field events workers)" != 0 ] && [ "$(grep -c "\"worker.attached\"" "$dir/worker.log")" = 4 ]'
send 1 3000
settled() { [ "$(field events done)" -ge 2000 ]; }
ok "one is held at the first message, the others go on" wait_for 60 settled
quiet() { # for two seconds nothing is handled or read: nothing is in flight but what waits behind the first
  now="$(field events done) $(($(read_bytes) / 100000))"
  if [ "$now" != "$before" ]; then
    before=$now since=$(date +%s%N)
    return 1
  fi
  [ $(($(date +%s%N) - since)) -gt 2000000000 ]
}
before=
wait_for 60 quiet
hash_free() { cut -d' ' -f5 "$dir/journal" | sort -n | tail -n 1; } # the newest that was handled: its lane is free
last=$(hash_free)
touch "$dir/journal.C$last"
before_bytes=$(read_bytes)
printf '{"customer_id":"C%s","n":%s,"message_id":"trip"}\n' "$last" "$last" | publish -c "$dir/conf" --wait 20
ok "the gate closes" wait_for 20 state_is TRIPPED
is "by the message that failed" trip "$(field events tripped_by.message_id)"
read=$(($(read_bytes) - before_bytes))
echo "# $read bytes were read, of a log of $(du -sb "$dir/state/queues/events" | cut -f1)"
ok "the log was not read for its name" [ "$read" -lt 2000000 ]
rm -f "$dir"/journal.*
stop "$worker"
stop "$router"

echo "# many logs at the start"
{
  echo 'topic events { group_by = {customer_id} dedup_by = {message_id} }'
  for n in 1 2 3 4 5 6; do echo "queue q$n { topic = events }"; done
} >"$dir/conf"
rm -rf "$dir/state"
start router headgate-router -c "$dir/conf"
wait_for 20 up
send 1 2400 # 19 MB: the fifth segment of each log has 16 MB
kill -KILL "$router"
wait "$router" 2>/dev/null
ok "the newest segments are large" [ "$(du -b "$dir/state/queues/q1"/*5.log | cut -f1)" -ge 16777216 ]
: >"$dir/headgate-router.log"
# A sanitizer keeps what was freed for a while, unless it is told not to.
ASAN_OPTIONS=quarantine_size_mb=0 start router headgate-router -c "$dir/conf"
wait_for 60 up
echo "# peak: $(peak_kb) kB"
ok "one segment at a time is in memory" [ "$(peak_kb)" -lt 65536 ]
is "and all is there" 2400 "$(field q6 depth)"
stop "$router"
done_testing
