#!/bin/bash
# The store is removed or replaced under its worker: nothing is settled that is not in the store that is there. And what
# headgate-operations(7) says to do then.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" "$@" 2>>"$dir/ctl.err"; }
query() { ctl status --json | jq -r ".queues[1] | $1"; }
pay() { # pay ID...
  for id in "$@"; do
    echo "{\"customer_id\":\"C\",\"transaction_type\":\"payment\",\"amount\":1,\"payment_method\":\"card\",\"message_id\":\"$id\"}"
  done | publish
}
trips() { # trips DESCRIPTION MESSAGE: with this one at the head
  ctl wait --state TRIPPED -t 20 payment-processing
  is "$1" "$2 500 store: payment-processing.db was removed or replaced under the worker" \
    "$(query '.tripped_by | "\(.message_id) \(.status) \(.error)"')"
}
goes_on() { # goes_on DESCRIPTION STORED
  ctl start payment-processing >"$dir/out"
  ctl wait --empty -t 20
  is "$1" "$2" "$(payments 'SELECT group_concat(message_id) FROM (SELECT message_id FROM payments ORDER BY rowid)')"
}
created() { grep -c '"store.created"' "$dir/headgate-payment.log"; }
store=$dir/state/stores/payment-processing.db

start router headgate-router
start payment headgate-payment
wait_for 20 ready
pay p1 p2
ctl wait --empty -t 20
is "a store that is made is told of" 1 "$(created)"

mkdir "$dir/away"
mv "$store"* "$dir/away"
pay p3 p4
trips "a store that is moved away closes the gate" p3
is "which is not mended by giving the message up" 0 "$(ctl status payment-processing | grep -c 'give the message up')"
is "nothing more is settled" "2 2" "$(query '"\(.done) \(.depth)"')"
mv "$dir/away"/* "$dir/state/stores"
goes_on "moved back, it goes on, and none is applied twice" p1,p2,p3,p4

# A copy in its place. What the worker has open is not what is there.
sqlite3 "$store" "VACUUM INTO '$dir/copy'"
rm -f "$store"*
mv "$dir/copy" "$store"
pay p5
trips "so does a copy in its place" p5
stop "$payment"
start payment headgate-payment
goes_on "the worker that is restarted takes the copy" p1,p2,p3,p4,p5
is "and has made none" 1 "$(created)"

# Removed, and fetched back out of the worker, which has it open.
rm -f "$store"*
pay p6
trips "so does one that is removed" p6
recipes 'was removed or replaced' | sed -n '/^for fd in .proc/,/^done/p' >"$dir/commands"
ok "the page has a way to fetch it" grep -q 'cp ' "$dir/commands"
(pid=$(query '.workers[0].pid') && . "$dir/commands")
stop "$payment"
start payment headgate-payment
goes_on "what was fetched is the whole store" p1,p2,p3,p4,p5,p6
is "and none was made" 1 "$(created)"

rm -f "$store"*
stop "$payment"
start payment headgate-payment
pay p7
goes_on "without one, a worker that is restarted begins a new one" p7
is "and says so" 2 "$(created)"
ctl health payment-processing >"$dir/out"
is "health is 1" 1 $?
is "and says so" "payment-processing: the store of worker $(query '.workers[0].pid') has none of the messages that were done" \
  "$(cat "$dir/out")"
is "and status" 1 "$(ctl status | grep -c '^payment-processing: the store of worker [0-9]* has none of the messages that were done')"
ok "and its log" grep -q '"store.empty".*"done":6' "$dir/headgate-payment.log"
stop "$payment"
start payment headgate-payment
ctl wait --workers -t 20 payment-processing
ok "until it has messages of the log" wait_for 20 eval '[ "$(query ".workers[0].store_empty")" = false ]'

# What keeps it from being ready is told to who waits for that.
stop "$payment"
mkdir "$dir/away2"
mv "$dir/state/stores" "$dir/away2"
touch "$dir/state/stores"
timeout 30 "$top_builddir/headgate-payment" -d 2>"$dir/err"
is "a worker that cannot open its store is not ready" 75 $?
ok "and says why" grep -q 'state/stores/payment-processing.db: ' "$dir/err"
rm "$dir/state/stores"
mv "$dir/away2/stores" "$dir/state"
start payment headgate-payment
pay p8
ctl wait --empty -t 20
is "mended, it goes on" 1 "$(payments "SELECT count(*) FROM payments WHERE message_id = 'p8'")"

# Columns in another order, as somebody leaves them who alters a table by hand: values go by name.
stop "$payment"
sqlite3 "$store" 'ALTER TABLE payments DROP COLUMN bill_type; ALTER TABLE payments ADD COLUMN bill_type TEXT;
  ALTER TABLE failures DROP COLUMN reason; ALTER TABLE failures ADD COLUMN reason TEXT'
start payment headgate-payment
publish <<'EOF'
{"customer_id":"C","transaction_type":"payment","amount":1,"payment_method":"card","bill_type":"rent","due_date":"2031-02-03","message_id":"p9"}
{"customer_id":"C","transaction_type":"payment","amount":1,"message_id":"f1"}
EOF
ctl wait --empty -t 20
is "each value is in its column" "p9 rent 2031-02-03 completed" \
  "$(payments "SELECT message_id || ' ' || bill_type || ' ' || due_date || ' ' || status FROM payments WHERE bill_type = 'rent'")"
is "so with a failure" "f1 400 client_error true" \
  "$(payments "SELECT message_id || ' ' || code || ' ' || error_type || ' ' || iif(reason LIKE '%payment_method%', 'true', reason) FROM failures")"

# A row that a trigger drops without an error is not stored.
sqlite3 "$store" "CREATE TRIGGER drops BEFORE INSERT ON payments BEGIN SELECT raise(IGNORE); END"
pay p10
ctl wait --state TRIPPED -t 20 payment-processing
is "a row that is not inserted closes the gate" \
  "p10 500 store: payment-processing.db: table payments took no row: look for a trigger on it" \
  "$(query '.tripped_by | "\(.message_id) \(.status) \(.error)"')"
sqlite3 "$store" 'DROP TRIGGER drops'
ctl start payment-processing >"$dir/out"
ctl wait --empty -t 20
is "without the trigger it is" 1 "$(payments "SELECT count(*) FROM payments WHERE message_id = 'p10'")"
done_testing
