#!/bin/bash
# A person's view: status says why a gate is closed, stop and start close and open it, start resumes at
# the very message that tripped it.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" "$@" 2>"$dir/ctl.err"; }
pay() {
  printf '{"customer_id":"%s","transaction_type":"payment","amount":%s,"payment_method":"card","message_id":"%s"}\n' "$1" "$2" "$3"
}
query() { ctl status --json | jq -r "$1"; }

echo "# without a router"
is "status answers without a router" false "$(query .router.running)"
ctl start payment-processing
is "start without a router changes nothing" 69 $?
ok "and says what to do" grep -q "start it with: headgate-router -D $dir -d" "$dir/ctl.err"
ctl wait --ready -t 100ms
is "wait runs out of time" 75 $?
ctl stop no-such-queue
is "a queue that is not there" 64 $?
for verb in start stop wait; do
  ctl $verb --all payment-processing
  is "$verb --all and a name" 64 $?
done
for program in headgatectl headgate-router headgate-publish headgate-payment headgate-subscription-manager; do
  timeout 5 "$top_builddir/$program" -D "" -V >/dev/null 2>"$dir/ctl.err"
  is "$program: a directory without a name" 64 $?
done

start router headgate-router
start payment headgate-payment
start account headgate-bank-account
ctl wait --workers -t 20
is "wait --workers" 0 $?
is "status sees both queues running" "RUNNING RUNNING" "$(query '[.queues[:2][].state] | join(" ")')"
is "and their workers" "1 1" "$(query '[.queues[:2][].workers | length] | join(" ")')"
is "which own all lanes" "[0,1,2,3]" "$(ctl status --json | jq -c '.queues[1].workers[0].lanes')"

{ pay A 1 p1; pay B-ERROR500 2 p2; pay A 3 p3; pay C 4 p4; } | publish
ctl wait --state TRIPPED -t 20 payment-processing
is "a 5xx trips its queue" 0 $?
is "status names the message" "p2 500 Payment gateway temporarily unavailable" \
  "$(query '.queues[1].tripped_by | "\(.message_id) \(.status) \(.error)"')"
is "the other queue is RUNNING" RUNNING "$(query '.queues[0].state')"
ok "what precedes is stored" wait_for 10 eval '[ "$(payments "SELECT group_concat(message_id) FROM payments")" = p1 ]'
is "three are waiting" 3 "$(query '.queues[1].depth')"
ctl status >"$dir/screen"
ok "the screen says what to type next" grep -q "headgatectl -D $dir start payment-processing" "$dir/screen"
since=$(query '.queues[1].since')
is "it was not probed yet" null "$(query '.queues[1].last_probe')"
later() { [ "$(date +%s)" -gt "$(date -d "$since" +%s)" ]; }
wait_for 10 later # times have seconds
ctl start payment-processing
is "start with the cause still there trips again" 75 $?
is "it is tripped since its message failed first" "$since" "$(query '.queues[1].since')"
is "when it was probed stands beside it" true "$(query '.queues[1] | .last_probe > .since')"
ok "on the screen, too" eval 'ctl status | grep -q "^    probed:  20.* failed again\$"'
is "nothing was handled in the meantime" p1 "$(payments 'SELECT group_concat(message_id) FROM payments')"

stop "$payment"
stop "$router"
is "that is in the log, too" "$since" "$(query '.queues[1].since')"
is "offline, the state is known" "TRIPPED p2 3" "$(query '.queues[1] | "\(.state) \(.tripped_by.message_id) \(.depth)"')"
start router headgate-router
export HEADGATE_ENVIRONMENT=prod # fault markers are off: the cause is mended
start payment headgate-payment
unset HEADGATE_ENVIRONMENT
ctl wait --workers -t 20
is "after a restart of everything it is still TRIPPED" TRIPPED "$(query '.queues[1].state')"
ctl start payment-processing
is "start" 0 $?
ctl wait --empty -t 20
is "the pile is drained" 0 $?
is "in order, from the very message on" p1,p2,p3,p4 \
  "$(payments 'SELECT group_concat(message_id) FROM (SELECT message_id FROM payments ORDER BY rowid)')"

ctl stop --reason "bank holiday" payment-processing
is "stop" 0 $?
is "stop again is fine" "payment-processing: already STOPPED" "$(ctl stop payment-processing)"
is "status says why" "STOPPED bank holiday" "$(query '.queues[1] | "\(.state) \(.reason)"')"
{ pay A 5 p5; pay A 6 p6; } | publish
is "messages pile up" 2 "$(query '.queues[1].depth')"
is "and are not handled" 4 "$(payments 'SELECT count(*) FROM payments')"
kill -KILL "$router"
wait "$router" 2>/dev/null
start router headgate-router
ctl wait --workers -t 20
ctl stop --reason "$(printf %0256d 0)" payment-processing >"$dir/out"
is "a reason that would be cut is refused" "64 STOPPED bank holiday" "$? $(query '.queues[1] | "\(.state) \(.reason)"')"
is "a stop survives kill -9 of the router" "STOPPED bank holiday" "$(query '.queues[1] | "\(.state) \(.reason)"')"

