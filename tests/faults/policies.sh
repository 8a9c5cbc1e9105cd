#!/bin/bash
# Each policy with each outcome, and each thing a person may do about a closed gate, also when the router or
# the worker dies in the middle: what becomes of the messages is always what the table says. POLICIES_SEED.
. "${top_srcdir:?}/tests/faults/lib.sh"

seed=${POLICIES_SEED:-${all:+$$}}
seed=${seed:-1}
RANDOM=$seed
tries=${all:+40}
tries=${tries:-1}
queue=payment-processing
echo "# POLICIES_SEED=$seed"

ctl() { timeout -k 10 100 "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
message() { # message CUSTOMER ID
  echo "{\"message_id\":\"$2\",\"customer_id\":\"$1\",\"transaction_type\":\"payment\",\"amount\":1,\"payment_method\":\"x\"}"
}
# What has become of them: state, the head, depth, rows in the store, failures, dead letters.
facts() {
  rows=$(payments 'SELECT (SELECT count(*) FROM payments) || " " || (SELECT count(*) FROM failures)' 2>/dev/null || echo 0 0)
  ctl status --json 2>/dev/null | jq -r --arg rows "$rows" \
    '.queues | map({(.name): .}) | add | .["'$queue'"] as $q | .["'$queue'-dlq"] as $d |
    "\($q.state) \($q.tripped_by.message_id // "-") \($q.depth) \($rows) \($d.depth)"'
}
becomes() { [ "$(facts)" = "$1" ]; }
settled_as() { # settled_as FACTS: and they stay so
  wait_for 20 becomes "$1" || { why="${why:-$step: wanted $1, got $(facts)}"; return 1; }
}
# Does it until it is so: the router may die in the middle, and not say what came of it.
until_it_is() { # until_it_is FACTS COMMAND...
  wanted=$1
  shift
  attempt() { becomes "$wanted" || { "$@" >/dev/null 2>&1; becomes "$wanted"; }; }
  wait_for 20 attempt "$@" || { why="${why:-$step: wanted $wanted, got $(facts)}"; return 1; }
}
with_crash() { # with_crash NAME COMMAND...: dying at the pass, when it is the victim
  if [ "$1" = "$victim" ]; then
    HEADGATE_CRASH=$pass HEADGATE_CRASH_DONE=$dir/done keep "$@"
  else
    HEADGATE_CRASH_LIST=$dir/done-$1 keep "$@"
  fi
}
worker() { # worker ENVIRONMENT
  export HEADGATE_ENVIRONMENT=$1
  with_crash payment "$faults/headgate-payment" -c "$dir/worker.conf"
  unset HEADGATE_ENVIRONMENT
}
mended() { # the cause is gone
  end TERM payment || why="${why:-the worker does not stop}"
  rm -f "$dir"/payment.*
  worker prod
}

# server_error, client_error, outcome of A's two messages; B's one behind them is good. Then what becomes
# of them, and after that when the cause is mended and the queue started.
table='
stop        dead-letter 200 RUNNING - 0 3 0 0  RUNNING - 0 3 0 0
stop        dead-letter 400 RUNNING - 0 1 2 2  RUNNING - 0 1 2 2
stop        dead-letter 500 TRIPPED a1 3 0 0 0  RUNNING - 0 3 0 0
stop        record      400 RUNNING - 0 1 2 0  RUNNING - 0 1 2 0
stop        retry       400 RUNNING - 0 1 2 2  RUNNING - 0 1 2 2
block-group dead-letter 200 RUNNING - 0 3 0 0  RUNNING - 0 3 0 0
block-group dead-letter 400 RUNNING - 0 1 2 2  RUNNING - 0 1 2 2
block-group dead-letter 500 RUNNING - 2 1 0 0  RUNNING - 0 3 0 0
block-group record      500 RUNNING - 2 1 0 0  RUNNING - 0 3 0 0
retry       dead-letter 200 RUNNING - 0 3 0 0  RUNNING - 0 3 0 0
retry       record      400 RUNNING - 0 1 2 0  RUNNING - 0 1 2 0
retry       dead-letter 500 RUNNING - 0 1 2 2  RUNNING - 0 1 2 2
retry       record      500 RUNNING - 0 1 2 2  RUNNING - 0 1 2 2
retry       retry       400 RUNNING - 0 1 2 2  RUNNING - 0 1 2 2
'
# A queue that server_error = stop has closed, when the router is restarted with another policy and the head is
# probed, by a person or by itself: the two, what the head answers then, who probes, and what becomes of them.
probes='
block-group dead-letter 500 start RUNNING - 2 1 0 0
retry       retry       400 auto  RUNNING - 0 0 3 3
'
[ -z "$all" ] || probes="$probes
stop        dead-letter 200 start RUNNING - 0 3 0 0
stop        dead-letter 400 auto  RUNNING - 0 0 3 3
stop        record      400 start RUNNING - 0 0 3 0
stop        retry       400 start RUNNING - 0 0 3 3
block-group dead-letter 200 start RUNNING - 0 3 0 0
block-group record      400 start RUNNING - 0 0 3 0
block-group retry       400 auto  RUNNING - 0 0 3 3
block-group record      500 auto  RUNNING - 2 1 0 0
retry       dead-letter 500 start RUNNING - 0 1 2 2
retry       dead-letter 500 auto  RUNNING - 0 1 2 2
retry       record      500 auto  RUNNING - 0 1 2 2
"
configure() { # configure FILE SERVER_ERROR CLIENT_ERROR SETTING...
  cat >"$dir/$1" <<EOF
environment = dev
topic transaction-processing { group_by = {customer_id} dedup_by = {message_id} }
queue $queue { topic = transaction-processing server_error = $2 client_error = $3
  retry_max = 2 retry_base = 20ms retry_factor = 1 ${*:4} }
EOF
}
# What the router has read holds: its worker's file always says otherwise.
configure_both() { # configure_both SERVER_ERROR CLIENT_ERROR
  configure conf "$1" "$2"
  case $1 in stop) other=block-group ;; *) other=stop ;; esac
  case $2 in retry) configure worker.conf $other dead-letter ;; *) configure worker.conf $other retry ;; esac
}
begin() { # begin SERVER_ERROR CLIENT_ERROR OUTCOME
  clear_all
  why=
  step=first
  configure_both "$1" "$2"
  case $3 in 200) a=A ;; *) a=A-ERROR$3 ;; esac
  { message $a a1; message $a a2; message B b1; } >"$dir/in"
  with_crash router "$faults/headgate-router" -c "$dir/conf"
  worker dev
  publish -c "$dir/conf" --wait 30 "$dir/in" || why="publish: $?"
}
finish() {
  end TERM router payment || why="${why:-they do not stop}"
}
try_row() { # try_row ROW
  # shellcheck disable=SC2086
  set -- $1
  begin "$1" "$2" "$3"
  settled_as "$4 $5 $6 $7 $8 $9"
  shift 9
  step=mended
  mended
  until_it_is "$*" ctl start $queue
  finish
}
# Each of them with another configuration: the router's says what a failure does, the worker's what fails.
try_probe() { # try_probe SERVER_ERROR CLIENT_ERROR OUTCOME HOW FACTS
  begin stop dead-letter 500
  settled_as "TRIPPED a1 3 0 0 0"
  step="probed ($4)"
  end TERM router payment || why="${why:-they do not stop}"
  rm -f "$dir"/router.* "$dir"/payment.*
  configure_both "$1" "$2"
  case $4 in auto) configure conf "$1" "$2" auto_probe = 20ms ;; esac
  case $3 in
    200) configure worker.conf stop record fault_markers = off ;;
    400) configure worker.conf stop record fault_markers = off require_account = on ;;
  esac
  with_crash router "$faults/headgate-router" -c "$dir/conf"
  worker dev
  case $4 in
    auto) settled_as "${*:5}" ;;
    *) until_it_is "${*:5}" ctl start $queue ;;
  esac
  finish
}
# The gate closes at once, and what was settled before that is written later: a router that dies in between finds a2
# named as what tripped it, and a1 not settled, which the store knows to have failed. A start settles it first.
give_up_first() {
  if becomes "TRIPPED a2 3 0 1 0"; then
    ctl start $queue
  else
    ctl start --skip-head --message a1 $queue
  fi
}
# What a person may do about it: a stop of a tripped queue, a start that fails again, two messages given up
# one after the other, and sent again.
try_person() {
  begin stop dead-letter 500
  settled_as "TRIPPED a1 3 0 0 0"
  step="started in vain"
  ctl start $queue >/dev/null 2>&1
  settled_as "TRIPPED a1 3 0 0 0"
  step=stopped
  until_it_is "STOPPED a1 3 0 0 0" ctl stop $queue
  step=opened
  until_it_is "TRIPPED a1 3 0 0 0" ctl start $queue
  step="first given up"
  until_it_is "TRIPPED a2 2 0 1 1" give_up_first
  step="first given up twice"
  ctl start --skip-head --message a1 $queue >/dev/null 2>&1
  settled_as "TRIPPED a2 2 0 1 1"
  step="second given up"
  until_it_is "RUNNING - 0 1 2 2" ctl start --skip-head --message a2 $queue
  step="sent again"
  mended
  until_it_is "RUNNING - 0 3 2 0" ctl dead redrive $queue-dlq
  finish
}

