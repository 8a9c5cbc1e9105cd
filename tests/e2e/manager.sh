#!/bin/bash
# Control messages: they do what headgatectl does, in order, each time, whatever is killed; what is no control
# message changes nothing.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" "$@" 2>>"$dir/ctl.err"; }
query() { ctl status --json | jq -r '.queues[] | select(.name == "payment-processing") | '"$1"; }
both() { ctl status --json | jq -r '[.queues[] | select(.name == ("bank-account-setup", "payment-processing")) | .state] | join(" ")'; }
control() { publish -t subscription-control <<<"$1"; }
manager_sql() { sql subscription-control "$1"; }
last() { manager_sql "SELECT result FROM results ORDER BY rowid DESC LIMIT 1" | jq -r "$1"; }
obeyed() { [ "$(manager_sql 'SELECT count(*) FROM results')" = "$1" ]; }
failed() { [ "$(manager_sql 'SELECT count(*) FROM failures')" = "$1" ]; }
invoke() { "$top_builddir/headgate-subscription-manager" --invoke 2>>"$dir/invoke.err"; }
pay() {
  printf '{"customer_id":"%s","transaction_type":"payment","amount":%s,"payment_method":"card","message_id":"%s"}\n' "$1" "$2" "$3"
}
working() { # the pid of the manager's working child
  ctl status --json | jq -r '.queues[] | select(.name == "subscription-control") | .workers[0].pid // empty'
}

echo "# without a router"
is "--invoke cannot act" 503 "$(invoke <<<'{"action":"stop"}' | jq .status)"
invoke <<<'{"action":"stop"}' >"$dir/out"
is "and says so" 70 $?
is "status is not known" "503 control segment: no router is running; nothing was changed" \
  "$(invoke <<<'{"action":"status"}' | jq -r '"\(.status) \(.error)"')"

start router headgate-router
start payment headgate-payment
start account headgate-bank-account
ctl wait --workers -t 20
is "nobody waits for the manager" 0 $?
is "a control message waits for it" 0 "$(control '{"action":"stop","service":"payment-processing"}' && echo 0)"
is "and changes nothing before" RUNNING "$(query .state)"
start manager headgate-subscription-manager
ok "then it is obeyed" wait_for 20 obeyed 1
is "the queue is stopped" STOPPED "$(query .state)"
is "by whom and why" "Manual control system headgate-subscription-manager" \
  "$(query '"\(.reason) \(.by)"' | sed 's/ (/ /; s/,.*//')"
pay A 1 p1 | publish
is "messages pile up" 1 "$(query .depth)"
control '{"action":"start","service":"payment-processing","operator":"ann","reason":"mended","timestamp":1732104000}'
ok "start" wait_for 20 obeyed 2
ctl wait --empty -t 20 payment-processing
is "what piled up is handled" 1 "$(payments 'SELECT count(*) FROM payments')"
is "its result is stored" '{"action":"start","timestamp":1732104000,"operator":"ann","reason":"mended","mappings":1,"success_count":1,"error_count":0}' \
  "$(last '{action, timestamp, operator, reason, mappings: .functions_processed[0].mappings_enabled, success_count, error_count} | tojson')"
is "with the columns that every row has" "1 0 200" \
  "$(manager_sql "SELECT count(*), lane, status FROM results WHERE log <> 0 AND sequence > 0 AND message_id <> '' GROUP BY sequence LIMIT 1" | tr '|' ' ')"

echo "# again and again"
stop_payments='{"action":"stop","service":"payment-processing"}'
control "$stop_payments"
ok "the same stop once more" wait_for 20 obeyed 3
is "stops it again" STOPPED "$(query .state)"
control "$stop_payments"
ok "when it is stopped" wait_for 20 obeyed 4
is "it says so" 1 "$(last '.functions_processed[0].mappings_already_disabled')"
ctl start payment-processing >"$dir/out"
for _ in 1 2; do
  control '{"action":"stop","service":"payment-processing","message_id":"once"}'
done
ok "with a message id" wait_for 20 obeyed 5
ctl start payment-processing >"$dir/out"
ctl wait --empty -t 20 subscription-control
is "only once" "5 RUNNING" "$(manager_sql 'SELECT count(*) FROM results') $(query .state)"

echo "# all, status, refresh"
control '{"action":"DISABLE","reason":"night"}'
ok "disable all" wait_for 20 obeyed 6
is "stops both" "STOPPED STOPPED" "$(both)"
is "but not itself" RUNNING "$(ctl status --json | jq -r '.queues[] | select(.name == "subscription-control") | .state')"
control '{"action":"status"}'
ok "status" wait_for 20 obeyed 7
is "counts them" "2 0 2" "$(last '.summary | "\(.total_functions) \(.enabled_functions) \(.disabled_functions)"')"
control '{"action":"enable","service":null}'
ok "enable all" wait_for 20 obeyed 8
is "starts both" "RUNNING RUNNING" "$(both)"
control '{"action":"refresh"}'
ok "refresh" wait_for 20 obeyed 9
is "is the same configuration" "true 2 2" "$(last '"\(.refreshed) \(.old_count) \(.new_count)"')"

