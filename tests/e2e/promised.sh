#!/bin/bash
# With durability = os a router promises sequences before it gives them. Those that a router which was killed did
# not give are no messages that are missing: not to check, nor after a salvage.
. "$top_srcdir/tests/lib.sh"

cat >"$dir/conf" <<'END'
topic transaction-processing { group_by = {customer_id} dedup_by = {message_id} durability = os }
queue payment-processing { topic = transaction-processing }
END
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@" 2>>"$dir/ctl.log"; }
begin() {
  : >"$dir/headgate-router.log"
  start router headgate-router -c "$dir/conf"
  wait_for 20 ready
}
kill_router() {
  kill -KILL "$router"
  wait "$router" 2>/dev/null
}
pays() { # pays PREFIX
  for i in $(seq 20); do
    echo "{\"customer_id\":\"C\",\"transaction_type\":\"payment\",\"amount\":1,\"payment_method\":\"x\",\"message_id\":\"$1$i\"}"
  done | publish -c "$dir/conf"
}
checked() { # the exit status
  ctl check "$@" >"$dir/check.log"
  echo $?
}

begin
kill_router
begin
stop "$router"
is "a queue that never had a message is whole after a kill, a start and a stop" 0 "$(checked)"
begin
pays p
stop "$router"
begin
pays q
kill_router
begin
stop "$router"
is "so is one that had some" 0 "$(checked)"

begin
pays r
kill_router
file=$(grep -l -a '"p7"' "$dir"/state/queues/payment-processing/*.log)
at=$(grep -a -b -o '"p7"' "$file" | head -n 1 | cut -d: -f1)
printf X | dd of="$file" bs=1 seek=$((at + 1)) conv=notrunc status=none
is "one that is damaged is not" 65 "$(checked)"
is "it can be salvaged" 0 "$(checked --salvage payment-processing)"
is "and is whole then" 0 "$(checked)"
begin
is "a router starts on it, with all the others" 59 "$(ctl status --json | jq '.queues[0].depth')"
stop "$router"
is "and leaves it whole" 0 "$(checked)"
done_testing
