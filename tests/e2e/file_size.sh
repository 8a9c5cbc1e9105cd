#!/bin/bash
# A limit of file sizes (RLIMIT_FSIZE): nobody dies of SIGXFSZ; a log goes on in smaller segments, and what cannot be
# written is told as on a disk that is full.
. "$top_srcdir/tests/lib.sh"

ctl=$top_builddir/headgatectl
pay() { # pay PREFIX COUNT BYTES
  seq "$2" | awk -v prefix="$1" -v pad="$(head -c "$3" /dev/zero | tr '\0' x)" \
    '{ printf "{\"customer_id\":\"C%d\",\"transaction_type\":\"payment\",\"amount\":1,\"payment_method\":\"x\",\"message_id\":\"%s%d\",\"pad\":\"%s\"}\n", $1 % 7, prefix, $1, pad }'
}

for limit in 100 2000; do
  (ulimit -f $limit && exec timeout -k 5 120 "$top_builddir/headgate-router") 2>"$dir/err"
  is "a router that $limit KiB do not let start says so" "71 1" "$? $(grep -c 'File too large: .*(ulimit -f) to 8192 KiB' "$dir/err")"
done
(ulimit -f 8192 && exec "$top_builddir/headgate-router") 2>>"$dir/headgate-router.log" &
router=$!
ok "what it asks for is enough" wait_for 60 ready
stop "$router"
rm "$dir/headgate-router.log"

(ulimit -f 12288 && exec "$top_builddir/headgate-router") 2>>"$dir/headgate-router.log" &
router=$!
ok "a router under a limit" wait_for 60 ready
pay a 4000 9000 | publish --wait 60
is "takes more than a file may hold" 0 $?
is "in segments that fit" "" "$(find "$dir/state/queues" -size +12288k)"
ok "none of them is wanting" [ "$("$ctl" status --json | jq '.queues[] | select(.name == "payment-processing").depth')" = 4000 ]

# 4,000 payments take more than 600 KiB in a store, however few commits they come in.
(ulimit -f 300 && exec "$top_builddir/headgate-payment") 2>>"$dir/headgate-payment.log" &
payment=$!
ok "a store that reaches its limit closes the gate" "$ctl" wait --state TRIPPED -t 120 payment-processing
"$ctl" status payment-processing >"$dir/status"
ok "and says why" grep -q '500: store: .*File too large' "$dir/status"
ok "nobody died of it" eval '! grep -q worker.died "$dir/headgate-payment.log"'
stop "$payment"
is "its worker ends as ever" 0 $?
start payment headgate-payment
"$ctl" start payment-processing >/dev/null
ok "without the limit all is handled" "$ctl" wait --empty -t 200 payment-processing
stop "$payment"
stop "$router"
is "the router ends as ever" 0 $?
ok "the logs are whole" eval '"$ctl" check >/dev/null'
done_testing
