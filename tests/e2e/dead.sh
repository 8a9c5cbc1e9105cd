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
is "the page has each field of list" "" "$(jq -r 'keys[]' "$dir/list" | undocumented headgatectl-dead.1)"
is "as text, two lines for each" 7 "$(ctl dead list payment-processing | wc -l)"
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
is "the page has each field of show" "" "$(jq -r 'keys[]' "$dir/show" | undocumented headgatectl-dead.1)"
{ pay N-ERROR400 5; pay N-ERROR400 4; } | publish
ok "two more, whose message ids look like sequences" wait_for 20 dead_letters 5
is "an id that is a number is no sequence" "5 4 4 5" \
  "$(for id in 4 5; do ctl dead show --json payment-processing $id | jq -r '"\(.sequence) \(.message_id)"'; done | paste -s -d' ')"
ctl dead purge --force --filter group=N-ERROR400 payment-processing >"$dir/out"
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
  is "another answer than yes is no success" 1 $?
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
began=$(date +%s)
"$top_builddir/headgatectl" dead redrive --rate 100 payment-processing >"$dir/out" 2>"$dir/redrive.err" &
redrive=$!
ok "some are moved" wait_for 20 moved
kill -INT "$redrive"
wait "$redrive"
is "ended by SIGINT" 130 $?
left=$(depth payment-processing-dlq)
ok "at no more than the rate that was asked for" [ $((300 - left)) -le $((100 * ($(date +%s) - began + 2))) ]
ok "it says how many were moved" grep -q "$((300 - left)) of 300 were moved" "$dir/redrive.err"
is "the rest is moved the next time" "payment-processing-dlq: $left moved to payment-processing" \
  "$(ctl dead redrive payment-processing-dlq)"
ctl wait --empty -t 20
is "each once" "300 300" "$(payments "SELECT count(*) || ' ' || count(DISTINCT message_id) FROM payments WHERE message_id LIKE 'e%'")"

echo "# elsewhere"
stop "$payment"
start payment headgate-payment
ctl wait --workers -t 20 payment-processing
pay H-ERROR400 p4 | publish
ok "a dead letter to correct" wait_for 20 dead_letters 1
is "with its old id it is accepted" 0 "$(pay H p4 | publish; echo $?)"
ok "and said to be a duplicate" grep -q '1 of 1 lines is a duplicate and not delivered' "$dir/publish.err"
sed -n '/^headgatectl dead show/,/^\.Ed/p' "$top_srcdir/man/headgate-publish.1" | sed '$d' >"$dir/recipe"
(cd "$dir" && PATH="$(realpath "$top_builddir"):$PATH" && . ./recipe) >"$dir/out"
is "the recipe of the page" 0 $?
is "publishes and purges it" "true
payment-processing-dlq: 1 purged" "$(cat "$dir/out")"
ok "so that it is delivered" wait_for 20 eval '[ "$(dead_ids)" = p4-2 ]'
ctl dead purge --force payment-processing >"$dir/out"
{ pay F-ERROR400 f1; pay F-ERROR400 f2; } | publish
ok "two dead letters" wait_for 20 dead_letters 2
ctl dead redrive --to no-such-queue payment-processing
is "to a queue that is not there" 78 $?
ctl dead redrive --to payment-processing-dlq payment-processing
is "to where they are" 64 $?
is "to another queue" "payment-processing-dlq: 1 moved to bank-account-setup" \
  "$(ctl dead redrive --to bank-account-setup --filter message_id=f1 payment-processing)"
is "there it waits" f1 "$(ctl peek --json bank-account-setup | jq -r .message_id)"
"$top_builddir/tests/faults/worker" -e 1 "$dir" payment-processing-dlq - 2>"$dir/worker.log" &
worker=$!
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
stop "$payment"

echo "# a dead-letter queue of two queues"
rm -rf "$dir/state" "$dir/run"
: >"$dir/headgate-router.log"
cat >"$dir/conf" <<'CONF'
topic transaction-processing { group_by = {customer_id} }
queue bank-account-setup {
    topic = transaction-processing
    filter_policy = '{"transaction_type": ["bank_account_setup"]}'
    dead_letter_queue = graveyard
}
queue payment-processing {
    topic = transaction-processing
    filter_policy = '{"transaction_type": ["payment"]}'
    dead_letter_queue = graveyard
    max_bytes = 64K
}
CONF
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@" 2>"$dir/ctl.err"; }
account() { # account CUSTOMER ID
  printf '{"customer_id":"%s","transaction_type":"bank_account_setup","routing_number":"123456789","account_number":"12345678","message_id":"%s"}\n' "$1" "$2"
}
start router headgate-router -c "$dir/conf"
start payment headgate-payment -c "$dir/conf"
start account headgate-bank-account -c "$dir/conf"
wait_for 20 ready
{ pay A-ERROR400 p1; pay A-ERROR400 p2; } | publish -c "$dir/conf"
ok "two payments are dead" wait_for 20 eval '[ "$(depth graveyard)" = 2 ]'
{ account B-ERROR400 a1; account B-ERROR400 a2; } | publish -c "$dir/conf"
ok "and two accounts" wait_for 20 eval '[ "$(depth graveyard)" = 4 ]'
pay A-ERROR400 p3 | publish -c "$dir/conf"
ok "and a payment" wait_for 20 eval '[ "$(depth graveyard)" = 5 ]'
is "its own name means all" p1,p2,a1,a2,p3 "$(dead_ids graveyard)"
is "the name of one queue its own" p1,p2,p3 "$(dead_ids payment-processing)"
stop "$payment"
stop "$account"
stop "$router"
sed '/^queue bank-account-setup/,/^}/d' "$dir/conf" >"$dir/one.conf"
: >"$dir/headgate-router.log"
start router headgate-router -c "$dir/one.conf"
wait_for 20 ready
is "also when the other queue has left the configuration" p1,p2,p3 "$(dead_ids payment-processing)"
is "the other queue's letters are not purged under this name" "graveyard: nothing to purge" \
  "$(ctl dead purge --force --filter message_id=a1 --filter message_id=a2 payment-processing)"
