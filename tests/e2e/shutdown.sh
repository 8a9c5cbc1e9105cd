#!/bin/bash
# headgatectl shutdown ends what it says, and nothing else; pid files; what ps shows.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" "$@" 2>"$dir/ctl.err"; }
start_all_of() { # start_all_of DIRECTORY: in the background
  "$top_builddir/headgate-router" -D "$1" -d 2>>"$dir/d.log" &&
    "$top_builddir/headgate-payment" -D "$1" -d 2>>"$dir/d.log" &&
    "$top_builddir/headgate-payment" -D "$1" -d 2>>"$dir/d.log"
}
pid_of() { cat "$1/run/$2.pid"; } # pid_of DIRECTORY NAME
lives() { kill -0 "$1" 2>/dev/null; }
title() { tr '\0' ' ' <"/proc/$1/cmdline" | sed 's/ *$//'; }

echo "# nothing runs"
ctl shutdown >"$dir/out"
is "that is fine" "0 no router is running in $dir/run" "$? $(cat "$dir/out")"
ctl shutdown --all >"$dir/out"
is "also for all" "0 no worker is running in $dir/run
no router is running in $dir/run" "$? $(cat "$dir/out")"
ctl shutdown payment-processing
is "a queue is none of its business" 64 $?
ctl shutdown --all --workers
is "one or the other" 64 $?

echo "# for want of descriptors nothing is said not to be there"
ok "a router and its worker" start_all_of "$dir/poor"
want() ( # want DESCRIPTORS ARGUMENT...
  exec </dev/null 2>&1
  export ASAN_OPTIONS=detect_leaks=0 # that needs descriptors, too
  ulimit -n "$1"
  shift
  exec "$top_builddir/headgatectl" -D "$dir/poor" "$@"
)
for n in 5 6 7 8; do
  for command in status health "wait -t 0"; do
    got=$(want $n $command)
    ok "$command with $n" eval '! grep -q "no router\|not running" <<<"$got"'
  done
done
for command in "shutdown --workers" shutdown; do
  for n in 5 6 7 8 9 10 11 12; do
    got=$(want $n $command -t 60) && break
    is "$command with $n: what was needed is told" "71 1" "$? $(grep -c 'Too many open files' <<<"$got")"
  done
  ok "$command, when there are enough, ends them" grep -q ': ended$' <<<"$got"
  ok "and finds each" eval '! grep -q "^no " <<<"$got"'
done

echo "# a router, a worker and its standby; and another instance"
ok "they start" start_all_of "$dir"
ok "so do the others" start_all_of "$dir/other"
router=$(pid_of "$dir" headgate-router)
worker=$(pid_of "$dir" headgate-payment)
standby=$(pid_of "$dir" headgate-payment.2)
other=$(pid_of "$dir/other" headgate-router)
is "the router's number is in its file" "$router" "$(ctl status --json | jq .router.pid)"
is "so is the worker's, which is its parent's" "$worker" \
  "$(ctl status --json | jq '.queues[] | select(.name == "payment-processing") | .workers[0].parent')"
is "ps shows the instance" "$top_builddir/headgate-router -D $dir -d [$dir/state]" "$(title "$router")"
is "and which is the worker" "$top_builddir/headgate-payment -D $dir -d [$dir/state] worker" \
  "$(title "$(ctl status --json | jq '.queues[1].workers[0].pid')")"
ok "the environment can still be seen there" eval 'tr "\0" "\n" <"/proc/$router/environ" | grep -qxF "HEADGATE_DIR=$dir"'
ctl shutdown --workers >"$dir/out"
is "workers are ended, standbys too" "0 headgate-payment $worker: ended
headgate-payment $standby: ended" "$? $(sort -k2n "$dir/out")"
is "none is attached" 0 "$(ctl status --json | jq '[.queues[].workers[]] | length')"
ok "their files are gone" [ ! -e "$dir/run/headgate-payment.pid" -a ! -e "$dir/run/headgate-payment.2.pid" ]
ok "the router lives" lives "$router"
ctl shutdown >"$dir/out"
is "it is ended" "0 headgate-router $router: ended" "$? $(cat "$dir/out")"
ok "the other instance lives" lives "$other"

