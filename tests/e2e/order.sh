#!/bin/bash
# Many customers interleaved: each one's messages are stored in the order in which they were published.
. "$top_srcdir/tests/lib.sh"

start_all
"$top_builddir/tests/generate" -n 20000 -c 500 -s 42 >"$dir/in"
publish <"$dir/in"
is "20,000 messages are published" 0 $?
expected_accounts=$(grep -c bank_account_setup "$dir/in")
expected_payments=$(grep -c '"payment"' "$dir/in")
ok "and stored" wait_for 60 stored "$expected_accounts" "$expected_payments"
is "payments in order for each customer" 0 "$(payments "$payments_out_of_order")"
is "accounts in order for each customer" 0 "$(accounts "$accounts_out_of_order")"
is "a customer stays on one lane" 0 "$(payments 'SELECT count(*) FROM (SELECT 1 FROM payments GROUP BY customer_id HAVING count(DISTINCT lane) > 1)')"
is "all lanes are used" 4 "$(payments 'SELECT count(DISTINCT lane) FROM payments')"

# A pile: nobody consumes, then somebody does.
stop "$payment"
"$top_builddir/tests/generate" -n 30000 -c 500 -s 43 | grep '"payment"' >"$dir/pile"
publish <"$dir/pile"
is "messages pile up without a worker" 0 $?
start payment headgate-payment
ok "and are stored when one comes" wait_for 60 stored "$expected_accounts" \
  $((expected_payments + $(wc -l <"$dir/pile")))
is "in the order of their sequences" 0 "$(payments 'SELECT count(*) FROM (SELECT sequence AS s, lag(sequence) OVER (ORDER BY rowid) AS p FROM payments) WHERE p > s')"

# A pipe that trickles: each line is sent when it comes.
mkfifo "$dir/pipe"
publish --receipts <"$dir/pipe" >"$dir/receipts" &
publisher=$!
exec 3>"$dir/pipe"
for i in 1 2 3; do
  printf '{"n":%d,"customer_id":"T","transaction_type":"payment","amount":1,"payment_method":"x"}\n' "$i" >&3
  ok "line $i is durable while the pipe is open" wait_for 20 eval \
    '[ "$(wc -l <"$dir/receipts")" -eq '"$i"' ]'
done
exec 3>&-
wait "$publisher"
is "and the end of the pipe is the end" 0 $?
done_testing
