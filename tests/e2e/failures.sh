#!/bin/bash
# 4xx: recorded, and on. 5xx: the gate closes, the message stays at the head, the other queue runs on.
. "$top_srcdir/tests/lib.sh"

pay() {
  printf '{"customer_id":"%s","transaction_type":"payment","amount":%s,"payment_method":"card","message_id":"%s"}\n' "$1" "$2" "$3"
}
account() {
  printf '{"customer_id":"%s","transaction_type":"bank_account_setup","routing_number":"123456789","account_number":"12345678","message_id":"%s"}\n' "$1" "$2"
}

start_all
{ pay A 1 p1; pay A-ERROR400 2 p2; pay A 3 p3; } | publish
ok "a 400 stops nothing" wait_for 20 eval '[ "$(payments "SELECT count(*) FROM payments")" = 2 ]'
is "it is recorded with code, reason and body" \
  "p2|A-ERROR400|400|client_error|Insufficient funds in account|$(pay A-ERROR400 2 p2)" \
  "$(payments 'SELECT message_id, customer_id, code, error_type, reason, body FROM failures')"

dead() { "$top_builddir/headgatectl" status --json | jq -c '.queues[] | select(.name == "payment-processing-dlq") | [.depth, .published]'; }
is "its message is in the dead-letter queue, once" "[1,1]" "$(dead)"
is "both queues' counters tell" "[1,1]" "$("$top_builddir/headgatectl" status --json |
  jq -c '.queues[] | select(.name == "payment-processing") | [.failed, .dead_lettered]')"
ok "with the bytes that were published" grep -qaF "$(pay A-ERROR400 2 p2)" "$dir"/state/queues/payment-processing-dlq/*.log

{ pay B 4 p4; pay B-ERROR500 5 p5; pay B 6 p6; account B a1; pay C 7 p7; } | publish
ok "what precedes a 500 is stored" wait_for 20 stored 1 3
ok "the subscription trips" wait_for 20 grep -q '"state":"TRIPPED"' "$dir/headgate-router.log"
ok "... naming the message" grep -q '"message_id":"p5"' "$dir/headgate-router.log"
{ pay D 8 p8; account D a2; } | publish
ok "the other queue runs on" wait_for 20 stored 2 3
is "a 500 writes no failure row" 1 "$(payments 'SELECT count(*) FROM failures')"

stop "$payment"
stop "$router"
start router headgate-router
start payment headgate-payment
account E a3 | publish
ok "after a restart of everything ..." wait_for 20 stored 3 3
is "... the dead letter is still there" "[1,1]" "$(dead)"
is "... the gate is still closed" 3 "$(payments 'SELECT count(*) FROM payments')"
done_testing