echo "# a stop while the router stands still, which then ends in order"
stands() { grep -q '^State:[[:space:]]*T' "/proc/$router/status"; }
kill -STOP "$router"
ok "the router stands still" wait_for 20 stands
ctl stop --drain -t 100ms --reason maintenance bank-account-setup >"$dir/out"
is "the stop is not logged" "75 bank-account-setup: STOPPED (not logged yet)" "$? $(cat "$dir/out")"
kill -TERM "$router"
kill -CONT "$router"
wait "$router"
is "the router ends" 0 $?
rm -r "$dir/run"
is "the log has the stop" "STOPPED maintenance" "$(query '.queues[0] | "\(.state) \(.reason)"')"
start router headgate-router
ok "the next router starts without the control segment" wait_for 20 ctl wait --workers -t 1
is "and knows of the stop" "STOPPED maintenance" "$(query '.queues[0] | "\(.state) \(.reason)"')"
ctl start --all
is "start --all" 0 $?
ctl wait --empty -t 20
is "all is handled" 6 "$(payments 'SELECT count(*) FROM payments')"

# What a worker was given is handled when the stop says drain; nothing else is.
in_flight() { [ "$(query '.queues[1].in_flight')" = "$1" ]; }
child=$(pgrep -P "$payment")
kill -STOP "$child"
for i in $(seq 50); do pay "D$i" 1 "d$i"; done | publish
ok "a worker is given messages" wait_for 20 in_flight 50
ctl stop --drain -t 30 payment-processing >"$dir/out" &
draining=$!
wait_for 20 ctl wait --state STOPPED -t 1 payment-processing
for i in $(seq 50); do pay "E$i" 1 "e$i"; done | publish
kill -CONT "$child"
wait "$draining"
is "stop --drain" 0 $?
is "what it was given is handled, and no more" "56 50" \
  "$(payments 'SELECT count(*) FROM payments') $(query '.queues[1].depth')"
ctl start --reason "after lunch" payment-processing
ok "the rest is handled after a start" ctl wait --empty -t 20

echo "# a stop that is repeated"
child=$(pgrep -P "$payment")
kill -STOP "$child"
for i in $(seq 50); do pay "F$i" 1 "f$i"; done | publish
ok "a worker is given messages again" wait_for 20 in_flight 50
ctl stop --reason first payment-processing >"$dir/first" &
stopping=$!
wait_for 20 grep -q 'STOPPED$' "$dir/first" # it is logged
timeout 1 "$top_builddir/headgatectl" stop payment-processing >"$dir/out"
is "waits as well for a worker that has not seen it" 124 $?
is "and says that it was stopped" "payment-processing: already STOPPED" "$(cat "$dir/out")"
kill -CONT "$child"
wait "$stopping"
is "the first one is done when the worker has seen it" 0 $?
ctl stop payment-processing >"$dir/out"
is "so is another" 0 $?
is "what it was given is not handled" "106 50" \
  "$(payments 'SELECT count(*) FROM payments') $(query '.queues[1].in_flight')"
kill -STOP "$child"
timeout 1 "$top_builddir/headgatectl" stop --drain -t 30 --reason second payment-processing >"$dir/out"
is "stop --drain of it waits" 124 $?
kill -CONT "$child"
ctl stop --drain -t 30 --reason third payment-processing >"$dir/out"
is "stop --drain of a queue that is STOPPED" 0 $?
is "what it was given is handled now" "156 0" \
  "$(payments 'SELECT count(*) FROM payments') $(query '.queues[1].in_flight')"
is "the last reason that was given counts" "STOPPED third" "$(query '.queues[1] | "\(.state) \(.reason)"')"
ctl stop --drain payment-processing >"$dir/out"
is "once more is fine" 0 $?
ctl start payment-processing

echo "# a worker that dies while it is drained"
child=$(pgrep -P "$payment")
kill -STOP "$child"
for i in $(seq 50); do pay "G$i" 1 "g$i"; done | publish
ok "a worker is given messages once more" wait_for 20 in_flight 50
ctl stop --drain -t 30 payment-processing >"$dir/out" &
draining=$!
wait_for 20 ctl wait --state STOPPED -t 1 payment-processing
kill -KILL "$child"
wait "$draining"
is "stop --drain tells that it was not" 75 $?
ok "and how many were not handled" grep -q '^headgatectl: payment-processing: 50 of the messages' "$dir/ctl.err"
is "they wait" "156 50 0" "$(payments 'SELECT count(*) FROM payments') $(query '.queues[1] | "\(.depth) \(.in_flight)"')"
ctl stop --drain -t 30 payment-processing >"$dir/out"
is "then no worker has any" 0 $?
ctl start payment-processing
ok "and are handled after a start" ctl wait --empty -t 20

echo "# options where they mean nothing"
refused() { # refused TEXT ARGUMENT...
  wanted=$1
  shift
  ctl "$@" >/dev/null
  is "$*" "64 headgatectl: $wanted" "$? $(cat "$dir/ctl.err")"
}
refused "stop: --timeout goes with --drain" stop -t 5 payment-processing
refused "start: --message goes with --skip-head" start --message p1 payment-processing
refused "wait: --workers, or --empty: not both" wait --empty --workers
refused "wait: --ready, or --state: not both" wait --ready --state RUNNING
refused "peek: --groups, or --reveal: not both" peek --groups --reveal payment-processing
refused "dead show: --json, or --raw: not both" dead show --raw --json payment-processing
refused "config takes no arguments" config payment-processing

ctl config >"$dir/conf"
is "config prints what is in force" 0 $?
ctl -c "$dir/conf" config >"$dir/conf2"
ok "and reads it back" cmp -s "$dir/conf" "$dir/conf2"
"$top_builddir/headgatectl" status >/dev/full 2>"$dir/ctl.err"
is "a full disk on stdout" 74 $?
ctl stop payment-processing >/dev/full
is "also of stop" 74 $?
is "says why" "headgatectl: stdout: No space left on device" "$(cat "$dir/ctl.err")"
done_testing
