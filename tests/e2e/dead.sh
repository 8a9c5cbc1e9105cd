#!/bin/bash
# Dead letters are listed, shown, given back and purged; nothing is lost by ending that in the middle.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" "$@" 2>"$dir/ctl.err"; }
pay() { # pay CUSTOMER ID
  printf '{"customer_id":"%s","transaction_type":"payment","amount":1,"payment_method":"card","account_number":"12345678","message_id":"%s"}\n' "$1" "$2"
}
depth() { ctl status --json | jq ".queues[] | select(.name == \"$1\") | .depth"; }
dead_ids() { ctl dead list --json "${1:-payment-processing}" | jq -r .message_id | paste -s -d,; }
dead_letters() { [ "$(depth payment-processing-dlq)" = "$1" ]; }
undocumented() { # the keys of FILE that the page does not have
  jq -r 'keys[]' "$1" | sort -u |
    while read -r key; do grep -q "^\.Va $key" "$top_srcdir/man/headgatectl.1" || echo "$key"; done
}
mended_worker() { # without fault markers: what failed goes through now
  stop "$payment"
  export HEADGATE_ENVIRONMENT=prod
  start payment headgate-payment
  unset HEADGATE_ENVIRONMENT
  ctl wait --workers -t 20 payment-processing
}

echo "# list and show"
is "nothing is dead" "" "$(ctl dead list payment-processing)"
is "without a router, too" 0 $?
start router headgate-router
start payment headgate-payment
wait_for 20 ready
{ pay A a1; pay B-ERROR400 b1; pay C-ERROR400 c1; pay B-ERROR400 b2; pay D d1; } | publish
ok "three are dead-lettered" wait_for 20 dead_letters 3
ctl dead list --json payment-processing >"$dir/list"
is "list" 0 $?
is "says what and why" 'payment-processing 1 b1 B-ERROR400 400 Insufficient funds in account' \
  "$(head -n 1 "$dir/list" | jq -r '"\(.queue) \(.sequence) \(.message_id) \(.group) \(.status) \(.reason)"')"
is "in order" b1,c1,b2 "$(dead_ids)"
is "by the dead-letter queue's own name" b1,c1,b2 "$(dead_ids payment-processing-dlq)"
ok "when" [ "$(jq -s 'all(.[]; .first == .last and (.first | test("Z$")))' "$dir/list")" = true ]
is "the page has each field of list" "" "$(undocumented "$dir/list")"
is "as text" 4 "$(ctl dead list payment-processing | wc -l)"
is "one group" b1,b2 "$(ctl dead list --json --filter group=B-ERROR400 payment-processing | jq -r .message_id | paste -s -d,)"
is "one or the other" b1,c1 "$(ctl dead list --json --filter message_id=b1 --filter message_id=c1 --filter code=4xx payment-processing | jq -r .message_id | paste -s -d,)"
is "one and the other" "" "$(ctl dead list --json --filter message_id=b1 --filter code=422 payment-processing)"
for bad in code=40 code=4x code=abcd group message=b1 =; do
  ctl dead list --filter "$bad" payment-processing
  is "no filter: $bad" 64 $?
done
ctl dead list
is "no queue" 64 $?
ctl dead bury payment-processing
is "no such command" 64 $?

ctl dead show --json payment-processing b2 >"$dir/show"
is "show, by message id" "3 b2" "$(jq -r '"\(.sequence) \(.message_id)"' "$dir/show")"
is "the place where it was published" 4 "$(jq .origin_sequence "$dir/show")"
is "its trace" 32 "$(jq -r .trace_id "$dir/show" | tr -d '\n' | wc -c)"
is "the page has each field of show" "" "$(undocumented "$dir/show")"
is "by sequence" c1 "$(ctl dead show --json payment-processing 2 | jq -r .message_id)"
is "the oldest" b1 "$(ctl dead show --json payment-processing | jq -r .message_id)"
ctl dead show payment-processing 17
is "none" 66 $?
ctl dead show --raw --reveal payment-processing c1 >"$dir/raw"
printf %s "$(pay C-ERROR400 c1)" >"$dir/published"
ok "the body is what was published, byte for byte" cmp -s "$dir/raw" "$dir/published"
is "account numbers are masked" "$(pay C-ERROR400 c1 | sed 's/12345678/****5678/')" \
  "$(ctl dead show --raw payment-processing c1)"
is "everywhere" "" "$({ ctl dead show payment-processing; ctl dead show --json payment-processing; } | grep 12345678)"
is "so that a person finds the body" 1 "$(ctl dead show payment-processing c1 | grep -cxF "$(pay C-ERROR400 c1 | sed 's/12345678/****5678/')")"

