#!/bin/bash
# The log of a queue, with old messages that were put together, and settled ones in front of them, is damaged at
# random places: bytes changed, sectors zeroed, files cut. Whatever it is, check calls it whole only if a router
# starts on it; and after a salvage a router starts, each message that waited is handled or was said to be
# missing, and none that was settled is handled. DAMAGE_SEED, DAMAGE_COUNT.
. "${top_srcdir:?}/tests/faults/lib.sh"

first=${DAMAGE_SEED:-${all:+$$}}
first=${first:-1}
count=${DAMAGE_COUNT:-${all:+200}}
count=${count:-6}
every=50
echo "# DAMAGE_SEED=$first DAMAGE_COUNT=$count"
ctl() { "$faults/headgatectl" "$@" 2>>"$dir/ctl.log"; }
waiting() { ctl peek -n 1000000 --json payment-processing | jq -r .sequence | sort; }
listening() { [ -S "$dir/run/router.sock" ] && grep -q '"router.ready"' "$dir/router.log"; }
put_together() { # one file has what was left over in many
  [ -e "$dir/state/queues/payment-processing/0000000000000001.log" ] &&
    [ "$(find "$dir/state/queues/payment-processing" -name '*.log' | wc -l)" -le 5 ]
}
only_old_ones_wait() { [ "$(waiting | awk -v every=$every '$1 % every' | wc -l)" = 0 ]; }

"$top_builddir/tests/generate" -n 12000 -s 5 >"$dir/in"
total=$(grep -c '"payment"' "$dir/in")
keep router "$faults/headgate-router"
wait_for 20 listening
keep worker "$faults/worker" -e $every "$dir" payment-processing -
split -l 1000 "$dir/in" "$dir/part."
for part in "$dir"/part.*; do # one when the one before is durable, so that there are some files
  publish "$part"
done
ok "all but each ${every}th are settled" wait_for 60 only_old_ones_wait
ok "files are put together" wait_for 30 put_together
end KILL worker
end TERM router
ctl check >"$dir/text"
is "the log is whole" 0 $?
waiting >"$dir/before"
is "what waits" $((total / every)) "$(wc -l <"$dir/before")"
cp -a "$dir/state" "$dir/whole"

damage() { # at one to four places; says where
  files=("$dir"/state/queues/payment-processing/*.log)
  for _ in $(seq $((1 + RANDOM % 4))); do
    file=${files[RANDOM % ${#files[@]}]}
    size=$(stat -c %s "$file")
    at=$(((RANDOM * 32768 + RANDOM) % (size + 1)))
    case $((RANDOM % 8)) in
      0)
        truncate -s $at "$file"
        echo "cut $(basename "$file") at $at"
        ;;
      1)
        n=$((RANDOM % 20))
        [ $((at / 512 + n)) -lt $((size / 512)) ] || continue
        dd if=/dev/zero of="$file" bs=512 seek=$((at / 512)) count=$n conv=notrunc status=none
        echo "zeroed $n sectors of $(basename "$file") at $((at / 512 * 512))"
        ;;
      *)
        [ $at -lt "$size" ] || continue
        "$faults/flip" file "$file" $at $((1 << RANDOM % 8))
        echo "changed $(basename "$file") at $at"
        ;;
    esac
  done
}

bad=0
salvaged=0
say() {
  echo "# seed $seed: $*"
  sed 's/^/#     /' "$dir/damage"
  bad=$((bad + 1))
}
for seed in $(seq "$first" $((first + count - 1))); do
  RANDOM=$seed
  rm -rf "${dir:?}/state" "$dir/run" "$dir"/*.log "$dir"/*.pid "$dir"/*.stop "$dir"/*.status
  cp -a "$dir/whole" "$dir/state"
  damage >"$dir/damage"
  ctl check --json payment-processing >"$dir/check"
  status=$?
  if [ $status -eq 65 ]; then
    salvaged=$((salvaged + 1))
    ctl check --salvage --json payment-processing >"$dir/check" || say "salvage: $?"
    ctl check >"$dir/text" || say "not whole: $? $(grep -v whole "$dir/text")"
  elif [ $status -ne 0 ]; then
    say "check: $status"
  fi
  waiting >"$dir/after"
  jq -r 'select(.missing_first) | "\(.missing_first) \(.missing_last)"' "$dir/check" |
    while read -r from to; do seq "$from" "$to"; done | sort >"$dir/missing"
  lost=$(sort -u "$dir/after" "$dir/missing" | comm -23 "$dir/before" - | wc -l)
  [ "$lost" -eq 0 ] || say "$lost neither wait nor are missing"
  keep router "$faults/headgate-router"
  wait_for 20 listening || say "the router: $(tail -n 1 "$dir/router.log")"
  keep payment "$faults/headgate-payment"
  ctl wait --empty -t 30 payment-processing || say "not all is handled"
  is_stored=$(payments 'SELECT sequence FROM payments' | sort | comm -3 - "$dir/after" | wc -l)
  [ "$is_stored" -eq 0 ] || say "$is_stored differ between what waited and what is stored"
  end TERM payment router || say "they do not end"
done
is "whatever is damaged" 0 $bad
ok "$salvaged of $count logs were salvaged" [ "$salvaged" -gt 0 ]
done_testing
