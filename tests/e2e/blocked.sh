#!/bin/bash
# A failure that blocks only its group: the others go on, the group's order is kept, it is tried again; with
# a limit it is given up.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@" 2>"$dir/ctl.err"; }
field() { # field QUEUE FILTER: of status
  ctl status --json | jq -r ".queues[] | select(.name == \"$1\") | $2"
}
configure() { # configure MARKERS SETTING...
  markers=$1
  shift
  cat >"$dir/conf.new" <<EOF
topic transaction-processing { group_by = {customer_id} dedup_by = {message_id} }
queue payment-processing {
    topic = transaction-processing
    fault_markers = $markers
    $*
}
EOF
  mv "$dir/conf.new" "$dir/conf" # a program that was started just now may be reading it
}
lines() { # lines PREFIX FIRST LAST CUSTOMER...: interleaved
  prefix=$1 first=$2 last=$3
  shift 3
  for i in $(seq "$first" "$last"); do
    for customer in "$@"; do
      echo "{\"customer_id\":\"$customer\",\"transaction_type\":\"payment\",\"amount\":$i,\"payment_method\":\"card\",\"message_id\":\"$prefix-$customer-$i\"}"
    done
  done
}
rows() { # rows CUSTOMER: its amounts, in order of handling
  payments "SELECT group_concat(amount_cents / 100, ' ') FROM (SELECT amount_cents FROM payments WHERE customer_id = '$1' ORDER BY rowid)"
}
restart() { # restart MARKERS SETTING...: all of it
  stop "$payment"
  stop "$router"
  configure "$@"
  start router headgate-router -c "$dir/conf"
  start payment headgate-payment -c "$dir/conf"
  wait_for 20 ctl wait --workers -t 1
}
depth_is() { [ "$(field payment-processing .depth)" = "$1" ]; }

echo "# block-group"
configure on 'server_error = block-group retry_base = 100ms'
start router headgate-router -c "$dir/conf"
start payment headgate-payment -c "$dir/conf"
wait_for 20 ctl wait --workers -t 1
{
  lines a 1 3 A B-ERROR500 C
  lines a 4 300 A B-ERROR500 C D-ERROR500
} | publish -c "$dir/conf"
ok "all other groups go on" wait_for 30 depth_is 597
is "in order" "$(seq 300 | xargs) $(seq 300 | xargs)" "$(rows A) $(rows C)"
is "the gate is open" RUNNING "$(field payment-processing .state)"
ok "it is tried again and again" wait_for 20 eval '[ "$(grep -c "\"group.blocked\"" "$dir/headgate-router.log")" -ge 8 ]'
# Those that are being tried just now are not parked.
is "status tells how many wait" true "$(field payment-processing '.blocked_groups == 2 and .parked >= 595')"
ok "in words" eval 'ctl status | grep -q "2 groups are blocked, with 59[5-7] messages"'
is "nothing of the blocked groups is handled" "" "$(rows B-ERROR500)$(rows D-ERROR500)"
is "it costs no receive" 0 "$(grep -c not_survived "$dir/headgate-router.log")"
is "and no failure row" 0 "$(payments 'SELECT count(*) FROM failures')"

kill -KILL "$(pgrep -P "$payment")"
lines b 301 310 A B-ERROR500 | publish -c "$dir/conf"
ok "after the worker was killed the others go on" wait_for 30 depth_is 607
kill -KILL "$router"
wait "$router" 2>/dev/null
start router headgate-router -c "$dir/conf"
wait_for 20 ctl wait --workers -t 1
lines b 311 320 A B-ERROR500 | publish -c "$dir/conf"
ok "after the router was killed, too" wait_for 30 depth_is 617
is "in order" "$(seq 320 | xargs)" "$(rows A)"

restart off 'server_error = block-group retry_base = 100ms'
ok "when the cause is mended all is handled" ctl wait --empty -t 30
is "in order, once" "$(seq 320 | xargs) $(seq 4 300 | xargs)" "$(rows B-ERROR500) $(rows D-ERROR500)"

echo "# the worker mends the cause while the group is blocked"
restart on 'server_error = block-group retry_base = 100ms'
lines m 1 200 M-ERROR500 N | publish -c "$dir/conf"
ok "blocked" wait_for 20 depth_is 200
stop "$payment"
configure off 'server_error = block-group retry_base = 100ms'
start payment headgate-payment -c "$dir/conf"
lines m 201 400 M-ERROR500 N | publish -c "$dir/conf"
ok "with the same router all is handled" ctl wait --empty -t 30
is "in order" "$(seq 400 | xargs) $(seq 400 | xargs)" "$(rows M-ERROR500) $(rows N)"

echo "# retry"
restart on 'server_error = retry client_error = retry retry_max = 3 retry_base = 50ms retry_factor = 1'
: >"$dir/headgate-router.log"
{
  lines r 1 2 E-ERROR500 F
  lines r 1 1 G-ERROR400
  lines r 3 3 E-ERROR500 F
} | publish -c "$dir/conf"
ok "all are ended" ctl wait --empty -t 30
is "the others are stored" "1 2 3" "$(rows F)"
is "what failed three times is recorded, in order" "r-E-ERROR500-1 500,r-E-ERROR500-2 500,r-E-ERROR500-3 500" \
  "$(payments "SELECT group_concat(message_id || ' ' || code) FROM (SELECT * FROM failures WHERE customer_id LIKE 'E-%' ORDER BY rowid)")"
is "a 4xx likewise" "r-G-ERROR400-1 400 Insufficient funds in account" \
  "$(payments "SELECT message_id || ' ' || code || ' ' || reason FROM failures WHERE customer_id LIKE 'G-%'")"
is "three tries each" 12 "$(grep -c '"group.blocked"' "$dir/headgate-router.log")"
is "they are dead letters" 4 "$(field payment-processing-dlq .depth)"
is "with three handlers that were started on each" "3 3 3 3" "$(ctl dead list --json payment-processing | jq .receives | xargs)"
done_testing
