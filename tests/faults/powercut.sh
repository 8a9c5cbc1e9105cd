#!/bin/bash
# What the router does to its files is written down; then the files are made as they may be when the power
# goes at some point of that, with any choice of what was not synced. The router must start on them, with
# every message that was acknowledged before; where durability = os, with what there is, without giving a
# sequence twice. POWERCUT_SEED, POWERCUT_TRIES.
. "${top_srcdir:?}/tests/faults/lib.sh"

seed=${POWERCUT_SEED:-${all:+$$}}
seed=${seed:-1}
tries=${POWERCUT_TRIES:-${all:+1500}}
tries=${tries:-$((60 / share))}
parts=6
part=40
count=$((parts * part))
RANDOM=$seed
echo "# POWERCUT_SEED=$seed POWERCUT_TRIES=$tries"

"$top_builddir/tests/generate" -n $count -c 8 -s 3 -b 3000 >"$dir/in"
jq -r .message_id "$dir/in" >"$dir/ids"
split -l $part -d "$dir/in" "$dir/part-"

"$top_builddir/headgatectl" config >"$dir/sync.conf"
sed 's/durability = sync/durability = os/' "$dir/sync.conf" >"$dir/os.conf"
config=$dir/sync.conf

#
# What happens.
#
few_segments() {
  [ "$(find "$dir/state/queues/payment-processing" -name '*.log' | wc -l)" -le 4 ]
}

recorded_router() {
  exec env LD_PRELOAD="$faults/fail.so" JOURNAL="$dir/journal" JOURNAL_DIR="$dir/state" \
    ASAN_OPTIONS=verify_asan_link_order=0 "$faults/headgate-router" --io=poll -c "$config"
}

record() { # record WHAT
  clear_all
  rm -rf "$dir/journal" "$dir/recorded" "$dir"/applied-* "$dir"/before-*
  mkdir "$dir/state"
  keep router recorded_router
  keep payment "$faults/worker" -e 40 "$dir" payment-processing "$dir/applied-payment"
  keep account "$faults/worker" "$dir" bank-account-setup "$dir/applied-account"
  good=1
  for p in "$dir"/part-*; do
    if [ "$p" = "$dir/part-03" ]; then # once it starts with what is there
      end TERM router || good=0
      rm -f "$dir"/router.*
      keep router recorded_router
    fi
    publish --wait 20 "$p" || good=0
  done
  wait_for 20 few_segments || good=0
  kill -USR1 "$(cat "$dir/payment.pid")"
  wait_for 20 drained || good=0
  end TERM router || good=0
  end KILL payment account || good=0
  entries=$("$faults/powercut" "$dir/journal" "$dir/state")
  [ "${entries:-0}" -gt 100 ] || good=0
  is "a run is written down, with $1 ($entries entries)" 1 $good
  mv "$dir/state" "$dir/recorded"
  mv "$dir/applied-payment" "$dir/before-payment"
  mv "$dir/applied-account" "$dir/before-account"
}

#
# What may be left of it.
#
# Of "T time", "A connection number" and what was applied before and after: ids that were acknowledged and
# are gone; with all=1 of any that are gone, or have two sequences.
judge='
  FILENAME ~ /ids$/ { id[FNR] = $1; next }
  FILENAME ~ /acks$/ { if ($1 == "T") cut = $2; else acked[id[($2 - 1) * part + $3]] = 1; next }
  FILENAME ~ /before-/ && $3 >= cut { next }
  $2 in sequence && sequence[$2] != $1 { print "doubled", $2 }
  { sequence[$2] = $1 }
  END {
    for (i in id)
      if (!(id[i] in sequence) && (all || id[i] in acked))
        print "lost", id[i]
  }'

# Where it is not durable at once: sequences that were given to two messages; with all=1 ids that are gone.
judge_os='
  FILENAME ~ /ids$/ { id[FNR] = $1; next }
  FILENAME ~ /acks$/ { if ($1 == "T") cut = $2; next }
  FILENAME ~ /before-/ && $3 >= cut { next }
  { place = (FILENAME ~ /payment$/) " " $1; seen[$2] = 1 }
  place in taken && taken[place] != $2 { print "sequence given twice:", place }
  { taken[place] = $2 }
  END { for (i in id) if (all && !(id[i] in seen)) print "lost", id[i] }'

judged() { # judged ALL: nothing to complain of
  wrong=$(awk -v part=$part -v all="$1" "$judge" "$dir/ids" "$dir/acks" "$dir/before-payment" \
    "$dir/before-account" "$dir/applied-payment" "$dir/applied-account" | sort | uniq -c | head -n 5)
  [ -z "$wrong" ]
}

cut() { # cut ENTRY SEED [nosync]: sets why when something is wrong
  clear_all
  rm -f "$dir"/applied-*
  why=
  "$faults/powercut" "$dir/journal" "$dir/state" "$1" "$2" "$dir/state" ${3:+"$3"} \
    >"$dir/acks" || { why="powercut"; return; }
  keep router "$faults/headgate-router" -c "$config"
  keep payment "$faults/worker" "$dir" payment-processing "$dir/applied-payment"
  keep account "$faults/worker" "$dir" bank-account-setup "$dir/applied-account"
  until drained; do
    ended router && { why="the router ends with $(cat "$dir/router.status"): $(tail -n 1 "$dir/router.log")"; return; }
  done
  judged 0 || { why="$wrong"; return; }
  publish --wait 20 "$dir/in" || { why="publish again"; return; }
  wait_for 20 drained || { why="not drained"; return; }
  judged 1 || why="after publishing again: $wrong"
}

cut_each() { # cut_each TRIES [nosync]: sets bad
  bad=0
  for ((try = 0; try < $1; try++)); do
    entry=$(((RANDOM * 32768 + RANDOM) % entries))
    choice=$((RANDOM * 32768 + RANDOM))
    cut $entry $choice ${2:+"$2"}
    end KILL router payment account
    [ -n "$why" ] || continue
    bad=$((bad + 1))
    [ -n "${2:-}" ] && [ "$why" != powercut ] && break
    echo "# entry $entry, seed $choice: $why"
    [ $bad -lt 5 ] || break
  done
}

record "durability = sync"
cut_each "$tries"
echo "# $try cuts"
is "what was acknowledged survives a power cut" 0 $bad
cut_each 60 nosync
echo "# cut $try: $why"
is "and does not when nothing is synced: this test would see it" 1 $bad

config=$dir/os.conf
judge=$judge_os
record "durability = os"
cut_each $((tries / 2))
echo "# $try cuts"
is "where durability = os the router starts, and gives no sequence twice" 0 $bad
done_testing
