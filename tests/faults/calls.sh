#!/bin/bash
# The N-th system call of a kind fails, once or from then on, in the router and in a worker. The router ends
# with a status that its manual names, or goes on; nobody dies by a signal; and afterwards everything that was
# acknowledged is there, once. CALLS_STEP: which N are tried.
. "${top_srcdir:?}/tests/faults/lib.sh"

count=120
echo "# messages of seed 5"
"$top_builddir/tests/generate" -n $count -c 8 -s 5 -b 3000 >"$dir/in"
accounts_wanted=$(grep -c bank_account_setup "$dir/in")
payments_wanted=$((count - accounts_wanted))
head -n $((count / 2)) "$dir/in" >"$dir/half"
prepared=
total=0
export ASAN_OPTIONS=verify_asan_link_order=0

failing() { # failing COMMAND...: where $call fails
  local from=
  [ "$often" = on ] && from=1
  exec env LD_PRELOAD="$faults/fail.so" FAIL_CALL="$call" FAIL_AT="$n" FAIL_HOW="$how" \
    FAIL_DONE="$dir/done" FAIL_GONE="$dir/gone" FAIL_UNDER="$under" ${from:+FAIL_FROM=1} "$@"
}

failing_router() {
  # A restart finds the cause gone.
  [ -e "$dir/done" ] && : >"$dir/gone"
  failing "$faults/headgate-router" --io=poll
}

failing_payment() { failing "$faults/headgate-payment"; }

stores_are_right() {
  [ "$(accounts "SELECT count(*), count(DISTINCT message_id), ($accounts_out_of_order) FROM bank_accounts")" = \
    "$accounts_wanted|$accounts_wanted|0" ] &&
    [ "$(payments "SELECT count(*), count(DISTINCT message_id), ($payments_out_of_order) FROM payments")" = \
      "$payments_wanted|$payments_wanted|0" ]
}

finished() { drained && stores_are_right; }

begin_workers() {
  keep account "$faults/headgate-bank-account"
  if [ "$victim" = payment ]; then
    keep payment failing_payment
  else
    keep payment "$faults/headgate-payment"
  fi
}

ends() { # what the router ended with is in its manual, and no signal
  status=$(cat "$dir/router.status")
  case $status in
    0 | 65 | 71 | 73 | 74 | 75 | 77 | 78) return 0 ;;
  esac
  return 1
}

revive() { # the router ended: it must have said why; started again, nothing fails
  ends || { why="the router ends with $status: $(tail -n 1 "$dir/router.log")"; return 1; }
  if [ "$status" = 0 ]; then
    why="the router ends by itself"
    return 1
  fi
  grep -q '"router.failed"' "$dir/router.log" || grep -q "headgate-router: " "$dir/router.log" ||
    { why="the router ends with $status and does not say why"; return 1; }
  ends_seen="$ends_seen $status"
  : >"$dir/gone"
  rm -f "$dir/router.status"
  keep router failing_router
}

# While it is waited for: the router is started again if it ended, which may be after all was handled, too: what
# was settled is written last. What fails again and again does so for a while.
look_after_router() {
  if ended router; then
    revive
  elif [ -e "$dir/done" ] && [ "$often" = on ] && [ "$(date +%s%N)" -gt "$((since + 300000000))" ]; then
    : >"$dir/gone" # the cause goes: it goes on by itself
  fi
}

finished_or_wrong() { ! look_after_router || finished; }

publish_all() { # publish_all RECEIPTS: while the router is kept alive
  "$top_builddir/headgate-publish" --receipts --wait 20 "$dir/in" >"$1" 2>"$dir/publish.err" &
  publisher=$!
  while alive $publisher; do
    look_after_router || return
    sleep 0.01 # between two looks
  done
  wait $publisher || why="publish ends with $?: $(tail -n 1 "$dir/publish.err")"
}

# The router fails at its N-th call, then it is started without a fault.
try_router() {
  rm -f "$dir/gone"
  if [ -n "$prepared" ]; then # there is something to recover
    keep router "$faults/headgate-router"
    publish --wait 20 "$dir/half" || { why="publish a half"; return; }
    end KILL router
    rm -f "$dir"/router.*
  fi
  since=$(date +%s%N)
  keep router failing_router
  begin_workers
  publish_all "$dir/receipts"
  [ -z "$why" ] || return
  all_durable "$dir/receipts" $count || { why="receipts"; return; }
  wait_for 20 finished_or_wrong || why="lost, doubled or out of order"
  [ -z "$why" ] || return
  : >"$dir/gone"
  publish_all "$dir/receipts2"
  [ -z "$why" ] || return
  all_duplicates "$dir/receipts2" $count || { why="not all are duplicates"; return; }
  end TERM router || { why="router does not stop"; return; }
  [ "$(cat "$dir/router.status")" = 0 ] || why="at the end: $(cat "$dir/router.status")"
}

