#!/bin/bash
# Dead letters are redriven under load while headgatectl, the router and the worker are killed with -9 again
# and again: none is lost, none is doubled. REDRIVE_COUNT dead letters, REDRIVE_SEED.
. "$top_srcdir/tests/lib.sh"

count=${REDRIVE_COUNT:-20000}
seed=${REDRIVE_SEED:-$$}
RANDOM=$seed
echo "# REDRIVE_SEED=$seed REDRIVE_COUNT=$count"

ctl() { "$top_builddir/headgatectl" "$@"; }
depth() { ctl status --json 2>/dev/null | jq ".queues[] | select(.name == \"$1\") | .depth"; }
depth_is() { [ "$(depth "$1")" = "$2" ]; }
restart() { # the router, killed
  kill -KILL "$router"
  wait "$router" 2>/dev/null
  start router headgate-router 3>&- # or the publisher's input would not end
}

"$top_builddir/tests/generate" -n $((count * 2)) -s "$seed" | grep '"payment"' | head -n "$count" |
  sed 's/CUST-[0-9]*/&-ERROR400/' >"$dir/dead"
"$top_builddir/tests/generate" -n $((count * 2)) -s $((seed + 1)) | grep '"payment"' >"$dir/load"
load=$(wc -l <"$dir/load")
split -n l/40 -d -a 2 "$dir/load" "$dir/load."
start router headgate-router
start payment headgate-payment
wait_for 20 ready
ok "$count payments are published" publish "$dir/dead"
ok "and dead-lettered" wait_for 60 depth_is payment-processing-dlq "$count"
stop "$payment"
export HEADGATE_ENVIRONMENT=prod # fault markers are off: the cause is mended
start payment headgate-payment
unset HEADGATE_ENVIRONMENT

mkfifo "$dir/pipe"
publish --wait 60 <"$dir/pipe" &
publisher=$!
exec 3>"$dir/pipe"
loads=("$dir"/load.*)
feeding=
feed() { # the next part of the load, when the one before was read
  if [ ${#loads[@]} -eq 0 ] || alive "$feeding"; then
    return
  fi
  cat "${loads[0]}" >&3 &
  feeding=$!
  loads=("${loads[@]:1}")
}
moved() { # a random number was, since the last kill; or nobody moves any more
  alive "$redrive" || return 0
  [ "$(depth payment-processing-dlq)" -le $((${before:-count} - step)) ]
}
kills=0
runs=0
redrive=
odd=
while ! depth_is payment-processing-dlq 0; do
  if [ -z "$redrive" ] || ! alive "$redrive"; then
    if [ -n "$redrive" ]; then
      wait "$redrive" 2>/dev/null
      status=$?
      case $status in
        0 | 69 | 137) ;; # done, the router is gone, killed
        *) odd="$odd $status" ;;
      esac
    fi
    runs=$((runs + 1))
    wait_for 20 ctl wait --ready -t 10
    start redrive headgatectl dead redrive --rate $((count / 5)) payment-processing >>"$dir/out" 3>&-
  fi
  feed
  before=$(depth payment-processing-dlq)
  step=$((1 + RANDOM % (count / 40 + 1)))
  wait_for 20 moved
  [ "$kills" -lt 40 ] || continue
  kills=$((kills + 1))
  case $((RANDOM % 4)) in
    0) kill -KILL "$redrive" 2>/dev/null ;;
    1) restart ;;
    2)
      kill -KILL "$redrive" 2>/dev/null
      restart
      ;;
    3) child=$(pgrep -P "$payment") && kill -KILL "$child" ;;
  esac
done
echo "# $runs runs, $kills kills"
while [ ${#loads[@]} -gt 0 ]; do
  feed
  wait "$feeding"
done
[ -z "$feeding" ] || wait "$feeding"
exec 3>&-
ok "there was something to survive" [ "$runs" -ge 2 ]
is "redrive ends with no other status" "" "$odd"
wait "$publisher"
is "the load is published" 0 $?
ok "all is handled" ctl wait --empty -t 60 payment-processing
stored_ids() { payments "SELECT $1 FROM payments WHERE customer_id $2 LIKE '%ERROR400'"; }
is "each dead letter is stored, once" "$count $count" \
  "$(stored_ids "count(*) || ' ' || count(DISTINCT message_id)" '')"
is "each message of the load, too" "$load $load" \
  "$(stored_ids "count(*) || ' ' || count(DISTINCT message_id)" NOT)"
is "the load is in order" 0 "$(payments "SELECT count(*) FROM (SELECT CAST(due_date AS INTEGER) AS n,
  row_number() OVER (PARTITION BY customer_id ORDER BY rowid) AS r FROM payments
  WHERE customer_id NOT LIKE '%ERROR400') WHERE n <> r")"
is "the failures are those of the first time" "$count" "$(payments 'SELECT count(*) FROM failures')"
is "nothing is dead any more" 0 "$(ctl dead list --json payment-processing | wc -l)"
done_testing
