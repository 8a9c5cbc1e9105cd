#!/bin/bash
# The file with a queue's locks is removed while a worker has them, as cleaners of /tmp do: there are never
# two workers at once, and never none for good.
. "$top_srcdir/tests/lib.sh"

cat >"$dir/conf" <<'EOC'
topic events { group_by = {customer_id} dedup_by = {content} }
queue events { topic = events }
EOC
: >"$dir/journal"
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
up() { ctl wait --ready -t 1; }
send() { printf '{"customer_id":"C","n":%s}\n' "$1" | publish -c "$dir/conf" --wait 20; }
worker() { # worker VARIABLE: in the background; what it says goes into VARIABLE.log
  "$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" 2>>"$dir/$1.log" &
  eval "$1=$!"
}
says() { grep -q "$2" "$dir/$1.log"; }
attached() { [ "$(grep -c '"worker.attached"' "$dir/$1.log")" -ge "$2" ]; }
handlers() { awk -v n="$1" '$5 == n { print $3 }' "$dir/journal" | xargs; } # pids that were given message N
is_handled_by() { [ "$(handlers "$1" | wc -w)" = "$2" ]; }
is_dead() { ! grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status"; }
survived_not() { grep -c '"message.not_survived"' "$dir/headgate-router.log"; }

start router headgate-router -c "$dir/conf"
wait_for 20 up
worker first
ok "a worker attaches" wait_for 20 attached first 1
touch "$dir/journal.hold.C"
send 1
ok "it is at a message" wait_for 20 is_handled_by 1 1
one=$(handlers 1)
rm "$dir/run/events.lock"
worker second
ok "another one attaches" wait_for 20 attached second 1
ok "the first was ended before" wait_for 10 is_dead "$one"
ok "the router says why" says headgate-router '"worker.lock_lost".*"pid":'"$one"
ok "the other one is given the message" wait_for 20 is_handled_by 1 2
is "which cost one life" 1 "$(survived_not)"
ok "the first stands by" wait_for 20 says first '"worker.standby"'
rm "$dir/journal.hold.C"
ok "the message is handled" ctl wait --empty -t 20
send 2
ok "so is another" ctl wait --empty -t 20
is "by one worker" 1 "$(handlers 2 | wc -w)"

# Who is not at a message loses nothing.
rm "$dir/run/events.lock"
worker third
ok "a third one attaches" wait_for 20 attached third 1
is "it cost no life" 1 "$(survived_not)"
stop "$second"
stop "$third"

# The first waits for a lock that is nobody's any more, and then it has it.
ok "when both are gone the first is back" wait_for 20 attached first 2
rm "$dir/run/events.lock"
stop "$router"
start router headgate-router -c "$dir/conf"
ok "a new router gets a worker, too" wait_for 20 attached first 3
send 3
ok "which handles what comes" ctl wait --empty -t 20
stop "$router"

echo "# a router that cannot end a worker"
HEADGATE_IO=poll "$top_builddir/tests/forbid" pidfd_open EPERM "$top_builddir/headgate-router" -c "$dir/conf" \
  2>>"$dir/headgate-router.log" &
router=$!
wait_for 20 attached first 4
touch "$dir/journal.hold.C"
send 4
ok "a worker is at a message" wait_for 20 is_handled_by 4 1
rm "$dir/run/events.lock"
worker fourth
ok "another one is refused, and told why" \
  wait_for 20 says fourth '"worker.waiting".*another worker has these lanes, and it cannot be ended: end it yourself'
is "it is not given the message" 1 "$(handlers 4 | wc -w)"
rm "$dir/journal.hold.C"
ok "the first handles it" ctl wait --empty -t 20
stop "$first"
ok "when it has ended the other one attaches" wait_for 20 attached fourth 1
send 5
ok "and handles what comes" ctl wait --empty -t 20
stop "$fourth"
stop "$router"

echo "# a router that does not answer has the lock of a dead worker in its socket"
: >"$dir/headgate-router.log"
start router headgate-router -c "$dir/conf"
wait_for 20 ready
kill -STOP "$router"
worker fifth
ok "a worker gives it up to answer" wait_for 20 says fifth '"worker.waiting"'
stop "$fifth"
"$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" -d --wait 3 --log "$dir/sixth.log" 2>"$dir/err"
is "the next one is no standby of a dead one" 75 $?
ok "it says that the router does not answer" wait_for 20 says sixth '"worker.waiting".*does not answer'
ok "and not that another one works" eval '! says sixth worker.standby'
kill -CONT "$router"
ok "when the router goes on it attaches" wait_for 20 attached sixth 1
ctl shutdown --all >"$dir/out"
wait "$router"
done_testing