# The worker's store fails: it answers 5xx, which closes the gate, or it ends and is made anew. When the cause
# is gone and the gate is opened, all goes on.
try_worker() {
  rm -f "$dir/gone"
  keep router "$faults/headgate-router"
  begin_workers
  "$top_builddir/headgate-publish" --receipts --wait 20 "$dir/in" >"$dir/receipts" 2>"$dir/publish.err" ||
    { why="publish"; return; }
  wait_for 10 settled_or_stopped || { why="neither handled nor stopped"; return; }
  : >"$dir/gone"
  for _ in 1 2 3; do
    "$top_builddir/headgatectl" start --all >/dev/null 2>&1
    wait_for 6 finished && break
  done
  finished || { why="lost, doubled or out of order"; return; }
  grep -q '"signal":[1-9]' "$dir/payment.log" && why="the worker died by a signal"
}

settled_or_stopped() {
  drained_now || [ "$(state_of payment-processing)" != RUNNING ] || grep -q '"worker.died"' "$dir/payment.log"
}
drained_now() { "$top_builddir/headgatectl" wait --empty -t 0 >/dev/null 2>&1; }
state_of() { "$top_builddir/headgatectl" status --json | jq -r ".queues[] | select(.name == \"$1\") | .state"; }

try_each() { # try_each VICTIM CALL HOW STEP [on]
  victim=$1
  call=$2
  how=$3
  step=$(($4 * share))
  often=${5:-once}
  [ -n "$all" ] && step=${CALLS_STEP:-1}
  under=$dir/state
  [ "$victim" = payment ] && under=$dir/state/stores/payment
  [ "$call" = open ] && [ "$victim" = router ] && under=$dir
  bad=0
  tries=0
  ends_seen=
  began=$(date +%s)
  for ((n = 1; n < 100000; n += step)); do
    clear_all
    why=
    if [ "$victim" = router ]; then try_router; else try_worker; fi
    end KILL router payment account
    tries=$((tries + 1))
    if [ -n "$why" ]; then
      bad=$((bad + 1))
      echo "# $victim, $call $n, $how $often: $why"
      [ $bad -lt 3 ] || break
    fi
    [ -e "$dir/done" ] || break # it has no such call
  done
  total=$((total + tries))
  is "$victim${prepared:+ that recovers}: $call fails with $how, $often: $tries tries in $(($(date +%s) - began)) s$(
    [ -n "$ends_seen" ] && echo ", ended with$(echo "$ends_seen" | tr ' ' '\n' | grep . | sort | uniq -c | awk '{ printf " %s (%s times)", $2, $1 }')")" 0 $bad
}

try_each router pwrite EIO 9
try_each router pwrite ENOSPC 19
try_each router pwrite SHORT 21
try_each router open EMFILE 14
try_each router fallocate ENOSPC 3
try_each router fallocate ENOSPC 3 on
try_each router rename ENOSPC 6
try_each router unlink EIO 5
try_each router fsync EIO 8
try_each router recv ENOMEM 8
try_each router send EPIPE 8
try_each router accept4 EMFILE 2
try_each router realloc ENOMEM 17
try_each payment pwrite ENOSPC 25
try_each payment pwrite EIO 60 on
try_each payment pread EIO 1
prepared=1
try_each router pwrite EIO 8
try_each router pread EIO 5
try_each router open EMFILE 12
try_each router realloc ENOMEM 13
if [ -n "$all" ]; then
  try_each router pwrite ENOSPC 1
  try_each router pread EINTR 1
  try_each router pread SHORT 1
  try_each router open EACCES 1
  try_each router rename EIO 1
  try_each router unlink EIO 1
  try_each router unlink EACCES 1 on
  try_each router fsync EIO 1
fi
prepared=
if [ -n "$all" ]; then
  try_each router pwrite EINTR 1
  try_each router open ENOSPC 1
  try_each router open EACCES 1
  try_each router rename EIO 1
  try_each router rename EIO 1 on
  try_each router mkdir ENOSPC 1
  try_each router pread EIO 1
  try_each router recv EINTR 1
  try_each router recv SHORT 1
  try_each router recvmsg ENOMEM 1
  try_each router sendmsg ENOMEM 1
  try_each router send SHORT 1
  try_each router accept4 ENFILE 1 on
  try_each router accept4 ECONNABORTED 1
  try_each payment pwrite EIO 1
  try_each payment pwrite ENOSPC 1 on
  try_each payment pwrite SHORT 1
  try_each payment fsync EIO 1
  try_each payment open EMFILE 1
  try_each payment ftruncate EIO 1
fi
echo "# $total tries"
done_testing