echo "# the number in a pid file is not believed, nor is a lock of somebody else's"
sleep 1000 &
bystander=$!
start worker headgate-payment
ok "a worker starts" wait_for 20 [ -s "$dir/run/headgate-payment.pid" ]
echo "$bystander" >"$dir/run/headgate-payment.pid" # as of one that died, before the next one has written its own
echo "$bystander" >"$dir/run/headgate-payment.2.pid"
(exec 9<"$dir/run/headgate-payment.2.pid" && flock 9 && : >"$dir/locked" && exec sleep 1000) &
locker=$!
wait_for 20 [ -e "$dir/locked" ]
ctl shutdown --workers >"$dir/out"
is "who holds the file is ended" "0 headgate-payment $worker: ended" "$? $(cat "$dir/out")"
ok "whose number stood in it lives" lives "$bystander"
kill -KILL "$bystander" "$locker"
wait "$bystander" "$locker" "$worker" 2>/dev/null
rm -f "$dir"/run/headgate-payment*.pid

echo "# one that does not end"
ok "they start again" start_all_of "$dir"
router=$(pid_of "$dir" headgate-router)
kill -STOP "$router"
ctl shutdown -t 200ms
is "time runs out" 75 $?
is "it is named" "headgatectl: headgate-router $router has not ended yet: it is stopped by a signal; kill -CONT $router lets it go on, kill -KILL $router ends it" \
  "$(cat "$dir/ctl.err")"
kill -CONT "$router"
ok "then it ends" wait_for 20 eval '! lives "$router"'
parent=$(pid_of "$dir" headgate-payment)
child=$(cat "/proc/$parent/task/$parent/children" | xargs)
kill -STOP "$child"
ctl shutdown --workers -t 200ms
is "a worker's child that is stopped, too" 75 $?
ok "is named" grep -qx "headgatectl: headgate-payment $parent has not ended yet: its child $child is stopped by a signal; kill -CONT $child lets it go on, kill -KILL $child ends it" \
  "$dir/ctl.err"
kill -CONT "$child"
ok "then it ends" wait_for 20 eval '! lives "$parent"'

echo "# files that are gone, or left over"
ok "they start again" start_all_of "$dir"
ctl wait --workers -t 20 payment-processing
pids() { cat "$dir"/run/*.pid 2>/dev/null | sort -n; }
before=$(pids)
is "router, worker and standby have one each" 3 "$(wc -l <<<"$before")"
back() { [ "$(pids)" = "$before" ]; }
rm "$dir"/run/*.pid
ok "all make their files again" wait_for 10 back
rm -r "$dir/run"
ok "also when RUN was removed" wait_for 10 back
ctl wait --workers -t 20 payment-processing
ctl shutdown >"$dir/out"
is "the router is ended" 0 $?
workers() { pids | comm -12 - <(sort -n <<<"$before") | wc -l; }
rm -r "$dir/run"
ok "so do workers without a router" wait_for 10 eval '[ "$(workers)" = 2 ]'
ctl shutdown --workers >"$dir/out"
is "which are all ended" "0 2" "$? $(grep -c '^headgate-payment .*: ended$' "$dir/out")"
for pid in $before; do
  ok "$pid has ended" wait_for 20 eval '! lives "$pid"'
done

ok "they start again" start_all_of "$dir"
ctl wait --workers -t 20 payment-processing
standby=$(pid_of "$dir" headgate-payment.2) # within a second nobody would know it; it would take the other's place meanwhile
kill -TERM "$standby"
wait_for 20 eval '! lives "$standby"'
rm "$dir"/run/*.pid
"$top_builddir/headgate-payment" -D "$dir/other" -d 2>>"$dir/d.log" # a file whose process is killed
leftover=$(pid_of "$dir/other" headgate-payment.3)
kill -KILL "$leftover"
ctl shutdown --all >"$dir/out"
is "what is attached is found all the same" "0 router" "$? $(sed -n 's/^headgate-\(router\) .*ended$/\1/p' "$dir/out")"
ctl status --json >"$dir/out"
is "the router is gone" false "$(jq .router.running "$dir/out")"
ok "a file that is left over" [ -e "$dir/other/run/headgate-payment.3.pid" ]
ctl -D "$dir/other" shutdown --all -t 30 >"$dir/out"
is "means nothing" 0 $?
ok "and nothing is said of it" eval '! grep -q "$leftover" "$dir/out"'
done_testing
