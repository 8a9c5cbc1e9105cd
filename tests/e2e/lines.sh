#!/bin/bash
# Each kind of bad line is named and kept, and the good ones around it go on.
. "$top_srcdir/tests/lib.sh"

start_all
{
  printf '{"customer_id":"C","transaction_type":"payment","amount":1,"payment_method":"x","message_id":"good-1"}\n'
  printf '{"customer_id":"C"\n'
  printf '[1,2]\n'
  printf '\n'
  printf '{"customer_id":"C","customer_id":"D","transaction_type":"payment"}\n'
  printf '{"customer_id":"\377","transaction_type":"payment"}\n'
  printf '{"customer_id":"\\ud800","transaction_type":"payment"}\n'
  printf '{"transaction_type":"payment","amount":1}\n'
  printf '{"customer_id":"","transaction_type":"payment","amount":1}\n'
  printf '{"customer_id":"C","transaction_type":"payment","message_id":7}\n'
  printf '{"customer_id":"C","transaction_type":"Payment","amount":1}\n'
  printf '{"customer_id":"C","transaction_type":["payment"],"amount":1}\n'
  printf '{"customer_id":"C","transaction_type":"payment","pad":"%0300000d"}\n' 0
  printf '{"customer_id":"C","transaction_type":"payment","amount":2,"payment_method":"x","message_id":"good-2"}'
} >"$dir/in"
publish --receipts --rejects "$dir/rejects" <"$dir/in" >"$dir/receipts"
is "some lines refused" 65 $?
is "good lines are durable, also the last without a newline" "1 14" \
  "$(grep '"status":200' "$dir/receipts" | sed 's/{"line":\([0-9]*\),.*/\1/' | tr '\n' ' ' | sed 's/ $//')"
is "each bad line is refused with its number and status" \
  "2:400 3:400 5:400 6:400 7:400 8:400 9:400 10:400 11:422 12:422 13:413" \
  "$(grep -v '"status":200' "$dir/receipts" | sed 's/{"line":\([0-9]*\),"status":\([0-9]*\).*/\1:\2/' | tr '\n' ' ' | sed 's/ $//')"
ok "and named on stderr" grep -q 'headgate-publish: stdin:2: invalid JSON' "$dir/publish.err"
sed -e 1d -e 4d -e '$d' "$dir/in" >"$dir/wanted"
ok "refused lines are kept byte for byte" cmp -s "$dir/wanted" "$dir/rejects"
ok "the good ones are stored" wait_for 20 eval '[ "$(payments "SELECT count(*) FROM payments")" = 2 ]'

cat >"$dir/sns" <<'EOF'
{"Type":"Notification","Message":"{\"customer_id\":\"S\",\"amount\":5,\"payment_method\":\"x\",\"message_id\":\"sns-1\"}","MessageAttributes":{"transaction_type":{"Type":"String","Value":"payment"}}}
EOF
publish --receipts "$dir/sns" >"$dir/receipts"
is "an SNS notification is unwrapped and its attributes route it" 0 $?
ok "its id is the message's" grep -q '"message_id":"sns-1"' "$dir/receipts"

head -c 3000000 /dev/zero | tr '\0' x >"$dir/long"
echo >>"$dir/long"
publish --rejects "$dir/rejects" "$dir/long"
is "a line of 3 MB is refused" 65 $?
ok "and kept whole" cmp -s "$dir/long" "$dir/rejects"
publish /nonexistent
is "a missing file" 66 $?
publish -t no-such-topic </dev/null
is "a topic that is not there" 64 $?
timeout -k 1 10 "$top_builddir/headgate-publish" <&- 2>"$dir/err"
is "standard input that is closed" 66 $?
timeout -k 1 10 "$top_builddir/headgate-publish" --receipts <"$dir/sns" 2>"$dir/err" >&-
is "standard output that is closed" 74 $?
"$top_builddir/headgate-publish" -D "$dir/none" --wait 100ms "$dir/sns" 2>"$dir/err"
is "no router" 69 $?
ok "says what to do" grep -q 'start headgate-router' "$dir/err"
done_testing
