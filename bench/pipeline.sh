#!/bin/bash
# bench/pipeline.sh [COUNT [ROUNDS]]: NDJSON of the utility mix through a pipe until all is settled, with
# the real services and with null workers; messages a second and CPU seconds by process. Run by make bench.
set -eu
: "${top_builddir:?}"
count=${1:-1000000}
rounds=${2:-3}
dir=$(mktemp -d "${TMPDIR:-/tmp}/hg-bench-XXXXXX")
export HEADGATE_DIR=$dir/h PATH=$top_builddir:$top_builddir/bench:$PATH
pids=
trap 'kill $pids 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
hertz=$(getconf CLK_TCK)

cpu() { # cpu PID: seconds
  awk -v hz="$hertz" '{ printf "%.2f", ($14 + $15) / hz }' "/proc/$1/stat"
}

"$top_builddir/tests/generate" -n "$count" -c 10000 >"$dir/in"
round() { # round NAME ACCOUNTS PAYMENTS
  rm -rf "$HEADGATE_DIR"
  headgate-router 2>"$dir/router.log" & router=$!
  $2 2>"$dir/accounts.log" & accounts=$!
  $3 2>"$dir/payments.log" & payments=$!
  pids="$router $accounts $payments"
  headgatectl wait --workers -t 30
  start=$(date +%s%N)
  cat "$dir/in" | { TIMEFORMAT='%U %S'; time headgate-publish; } 2>"$dir/time"
  durable=$(date +%s%N)
  headgatectl wait --empty -t 120
  end=$(date +%s%N)
  awk -v name="$1" -v n="$count" -v d=$(((durable - start) / 1000)) -v e=$(((end - start) / 1000)) \
    -v r="$(cpu $router)" -v a="$(cpu "$(pgrep -P $accounts)")" -v p="$(cpu "$(pgrep -P $payments)")" \
    '{ u = $1 + $2; printf "%-14s %8.0f durable/s %8.0f settled/s   CPU s: publish %.2f router %.2f accounts %.2f payments %.2f, %.2f us a message\n", name, n * 1e6 / d, n * 1e6 / e, u, r, a, p, (u + r + a + p) * 1e6 / n }' "$dir/time"
  kill $pids
  wait
  pids=
}
for i in $(seq "$rounds"); do
  round real headgate-bank-account headgate-payment
  round null "null-worker bank-account-setup" "null-worker payment-processing"
done