attempts=0
bad=0
try() { # try LABEL VICTIM COMMAND...
  label=$1
  victim=$2
  shift 2
  "$@"
  attempts=$((attempts + 1))
  [ -z "$why" ] && return
  bad=$((bad + 1))
  echo "# $label, $victim dies at pass $pass, at $(cat "$dir/done" 2>/dev/null): $why"
  for log in "$dir"/*.log; do tail -n 3 "$log" | sed 's/^/#   /'; done
  end KILL router payment
}
try_all() { # try_all LABEL COMMAND...: with nobody dying; then with each, at some of the places it passes
  label=$1
  shift
  bad=0
  died=
  pass=0
  try "$label" nobody "$@"
  routers=$(wc -l <"$dir/done-router")
  payments=$(wc -l <"$dir/done-payment")
  for victim in router payment; do
    if [ $victim = router ]; then passes=$routers; else passes=$payments; fi
    for ((i = 0; i < tries && bad < 3; i++)); do
      pass=$((1 + (RANDOM * 32768 + RANDOM) % passes))
      try "$label" $victim "$@"
      [ -e "$dir/done" ] && died="$died x"
    done
  done
  is "$label" 0 $bad
  deaths=$((deaths + $(wc -w <<<"$died")))
}
deaths=0
while read -r row; do
  [ -n "$row" ] || continue
  # shellcheck disable=SC2086
  set -- $row
  try_all "server_error = $1, client_error = $2, $3" try_row "$row"
done <<<"$table"
while read -r row; do
  [ -n "$row" ] || continue
  # shellcheck disable=SC2086
  set -- $row
  try_all "after a trip server_error = $1, client_error = $2, $3, $4" try_probe "$@"
done <<<"$probes"
try_all "what a person does" try_person
echo "# $attempts attempts, $deaths deaths"
ok "somebody died in the middle" [ $deaths -gt 0 ]
done_testing