echo "# redrive and purge"
is "dry run" "payment-processing-dlq: 3 would be moved to payment-processing" \
  "$(ctl dead redrive --dry-run payment-processing)"
is "has moved nothing" b1,c1,b2 "$(dead_ids)"
ctl dead purge payment-processing </dev/null
is "purge without a terminal" 64 $?
is "purge what a filter says" "payment-processing-dlq: 1 purged" \
  "$(ctl dead purge --force --filter message_id=c1 payment-processing)"
is "the others are left" b1,b2 "$(dead_ids)"
if command -v script >/dev/null; then
  # Here the terminal's echo is of no interest.
  echo n | script -qec "$top_builddir/headgatectl dead purge payment-processing" /dev/null >"$dir/screen"
  ok "on a terminal purge asks" grep -q 'purge 2 messages' "$dir/screen"
  is "and takes no for an answer" b1,b2 "$(dead_ids)"
fi
ctl dead redrive payment-processing >/dev/null
ok "what fails again is back in the dead-letter queue" wait_for 20 dead_letters 2
is "with its history" 'true true 2' "$(ctl dead show --json payment-processing b1 |
  jq -r '"\(.first < .last) \(.origin_sequence == 2) \(.receives)"')"
mended_worker
is "redrive" "payment-processing-dlq: 2 moved to payment-processing" "$(ctl dead redrive payment-processing)"
ctl wait --empty -t 20
is "what is mended goes through" a1,d1,b1,b2 \
  "$(payments 'SELECT group_concat(message_id) FROM (SELECT message_id FROM payments ORDER BY rowid)')"
is "nothing is dead any more" 0 "$(depth payment-processing-dlq)"
is "redrive of nothing is fine" "payment-processing-dlq: nothing to move" "$(ctl dead redrive payment-processing)"
is "purge of nothing, too" "payment-processing-dlq: nothing to purge" "$(ctl dead purge payment-processing)"

echo "# ended in the middle"
stop "$payment"
start payment headgate-payment
ctl wait --workers -t 20 payment-processing
seq 300 | while read -r n; do pay "E$n-ERROR400" "e$n"; done | publish
ok "300 dead letters" wait_for 20 dead_letters 300
mended_worker
moved() { [ "$(depth payment-processing-dlq)" -lt 290 ]; }
"$top_builddir/headgatectl" dead redrive --rate 100 payment-processing >"$dir/out" 2>"$dir/redrive.err" &
redrive=$!
pids="$pids $redrive"
ok "some are moved" wait_for 20 moved
kill -INT "$redrive"
wait "$redrive"
is "ended by SIGINT" 130 $?
left=$(depth payment-processing-dlq)
ok "at the rate that was asked for" [ "$left" -gt 100 ]
ok "it says how many were moved" grep -q "$((300 - left)) of 300 were moved" "$dir/redrive.err"
is "the rest is moved the next time" "payment-processing-dlq: $left moved to payment-processing" \
  "$(ctl dead redrive payment-processing-dlq)"
ctl wait --empty -t 20
is "each once" "300 300" "$(payments "SELECT count(*) || ' ' || count(DISTINCT message_id) FROM payments WHERE message_id LIKE 'e%'")"

echo "# elsewhere"
stop "$payment"
start payment headgate-payment
ctl wait --workers -t 20 payment-processing
{ pay F-ERROR400 f1; pay F-ERROR400 f2; } | publish
ok "two dead letters" wait_for 20 dead_letters 2
ctl dead redrive --to no-such-queue payment-processing
is "to a queue that is not there" 64 $?
ctl dead redrive --to payment-processing-dlq payment-processing
is "to where they are" 64 $?
is "to another queue" "payment-processing-dlq: 1 moved to bank-account-setup" \
  "$(ctl dead redrive --to bank-account-setup --filter message_id=f1 payment-processing)"
is "there it waits" f1 "$(ctl peek --json bank-account-setup | jq -r .message_id)"
"$top_builddir/tests/faults/worker" -e 1 "$dir" payment-processing-dlq - 2>"$dir/worker.log" &
worker=$!
pids="$pids $worker"
ctl wait --workers -t 20 payment-processing-dlq
ctl dead redrive payment-processing >"$dir/out"
is "not while a worker is attached" 75 $?
ok "it says so" grep -q 'a worker is attached' "$dir/ctl.err"
kill -KILL "$worker"
wait "$worker" 2>"$dir/null"
stop "$router"
is "without a router they are listed" f2 "$(dead_ids)"
ctl dead redrive payment-processing
is "but not moved" 69 $?
is "nothing was" f2 "$(dead_ids)"
done_testing
