#!/bin/bash
# Lines without an id, in a topic that knows messages by their id only: what the publisher sends again when
# the router was killed is not taken twice. RESEND_SEED.
. "$top_srcdir/tests/lib.sh"

seed=${RESEND_SEED:-$$}
RANDOM=$seed
echo "# RESEND_SEED=$seed"
cat >"$dir/conf" <<'EOF'
topic transaction-processing { group_by = {customer_id} dedup_by = {message_id} }
queue payment-processing { topic = transaction-processing }
EOF
count=40000
"$top_builddir/tests/generate" -n $((count * 2)) -s "$seed" | grep '"payment"' | head -n $count |
  sed 's/"message_id":"[^"]*",//' >"$dir/in"
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
published() { ctl status --json 2>/dev/null | jq '.queues[0].published'; }
grows() { [ "$(published)" -gt "$1" ]; }
start router headgate-router -c "$dir/conf"
ctl wait --ready -t 20
mkfifo "$dir/pipe"
publish -c "$dir/conf" --receipts --wait 60 <"$dir/pipe" >"$dir/receipts" &
publisher=$!
exec 3>"$dir/pipe"
for part in 1 2 3 4 5; do # a part is on its way when the router dies
  before=$(published)
  tail -n +$(((part - 1) * count / 5 + 1)) "$dir/in" | head -n $((count / 5)) >&3 &
  writer=$!
  [ $part = 5 ] || {
    wait_for 20 grows "$before"
    kill -KILL "$router"
    wait "$router" 2>/dev/null
    start router headgate-router -c "$dir/conf" 3>&-
  }
  wait $writer
  ctl wait --ready -t 20
done
exec 3>&-
wait "$publisher"
is "all are durable" 0 $?
is "each has a receipt" "$count" "$(grep -c '"status":200' "$dir/receipts")"
start payment headgate-payment -c "$dir/conf"
ok "all are handled" ctl wait --empty -t 60 payment-processing
is "and are there once" "$count $count" \
  "$(payments "SELECT count(*) || ' ' || count(DISTINCT message_id) FROM payments")"
is "in order" 0 "$(payments "$payments_out_of_order")"
done_testing
