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
is "a queue that is not there: exit 64" 64 "$(exit_of ctl peek --groups no-such-queue)"

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
is "one a line, below their names" 4 "$(wc -l <"$dir/out")"
ok "as text" grep -E -q '^ +2 +[0-9ms ]+ 1 +9m [0-9]+s +19 +500  B-ERROR500  B-ERROR500-1  [^ ]' "$dir/out"
ok "status says how to see them" eval 'ctl status | grep -q "headgatectl peek --groups payment-processing"'
is "each key of the JSON is in the manual" "" "$(
  groups | jq -r 'keys[]' | sort -u | while read -r key; do
    grep -q "Va $key\$\|Va $key " "$top_srcdir/man/headgatectl.1" || echo "$key"
  done
)"

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
done_testing
