#!/bin/bash
# The router, or a worker, dies at each place where something has just become true, or is about to. Then
# no acknowledged message is lost, none is applied twice, customers' order is kept, and all is known when
# it is published again. CRASH_FIRST, CRASH_STEP: which passes are tried.
. "${top_srcdir:?}/tests/faults/lib.sh"

count=240
seed=${CRASH_SEED:-7}
first=${CRASH_FIRST:-1}
total=0
echo "# CRASH_SEED=$seed CRASH_FIRST=$first"
"$top_builddir/tests/generate" -n "$count" -c 8 -s "$seed" -b 3000 >"$dir/in"
for i in 1 2 3 4; do # that end as failures
  echo "{\"message_id\":\"$seed-bad-$i\",\"customer_id\":\"ERROR400\",\"transaction_type\":\"payment\",\"amount\":1,\"payment_method\":\"x\"}"
done >"$dir/bad"
sed -i "60r $dir/bad" "$dir/in"
count=$((count + 4))
accounts_wanted=$(grep -c bank_account_setup "$dir/in")
payments_wanted=$((count - 4 - accounts_wanted))

# Where nothing is synced before it is acknowledged, a death takes no more than elsewhere.
"$top_builddir/headgatectl" config >"$dir/sync.conf"
sed 's/durability = sync/durability = os/' "$dir/sync.conf" >"$dir/os.conf"
config=$dir/sync.conf

# What a try is: which program dies (victim), and who takes payments (real or test).
crash_in() { # crash_in NAME COMMAND...: with the crash variables when it is the victim
  if [ "$1" = "$victim" ]; then
    HEADGATE_CRASH=$pass HEADGATE_CRASH_DONE=$dir/done HEADGATE_CRASH_LIST=$dir/done-list \
      keep "$@"
  else
    keep "$@"
  fi
}

crash_twice() { # the router, dying at pass $before, then at $pass of its next life
  if [ -e "$dir/done-before" ]; then
    HEADGATE_CRASH=$pass HEADGATE_CRASH_DONE=$dir/done exec "$faults/headgate-router" -c "$config"
  fi
  HEADGATE_CRASH=$before HEADGATE_CRASH_DONE=$dir/done-before exec "$faults/headgate-router" -c "$config"
}

stores_are_right() {
  [ "$(accounts "SELECT count(*), count(DISTINCT message_id), ($accounts_out_of_order) FROM bank_accounts")" = \
    "$accounts_wanted|$accounts_wanted|0" ] || return 1
  if [ "$takes" = real ]; then
    [ "$(payments "SELECT count(*), count(DISTINCT message_id), ($payments_out_of_order),
      (SELECT count(DISTINCT message_id) FROM failures), (SELECT count(*) FROM failures) FROM payments")" = \
      "$payments_wanted|$payments_wanted|0|4|4" ]
  else
    # Each once; sequences rise in the order of publishing.
    [ "$(cut -d ' ' -f 2 "$dir/applied" | sort | uniq | wc -l)" = $((payments_wanted + 4)) ] &&
      [ "$(wc -l <"$dir/applied")" = $((payments_wanted + 4)) ] &&
      sort -n "$dir/applied" | cut -d ' ' -f 2 | cmp -s - "$dir/order"
  fi
}

