#!/bin/bash
# What a queue and a deduplication window may hold at most: beyond it publishers are asked to try again,
# other queues go on, and it comes back by itself.
. "$top_srcdir/tests/lib.sh"

cat >"$dir/conf" <<'EOF'
topic transaction-processing { group_by = {customer_id} dedup_by = {message_id} }
topic limited { group_by = {customer_id} dedup_by = {message_id} dedup_max = 1000 dedup_window = 1h }
topic short { group_by = {customer_id} dedup_by = {message_id} dedup_max = 1000 dedup_window = 1s }
queue few-ids { topic = limited }
queue short-window { topic = short }
queue bank-account-setup {
    topic = transaction-processing
    filter_policy = '{"transaction_type": ["bank_account_setup"]}'
}
queue payment-processing {
    topic = transaction-processing
    filter_policy = '{"transaction_type": ["payment"]}'
    max_bytes = 1M
}
EOF
lines() { # lines TYPE PREFIX COUNT
  seq "$3" | sed "s|.*|{\"customer_id\":\"C&\",\"transaction_type\":\"$1\",\"message_id\":\"$2-&\",\"amount\":1,\"payment_method\":\"card\",\"routing_number\":\"123456789\",\"account_number\":\"12345\"}|"
}
send() { # send ARGUMENT...: with this test's configuration; its exit status is the publisher's
  "$top_builddir/headgate-publish" -c "$dir/conf" "$@"
}
field() { # field QUEUE NAME: of status
  "$top_builddir/headgatectl" -c "$dir/conf" status --json | jq -r ".queues[] | select(.name == \"$1\") | .$2"
}
refused() { # the payments queue takes nothing now
  lines payment "probe-$((probe += 1))" 1 | send --wait 0 2>"$dir/why"
  [ $? -eq 75 ]
}
probe=0

start router headgate-router -c "$dir/conf"
wait_for 20 "$top_builddir/headgatectl" -c "$dir/conf" wait --ready -t 1

lines payment pile 6000 | send
ok "a queue over max_bytes takes no more" wait_for 20 refused
ok "the publisher is told which queue, and why" grep -q "payment-processing: it holds max_bytes" "$dir/why"
is "so is who looks at status" "it holds max_bytes of messages" "$(field payment-processing refuses)"
ok "with what to do" eval '"$top_builddir/headgatectl" -c "$dir/conf" status | grep -A1 "^payment-processing takes no messages: it holds max_bytes" | grep -q "next:  *let what waits be handled"'
is "but not of other queues" null "$(field bank-account-setup refuses)"
ok "other queues go on" send --wait 20 <<<"$(lines bank_account_setup other 1)"
(lines payment later 100 | send --wait 60; echo $? >"$dir/later.status.new"; mv "$dir/later.status.new" "$dir/later.status") &
start payment headgate-payment -c "$dir/conf"
ok "a publisher that waits gets through when messages are settled" wait_for 30 [ -s "$dir/later.status" ]
is "with all its lines durable" 0 "$(cat "$dir/later.status")"
is "status sees that, too" null "$(field payment-processing refuses)"
ok "all are handled" "$top_builddir/headgatectl" -c "$dir/conf" wait --empty -t 30 payment-processing
is "once, in order" "$(seq -f 'later-%.0f' 100 | xargs)" \
  "$(payments "SELECT message_id FROM payments WHERE message_id LIKE 'later-%' ORDER BY rowid" | xargs)"

lines x first 1000 | send -t limited --wait 20
is "as many ids as dedup_max allows" 0 $?
lines x second 1 | send -t limited --wait 2 2>"$dir/why"
is "one more is asked to try again" 75 $?
ok "the publisher is told why" grep -q dedup_max "$dir/why"
topic_refuses() { # topic_refuses TOPIC TEXT
  [ "$("$top_builddir/headgatectl" -c "$dir/conf" status --json | jq -r ".topics[] | select(.name == \"$1\") | .refuses")" = "$2" ]
}
ok "so is who looks at status, of the topic" wait_for 20 topic_refuses limited "as many ids as dedup_max allows are remembered"
ok "in words" eval '"$top_builddir/headgatectl" -c "$dir/conf" status | grep -q "^topic limited takes no messages: as many ids as dedup_max"'
ok "and not of others" topic_refuses transaction-processing null
is "those that are known are duplicates still" 1000 \
  "$(lines x first 1000 | send -t limited --wait 20 --receipts | jq -c 'select(.duplicate)' | wc -l)"
is "nothing was doubled" 1000 "$(field few-ids published)"
lines x first 1000 | send -t short --wait 20
lines x second 1000 | send -t short --wait 30
is "when they are older than the window there is room" 0 $?
is "nothing was lost or doubled" 2000 "$(field short-window published)"
done_testing
