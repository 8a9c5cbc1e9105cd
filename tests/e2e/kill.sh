#!/bin/bash
# Router and workers are killed with -9 again and again while messages are published: none is lost, none
# is stored twice, order is kept. KILL_COUNT messages, KILL_SEED, KILL_PAUSE seconds between two kills; with
# KILL_READY=1 between the moment at which all are ready again and the next.
. "$top_srcdir/tests/lib.sh"

count=${KILL_COUNT:-100000}
pause=${KILL_PAUSE:-0.2}
seed=${KILL_SEED:-$$}
RANDOM=$seed
echo "# KILL_SEED=$seed KILL_COUNT=$count KILL_PAUSE=$pause"

kill_child() { # the working child of a worker; its parent makes a new one
  child=$(pgrep -P "$1") && kill -KILL "$child"
}

"$top_builddir/tests/generate" -n "$count" -s 44 >"$dir/in"
expected_accounts=$(grep -c bank_account_setup "$dir/in")
expected_payments=$(grep -c '"payment"' "$dir/in")
start_all
mkfifo "$dir/pipe"
publish --wait 60 <"$dir/pipe" &
publisher=$!
# In pieces, so that it is killed in the middle however fast the machine is.
split -l 10000 --filter 'cat; sleep 0.1' "$dir/in" >"$dir/pipe" &
kills=0
while alive "$publisher"; do
  [ -z "${KILL_READY:-}" ] || "$top_builddir/headgatectl" wait --workers -t 30
  sleep "$pause" # the moment of the next kill
  case $((RANDOM % 3)) in
    0)
      kill -KILL "$router"
      wait "$router" 2>/dev/null
      start router headgate-router
      ;;
    1) kill_child "$payment" ;;
    2) kill_child "$account" ;;
  esac
  kills=$((kills + 1))
done
wait "$publisher"
is "the publisher sees them all durable ($kills kills)" 0 $?
ok "there was something to survive" [ "$kills" -ge 2 ]
deaths=$(cat "$dir"/headgate-payment.log "$dir"/headgate-bank-account.log | grep -c '"worker.died"')
echo "# $deaths workers died"
wait_for 120 stored "$expected_accounts" "$expected_payments"
is "as many rows as messages" "$expected_accounts $expected_payments" \
  "$(accounts 'SELECT count(*) FROM bank_accounts') $(payments 'SELECT count(*) FROM payments')"
is "no message twice" "$expected_payments" \
  "$(payments 'SELECT count(DISTINCT message_id) FROM payments')"
is "payments in order for each customer" 0 "$(payments "$payments_out_of_order")"
is "accounts in order for each customer" 0 "$(accounts "$accounts_out_of_order")"
done_testing
