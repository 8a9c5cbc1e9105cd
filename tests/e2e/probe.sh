#!/bin/bash
# A tripped queue lets exactly one message through first; the one that tripped it can be given up; it can
# probe by itself.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@" 2>"$dir/ctl.err"; }
pay() {
  printf '{"customer_id":"%s","transaction_type":"payment","amount":1,"payment_method":"card","message_id":"%s"}\n' "$1" "$2"
}
field() { # field QUEUE FILTER: of status
  ctl status --json | jq -r ".queues[] | select(.name == \"$1\") | $2"
}
configure() { # configure MARKERS [SETTING]
  cat >"$dir/conf.new" <<EOF
topic transaction-processing { group_by = {customer_id} }
queue payment-processing {
    topic = transaction-processing
    client_error = record
    fault_markers = $1
    ${2:-}
}
EOF
  mv "$dir/conf.new" "$dir/conf" # a program that was started just now may be reading it
}
stored() { payments 'SELECT group_concat(message_id) FROM (SELECT message_id FROM payments ORDER BY rowid)'; }
worker() { # worker MARKERS [SETTING]: a new one, with another configuration
  stop "$payment"
  configure "$@"
  start payment headgate-payment -c "$dir/conf"
  wait_for 20 ctl wait --workers -t 1
}
trips() { grep -c '"state":"TRIPPED"' "$dir/headgate-router.log"; }

configure on
start router headgate-router -c "$dir/conf"
start payment headgate-payment -c "$dir/conf"
wait_for 20 ctl wait --workers -t 1
{ pay A p1; pay B-ERROR500 p2; pay C-ERROR500 p3; pay D p4; pay B-ERROR500 p5; } | publish -c "$dir/conf"
ctl wait --state TRIPPED -t 20
is "it trips" 0 $?

ctl start payment-processing >"$dir/out"
is "a probe that fails: 75" 75 $?
ok "it says which message and what it answered" \
  grep -q 'TRIPPED again: message p2 answered 500: Payment gateway' "$dir/ctl.err"
is "one message was tried" 2 "$(trips)"
is "the gate is closed" "TRIPPED p2" "$(field payment-processing '"\(.state) \(.tripped_by.message_id)"')"
is "nothing behind it was handled" p1 "$(stored)"
is "no receive was spent" 0 "$(grep -c not_survived "$dir/headgate-router.log")"

ok "status says how to give it up" eval 'ctl status | grep -q -- "--skip-head --message p2 payment-processing"'
ctl start --skip-head --message p9 payment-processing
is "not if it is another message" 75 $?
is "nothing changed" "TRIPPED p2 4" "$(field payment-processing '"\(.state) \(.tripped_by.message_id) \(.depth)"')"
ctl start --skip-head --message p2 payment-processing >"$dir/out"
gave_up() { # gave_up MESSAGE STATUS: it did; 75 if it saw the next one trip the queue
  [ "$2" = 0 ] || { [ "$2" = 75 ] && grep -q "message $1 was given up" "$dir/out"; }
}
ok "given up" gave_up p2 $?
ok "the reason says so" grep -q '"RUNNING".*"reason":"message p2 was given up and is in payment-processing-dlq"' \
  "$dir/headgate-router.log"
ctl wait --state TRIPPED -t 20
is "the next one trips it" "p3" "$(field payment-processing .tripped_by.message_id)"
is "two handlers were started on the first" 2 "$(ctl dead show --json payment-processing p2 | jq .receives)"
is "it is recorded with what it answered" "p2|500|server_error|Payment gateway temporarily unavailable" \
  "$(payments 'SELECT message_id, code, error_type, reason FROM failures')"
is "and is in the dead-letter queue" 1 "$(field payment-processing-dlq .depth)"

# The router is killed while it probes: it is tripped, and the message is still there.
kill -STOP "$(pgrep -P "$payment")"
: >"$dir/out"
ctl start --skip-head payment-processing >"$dir/out" &
starting=$!
ok "start says that it probes when that is on disk" wait_for 20 grep -qx 'payment-processing: PROBING' "$dir/out"
kill -KILL "$router"
wait "$router" 2>/dev/null
kill -CONT "$(pgrep -P "$payment")"
wait "$starting"
is "start says that the router is gone" 69 $?
ok "status says that nothing is tried" eval 'ctl status | grep -q "next:    nothing is tried without a router; when it is started the queue is TRIPPED"'
start router headgate-router -c "$dir/conf"
wait_for 20 ctl wait --workers -t 1
is "a probe that was cut short is none" "TRIPPED p3 3" \
  "$(field payment-processing '"\(.state) \(.tripped_by.message_id) \(.depth)"')"
is "status says why, and that it was nobody" "(headgate-router, the router was restarted during a probe" \
  "$(field payment-processing '"\(.by | split(" ")[1]) \(.reason)"')"
ctl start --skip-head payment-processing >"$dir/out"
ctl wait --state TRIPPED -t 20
is "then it is given up, and p4 is stored, and p5 trips" "p1,p4 p5" \
  "$(stored) $(field payment-processing .tripped_by.message_id)"
ctl stop payment-processing >"$dir/out"
ctl start --skip-head payment-processing
is "a stopped queue has no message to give up" 75 $?

worker off
ctl start payment-processing >"$dir/out"
is "start" 0 $?
ok "the rest is handled" ctl wait --empty -t 20
is "each once" "p1,p4,p5" "$(stored)"

# By itself.
is "nothing is tried by itself" null "$(field payment-processing .next_probe_s)"
stop "$router"
configure on 'auto_probe = 1h'
start router headgate-router -c "$dir/conf"
worker on 'auto_probe = 1h'
{ pay A-ERROR500 q1; pay A q2; } | publish -c "$dir/conf"
next_is_known() { [ "$(field payment-processing '.state == "TRIPPED" and .next_probe_s > 3000 and .next_probe_s <= 3600')" = true ]; }
ok "status tells when it is tried next" wait_for 20 next_is_known
ok "also a person" eval 'ctl status | grep -q "^ *or wait: it is tried by itself in [0-9ms ]* (auto_probe)\$"'
ctl stop payment-processing
is "a stopped one is not" null "$(field payment-processing .next_probe_s)"
ctl start payment-processing
is "it fails again" TRIPPED "$(field payment-processing .state)"
stop "$router"
configure on 'auto_probe = 100ms'
start router headgate-router -c "$dir/conf"
worker on 'auto_probe = 100ms'
before=$(trips)
ok "it is tried again and again" wait_for 20 eval '[ "$(trips)" -ge $((before + 3)) ]'
is "and costs nothing" "p1,p4,p5 2 0" "$(stored) $(field payment-processing .depth) $(grep -c not_survived "$dir/headgate-router.log")"
ok "status says who probes" wait_for 20 eval '[ "$(field payment-processing .by | cut -d " " -f 2)" = "(headgate-router," ]'
worker off 'auto_probe = 100ms'
ok "when the cause is mended it opens" ctl wait --empty -t 30
is "in order" "p1,p4,p5,q1,q2" "$(stored)"
is "RUNNING" RUNNING "$(field payment-processing .state)"
done_testing
