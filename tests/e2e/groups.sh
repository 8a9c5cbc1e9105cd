#!/bin/bash
# Groups that are blocked, for the person who is called: which they are, and why; one is tried now, or its first
# message given up.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@" 2>"$dir/ctl.err"; }
configure() { # configure MARKERS SETTING...
  markers=$1
  shift
  cat >"$dir/conf.new" <<EOC
topic transaction-processing { group_by = {customer_id} dedup_by = {message_id} }
queue payment-processing {
    topic = transaction-processing
    fault_markers = $markers
    $*
}
EOC
  mv "$dir/conf.new" "$dir/conf" # a program that was started just now may be reading it
}
lines() { # lines FIRST LAST CUSTOMER...: interleaved
  first=$1 last=$2
  shift 2
  for i in $(seq "$first" "$last"); do
    for customer in "$@"; do
      echo "{\"customer_id\":\"$customer\",\"transaction_type\":\"payment\",\"amount\":$i,\"payment_method\":\"card\",\"message_id\":\"$customer-$i\"}"
    done
  done
}
rows() { # rows CUSTOMER: its amounts, in order of handling
  payments "SELECT group_concat(amount_cents / 100, ' ') FROM (SELECT amount_cents FROM payments WHERE customer_id = '$1' ORDER BY rowid)"
}
groups() { ctl peek --groups --json "$@" payment-processing; }
group() { # group CUSTOMER FILTER: a fact of a blocked group
  groups -n 1000 | jq -r "select(.group == \"$1\") | $2"
}
blocked() { groups -n 1000 | jq -r .group | sort | xargs; }
blocked_are() { [ "$(blocked)" = "$1" ]; }
fact_is() { [ "$(group "$1" "$2")" = "$3" ]; }
exit_of() { # exit_of COMMAND...: its exit status
  "$@" >"$dir/out"
  echo $?
}

echo "# without a router, and without a blocked group"
configure on 'server_error = block-group retry_base = 10m'
is "no router is running: exit 69" 69 "$(exit_of ctl peek --groups payment-processing)"
ok "and it says so" grep -q 'no router is running' "$dir/ctl.err"
start router headgate-router -c "$dir/conf"
start payment headgate-payment -c "$dir/conf"
wait_for 20 ctl wait --workers -t 1
is "nobody is blocked" "payment-processing: no group is blocked" "$(ctl peek --groups payment-processing)"
is "in JSON that is nothing" "" "$(groups)"
is "a queue that is not there: exit 78" 78 "$(exit_of ctl peek --groups no-such-queue)"

echo "# who is blocked"
before=$(date +%s)
lines 1 20 A B-ERROR500 C-ERROR500 | publish -c "$dir/conf"
lines 21 30 A C-ERROR500 D-ERROR500 | publish -c "$dir/conf"
ok "three are" wait_for 20 blocked_are "B-ERROR500 C-ERROR500 D-ERROR500"
ok "what is behind them waits" wait_for 20 fact_is C-ERROR500 .behind 29
is "the others go on" "$(seq 30 | xargs)" "$(rows A)"
is "in order of their first messages" "B-ERROR500 C-ERROR500 D-ERROR500" "$(groups | jq -r .group | xargs)"
is "its first message" "C-ERROR500-1 3" "$(group C-ERROR500 '"\(.message_id) \(.sequence)"')"
is "which stands there in the queue" "$(group D-ERROR500 .sequence)" \
  "$(ctl peek --json -n 1000 payment-processing | jq 'select(.message_id == "D-ERROR500-21") | .sequence')"
is "so many are behind" "19 9" "$(group B-ERROR500 .behind) $(group D-ERROR500 .behind)"
is "what it answered" "500 1 waiting" "$(group B-ERROR500 '"\(.status) \(.tries) \(.state)"')"
is "and why" "Payment gateway temporarily unavailable" "$(group B-ERROR500 .error)"
ok "since when" [ "$(group B-ERROR500 '.blocked_since | sub("\\.[0-9]+Z"; "Z") | fromdate')" -ge "$before" ]
is "it is tried again in less than ten minutes" true "$(group B-ERROR500 '.next_try_s > 300 and .next_try_s <= 600')"
is "the age is that of the block" true "$(group B-ERROR500 '.age_s >= 0 and .age_s < 120')"
is "the first two" "B-ERROR500 C-ERROR500" "$(groups -n 2 | jq -r .group | xargs)"
groups -n 2 >/dev/null
ok "and that there are more" grep -q '3 groups are blocked; -n 3 shows all' "$dir/ctl.err"
ctl peek --groups payment-processing >"$dir/out"
is "two lines for each, below their names" 7 "$(sed '/^$/,$d' "$dir/out" | wc -l)"
ok "what to type for the first of them" \
  grep -q "^next:    mend the cause, then: headgatectl -c $dir/conf -D $dir start --group B-ERROR500 payment-processing\$" "$dir/out"