ctl dead list --filter message_id=a1 payment-processing
ok "and list says whose are not there" grep -q 'graveyard: no dead letters of payment-processing' "$dir/ctl.err"
stop "$router"
: >"$dir/headgate-router.log"
start router headgate-router -c "$dir/conf"
wait_for 20 ready
is "each goes to where it is from" "graveyard: 2 moved to bank-account-setup
graveyard: 3 moved to payment-processing" "$(ctl dead redrive graveyard)"
is "in order" "a1,a2 p1,p2,p3" "$(ctl peek --json bank-account-setup | jq -r .message_id | paste -s -d,) $(ctl peek --json payment-processing | jq -r .message_id | paste -s -d,)"

echo "# no room"
start account headgate-bank-account -c "$dir/conf"
ok "the accounts are dead again" wait_for 20 eval '[ "$(depth graveyard)" = 2 ]'
seq 1000 | while read -r n; do pay "F$n" "f$n"; done | publish --wait 1 -c "$dir/conf"
full() { ! pay G "g$RANDOM" | publish --wait 0 -c "$dir/conf"; }
ok "the queue of payments is full" wait_for 20 full
ctl dead redrive -t 200ms --to payment-processing graveyard >"$dir/out"
is "it takes no dead letters" 75 $?
ok "it says so" grep -q 'max_bytes' "$dir/ctl.err"
is "they are where they were" a1,a2 "$(dead_ids graveyard)"
"$top_builddir/headgatectl" -c "$dir/conf" dead redrive --to payment-processing graveyard >"$dir/out" 2>"$dir/redrive.err" &
redrive=$!
start payment headgate-payment -c "$dir/conf"
wait "$redrive"
is "they are moved when there is room again" 0 $?
stop "$payment"
stop "$account"
stop "$router"

echo "# two at once, while what is left is moved to other places"
rm -rf "$dir/state" "$dir/run"
ctl() { "$top_builddir/headgatectl" "$@" 2>"$dir/ctl.err"; }
"$top_builddir/tests/faults/headgate-router" -v 2>"$dir/headgate-router.log" &
router=$!
wait_for 20 ready
start payment headgate-payment
"$top_builddir/tests/generate" -c 10 -n 20000 | grep '"payment"' | sed 's/CUST-[0-9]*/&-ERROR400/' >"$dir/in"
total=$(wc -l <"$dir/in")
publish "$dir/in"
ok "$total dead letters" wait_for 30 dead_letters "$total"
stop "$payment"
"$top_builddir/headgatectl" -v dead redrive --rate 1000 --filter group=CUST-000009-ERROR400 \
  payment-processing >"$dir/out" 2>"$dir/redrive.err" &
redrive=$!
filters=
for n in 1 2 3 4 5 6 7 8; do
  filters="$filters --filter group=CUST-00000$n-ERROR400"
done
# shellcheck disable=SC2086
ctl -v dead redrive $filters payment-processing >"$dir/out2"
is "one" 0 $?
wait "$redrive"
is "the other" 0 $?
echo "# they looked again $(cat "$dir/ctl.err" "$dir/redrive.err" | grep -c 'looking again') times"
ok "files were put together" wait_for 20 grep -q '"messages_moved":[1-9]' "$dir/headgate-router.log"
left=$(grep -c CUST-000000- "$dir/in")
is "each is moved once" "$((total - left))" "$(cat "$dir/out" "$dir/out2" |
  sed -n 's/.*: \([0-9]*\) moved to.*/\1/p' | awk '{ n += $1 } END { print n }')"
is "and is there" "$((total - left))" "$(ctl peek -n 1000000 --json payment-processing |
  jq -r .message_id | sort -u | wc -l)"
is "the others are left" "$left CUST-000000-ERROR400" \
  "$(ctl dead list --json payment-processing | jq -r .group | sort | uniq -c | sed 's/^ *//')"
done_testing
