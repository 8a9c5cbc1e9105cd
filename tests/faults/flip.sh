#!/bin/bash
# Each byte of the control segment that is in use, and of a lane, is changed while all run: nobody dies or
# hangs, a worker that does it is dropped, and afterwards all goes on. FLIP_SEED.
. "${top_srcdir:?}/tests/faults/lib.sh"

seed=${FLIP_SEED:-${all:+$$}}
seed=${seed:-1}
RANDOM=$seed
control_step=${all:+1}
control_step=${control_step:-149}
lane_step=${all:+1}
lane_step=${lane_step:-31}
echo "# FLIP_SEED=$seed"

"$top_builddir/tests/generate" -n 7000 -c 20 -s "$seed" >"$dir/in"
answers() { # answers COMMAND...: ends within the deadline, by itself
  timeout -k 10 100 "$@" >/dev/null 2>>"$dir/ctl.log"
  [ $? -lt 124 ]
}
router_pid() { cat "$dir/router.pid"; }
listening() { [ -S "$dir/run/router.sock" ] && "$top_builddir/headgatectl" wait --ready -t 1 2>/dev/null; }

keep router "$faults/headgate-router"
first_router=
wait_for 20 listening
first_router=$(router_pid)
publish --wait 20 "$dir/in"
is "messages are published" 0 $?
changed=$("$faults/flip" lane "$dir" payment-processing 0 "$lane_step" "$seed" 2>"$dir/flip.log")
is "a worker that changes bytes of its lane ($changed of them) does the router no harm, and is hung up on" 0 $?
ok "what it did is said" wait_for 20 grep -q '"worker.broke_protocol"' "$dir/router.log"
is "the router is the same" "$first_router" "$(router_pid)"
ok "and gives no sign of a fault" eval '! grep -q "router.failed" "$dir/router.log"'

keep account "$faults/headgate-bank-account"
keep payment "$faults/headgate-payment"
"$top_builddir/headgatectl" start --all >/dev/null 2>&1
ok "real workers finish" wait_for 60 drained

bad=0
flips=0
while read -r from to; do
  # A queue's state is the highest byte of its first word on a line of its own: that one always.
  for at in $(seq $((from + RANDOM % control_step)) $control_step $((to - 1))) $((from + 135)); do
    [ "$at" -lt "$to" ] || continue
    mask=$((128 + RANDOM % 128))
    "$faults/flip" file "$dir/run/control" $at $mask
    answers "$top_builddir/headgatectl" status || { bad=$((bad + 1)); echo "# byte $at, mask $mask: status"; }
    answers "$top_builddir/headgatectl" status --json || { bad=$((bad + 1)); echo "# byte $at, mask $mask: --json"; }
    echo "{\"customer_id\":\"F\",\"transaction_type\":\"payment\",\"amount\":1,\"payment_method\":\"x\"}" |
      answers "$top_builddir/headgate-publish" --wait 5 ||
      { bad=$((bad + 1)); echo "# byte $at, mask $mask: publish"; }
    "$faults/flip" file "$dir/run/control" $at $mask
    flips=$((flips + 1))
    [ $bad -lt 5 ] || break 2
  done
done < <("$faults/flip" sizes 2 2)
is "no byte of the control segment ($flips of them) makes anything hang or die" 0 $bad
is "the router is still the same" "$first_router" "$(router_pid)"
ok "no sanitizer says anything" eval '! grep -q "Sanitizer\|runtime error" "$dir"/*.log'
ok "no worker died by a signal" eval '! grep -q "\"signal\":[1-9]" "$dir"/payment.log "$dir"/account.log'

# A state that is none, while a segment begins and with it a checkpoint, which has the state.
"$top_builddir/tests/generate" -n 400 -c 20 -s $((seed + 1)) -b 3000 >"$dir/more"
while read -r from to; do
  [ $((to - from)) -gt 1500 ] && "$faults/flip" file "$dir/run/control" $((from + 135)) 240
done < <("$faults/flip" sizes 2 2)
ok "messages are taken while the states are garbage" publish --wait 20 "$dir/more"

# What was written over the counters is worked out anew from the logs.
end KILL router
rm -f "$dir"/router.*
keep router "$faults/headgate-router"
ok "a router starts on what that one left" wait_for 20 listening
tail -n 2 "$dir/router.log" | sed 's/^/# /'
"$top_builddir/headgatectl" start --all >/dev/null 2>&1
ok "and all is handled" wait_for 30 drained
done_testing
