#!/bin/bash
# The way of a message that nothing is wrong with: routed, stored once, in order, with all its fields.
. "$top_srcdir/tests/lib.sh"

start_all
cat >"$dir/in" <<'EOF'
{"customer_id":"CUST-1","transaction_type":"bank_account_setup","routing_number":"123456789","account_number":"987654321","message_id":"m1"}
{"customer_id":"CUST-1","transaction_type":"payment","amount":250.75,"payment_method":"bank_account","message_id":"m2"}
{"customer_id":"CUST-2","transaction_type":"payment","amount":"100.00","payment_method":"card","bill_type":"water","message_id":"m3"}
EOF
publish --receipts "$dir/in" >"$dir/receipts"
is "publishing succeeds" 0 $?
is "a receipt names the line, the id, the queue and the sequence" \
  '{"line":1,"message_id":"m1","status":200,"duplicate":false,"queues":[{"name":"bank-account-setup","sequence":1}]}' \
  "$(sed -n 1p "$dir/receipts")"
is "each queue counts its own" \
  '{"line":3,"message_id":"m3","status":200,"duplicate":false,"queues":[{"name":"payment-processing","sequence":2}]}' \
  "$(sed -n 3p "$dir/receipts")"
ok "all are stored" wait_for 20 stored 1 2
is "the account is masked" "CUST-1|validated|123456789|****4321|Bank of 123|checking" \
  "$(accounts 'SELECT customer_id, status, routing_number, account_number_masked, bank_name, account_type FROM bank_accounts')"
is "fees are exact" "25075|627|24448
10000|0|10000" \
  "$(payments 'SELECT amount_cents, fees_cents, net_amount_cents FROM payments ORDER BY sequence')"
publish --receipts "$dir/in" >"$dir/receipts"
is "the same messages again are accepted" 0 $?
is "... as duplicates" 3 "$(grep -c '"duplicate":true' "$dir/receipts")"
stop "$router"
is "the router stops cleanly" 0 $?
start router headgate-router
publish --receipts "$dir/in" >"$dir/receipts"
is "duplicates are known after a restart" 3 "$(grep -c '"duplicate":true' "$dir/receipts")"
echo '{"customer_id":"CUST-1","transaction_type":"payment","amount":1,"payment_method":"card"}' | publish
ok "the workers come back by themselves" wait_for 20 stored 1 3
stop "$payment"
is "a worker stops cleanly" 0 $?
done_testing