counters_are_right() {
  [ "$("$top_builddir/headgatectl" status --json |
    jq -c '.queues[:2] as $live | .queues[2:] as $dead |
      [$live, $dead] | map([(map(.published) | add), (map(.done + .failed) | add), (map(.depth) | add)])')" = \
    "[[$count,$count,0],[$dead,0,$dead]]" ]
}

few_segments() { # what is left, the one before the active one, that, and the next
  [ "$(find "$dir/state/queues/payment-processing" -name '*.log' | wc -l)" -le 4 ]
}

finished() {
  drained && stores_are_right
}

run_try() { # sets why when something is wrong
  clear_all
  why=
  if [ "$victim" = twice ]; then
    keep router crash_twice
  else
    crash_in router "$faults/headgate-router" -c "$config"
  fi
  crash_in account "$faults/headgate-bank-account"
  if [ "$takes" = real ]; then
    crash_in payment "$faults/headgate-payment"
  else
    crash_in payment "$faults/worker" -e 40 "$dir" payment-processing "$dir/applied"
  fi
  "$top_builddir/headgate-publish" --receipts --wait 30 "$dir/in" >"$dir/receipts" 2>"$dir/publish.err" ||
    { why="publish: $?"; return; }
  all_durable "$dir/receipts" $count || { why="receipts"; return; }
  if [ "$takes" != real ]; then # what was left has been moved by now, or the router died while it did
    wait_for 20 few_segments ||
      { why="nothing was moved: $(ls "$dir/state/queues/payment-processing" | xargs)"; return; }
    kill -USR1 "$(cat "$dir/payment.pid")"
  fi
  wait_for ${CRASH_WAIT:-30} finished || { why="lost, doubled or out of order: $("$top_builddir/headgatectl" status --json | jq -c '.queues[] | [.published, .done, .failed]' | xargs)"; return; }
  "$top_builddir/headgate-publish" --receipts --wait 30 "$dir/in" >"$dir/receipts2" 2>>"$dir/publish.err" ||
    { why="publish again: $?"; return; }
  all_duplicates "$dir/receipts2" $count || { why="not all are duplicates"; return; }
  wait_for 5 counters_are_right || { why="counters"; return; }
  end TERM router || { why="router does not stop"; return; }
  case $(cat "$dir/router.status") in
    0 | 137) ;;
    143) ;; # it was made anew just then, and had not begun
    *)
      why="router ends with $(cat "$dir/router.status")"
      return
      ;;
  esac
  end TERM account || why="account worker does not stop"
  if [ "$takes" = real ]; then
    end TERM payment || why="payment worker does not stop"
  else
    end KILL payment || why="test worker does not stop"
  fi
  stores_are_right || why="not the same at the end"
}

crash_each() { # crash_each WHAT VICTIM TAKES STEP [LAST]
  [ -z "${CRASH_ONLY:-}" ] || [ "$CRASH_ONLY" = "$2-$3" ] || return
  victim=$2
  takes=$3
  dead=0 # letters, of those that the service refuses
  [ "$takes" = test ] || dead=4
  step=$(($4 * share))
  tries=0
  bad=0
  : >"$dir/places"
  [ -n "$all" ] && step=${CRASH_STEP:-1}
  grep '"payment"' "$dir/in" | jq -r .message_id >"$dir/order"
  began=$(date +%s)
  for ((pass = first; pass <= ${5:-100000}; pass += step)); do
    run_try
    tries=$((tries + 1))
    if [ -n "$why" ]; then
      bad=$((bad + 1))
      echo "# $1, pass $pass, at $(cat "$dir/done" 2>/dev/null): $why"
      rm -rf "/tmp/headgate-crash-$seed-$pass"
      [ -n "${CRASH_KEEP:-}" ] && cp -r "$dir" "/tmp/headgate-crash-$seed-$pass"
      for log in "$dir"/*.log; do tail -n 3 "$log" | sed 's/^/#   /'; done
      end KILL router payment account
      [ $bad -lt 5 ] || break
    fi
    [ -e "$dir/done" ] || break # it has no such pass
    cat "$dir/done" >>"$dir/places"
  done
  total=$((total + tries))
  echo "# $1: $tries tries, $(sort -u "$dir/places" | wc -l) places in $(($(date +%s) - began)) s:" \
    $(sort "$dir/places" | uniq -c | awk '{ print $2 "*" $1 }')
  is "$1: nothing is lost, doubled or out of order" 0 $bad
}

crash_each "the router dies" router real 31
crash_each "the router dies, and moves what is left over" router test 37
config=$dir/os.conf
crash_each "the router dies, with durability = os" router real 41
crash_each "the router dies, with durability = os, and moves what is left over" router test 67
config=$dir/sync.conf
crash_each "the payment worker dies" payment real 90
# While it recovers: from a torn batch, from a move, from what was given back.
for before in ${all:+40 80 150 220 290} 115 185; do
  crash_each "the router dies at $before, and soon again" twice test 9 40
done
echo "# $total tries"
done_testing
