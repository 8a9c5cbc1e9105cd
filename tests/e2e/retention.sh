#!/bin/bash
# Messages that wait longer than their queue's retention are dead-lettered; the time goes only while the
# gate is open and a router runs.
. "$top_srcdir/tests/lib.sh"

cat >"$dir/conf" <<'EOF'
topic transaction-processing { group_by = {customer_id} dedup_by = {message_id} }
queue payment-processing {
    topic = transaction-processing
    filter_policy = '{"transaction_type": ["payment"]}'
    retention = 5s
}
EOF
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
send() { # send PREFIX COUNT
  seq "$2" | sed "s|.*|{\"customer_id\":\"C\",\"transaction_type\":\"payment\",\"message_id\":\"$1-&\",\"amount\":1,\"payment_method\":\"card\"}|" |
    publish -c "$dir/conf" --wait 20
}
up() { ctl wait --ready -t 1; }
field() { ctl status --json | jq -r ".queues[] | select(.name == \"payment-processing\") | .$1"; }
# Looks at a queue that does not get empty until the time is over: so much time passes.
passes() { ctl wait --empty -t "$1" payment-processing 2>/dev/null; [ $? -eq 75 ]; }

redrive() { ctl dead redrive payment-processing-dlq >/dev/null; }

start router headgate-router -c "$dir/conf"
wait_for 20 up
ctl stop payment-processing >/dev/null
send closed 5
ok "six seconds pass behind a closed gate" passes 6
start payment headgate-payment -c "$dir/conf"
ctl start payment-processing >/dev/null
ok "all are handled" ctl wait --empty -t 20 payment-processing
is "none of them expired" "5 0" "$(payments 'SELECT count(*) FROM payments') $(field expired)"

stop "$payment"
send old 3
ok "three seconds pass with the gate open and no worker" passes 3
kill -KILL "$router"
wait "$router" 2>/dev/null
rm -f "$dir/run/router.sock"
start router headgate-router -c "$dir/conf"
wait_for 20 up
send young 2
ok "the rest passes after the router was killed and started again" passes 3
start payment headgate-payment -c "$dir/conf"
ok "the queue gets empty" ctl wait --empty -t 20 payment-processing
is "the old ones are dead letters, the young ones were handled" "old-1 old-2 old-3" \
  "$(ctl dead list --json payment-processing-dlq | jq -r 'select(.reason == "expired" and .status == 504) | .message_id' | xargs)"
is "no handler was started on them" "0 0 0" "$(ctl dead list --json payment-processing-dlq | jq .receives | xargs)"
is "what was young is in the store" "2" "$(payments "SELECT count(*) FROM payments WHERE message_id LIKE 'young-%'")"
is "what expired is a failure there, in the same way" "3" \
  "$(payments "SELECT count(*) FROM failures WHERE code = 504 AND reason = 'expired' AND message_id LIKE 'old-%'")"
is "it is counted" "3 3 3" "$(field expired) $(field failed) $(field dead_lettered)"

ok "what expired can be sent again" redrive
ok "and is handled then" ctl wait --empty -t 20 payment-processing
is "its time began anew" "3" "$(payments "SELECT count(*) FROM payments WHERE message_id LIKE 'old-%'")"

stop "$payment"
stop "$router"
is "the count is known without a router" 3 "$(field expired)"
start router headgate-router -c "$dir/conf"
wait_for 20 up
is "and to the next one" 3 "$(field expired)"
done_testing