ok "or else" grep -q \
  "or give its message up: headgatectl -c $dir/conf -D $dir start --group B-ERROR500 --skip-head --message B-ERROR500-1 payment-processing\$" "$dir/out"
ok "as text" grep -E -q "^ +2  *[0-9ms ]+  *1  *9m [0-9]+s  *19  *B-ERROR500  *B-ERROR500-1\$" "$dir/out"
ok "with what it answered" grep -q "^    500: Payment gateway" "$dir/out"
ok "status says how to see them" eval 'ctl status | grep -q "headgatectl -c $dir/conf -D $dir peek --groups payment-processing"'
is "each key of the JSON is in the manual" "" "$(groups | jq -r 'keys[]' | undocumented headgatectl.1)"

echo "# nothing of it outlives the router"
kill -KILL "$router"
wait "$router" 2>/dev/null
is "a router that was killed: exit 69" 69 "$(exit_of ctl peek --groups payment-processing)"
start router headgate-router -c "$dir/conf"
ok "the next one tries them, and blocks them again" wait_for 20 blocked_are "B-ERROR500 C-ERROR500 D-ERROR500"
is "at the same messages" "2 3" "$(group B-ERROR500 .sequence) $(group C-ERROR500 .sequence)"
kill -KILL "$(pgrep -P "$payment")"
wait_for 20 ctl wait --workers -t 1
ok "with another worker, too" wait_for 20 fact_is C-ERROR500 .behind 29
is "nothing of them was handled" "" "$(rows B-ERROR500)$(rows C-ERROR500)$(rows D-ERROR500)"

echo "# one is tried now"
start_group() { ctl start --group "$@" payment-processing; }
others="$(group C-ERROR500 .tries) $(group D-ERROR500 .tries)"
tries=$(group B-ERROR500 .tries)
is "it fails again: exit 75" 75 "$(exit_of start_group B-ERROR500)"
is "and it says with what" \
  "headgatectl: payment-processing: failed again: message B-ERROR500-1 answered 500: Payment gateway temporarily unavailable" \
  "$(cat "$dir/ctl.err")"
is "that was a try" $((tries + 1)) "$(group B-ERROR500 .tries)"
is "of this one only" "$others" "$(group C-ERROR500 .tries) $(group D-ERROR500 .tries)"
is "a group that is not blocked: exit 66" 66 "$(exit_of start_group A)"
ok "and it says so" grep -q 'group A is not blocked' "$dir/ctl.err"
is "two queues: exit 64" 64 "$(exit_of ctl start --group A payment-processing payment-processing)"
is "a group without a name: exit 64" 64 "$(exit_of start_group '')"
stop "$payment"
wait_for 20 eval '[ "$(ctl status --json payment-processing | jq ".queues[0].workers | length")" = 0 ]'
is "without a worker: exit 75" 75 "$(exit_of start_group B-ERROR500)"
ok "and it says so" grep -q 'no worker is attached' "$dir/ctl.err"
configure off 'server_error = block-group retry_base = 10m'
start payment headgate-payment -c "$dir/conf" # it mends the cause; the router keeps its ten minutes
wait_for 20 ctl wait --workers -t 1
ok "all are found again" wait_for 20 fact_is C-ERROR500 .behind 29
is "it is opened: exit 0" 0 "$(exit_of start_group B-ERROR500 --reason 'the bank is back')"
is "and it says so" "payment-processing: opened: message B-ERROR500-1 answered 200" "$(cat "$dir/out")"
ok "what waited is handled" wait_for 20 eval '[ "$(rows B-ERROR500)" = "$(seq 20 | xargs)" ]'
is "and nothing of the others" "C-ERROR500 D-ERROR500 " "$(blocked) $(rows C-ERROR500)$(rows D-ERROR500)"
is "who wanted that is logged" "B-ERROR500-1 $(id -u) headgatectl the bank is back" \
  "$(jq -r 'select(.event == "group.try") | "\(.message_id) \(.uid) \(.program) \(.reason)"' "$dir/headgate-router.log" | tail -n 1)"

echo "# the first message of one is given up"
skip() { start_group "$1" --skip-head --message "$2"; }
is "another message than the first: exit 75" 75 "$(exit_of skip C-ERROR500 C-ERROR500-2)"
ok "and it says which one it is" grep -q 'is now C-ERROR500-1$' "$dir/ctl.err"
is "nothing was done" "2 29" "$(group C-ERROR500 '"\(.sequence - 1) \(.behind)"')"
is "the first: exit 0" 0 "$(exit_of skip C-ERROR500 C-ERROR500-1)"
is "and it says where it is" \
  "payment-processing: opened: message C-ERROR500-1 was given up and is in payment-processing-dlq: 500: Payment gateway temporarily unavailable" \
  "$(cat "$dir/out")"
is "it is there at once" "C-ERROR500-1 500 Payment gateway temporarily unavailable" \
  "$(ctl dead list --json payment-processing | jq -r '"\(.message_id) \(.status) \(.reason)"')"
