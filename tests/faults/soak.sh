#!/bin/bash
# Messages at full rate for SOAK_MINUTES, while the very first of a queue is never settled: the router's memory,
# descriptors and disk stay within what they were after a warm-up. SOAK_SEED.
. "${top_srcdir:?}/tests/faults/lib.sh"

minutes=${SOAK_MINUTES:-30}
seconds=$(awk "BEGIN { print int(60 * $minutes) }")
every=$((seconds / 30 < 10 ? seconds / 30 + 1 : 10)) # seconds between two samples
seed=${SOAK_SEED:-$$}
round=100000
echo "# SOAK_MINUTES=$minutes SOAK_SEED=$seed"

cat >"$dir/conf" <<'END'
topic transaction-processing {
    group_by = {customer_id}
    dedup_by = {message_id, content}
    dedup_window = 10s
}
queue bank-account-setup {
    topic = transaction-processing
    filter_policy = '{"transaction_type": ["bank_account_setup"]}'
}
queue payment-processing {
    topic = transaction-processing
    filter_policy = '{"transaction_type": ["payment"]}'
}
END

left() { # left PAYMENTS: so many payments are not settled, and no account
  "$top_builddir/headgatectl" -c "$dir/conf" status --json | jq -e --argjson left "$1" \
    'all(.queues[]; .published - .done - .failed == (if .name == "payment-processing" then $left else 0 end))' >/dev/null
}

sample() { # a line: seconds, kB of memory, descriptors, MB of disk
  echo "$(($(date +%s) - began)) $(awk '$1 == "VmRSS:" { print $2 }' "/proc/$router/status")" \
    "$(ls "/proc/$router/fd" | wc -l) $(du -sm "$dir/state" | cut -f 1)" >>"$dir/samples"
}

start router headgate-router -c "$dir/conf"
wait_for 20 ready
keep payment "$faults/worker" -l 1 "$dir" payment-processing -
keep account "$faults/worker" "$dir" bank-account-setup -
began=$(date +%s)
sampled=0
rounds=0
good=0
while now=$(($(date +%s) - began)) && [ "$now" -lt "$seconds" ]; do
  "$top_builddir/tests/generate" -n $round -s $((seed + rounds)) |
    "$top_builddir/headgate-publish" -c "$dir/conf" 2>>"$dir/publish.err" || good=1
  wait_for 60 left 1 || good=2
  [ $good -eq 0 ] && alive "$router" || break
  rounds=$((rounds + 1))
  if [ $((now - sampled)) -ge $every ]; then
    sample
    sampled=$now
  fi
done
is "$((rounds * round)) messages are published and handled" 0 $good
sed 's/^/# /' "$dir/samples"

# Of the second third and of the last one the highest.
grown() { # grown COLUMN PERCENT MORE: by more than so much, and how much
  awk -v column="$1" -v percent="$2" -v more="$3" '
    { value[NR] = $column }
    END {
      for (i = int(NR / 3) + 1; i <= NR; i++)
        if (i <= int(2 * NR / 3)) { if (value[i] > before) before = value[i] }
        else if (value[i] > after) after = value[i]
      print before, after
      exit NR < 6 || after > before * (1 + percent / 100) + more
    }' "$dir/samples"
}
ok "memory does not grow ($(grown 2 0 0) kB)" eval 'grown 2 10 4096 >/dev/null'
ok "descriptors do not grow ($(grown 3 0 0))" eval 'grown 3 0 3 >/dev/null'
ok "disk does not grow ($(grown 4 0 0) MB)" eval 'grown 4 10 160 >/dev/null'
kill -USR1 "$(cat "$dir/payment.pid")"
ok "the first message is there at last" wait_for 20 left 0
stop "$router"
is "the router stops" 0 $?
done_testing