echo "# what is no control message"
{
  echo '{"service":"payment-processing"}'
  echo '{"action":"explode","service":"payment-processing"}'
  echo '{"error":"Payment gateway temporarily unavailable","code":500}'
  echo '{"action":"stop","service":"no-such-queue"}'
  echo '{"action":"stop","service":""}'
} | publish -t subscription-control
ok "is recorded" wait_for 20 failed 5
is "with its reason" "400 Invalid event format or missing action,400 Invalid event format or missing action,400 Invalid event format or missing action,404 Unknown service: no-such-queue,400 Invalid service format" \
  "$(manager_sql "SELECT group_concat(code || ' ' || reason) FROM (SELECT * FROM failures ORDER BY rowid)")"
is "and changes nothing" "RUNNING RUNNING 9" "$(both) $(manager_sql 'SELECT count(*) FROM results')"

echo "# a gate that a 5xx closed"
{ pay B-ERROR500 2 p2; pay A 3 p3; } | publish
ctl wait --state TRIPPED -t 20 payment-processing
control '{"action":"start","service":"payment-processing"}'
ok "start" wait_for 20 obeyed 10
is "is a probe" PROBING "$(last '.functions_processed[0].state')"
ctl wait --state TRIPPED -t 20 payment-processing
is "which fails" "0 p2" "$? $(query .tripped_by.message_id)"
control "$stop_payments"
ok "a stop on top of it" wait_for 20 obeyed 11
is "keeps what tripped it" "STOPPED p2" "$(query '"\(.state) \(.tripped_by.message_id)"')"

echo "# --invoke acts on the flags"
is "start" "200 1" "$(invoke <<<'{"action":"start","service":"PAYMENT-processing"}' |
  jq -r '"\(.status) \(.functions_processed[0].mappings_enabled)"')"
ctl wait --state TRIPPED -t 20 payment-processing
is "opens the gate, and p2 closes it" 0 $?
is "stop" "200 STOPPED" "$(invoke <<<"$stop_payments" | jq -r '"\(.status) \(.functions_processed[0].state)"')"
is "is seen at once" STOPPED "$(query .state)"
invoke <<<'{"action":"stop","service":"x"}' >"$dir/out"
is "a client's fault" "65 404" "$? $(jq .status "$dir/out")"
is "what is managed can be narrowed" "1 prod-pay" "$(
  MANAGED_FUNCTIONS='[{"function_name":"prod-pay","service_name":"payment-processing","description":"x"}]' \
    invoke <<<'{"action":"status"}' | jq -r '"\(.summary.total_functions) \(.functions[0].function_name)"'
)"
MANAGED_FUNCTIONS='[{}]' invoke <<<'{"action":"status"}'
is "a list that is wrong" 78 $?

echo "# in order, whatever is killed"
count=150
for ((i = 1; i <= count; i++)); do
  if ((i % 2)); then action=stop; else action=start; fi
  printf '{"action":"%s","service":"bank-account-setup","reason":"n%d"}\n' "$action" "$i"
done >"$dir/flips"
echo '{"action":"stop","service":"bank-account-setup","reason":"the last"}' >>"$dir/flips"
publish -t subscription-control "$dir/flips"
progress() { [ "$(manager_sql 'SELECT count(*) FROM results')" -gt "$1" ]; }
made_anew() {
  local pid
  pid=$(working) && [ -n "$pid" ] && [ "$pid" != "$1" ]
}
kills=0
for k in 1 2 3; do
  wait_for 20 progress $((11 + k * 20))
  victim=$(working)
  [ -n "$victim" ] && kill -KILL "$victim" && kills=$((kills + 1))
  wait_for 20 made_anew "$victim"
done
is "the manager was killed" 3 $kills
kill -KILL "$router"
wait "$router" 2>/dev/null
start router headgate-router
ctl wait --empty -t 60 subscription-control
is "all are obeyed" 0 $?
ok "once each" obeyed $((12 + count))
is "in order" 0 "$(manager_sql "SELECT count(*) FROM (SELECT sequence - lag(sequence) OVER (ORDER BY rowid) AS step FROM results) WHERE step < 1")"
is "reason by reason" $count "$(manager_sql "SELECT count(DISTINCT json_extract(result, '\$.reason')) FROM results
  WHERE json_extract(result, '\$.reason') GLOB 'n[0-9]*'")"
is "the last one holds" "STOPPED the last" \
  "$(ctl status --json | jq -r '.queues[] | select(.name == "bank-account-setup") | "\(.state) \(.reason)"')"
is "nothing failed" 5 "$(manager_sql 'SELECT count(*) FROM failures')"

echo "# by its own gate"
control '{"action":"stop","service":"subscription-control"}'
wait_for 20 obeyed $((13 + count))
ok "it can stop itself" ctl wait --state STOPPED -t 20 subscription-control
control '{"action":"start"}'
ctl start subscription-control >"$dir/out"
ok "and goes on when a person says so" wait_for 20 obeyed $((14 + count))
stop "$manager"
is "SIGTERM ends it" 0 $?

echo "# somebody else keeps the segment locked"
state=$(query .state)
(exec 9<"$dir/run/control" && flock 9 && : >"$dir/locked" && exec sleep 1000) &
locker=$!
wait_for 20 [ -e "$dir/locked" ]
is "nothing is changed, which is said" "503 true $state" \
  "$(invoke <<<"$stop_payments" | jq -r '"\(.status) \(.error | test("keeps RUN/control locked; nothing was changed"))"') $(query .state)"
rm "$dir/run/control"
ok "the router says why it makes no other one" \
  wait_for 20 grep -q '"router.file_not_restored".*control: another process keeps the removed file locked' "$dir/headgate-router.log"
kill -KILL "$locker"
wait "$locker" 2>/dev/null
ok "then it makes one" ctl wait --ready -t 20
done_testing