ok "what waited is handled" wait_for 20 eval '[ "$(rows C-ERROR500)" = "$(seq 2 30 | xargs)" ]'
is "it is recorded as failed" "C-ERROR500-1 500" "$(payments "SELECT message_id || ' ' || code FROM failures")"
is "and nothing of the last one" "D-ERROR500 " "$(blocked) $(rows D-ERROR500)"
is "who wanted that is logged" "C-ERROR500-1 $(id -u) headgatectl" \
  "$(jq -r 'select(.event == "group.skip") | "\(.message_id) \(.uid) \(.program)"' "$dir/headgate-router.log" | tail -n 1)"
ctl stop payment-processing >/dev/null
is "while the gate is closed: exit 75" 75 "$(exit_of start_group D-ERROR500)"
ok "and it says so" grep -q 'not RUNNING' "$dir/ctl.err"
ctl start payment-processing >/dev/null
is "without --message it is the first, too" 0 "$(exit_of start_group D-ERROR500 --skip-head)"
ok "all is ended" ctl wait --empty -t 20
is "in order" "$(seq 22 30 | xargs)" "$(rows D-ERROR500)"
is "and status says so at once" "0 0" \
  "$(ctl status --json payment-processing | jq -r '.queues[0] | "\(.blocked_groups) \(.parked)"')"
is "nobody is blocked" "" "$(blocked)"
kill -TERM "$router"
wait "$router"
is "no router: exit 69" 69 "$(exit_of start_group D-ERROR500 --skip-head)"

# First messages are given up, again and again, while router and worker are killed. None is lost, none is
# doubled, and what is given up are the first of each group, in order.
seed=${GROUPS_SEED:-$$}
RANDOM=$seed
echo "# killed in the middle of it: GROUPS_SEED=$seed"
stop "$payment"
configure on 'server_error = block-group retry_base = 10m'
start router headgate-router -c "$dir/conf"
start payment headgate-payment -c "$dir/conf"
wait_for 20 ctl wait --workers -t 1
customers=$(seq -f 'K%g-ERROR500' 12 | xargs)
lines 1 40 $customers | publish -c "$dir/conf"
given_up() { jq -r 'select(.message_id | startswith("K")) | .message_id' "$dir/dead"; }
ctl dead list --json payment-processing >"$dir/dead"
runs=0
said=
odd=
kills=0
while [ "$kills" -lt 12 ] || [ "$(echo $said | wc -w)" -lt 20 ]; do
  runs=$((runs + 1))
  [ "$runs" -le 300 ] || break
  groups -n 1 >"$dir/first"
  [ -s "$dir/first" ] || wait_for 20 eval 'groups -n 1 >"$dir/first" && [ -s "$dir/first" ]'
  groups -n 100 | shuf -n 1 --random-source=<(yes "$RANDOM") >"$dir/one"
  message=$(jq -r .message_id "$dir/one")
  ctl start --group "$(jq -r .group "$dir/one")" --skip-head --message "$message" -t 5 payment-processing >"$dir/said" &
  skipping=$!
  if [ "$kills" -lt 12 ]; then
    kills=$((kills + 1))
    sleep "0.00$((RANDOM % 10))" # the moment of the kill
    if [ $((RANDOM % 2)) = 0 ]; then
      kill -KILL "$router"
      wait "$router" 2>/dev/null
      start router headgate-router -c "$dir/conf"
    else
      child=$(pgrep -P "$payment") && kill -KILL $child
    fi
  fi
  wait "$skipping"
  status=$?
  case $status in
    0) said="$said $message" ;;
    66 | 69 | 75) ;; # not blocked yet; the router is gone; no worker, or another message
    *) odd="$odd $status" ;;
  esac
  wait_for 20 ctl wait --workers -t 1
done
echo "# $runs orders, $kills kills, $(echo $said | wc -w) were carried out"
is "it ends with no other status" "" "$odd"
ok "some were carried out" [ "$(echo $said | wc -w)" -ge 20 ]
stop "$payment"
stop "$router"
configure off 'server_error = block-group retry_base = 10m'
start router headgate-router -c "$dir/conf"
start payment headgate-payment -c "$dir/conf"
ok "when the cause is mended all is ended" ctl wait --empty -t 60
ctl dead list --json payment-processing >"$dir/dead"
is "what was said to be given up is" "" "$(for id in $said; do given_up | grep -q -x "$id" || echo "$id"; done)"
is "once" "" "$(given_up | sort | uniq -d)"
wrong=
for customer in $customers; do
  first=$(given_up | grep -c "^$customer-")
  dead=$(given_up | grep "^$customer-" | sed 's/.*-//' | xargs)
  [ "$dead" = "$(seq "$first" | xargs)" ] && [ "$(rows "$customer")" = "$(seq $((first + 1)) 40 | xargs)" ] ||
    wrong="$wrong $customer: $dead, $(rows "$customer")"
done
is "of each group the first, and the rest is handled, in order, once" "" "$wrong"
done_testing
