#!/bin/bash
# The log of a queue, with old messages that were put together, and settled ones in front of them, is damaged at
# random places: bytes changed, sectors zeroed, files cut. Whatever it is, check calls it whole only if a router
# starts on it; and after a salvage a router starts, each message that waited is handled or was said to be
# missing, and none that was settled is handled. And where a router died when it had just begun a segment, so that no
# whole checkpoint is in it, nobody leaves out a message in silence: each of router, status and peek has all that
# wait, or says that the log is damaged. DAMAGE_SEED, DAMAGE_COUNT.
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

# Some segments more, by batches that no other log has anything of.
rm -rf "$dir"/*.log "$dir"/*.pid "$dir"/*.stop "$dir"/*.status
keep router "$faults/headgate-router"
wait_for 20 listening
"$top_builddir/tests/generate" -n 6000 -s 6 | grep '"payment"' >"$dir/more"
publish "$dir/more"
end KILL router
cp -a "$dir/state" "$dir/killed"

word() { od -An -tx8 -j "$2" -N 8 "$1"; }
is_begun() { [ "$(word "$1" 40)" = "$(word "$1" $((4096 + 32)))" ]; } # its first frame has its salt
find_begun() { # files: up to the one that was begun last
  files=("$dir"/state/queues/payment-processing/*.log)
  while ! is_begun "${files[-1]}"; do unset 'files[-1]'; done
}

begin_last() { # of the one that was begun last some sectors are left; files: the three before it
  find_begun
  left=$((1 + RANDOM % (RANDOM % 2 ? 8 : 200)))
  size=$(stat -c %s "${files[-1]}")
  truncate -s $((4096 + 512 * left)) "${files[-1]}"
  truncate -s "$size" "${files[-1]}"
  echo "$left sectors of $(basename "${files[-1]}") are left"
  unset 'files[-1]'
  files=("${files[@]: -3}")
}

# Behind the frame of 40 and 56 bytes that a checkpoint begins with: its type is 8.
find_begun
is "a segment first tells of the one before it" 8 "$(od -An -tu1 -j $((4096 + 96 + 12)) -N 1 "${files[-1]}" | tr -d ' ')"

damage() { # files, at one to four places; says where
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

has_all() { # has_all WHO STATUS WHAT: it fails, or has all that wait
  if [ "$2" -ne 0 ]; then
    [ $said -ne 0 ] || say "$1 fails: $2"
  elif [ "$3" != "$waits" ]; then
    say "$1 has $3 of $waits"
  fi
}
depth() { jq '.queues[].depth' "$dir/status"; }
started() { listening || ended router; }

nobody_skips() { # said: what check did; waits: so many did
  ctl peek -n 1000000 --json payment-processing >"$dir/peek"
  peeked=$?
  jq -r .sequence "$dir/peek" >"$dir/shown"
  head -n "$(wc -l <"$dir/shown")" "$dir/before" | cmp -s - "$dir/shown" || say "peek leaves out some"
  has_all peek $peeked "$(wc -l <"$dir/shown")"
  ctl status --json payment-processing >"$dir/status"
  has_all status $? "$(depth)"
  keep router "$faults/headgate-router"
  wait_for 20 started
  if ended router; then
    has_all router "$(cat "$dir/router.status")" -
  else
    ctl status --json payment-processing >"$dir/status"
    has_all router 0 "$(depth)"
    end TERM router
  fi
}

# Ranges. Without any whole checkpoint it says that what was before the first message is not known.
said_missing() {
  jq -rs '(.[] | select(.missing_first) | "\(.missing_first) \(.missing_last)"),
    (if any(.[]; (.what // "") | startswith("no checkpoint is whole")) then
      .[] | select(.first_sequence) | "1 \(.first_sequence - 1)" else empty end)'
}

bad=0
salvaged=0
found=0
say() {
  echo "# seed $seed: $*"
  sed 's/^/#     /' "$dir/damage"
  bad=$((bad + 1))
}
for seed in $(seq "$first" $((first + count - 1))); do
  RANDOM=$seed
  rm -rf "${dir:?}/state" "$dir/run" "$dir"/*.log "$dir"/*.pid "$dir"/*.stop "$dir"/*.status
  cp -a "$dir/whole" "$dir/state"
  files=("$dir"/state/queues/payment-processing/*.log)
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
  said_missing <"$dir/check" | while read -r from to; do seq "$from" "$to"; done | sort >"$dir/missing"
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

bad=0
for seed in $(seq "$first" $((first + count - 1))); do
  RANDOM=$seed
  rm -rf "${dir:?}/state" "$dir/run" "$dir"/*.log "$dir"/*.pid "$dir"/*.stop "$dir"/*.status
  cp -a "$dir/killed" "$dir/state"
  begin_last >"$dir/damage"
  ctl check >"$dir/text" || say "damaged before: $? $(grep -v whole "$dir/text")"
  ctl peek -n 1000000 --json payment-processing | jq -r .sequence >"$dir/before"
  waits=$(wc -l <"$dir/before")
  damage >>"$dir/damage"
  ctl check --json payment-processing >"$dir/check"
  said=$?
  [ $said -eq 0 ] || found=$((found + 1))
  nobody_skips
done
is "whatever is damaged in front of a segment that was just begun" 0 $bad
ok "$found of $count were damaged" [ $found -gt 0 ]
done_testing
