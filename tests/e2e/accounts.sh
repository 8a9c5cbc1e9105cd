#!/bin/bash
# require_account: payments only of customers who have set up a bank account.
. "$top_srcdir/tests/lib.sh"

cat >"$dir/conf" <<'EOF'
topic transaction-processing { group_by = {customer_id} dedup_by = {message_id, content} }
queue bank-account-setup {
    topic = transaction-processing
    filter_policy = '{"transaction_type": ["bank_account_setup"]}'
}
queue payment-processing {
    topic = transaction-processing
    filter_policy = '{"transaction_type": ["payment"]}'
    require_account = on
}
EOF
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
pay() { # pay ID CUSTOMER: and waits until it is handled, or not
  printf '{"message_id":"%s","customer_id":"%s","transaction_type":"payment","amount":1,"payment_method":"card"}\n' "$1" "$2" |
    publish -c "$dir/conf" --wait 20
  ctl wait --empty -t "${3:-20}" payment-processing 2>/dev/null
}
set_up() { # set_up CUSTOMER
  printf '{"customer_id":"%s","transaction_type":"bank_account_setup","routing_number":"123456789","account_number":"12345"}\n' "$1" |
    publish -c "$dir/conf" --wait 20
  ctl wait --empty -t 20 bank-account-setup
}
start router headgate-router -c "$dir/conf"
start payment headgate-payment -c "$dir/conf"
ctl wait --ready -t 20
pay p1 A
is "a payment before there is any account is refused" "p1 400 No bank account is set up for this customer" \
  "$(payments 'SELECT message_id || " " || code || " " || reason FROM failures')"
start account headgate-bank-account -c "$dir/conf"
set_up B
pay p2 A
pay p3 B
is "then that of a customer who has one is taken" p3 "$(payments 'SELECT message_id FROM payments' | xargs)"
is "and no other" "p1 p2" "$(payments 'SELECT message_id FROM failures ORDER BY rowid' | xargs)"
set_up A
pay p4 A
is "an account that is new is seen" "p3 p4" "$(payments 'SELECT message_id FROM payments ORDER BY rowid' | xargs)"
ok "a refused one can be sent again" eval 'ctl dead redrive payment-processing >/dev/null && ctl wait --empty -t 20 payment-processing'
is "and is taken" "p1 p2 p3 p4" "$(payments 'SELECT message_id FROM payments' | sort | xargs)"
is "so does --invoke" 400 "$(printf '{"customer_id":"C","transaction_type":"payment","amount":1,"payment_method":"card"}' |
  "$top_builddir/headgate-payment" -c "$dir/conf" --invoke | jq -r .status)"
is "it names the byte that is wrong" "invalid JSON at byte 21: a key in double quotes expected" \
  "$(printf '{"customer_id": "C",}' | "$top_builddir/headgate-payment" --invoke | jq -r .error)"
is "--invoke reads files of other systems" 200 "$(printf '\357\273\277{"customer_id":"C","transaction_type":"payment","amount":1,"payment_method":"card"}\r\n' |
  "$top_builddir/headgate-payment" --invoke | jq -r .status)"

echo "# the store is moved away, and another one comes"
stop "$account"
store=$dir/state/stores/bank-account-setup.db
outcome() { # outcome ID: of a payment
  payments "SELECT 200 FROM payments WHERE message_id = '$1' UNION SELECT code FROM failures WHERE message_id = '$1'"
}
pay p5 B
is "as long as it is there its customers are known" 200 "$(outcome p5)"
mkdir "$dir/kept"
mv "$store"* "$dir/kept"
pay p6 B
is "when it is gone nobody has an account" 400 "$(outcome p6)"
: >"$store"
pay p7 B
is "nor is there one in a store that is not made yet" 400 "$(outcome p7)"
sqlite3 "$store" 'CREATE TABLE failures (reason TEXT)'
pay p8 B
is "nor where the table is missing" 400 "$(outcome p8)"
sqlite3 "$store" "CREATE TABLE bank_accounts (customer_id TEXT); INSERT INTO bank_accounts VALUES ('N')"
pay p9 N
is "when it is there it is read" 200 "$(outcome p9)"
rm -f "$store"*
mv "$dir/kept"/* "$dir/state/stores"
pay p10 B
pay p11 N
is "of a store in its place only its own customers are known" "200 400" "$(outcome p10) $(outcome p11)"

stop "$payment"
rm -f "$dir"/state/stores/bank-account-setup.db*
echo "no database, and long enough to be seen as none by SQLite, which reads the first hundred bytes of it ..." \
  >"$dir/state/stores/bank-account-setup.db"
start payment headgate-payment -c "$dir/conf"
pay p12 B 1
ok "accounts that cannot be read close the gate" ctl wait --state TRIPPED -t 20 payment-processing
is "with the payment at the head" "p12 500 store: bank accounts: file is not a database" \
  "$(ctl status --json | jq -r '.queues[] | select(.name == "payment-processing") | .tripped_by | "\(.message_id) \(.status) \(.error)"')"
ctl status >"$dir/status"
ok "whose cause is the store" grep -q "answered 500: store: bank accounts: file is not a database" "$dir/status"
ok "so the next step is not to give the message up" eval '! grep -q "give the message up" "$dir/status"'
done_testing
